"""Checks an ONNX file before ONNX Runtime opens it. The file may be untrusted."""

from pathlib import Path

from bc_sam.errors import UntrustedFileError

# Key of every reference from an ONNX file to another one. ONNX Runtime would read whatever it names.
_REFERENCE = b"location"


def names_other_files(content: bytes) -> bool:
    """Whether an ONNX file refers to weights in other files.

    Such a reference is a pair whose key is the text ``location``, which protobuf stores as it is. Our exports contain
    the word nowhere, so that finding it suffices, and nothing has to be parsed.

    Example:
        >>> names_other_files(b"...location...weights.bin...")
        True
    """
    return _REFERENCE in content


def read_guarded(path: Path, most_bytes: int) -> bytes:
    """Reads an ONNX file that ONNX Runtime may open.

    Args:
        path: The file.
        most_bytes: Its maximum size.

    Raises:
        UntrustedFileError: If it is larger, or refers to other files.
    """
    size = path.stat().st_size
    if size > most_bytes:
        raise UntrustedFileError(
            f"{path} has {size / 1e6:.0f} MB, more than an export of this model can have ({most_bytes / 1e6:.0f} MB). "
            "It was not opened. Remove it, and export the model again: bc-sam export MODEL."
        )
    content = path.read_bytes()
    if names_other_files(content):
        raise UntrustedFileError(
            f"{path} refers to other files, which an export of bc_sam never does. It was not opened. Remove it, and "
            "export the model again: bc-sam export MODEL."
        )
    return content
