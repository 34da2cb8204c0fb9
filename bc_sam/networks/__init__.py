"""Torch networks, and what they compute from cells."""
