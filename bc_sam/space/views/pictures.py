"""Pictures for the page, embedded as data URIs so that no visitor's file is served."""

import base64
import io

import numpy as np
from PIL import Image
from scipy import ndimage

#: Longest side of a picture of one cell, and of a cell of a slide, pixels.
LARGE, SMALL = 640, 160

# A yellow line alone is invisible on a pale background, a dark one on a nucleus, so the outline has both.
_LINE, _HALO = (255, 212, 0), (20, 24, 29)


def fit(image: Image.Image, side: int) -> Image.Image:
    """Resizes an image to a given longest side, keeping its aspect ratio."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def outlined(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """Draws the outline of a mask (h, w) bool on an image; the mask is resized to the image.

    Example:
        >>> mask = np.zeros((8, 8), dtype=bool); mask[2:6, 2:6] = True
        >>> outlined(Image.new("RGB", (80, 80)), mask).getpixel((20, 40))
        (255, 212, 0)
    """
    smooth = Image.fromarray(mask.astype(np.uint8) * 255).resize(image.size, Image.Resampling.BICUBIC)
    inside = np.asarray(smooth) > 127
    pixels = np.array(image.convert("RGB"))
    width = max(1, round(max(image.size) / 240))
    within_border = ndimage.binary_erosion(inside, iterations=width)
    border = inside & ~within_border
    halo = within_border & ~ndimage.binary_erosion(within_border, iterations=width)
    pixels[halo] = pixels[halo] // 2 + np.array(_HALO, np.uint8) // 2
    pixels[border] = _LINE
    return Image.fromarray(pixels)


def as_uri(image: Image.Image, *, quality: int | None = None) -> str:
    """Returns an image as a data URI: JPEG if a quality is given, else PNG."""
    file = io.BytesIO()
    if quality is None:
        image.save(file, format="PNG", compress_level=6)
        return _uri("png", file.getvalue())
    image.convert("RGB").save(file, format="JPEG", quality=quality)
    return jpeg_uri(file.getvalue())


def jpeg_uri(content: bytes) -> str:
    """Returns the bytes of a JPEG as a data URI."""
    return _uri("jpeg", content)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
