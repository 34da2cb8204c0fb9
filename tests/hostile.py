"""Builders of malicious files."""

import io
import itertools
import json
import struct
import zipfile
from pathlib import Path

import numpy as np

_ids = itertools.count(1)


class Touch:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def rewrite_skops(source, target, change):
    """Copies a skops file and applies `change` to its members, of which ``schema.json`` is parsed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["schema.json"] = json.loads(members["schema.json"])
    change(members)
    members["schema.json"] = json.dumps(members["schema.json"])
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def node(loader, module, name, **more):
    """A node of a skops schema with a unique id."""
    return {"__loader__": loader, "__module__": module, "__class__": name, "__id__": next(_ids), **more}


def nodes(value, loader=None):
    """Yields all nodes of a schema or part of one, or those with the given loader."""
    if isinstance(value, dict):
        if "__loader__" in value and loader in (None, value["__loader__"]):
            yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from nodes(inner, loader)


def array_of(schema, name):
    """Name of the member that stores the attribute `name` of an object in a schema."""
    (file,) = {
        part["content"][name]["file"] for part in nodes(schema, "DictNode") if "file" in part["content"].get(name, ())
    }
    return file


def npy(array, shape=None):
    """Bytes of an ``.npy`` file, optionally with a false shape in the header."""
    stream = io.BytesIO()
    header = {"descr": array.dtype.descr if array.dtype.names else array.dtype.str, "fortran_order": False}
    np.lib.format.write_array_header_1_0(stream, header | {"shape": shape or array.shape})
    return stream.getvalue() + array.tobytes()


def safetensors(header, data=b"", announced=None):
    """Bytes of a safetensors file, optionally with a false header length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if announced is None else announced) + text + data


def point_a_tree_outside(members, value=10**8):
    """Makes the root of every tree of a forest point to a node out of bounds."""
    for tree in nodes(members["schema.json"], "TreeNode"):
        file = tree["content"]["content"]["nodes"]["file"]
        array = np.load(io.BytesIO(members[file]))
        array["left_child"][0] = value
        members[file] = npy(array)


def point_a_booster_outside(members, value=10**8):
    """Makes the root of the first tree of a booster point to a node out of bounds."""
    (file,) = (name for name in members if name.endswith(".bin"))
    data = members[file]
    at = data.index(b"left_children[$l#L", data.index(b"Model")) + len(b"left_children[$l#L") + 8
    members[file] = data[:at] + value.to_bytes(4) + data[at + 4 :]


def lengthen_the_support(members, length=10**7):
    """Declares more support vectors than exist."""
    members[array_of(members["schema.json"], "support_")] = npy(np.zeros(length, np.int32))
