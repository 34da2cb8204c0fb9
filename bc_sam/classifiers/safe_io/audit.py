"""Audits the types and sizes in a skops file before skops builds anything from it."""

import json
import math
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from bc_sam.errors import UntrustedFileError
from bc_sam.utils.safe_zip import unpacked_size

_SCHEMA = "schema.json"
# A forest trained on 17,000 cells takes 68 MB, of which 3 MB are schema.
_MAX_BYTES = 2 * 2**30
_MAX_SCHEMA_BYTES = 32 * 2**20
_MAX_LISTED = 8  # types in an error message


def audit(archive: zipfile.ZipFile, allowed: Collection[str], *, max_bytes: int = _MAX_BYTES) -> list[dict[str, Any]]:
    """Checks that a skops file holds allowed types only, and no array larger than the bytes behind it.

    Skops trusts every estimator of scikit-learn, every function of numpy and more. Here a file may hold only the types
    on a list.

    Args:
        archive: The file, opened by its path.
        allowed: The allowed types, each prefixed with the name of its skops node, as in
            ``"ObjectNode:sklearn.svm._classes.SVC"``.
        max_bytes: Maximum unpacked size in bytes.

    Returns:
        The nodes of its schema, each of which skops turns into one object.

    Raises:
        UntrustedFileError: If it holds a type that is not allowed, or is a zip bomb.
        ValueError: If it is damaged; other built-in errors are possible too.
    """
    if unpacked_size(archive, UntrustedFileError) > max_bytes:
        raise UntrustedFileError(f"{archive.filename} is larger than any classifier. Do not use it.")
    if archive.getinfo(_SCHEMA).file_size > _MAX_SCHEMA_BYTES:
        raise UntrustedFileError(f"{archive.filename} has a schema larger than any classifier's. Do not use it.")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in archive.infolist()):
        raise ValueError("it uses a compression method that skops does not")
    nodes: list[dict[str, Any]] = []
    _collect_nodes(json.loads(archive.read(_SCHEMA)), nodes, value_ids={}, node_values={})
    foreign = {type_name for node in nodes if (type_name := _type_name(node)) not in allowed}
    if foreign:
        listed = ", ".join(sorted(name[:120] for name in foreign)[:_MAX_LISTED])
        raise UntrustedFileError(
            f"{archive.filename} holds types that its classifier does not need, so it was not loaded. "
            f"Do not use this file; refit the classifier on data that you trust. Types: {listed!r}."
        )
    _check_members(archive, nodes)
    return nodes


def _collect_nodes(
    value: Any, nodes: list[dict[str, Any]], value_ids: dict[Any, int], node_values: dict[Any, int]
) -> int:
    """Collects every node of a schema, including those where skops would not look for one.

    Skops resolves a node whose id it has met to the earlier object and ignores the node's content; when writing, it
    repeats shared objects in full. Nodes with the same id must therefore be equal here, so that no node can pose as
    another and no small file can encode a graph with exponentially many paths.

    Args:
        value: A part of the schema.
        nodes: Collects the nodes.
        value_ids: Number of each distinct value, ignoring ids.
        node_values: Number of the node's value, by node id.

    Returns:
        The number of the value.
    """
    if isinstance(value, dict):
        children = tuple(
            (key, _collect_nodes(child, nodes, value_ids, node_values))
            for key, child in value.items()
            if key != "__id__"
        )
        value_id = value_ids.setdefault(children, len(value_ids))
        if "__loader__" in value or "__id__" in value:
            nodes.append(value)
            if node_values.setdefault(value["__id__"], value_id) != value_id:
                raise ValueError(f"two different nodes share the id {value['__id__']}")
        return value_id
    if isinstance(value, list):
        items = tuple(_collect_nodes(child, nodes, value_ids, node_values) for child in value)
        return value_ids.setdefault(("list", items), len(value_ids))
    return value_ids.setdefault((type(value), value), len(value_ids))


def _type_name(node: dict[str, Any]) -> str:
    return f"{node['__loader__']}:{node['__module__']}.{node['__class__']}"


def _check_members(archive: zipfile.ZipFile, nodes: list[dict[str, Any]]) -> None:
    """Checks the arrays that numpy and scikit-learn would allocate and copy without validation."""
    owners = {node["__id__"]: node["file"] for node in nodes if "file" in node}
    members = set(archive.namelist())
    if not all(isinstance(name, str) and name in members for name in owners.values()):
        raise ValueError("an array names a member that the file does not have")
    if len(set(owners.values())) < len(owners):
        raise ValueError("two arrays share one member")
    arrays = [node for node in nodes if node["__loader__"] == "NdArrayNode"]
    if any(node["type"] != "numpy" for node in arrays):
        raise ValueError("an array is not numeric")
    shapes = {name: _array_shape(archive, name) for name in {node["file"] for node in arrays}}
    for node in nodes:
        if node["__loader__"] == "TreeNode":
            _check_tree(node, shapes)


def _array_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """Reads the shape of an array and checks that it is numeric and matches its header in size."""
    with archive.open(name) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{name} has an unsupported version of the npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        size = member.tell() + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not dtype.itemsize or size != archive.getinfo(name).file_size:
        raise ValueError(f"{name} is not a numeric array of the size in its header")
    return shape


def _check_tree(tree: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuses trees that crash `Tree` while it is built: those with several outputs or a non-1-D node array."""
    _, _, n_outputs = _content(tree["__reduce__"]["args"], "TupleNode")
    rows = _content(tree["content"], "DictNode")["nodes"]
    _check_loader(rows, "NdArrayNode")
    if json.loads(_content(n_outputs, "JsonNode")) != 1 or len(shapes[rows["file"]]) != 1:
        raise ValueError("a tree has a shape that scikit-learn never writes")


def _content(node: dict[str, Any], loader: str) -> Any:
    _check_loader(node, loader)
    return node["content"]


def _check_loader(node: dict[str, Any], loader: str) -> None:
    if node["__loader__"] != loader:
        raise ValueError(f"a tree has {node['__loader__']} instead of {loader}")
