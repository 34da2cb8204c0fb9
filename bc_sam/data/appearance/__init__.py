"""Scale and light of smear images: estimates magnification and stain from the images, and normalizes both.

`magnification` measures images and estimates a laboratory's pixel size, `light` handles white point and stain, and
`normalization` resamples a cell to a common scale and light.
"""
