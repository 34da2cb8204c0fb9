"""Audits what a skops file would build, before skops builds any of it."""

import json
import math
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from bc_sam.errors import UntrustedFileError
from bc_sam.utils.safe_zip import unpacked_size

_SCHEMA = "schema.json"
# A forest of 17,000 cells has 68 MB, with 3 MB of schema.
_MAX_BYTES = 2 * 2**30
_MAX_SCHEMA_BYTES = 32 * 2**20
_LISTED = 8  # names in an error message


def audit(archive: zipfile.ZipFile, allowed: Collection[str], *, max_bytes: int = _MAX_BYTES) -> list[dict[str, Any]]:
    """Checks that a skops file holds known types only, and that it takes no more memory than it has bytes.

    Skops lets a file name every estimator of scikit-learn, every function of numpy and more. Here a file may hold
    what is on a list, and nothing else.

    Args:
        archive: The file, opened by its path.
        allowed: The types that it may hold, each with the name that skops has for its way of building it, as in
            ``"ObjectNode:sklearn.svm._classes.SVC"``.
        max_bytes: Most bytes that it may unpack to.

    Returns:
        The nodes of its schema, each of which skops turns into one object.

    Raises:
        UntrustedFileError: If it holds a type that is not on the list, or is a zip bomb.
        ValueError: If it is damaged; other built-in errors too.
    """
    if unpacked_size(archive, UntrustedFileError) > max_bytes:
        raise UntrustedFileError(f"{archive.filename} is larger than any classifier. Do not use it.")
    if archive.getinfo(_SCHEMA).file_size > _MAX_SCHEMA_BYTES:
        raise UntrustedFileError(f"{archive.filename} has a schema larger than any classifier's. Do not use it.")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in archive.infolist()):
        raise ValueError("it is compressed in a way that skops files are not")
    nodes: list[dict[str, Any]] = []
    _list_nodes(json.loads(archive.read(_SCHEMA)), nodes, numbers={}, known={})
    foreign = {type_name for node in nodes if (type_name := _type_name(node)) not in allowed}
    if foreign:
        listed = ", ".join(sorted(name[:120] for name in foreign)[:_LISTED])
        raise UntrustedFileError(
            f"{archive.filename} holds types that its classifier does not need, and was not loaded. "
            f"Do not use this file; refit the classifier on data that you trust. Types: {listed!r}."
        )
    _check_members(archive, nodes)
    return nodes


def _list_nodes(value: Any, nodes: list[dict[str, Any]], numbers: dict[Any, int], known: dict[Any, int]) -> int:
    """Lists every node in a part of a schema, those in places where skops would not look for one too.

    Skops takes a node whose id it has met for the object that it has then, whatever else the node says. It writes what
    is used twice twice in full. So two nodes of one id must be equal here: then none can stand for another, and no
    short file for a graph with paths without number.

    Args:
        value: The part.
        nodes: Where to list them.
        numbers: A number for each different value, ids aside.
        known: For each id, the number of its node.

    Returns:
        The number of the value.
    """
    if isinstance(value, dict):
        children = tuple(
            (key, _list_nodes(child, nodes, numbers, known)) for key, child in value.items() if key != "__id__"
        )
        number = numbers.setdefault(children, len(numbers))
        if "__loader__" in value or "__id__" in value:
            nodes.append(value)
            if known.setdefault(value["__id__"], number) != number:
                raise ValueError(f"two different things have the id {value['__id__']}")
        return number
    if isinstance(value, list):
        items = tuple(_list_nodes(child, nodes, numbers, known) for child in value)
        return numbers.setdefault(("list", items), len(numbers))
    return numbers.setdefault((type(value), value), len(numbers))


def _type_name(node: dict[str, Any]) -> str:
    return f"{node['__loader__']}:{node['__module__']}.{node['__class__']}"


def _check_members(archive: zipfile.ZipFile, nodes: list[dict[str, Any]]) -> None:
    """Checks what skops leaves to numpy and scikit-learn, which allocate and copy what they are told."""
    owners = {node["__id__"]: node["file"] for node in nodes if "file" in node}
    if len(set(owners.values())) < len(owners):
        raise ValueError("two arrays share one member")
    arrays = [node for node in nodes if node["__loader__"] == "NdArrayNode"]
    if any(node["type"] != "numpy" for node in arrays):
        raise ValueError("an array holds something else than numbers")
    shapes = {name: _array_shape(archive, name) for name in {node["file"] for node in arrays}}
    for node in nodes:
        if node["__loader__"] == "TreeNode":
            _check_tree(node, shapes)


def _array_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """Reads the shape of an array, which must be of plain numbers and have as many as it says."""
    with archive.open(name) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{name} is of another version of numpy's format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        size = member.tell() + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not dtype.itemsize or size != archive.getinfo(name).file_size:
        raise ValueError(f"{name} is no array of numbers, or has more or fewer than it says")
    return shape


def _check_tree(tree: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Checks what crashes a `Tree` while it is built: several outputs with one count of classes; nodes in no row."""
    _, _, n_outputs = _content(tree["__reduce__"]["args"], "TupleNode")
    rows = _content(tree["content"], "DictNode")["nodes"]
    if json.loads(_content(n_outputs, "JsonNode")) != 1 or len(shapes[rows["file"]]) != 1:
        raise ValueError("a tree is of no shape that scikit-learn gives it")


def _content(node: dict[str, Any], loader: str) -> Any:
    if node["__loader__"] != loader:
        raise ValueError(f"a tree has {node['__loader__']} in the place of {loader}")
    return node["content"]
