"""Inference on any number of cells, by any number of workers, that survives being interrupted."""
