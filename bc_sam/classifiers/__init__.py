"""Classifiers on embeddings, their reference embeddings, and out-of-distribution scores."""
