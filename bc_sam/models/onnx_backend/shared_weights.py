"""Weights that an export shares with its model: left out of the graph's file, and put back when it is opened.

The model folder stores them already, in half the room: an export of bc-sam-tiny with its own copy takes 40 MB more.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from bc_sam.errors import WeightsError
from bc_sam.models.folder import ADAPTER, AUTOENCODER, BASE
from bc_sam.models.onnx_backend.protobuf import delimited, varint
from bc_sam.utils.json_config import read_json

if TYPE_CHECKING:  # needs the export extra
    from onnx import ModelProto

# Smaller tensors stay in the graph.
_FEWEST_VALUES = 1024
# Merging the LoRA in another library rounds differently.
_TOLERANCE = 1e-6

_ADAPTED = "base_model.model."


class NetworkWeights(Mapping[str, np.ndarray]):
    """The tensors of a model folder's networks with the LoRA merged, float32, by their names in the export.

    These are the names of the merged SAM after ``sam.`` and those of the autoencoder. Each tensor is read when it is
    asked for. The tensors of a base on the Hub are not among them.

    Args:
        folder: A model folder whose files have been checked.

    Raises:
        WeightsError: If a file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / ADAPTER / "adapter_config.json")
        base = folder / BASE / "model.safetensors"
        try:
            self._scale = float(config["lora_alpha"] / config["r"])
            self._adapter = safe_open(folder / ADAPTER / "adapter_model.safetensors", "np")
            self._autoencoder = safe_open(folder / AUTOENCODER, "np")
            self._base = safe_open(base, "np") if base.is_file() else None
        except (KeyError, TypeError, ZeroDivisionError, OSError, SafetensorError) as error:
            raise WeightsError(
                f"The weights in {folder} cannot be read: {error}. Copy or download them again."
            ) from error
        adapted = set(self._adapter.keys())
        own = {name.removeprefix(_ADAPTED) for name in adapted if ".lora_" not in name}
        sam = own | (set(self._base.keys()) if self._base else set())
        self._lora = {name for name in sam if _lora(name, "A") in adapted}
        self._own = own
        self._names = sorted([f"sam.{name}" for name in sam] + list(self._autoencoder.keys()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> np.ndarray:
        if not name.startswith("sam."):
            return _float32(self._autoencoder, name)
        name = name.removeprefix("sam.")
        if name in self._own:
            return _float32(self._adapter, _ADAPTED + name)
        weight = _float32(self._base, name)
        if name in self._lora:
            down, up = (_float32(self._adapter, _lora(name, part)) for part in "AB")
            weight += self._scale * (up @ down)
        return weight


def _lora(name: str, part: str) -> str:
    """Returns the name of the LoRA's matrix A or B for a weight of the base."""
    return f"{_ADAPTED}{name.removesuffix('weight')}lora_{part}.weight"


def _float32(file: Any, name: str) -> np.ndarray:
    try:
        return file.get_tensor(name).astype(np.float32)
    except (AttributeError, SafetensorError) as error:
        raise KeyError(name) from error


def take_out(graph: "ModelProto", weights: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Removes the initializers that equal a tensor of the model, or its transpose, from a graph, in place.

    Args:
        graph: The graph.
        weights: The tensors by name.

    Returns:
        The name of the tensor for each initializer, followed by ``.T`` if it is transposed.
    """
    from onnx import TensorProto, numpy_helper

    by_shape = defaultdict(list)
    for name, tensor in weights.items():
        if tensor.size >= _FEWEST_VALUES:
            by_shape[tensor.shape].append((name, tensor))
            if tensor.ndim == 2:
                by_shape[tensor.shape[::-1]].append((f"{name}.T", tensor.T))
    shared, kept = {}, []
    for initializer in graph.graph.initializer:
        values = numpy_helper.to_array(initializer)
        for name, tensor in by_shape[values.shape] if initializer.data_type == TensorProto.FLOAT else ():
            if np.allclose(tensor, values, rtol=0, atol=_TOLERANCE):
                shared[initializer.name] = name
                break
        else:
            kept.append(initializer)
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    return shared


def write_shared(shared: Mapping[str, str], path: Path) -> None:
    """Writes which initializers are which tensors."""
    path.write_text(json.dumps(shared, indent=1, sort_keys=True) + "\n")


def put_back(content: bytes, shared: Any, weights: Mapping[str, np.ndarray], most_bytes: int) -> bytes:
    """Returns an ONNX file with the initializers that `take_out` removed from it.

    Protobuf reads a message that follows another as an addition to it, so that nothing has to be parsed.

    Args:
        content: The file without them.
        shared: What `take_out` returned.
        weights: The tensors by name.
        most_bytes: Largest total size of the tensors, as a file may name one any number of times.

    Raises:
        WeightsError: If there is no such tensor, or they are too large.
    """
    parts: list[bytes | memoryview] = [content]
    left = most_bytes
    try:
        for initializer, name in shared.items():
            tensor = weights[name.removesuffix(".T")]
            left -= tensor.nbytes
            if left < 0:
                raise WeightsError(
                    f"The export has more than {most_bytes / 1e6:.0f} MB of weights, more than this model can have. "
                    "Export it again: bc-sam export MODEL."
                )
            parts += _initializer(initializer, tensor.T if name.endswith(".T") else tensor)
    except (AttributeError, KeyError, UnicodeEncodeError) as error:
        raise WeightsError(
            f"The export needs a tensor that the model does not have ({error}). Export it again: bc-sam export MODEL."
        ) from error
    return b"".join(parts)


# Numbers of fields and types in onnx.proto, which never change.
_GRAPH_OF_MODEL, _INITIALIZER_OF_GRAPH = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
_FLOAT = 1


def _initializer(name: str, values: np.ndarray) -> list[bytes | memoryview]:
    """Returns the parts of a message ``ModelProto`` with nothing but an initializer."""
    head = b"".join(varint(_DIMS << 3) + varint(size) for size in values.shape)
    head += varint(_DATA_TYPE << 3) + varint(_FLOAT)
    head += delimited(_NAME, len(name.encode())) + name.encode()
    head += delimited(_RAW_DATA, values.nbytes)
    graph = delimited(_INITIALIZER_OF_GRAPH, len(head) + values.nbytes)
    model = delimited(_GRAPH_OF_MODEL, len(graph) + len(head) + values.nbytes)
    return [model, graph, head, np.ascontiguousarray(values, "<f4").data.cast("B")]
