"""Fields of many cells: scale, candidates for white cells, outlines, red cells and platelets, and tiles of large images.

Nothing here needs a network: `bc_sam.models.fields` combines it with the masks that a model predicts.
"""
