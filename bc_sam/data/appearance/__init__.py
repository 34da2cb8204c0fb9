"""Scale and light of smear images: what an image says about its magnification and stain, and how to undo both.

`magnification` measures an image and reads a laboratory's pixel size from it, `light` describes white point and stain,
and `normalization` resamples a cell to one scale and light.
"""
