"""Loaders of published data sets (listed in `bc_sam.data.sources`), of image folders and of rendered cells."""
