"""Decoding of image files by their content: one module per family of formats."""

from bc_sam.data.decoding.decode import decode

__all__ = ["decode"]
