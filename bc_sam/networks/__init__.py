"""Torch networks and the features that they compute from cells."""
