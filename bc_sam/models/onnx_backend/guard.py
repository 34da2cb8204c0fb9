"""Checks an ONNX file before ONNX Runtime opens it. The file may be untrusted."""

from pathlib import Path

from bc_sam.errors import UntrustedFileError
from bc_sam.models.onnx_backend.protobuf import delimited_fields

# Key of every reference from an ONNX file to another one. ONNX Runtime would read whatever it names.
_REFERENCE = b"location"


# Numbers of fields in onnx.proto, which never change. A loop or a branch is a graph in an attribute of a node.
_GRAPH, _TRAINING, _FUNCTIONS = 7, 20, 25  # of a model
_NODE, _ATTRIBUTE, _INNER_GRAPHS = 1, 5, (6, 11)


def has_loops(content: bytes) -> bool:
    """Whether an ONNX file has loops, branches or functions, so that it may compute for ever; our exports have none.

    Raises:
        ValueError: If it is no ONNX file, or ends in the middle of a field, which would swallow what is appended.

    Example:
        >>> has_loops(b"")
        False
    """
    for number, part in delimited_fields(memoryview(content)):
        if number in (_TRAINING, _FUNCTIONS):
            return True
        if number == _GRAPH and any(_node_has_graph(node) for kind, node in delimited_fields(part) if kind == _NODE):
            return True
    return False


def _node_has_graph(node: memoryview) -> bool:
    attributes = (content for number, content in delimited_fields(node) if number == _ATTRIBUTE)
    return any(number in _INNER_GRAPHS for attribute in attributes for number, _ in delimited_fields(attribute))


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
        UntrustedFileError: If it is larger, refers to other files, has loops, or is no complete file.
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
    try:
        loops = has_loops(content)
    except ValueError as error:
        raise UntrustedFileError(
            f"{path} is no complete ONNX file ({error}). It was not opened. Export the model again: "
            "bc-sam export MODEL."
        ) from error
    if loops:
        raise UntrustedFileError(
            f"{path} has loops or functions, which an export of bc_sam never has. It was not opened. Remove it, and "
            "export the model again: bc-sam export MODEL."
        )
    return content
