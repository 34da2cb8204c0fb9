"""Classifiers on embeddings: how they are fitted, what they learned from, how far a new cell lies from it."""
