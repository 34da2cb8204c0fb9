"""Loaders of the published data sets, of image folders and of rendered cells."""
