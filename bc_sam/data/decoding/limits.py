"""The limit on the size of an image, checked before its pixels are decoded."""

from bc_sam.errors import ImageError

#: Maximum number of pixels that a file may declare. Images of single cells have fewer than one million.
MAX_PIXELS = 50_000_000

#: What to do with a larger image.
TOO_LARGE = "Crop it to one cell. Larger fields are counted by bc-sam count, as files on disk."


def check_size(size: tuple[int, ...], max_pixels: int) -> None:
    """Checks a declared width and height.

    Raises:
        ImageError: If there are no pixels, or more than `max_pixels`.

    Example:
        >>> check_size((360, 363), MAX_PIXELS)
    """
    if len(size) != 2 or min(size) <= 0:
        raise ImageError("has no pixels. Give an image that is not empty.")
    width, height = size
    if width * height > max_pixels:
        raise ImageError(f"has {width} x {height} pixels, more than {max_pixels}. {TOO_LARGE}")
