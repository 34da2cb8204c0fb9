"""Safe decoding of any image to 8-bit RGB, and of any mask to background, cytoplasm and nucleus."""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.data.decoding import decode
from bc_sam.data.decoding.decode import pixels_of
from bc_sam.data.decoding.depth import check_values, to_bytes
from bc_sam.data.decoding.dicom import is_dicom, read_spacing
from bc_sam.data.decoding.formats import IMAGE_FORMATS, PILLOW_FORMATS
from bc_sam.data.decoding.limits import MAX_PIXELS, TOO_LARGE, check_size
from bc_sam.data.file_search import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from bc_sam.data.file_search import find_images as find_images
from bc_sam.data.strips import map_strips, resize, strips
from bc_sam.errors import ImageError
from bc_sam.utils.display import printable

_T = TypeVar("_T")

_REMEDY = f"Convert it to one of {', '.join(IMAGE_FORMATS)}."


def read_image(source: Any, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads an image of any supported format, mode and bit depth as 8-bit RGB.

    The EXIF orientation is applied, colour profiles are not. Of several pages or frames, the first is read, except
    that red, green and blue on pages of their own (OME-TIFF, ImageJ) are joined. Stacks of focal planes are refused.

    - *Alpha* is dropped, as in the original, since Matek-19 has valid pixels under it. Only fully transparent black
      pixels carry no measurement; they become white, the background of a smear.
    - *16-bit* values are reduced to their high byte, that is by the full range instead of the image's maximum, so that
      equal exposures stay equal. Fewer bits that a TIFF or DICOM file states are scaled to 16. Without a statement,
      values that fill less than a quarter of the range, such as those of a 12-bit camera, are refused.
    - *DICOM* and *HEIC* need the extra ``formats``, and so do rarer kinds of compressed TIFF; the error says so.

    Args:
        source: A path; the bytes of a file; the ``{"bytes", "path"}`` of ``datasets.Image(decode=False)``; a Pillow
            image; or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16, or floats in 0..1.
        max_pixels: Maximum width times height, checked before decoding.

    Returns:
        The image in mode ``"RGB"``.

    Raises:
        ImageError: If the source is missing, unreadable, not an image, damaged, empty, too large, or of a kind that is
            not read; the message says what to do.

    Example:
        >>> read_image(np.zeros((2, 3), dtype=np.uint16)).size
        (3, 2)
    """
    return Image.fromarray(read_pixels(source, max_pixels=max_pixels))


def read_pixels(source: Any, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Reads an image as `read_image` does, with no more memory than the file's pixels and the result take.

    Returns:
        Array (H, W, 3).

    Example:
        >>> read_pixels(np.zeros((2, 3), dtype=np.uint16)).shape
        (2, 3, 3)
    """
    return _read(source, max_pixels, _to_rgb)


def read_mask(source: Any, size: int | None = None, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a cell mask.

    A mask with only the values 0, 1 and 2 is kept; in any other (0 and 255, or a colour), nonzero pixels become 1.
    Palette images are read by index, as labelling tools write them. Store masks in a lossless format.

    Args:
        source: As for `read_image`; an array may have any numeric type.
        size: Side of the square to resize to with nearest-neighbour interpolation, pixels; by default, the mask is not
            resized.
        max_pixels: As for `read_image`.

    Returns:
        Array (H, W), uint8: 0 background, 1 cytoplasm (or the whole cell), 2 nucleus.

    Raises:
        ImageError: As for `read_image`.

    Example:
        >>> read_mask(np.array([[0, 255]])).tolist()
        [[0, 1]]
    """
    mask = _labels_of(_read(source, max_pixels, _to_values))
    if size is None:
        return mask
    return np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))


def read_mask_and_values(source: Any, *, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, list[float]]:
    """Reads a cell mask as `read_mask` does, and the values in the file that are none of 0, 1 and 2.

    Example:
        >>> mask, others = read_mask_and_values(np.array([[0, 128, 255]]))
        >>> mask.tolist(), others
        ([[0, 1, 1]], [128, 255])
    """
    values = _read(source, max_pixels, _to_values)
    return _labels_of(values), np.setdiff1d(values, (0, 1, 2)).tolist()


def read_tiff_tags(source: Any, numbers: Sequence[int]) -> dict[int, Any]:
    """Reads tags of a TIFF file; the pixels are not decoded.

    Args:
        source: As for `read_image`.
        numbers: Numbers of the tags.

    Returns:
        The values of the tags that are there, by number; empty for other formats and for unreadable files.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("L", (3, 2)).save(file, "TIFF")
        >>> read_tiff_tags(file.getvalue(), (256, 257))
        {256: 3, 257: 2}
    """
    try:
        if isinstance(source, Image.Image):
            return _tags(source, numbers)
        with open_source(source) as file, Image.open(file, formats=tuple(PILLOW_FORMATS)) as image:
            return _tags(image, numbers)
    except Exception:  # Pillow's decoders raise nearly every built-in type on damaged input.
        return {}


def read_dicom_spacing(source: Any) -> float | None:
    """Reads the width of a pixel of a DICOM file, mm; the pixels are not decoded.

    Args:
        source: As for `read_image`.

    Returns:
        The width; ``None`` if the file states none, and for other formats and unreadable files.
    """
    if isinstance(source, Image.Image | np.ndarray):
        return None
    try:
        with open_source(source) as file:
            head = file.read(132)
            file.seek(0)
            return read_spacing(file) if is_dicom(head) else None
    except Exception:  # pydicom raises many built-in types on damaged input
        return None


def _tags(image: Image.Image, numbers: Sequence[int]) -> dict[int, Any]:
    tags = getattr(image, "tag_v2", {})
    return {number: tags[number] for number in numbers if number in tags}


def to_square(image: Image.Image | NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resizes an RGB image to a square, ignoring the aspect ratio, as the original BC-SAM does.

    Args:
        image: Image of mode ``"RGB"``, as from `read_image`, or array (H, W, 3), as from `read_pixels`.
        size: Side of the square, pixels.

    Returns:
        Array (size, size, 3), resized bilinearly with antialiasing.

    Example:
        >>> to_square(Image.new("RGB", (360, 363)), 224).shape
        (224, 224, 3)
    """
    return resize(np.asarray(image), (size, size), Image.Resampling.BILINEAR)


def encode_png(image: Image.Image) -> bytes:
    """Returns the bytes of a PNG file.

    Example:
        >>> read_image(encode_png(Image.new("RGB", (3, 2)))).size
        (3, 2)
    """
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)  # higher levels barely shrink noise
    return file.getvalue()


def _read(source: Any, max_pixels: int, convert: Callable[[Image.Image | np.ndarray], _T]) -> _T:
    """Opens, checks and converts a source; all failures become an `ImageError` that names the source."""
    name = _describe(source)
    try:
        if isinstance(source, np.ndarray):
            check_size(source.shape[1::-1], max_pixels)
            return convert(source)
        if isinstance(source, Image.Image):
            return convert(pixels_of(source, max_pixels, in_place=False))
        with open_source(source) as file:
            return convert(decode(file, max_pixels))
    except ImageError as error:
        raise ImageError(f"{name} {error}") from None
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist. Check the path.") from None
    except PermissionError:
        raise ImageError(f"{name} cannot be read: permission denied. Change its permissions.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{name} has too many pixels. {TOO_LARGE}") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a known format. {_REMEDY}") from None
    except Exception as error:  # decoders raise almost any built-in exception on damaged input
        raise ImageError(f"{name} is damaged or incomplete ({error}). Export or download it again.") from error


def _describe(source: Any) -> str:
    if isinstance(source, Mapping) and source.get("path"):
        source = source["path"]
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source)) if str(source) else "An empty path"
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or f"The {source.mode} image"
    if isinstance(source, np.ndarray):
        return f"The array of shape {source.shape} and type {source.dtype}"
    return f"The object of type {type(source).__name__}"


@contextmanager
def open_source(source: Any) -> Iterator[BinaryIO]:
    """Opens a path, bytes, or the mapping of either.

    Raises:
        ImageError: If the source is none of them, or not a file; the message lacks its name.
        OSError: If it cannot be opened.
    """
    if isinstance(source, Mapping):
        source = source["path"] if source.get("bytes") is None else source["bytes"]
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.exists() and not path.is_file():
            raise ImageError("is a folder or a device, not a file. Give the path of one image.")
        with path.open("rb") as file:
            yield file
    else:
        raise ImageError("is not an image. Give a path, bytes, a Pillow image or a NumPy array.")


def _to_rgb(pixels: Image.Image | NDArray) -> NDArray[np.uint8]:
    if isinstance(pixels, Image.Image):
        return map_strips(_rgb_of, pixels)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise ImageError("is not an image. The shape must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).")
    check_values(pixels)
    return map_strips(lambda strip: _rgb_of(Image.fromarray(to_bytes(strip))), pixels)


def _rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    rgba = image.convert("RGBA")
    rgb = np.array(rgba.convert("RGB"))
    is_empty = np.asarray(rgba).view(np.uint32)[..., 0] == 0  # all four channels at once
    if is_empty.any():
        rgb[is_empty] = 255
    return rgb


def _to_values(pixels: Image.Image | NDArray) -> NDArray:
    return map_strips(_values_of, pixels)


def _values_of(pixels: Image.Image | NDArray) -> NDArray:
    values = np.asarray(pixels)
    if isinstance(pixels, Image.Image) and pixels.mode in ("LA", "La", "PA"):
        values = values[..., 0]
    if values.ndim == 3:
        values = values[..., :3].max(axis=2)
    if values.ndim != 2 or values.dtype.kind not in "biuf" or np.isnan(values).any():
        raise ImageError("is not a mask. Give an image, or a numeric array of shape (H, W) without NaN.")
    return values


def _labels_of(values: NDArray) -> NDArray[np.uint8]:
    if all(np.isin(values[rows], (0, 1, 2)).all() for rows in strips(*values.shape)):
        return values.astype(np.uint8)
    return (values != 0).astype(np.uint8)
