"""Thumbnails of the reference cells, displayed as the nearest neighbours of a cell. The file may be untrusted."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bc_sam.errors import WeightsError

#: Side of a new thumbnail, and the longest side allowed for one from a file, in pixels.
SIDE, MAX_SIDE = 48, 64

#: Maximum size of a thumbnail in bytes. A real cell takes about 1,100, pure noise 2,000.
MAX_BYTES = 8192

# Share of the image's side that is kept: the window that contains the cell in single-cell images.
_CROP = 9 / 14

_REMEDY = "Download or save the model again."


def draw_thumbnail(pixels: np.ndarray) -> bytes:
    """Returns a thumbnail of the centre of an image, which contains the cell.

    Args:
        pixels: (S, S, 3) uint8, RGB.

    Returns:
        A JPEG of `SIDE` x `SIDE` pixels without metadata.

    Example:
        >>> len(draw_thumbnail(np.full((224, 224, 3), 200, np.uint8))) < MAX_BYTES
        True
    """
    side = len(pixels)
    edge = round(side * (1 - _CROP) / 2)
    box = edge, edge, side - edge, side - edge
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=85, optimize=True)
    return file.getvalue()


def save_thumbnails(thumbnails: Sequence[bytes], path: Path) -> None:
    """Writes thumbnails as safetensors: their concatenated bytes and the end offset of each.

    Args:
        thumbnails: One per reference cell, empty for cells without one.
        path: Output file.
    """
    ends = np.cumsum([len(thumbnail) for thumbnail in thumbnails], dtype=np.int64)
    save_file({"bytes": np.frombuffer(b"".join(thumbnails), np.uint8), "ends": ends}, path)


def load_thumbnails(path: Path, count: int) -> tuple[bytes, ...]:
    """Loads thumbnails written by `save_thumbnails`. Sizes are checked before anything is read.

    The JPEGs themselves are not validated here; call `require_small_jpeg` before displaying one.

    Args:
        path: The file.
        count: Expected number of thumbnails.

    Raises:
        WeightsError: If the file is damaged, too large, or has another number of thumbnails.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            (total,), (n,) = (file.get_slice(name).get_shape() for name in ("bytes", "ends"))
            if n != count or total > MAX_BYTES * count:
                raise WeightsError(f"{path} does not fit the {count} reference cells of the model. {_REMEDY}")
            content, ends = file.get_tensor("bytes"), file.get_tensor("ends")
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is damaged ({error}). {_REMEDY}") from error
    sizes = np.diff(ends, prepend=0) if ends.dtype == np.int64 else np.array([-1])
    if content.dtype != np.uint8 or (sizes < 0).any() or (sizes > MAX_BYTES).any() or sizes.sum() != total:
        raise WeightsError(f"{path} has invalid thumbnail offsets. {_REMEDY}")
    return tuple(content[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True))


def require_small_jpeg(content: bytes, row: int) -> bytes:
    """Validates a stored thumbnail before it is displayed, and returns it.

    This is done on demand: a model has thousands of thumbnails and displays few.

    Args:
        content: The thumbnail; empty if there is none.
        row: Row of its cell, for the error message.

    Raises:
        WeightsError: If it is not a JPEG of at most `MAX_SIDE` pixels a side.
    """
    if content and not _is_small_jpeg(content):
        raise WeightsError(
            f"The thumbnail of reference cell {row} is not a JPEG of at most {MAX_SIDE} pixels. {_REMEDY}"
        )
    return content


def _is_small_jpeg(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if max(image.size) > MAX_SIDE:
                return False
            image.load()
            return True
    except Exception:  # Pillow's decoders raise nearly every built-in type on damaged input
        return False
