"""Fields of many cells: their scale, candidates for white cells, outlines, red cells, platelets and large images.

Nothing here needs a network: `bc_sam.models.fields` combines it with the masks that a model predicts.
"""
