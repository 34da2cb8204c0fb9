"""Other ways from image files to embeddings, with which `embedding.py --peers` compares, with random weights.

Plain Transformers, a ViT of equal size from timm, and ONNX Runtime and OpenVINO for both it and bc_sam. timm, openvino
and, for int8, nncf have to be installed; what is not is left out. bc_sam itself needs none of them but openvino.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import with_library_attention
from PIL import Image
from torch import Tensor, nn

from bc_sam import BCSam, load_model
from bc_sam.data.batches import decoded_batches
from bc_sam.data.preparation import Preparation
from bc_sam.models.onnx_backend.export import export_to_folder
from bc_sam.models.onnx_backend.files import EMBEDDINGS, NETWORKS, PIXELS
from bc_sam.networks.throughput import vit_b
from bc_sam.utils.openvino_runtime import import_openvino

_SIDE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Embeds files, in batches.
Embed = Callable[[], np.ndarray]


def peers(model: BCSam, files: Sequence[Path], size: int, folder: Path) -> dict[str, Embed]:
    """Returns ways to embed files, by name.

    Args:
        model: A model of ViT-B in float32, from which the graphs of bc_sam are made.
        files: The images.
        size: Images per batch.
        folder: A new folder for graphs.
    """
    folder.mkdir()
    return {
        **_transformers(files, size),
        **(_timm(files, size, folder) if find_spec("timm") else {}),
        **_runtimes(model, files, size, folder),
    }


def _transformers(files: Sequence[Path], size: int) -> dict[str, Embed]:
    encoders = {dtype: with_library_attention(vit_b(), eager=False).vision_encoder.to(dtype) for dtype in _dtypes()}

    def embed(dtype: torch.dtype) -> np.ndarray:
        return _in_torch(lambda pixels: encoders[dtype](pixels).last_hidden_state.mean((2, 3)), dtype, files, size)

    return {f"transformers, SAM, {_name(dtype)}": lambda dtype=dtype: embed(dtype) for dtype in encoders}


def _timm(files: Sequence[Path], size: int, folder: Path) -> dict[str, Embed]:
    import timm

    vit = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0).eval()
    torch.onnx.export(
        vit,
        (torch.zeros(2, 3, _SIDE, _SIDE),),
        folder / "timm.onnx",
        input_names=["pixels"],
        output_names=["embeddings"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        verbose=False,
    )
    found: dict[str, Embed] = {}
    for dtype in _dtypes():
        same = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0).eval().to(dtype)
        found[f"timm, torch, {_name(dtype)}"] = lambda same=same, dtype=dtype: _in_torch(same, dtype, files, size)
    runners = _sessions(folder / "timm.onnx", "pixels", lambda: (p.numpy() for p in _plain_batches(files[:16], 1)))
    for name, run in runners.items():
        found[f"timm, {name}"] = lambda run=run: np.concatenate([run(p.numpy()) for p in _plain_batches(files, size)])
    return found


def _runtimes(model: BCSam, files: Sequence[Path], size: int, folder: Path) -> dict[str, Embed]:
    saved = model.save_pretrained(folder / "model", include_base=True)
    graph = export_to_folder(saved, folder / "exported", standalone=True) / NETWORKS
    preparation = Preparation(_SIDE)

    def batches(some: Sequence[Path], n: int) -> Iterator[np.ndarray]:
        return (batch.pixels for batch in decoded_batches(some, preparation, n))

    runners = _sessions(graph, PIXELS, lambda: batches(files[:16], 1), output=EMBEDDINGS)
    found: dict[str, Embed] = {
        f"bc_sam, {name}": lambda run=run: np.concatenate([run(pixels) for pixels in batches(files, size)])
        for name, run in runners.items()
        if "int8" in name
    }
    for backend in ("onnx", *(["openvino"] if find_spec("openvino") else [])):
        loaded = load_model(graph.parents[1], backend=backend, classifiers=[])  # type: ignore[arg-type]
        found[f"bc_sam, {backend}"] = lambda loaded=loaded: loaded.embed(files, batch_size=size)
    return found


def _sessions(
    graph: Path, name: str, samples: Callable[[], Iterator[np.ndarray]], output: str = "embeddings"
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Returns what runs a graph, by runtime and precision."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    found = {"ONNX Runtime, float32": lambda pixels: session.run([output], {name: pixels})[0]}
    if not find_spec("openvino"):
        return found
    core: Any = import_openvino().Core()

    def compiled(model: Any, precision: str) -> Callable[[np.ndarray], np.ndarray]:
        threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        ready = core.compile_model(model, "CPU", threads | {"INFERENCE_PRECISION_HINT": precision})
        return lambda pixels: ready({name: pixels})[output]

    found["OpenVINO, bfloat16"] = compiled(core.read_model(graph), "bf16")
    if find_spec("nncf"):
        found["OpenVINO, int8"] = compiled(_quantized(core.read_model(graph), name, samples), "bf16")
    return found


def _quantized(model: Any, name: str, samples: Callable[[], Iterator[np.ndarray]]) -> Any:
    """Returns a model with weights and activations of 8 bits, calibrated on samples."""
    os.environ.setdefault("NNCF_DISABLE_TELEMETRY", "1")
    import nncf

    dataset = nncf.Dataset([{name: sample} for sample in samples()])
    return nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED)


@torch.inference_mode()
def _in_torch(network: nn.Module | Any, dtype: torch.dtype, files: Sequence[Path], size: int) -> np.ndarray:
    return np.concatenate([network(pixels.to(dtype)).float().numpy() for pixels in _plain_batches(files, size)])


def _plain_batches(files: Sequence[Path], size: int) -> Iterator[Tensor]:
    """Yields batches (n, 3, 224, 224) float32, decoded one by one and normalized, as most programs do."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
    for start in range(0, len(files), size):
        images = [
            np.array(Image.open(file).convert("RGB").resize((_SIDE, _SIDE))) for file in files[start : start + size]
        ]
        yield (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 - mean) / std


def _dtypes() -> tuple[torch.dtype, ...]:
    return torch.float32, torch.bfloat16


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
