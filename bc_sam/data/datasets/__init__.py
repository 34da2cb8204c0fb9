"""Loaders of the published data sets, of image folders and of rendered cells; `bc_sam.data.sources` lists the published ones."""
