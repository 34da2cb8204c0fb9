"""Thumbnails of stored cells, shown as a cell's most similar ones. They may come from an untrusted file."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bc_sam.errors import WeightsError

#: Side of a new thumbnail, and the longest side that one from a file may have, in pixels.
SIDE, MOST_SIDE = 48, 64

#: Most bytes of a thumbnail. That of a real cell has about 1,100, that of pure noise 2,000.
MOST_BYTES = 8192

# Share of an image's side that is kept: the window that holds the cell in images of single cells.
_MIDDLE = 9 / 14

_AGAIN = "Download or save the model again."


def draw_thumbnail(pixels: np.ndarray) -> bytes:
    """Returns a thumbnail of the middle of an image, which holds the cell.

    Args:
        pixels: (S, S, 3) uint8, RGB.

    Returns:
        A JPEG of `SIDE` x `SIDE` pixels without metadata.

    Example:
        >>> len(draw_thumbnail(np.full((224, 224, 3), 200, np.uint8))) < MOST_BYTES
        True
    """
    side = len(pixels)
    edge = round(side * (1 - _MIDDLE) / 2)
    box = edge, edge, side - edge, side - edge
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=85, optimize=True)
    return file.getvalue()


def save_thumbnails(thumbnails: Sequence[bytes], path: Path) -> None:
    """Writes thumbnails as safetensors: their bytes one after the other, and the offset at which each ends.

    Args:
        thumbnails: One for each stored cell, empty if it has none.
        path: File to write.
    """
    ends = np.cumsum([len(thumbnail) for thumbnail in thumbnails], dtype=np.int64)
    save_file({"bytes": np.frombuffer(b"".join(thumbnails), np.uint8), "ends": ends}, path)


def load_thumbnails(path: Path, count: int) -> tuple[bytes, ...]:
    """Reads what `save_thumbnails` wrote. Sizes are checked before anything is read.

    The JPEGs themselves are not checked here; call `require_small_jpeg` before one is shown.

    Args:
        path: The file.
        count: Expected number of thumbnails.

    Raises:
        WeightsError: If the file is damaged or too large, or does not fit.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            (total,), (n,) = (file.get_slice(name).get_shape() for name in ("bytes", "ends"))
            if n != count or total > MOST_BYTES * count:
                raise WeightsError(f"{path} does not fit the {count} cells that the model stores. {_AGAIN}")
            content, ends = file.get_tensor("bytes"), file.get_tensor("ends")
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is broken ({error}). {_AGAIN}") from error
    sizes = np.diff(ends, prepend=0) if ends.dtype == np.int64 else np.array([-1])
    if content.dtype != np.uint8 or (sizes < 0).any() or (sizes > MOST_BYTES).any() or sizes.sum() != total:
        raise WeightsError(f"{path} has wrong offsets of its thumbnails. {_AGAIN}")
    return tuple(content[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True))


def require_small_jpeg(content: bytes, row: int) -> bytes:
    """Checks a stored thumbnail before it is shown, and returns it.

    This is done on demand: a model has thousands, and shows a few.

    Args:
        content: The thumbnail; empty if there is none.
        row: Row of its cell, for the error message.

    Raises:
        WeightsError: If it is no JPEG of at most `MOST_SIDE` pixels a side.
    """
    if content and not _is_small_jpeg(content):
        raise WeightsError(
            f"The thumbnail of the stored cell {row} is no JPEG of at most {MOST_SIDE} pixels. {_AGAIN}"
        )
    return content


def _is_small_jpeg(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if max(image.size) > MOST_SIDE:
                return False
            image.load()
            return True
    except Exception:  # Pillow's decoders raise nearly every built-in type on damaged input
        return False
