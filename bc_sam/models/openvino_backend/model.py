"""BC-SAM whose networks OpenVINO computes."""

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bc_sam.errors import WeightsError
from bc_sam.models.onnx_backend.files import (
    EMBEDDINGS,
    FINGERPRINT,
    MASK_LOGITS,
    NETWORKS,
    PIXELS,
    Export,
    fingerprint,
)
from bc_sam.models.onnx_backend.model import OnnxBCSam, read_networks
from bc_sam.models.stored_model import Backend, StoredModel
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.openvino_runtime import import_openvino

if TYPE_CHECKING:
    from openvino import CompiledModel, Model


class OpenVinoBCSam(OnnxBCSam):
    """BC-SAM whose networks are computed by OpenVINO on the CPU, and its classifiers by ONNX Runtime.

    It reads the export of `OnnxBCSam`. On processors with instructions for bfloat16 it is about twice as fast, at the
    rounding of bfloat16, unless float32 is asked for; see docs/performance.md.
    """

    backend: ClassVar[Backend] = "openvino"

    @classmethod
    def _open_networks(cls, stored: StoredModel, export: Export, n_threads: int) -> "_Networks":
        content = read_networks(stored, export)
        path = export.folder / NETWORKS
        # As the frontend does not keep the metadata, which protobuf stores as they are.
        if FINGERPRINT.encode() not in content or fingerprint(stored.config).encode() not in content:
            raise WeightsError(
                f"{path} is an export of other weights or classifiers than those of {stored.folder}. Export the model "
                "again: bc-sam export MODEL."
            )
        try:
            return _Networks(content, n_threads, "bf16" if stored.precision == "bf16" else "f32")
        except RuntimeError as error:
            raise WeightsError(
                f"{path} is not a graph that this version of OpenVINO can open ({error}). Export the model again: "
                "bc-sam export MODEL."
            ) from error

    def _run(
        self, pixels: np.ndarray, *, masks: bool, embeddings: bool
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        networks: Any = self._session
        logits, latents = networks.run(pixels, masks=masks)
        return logits if masks else None, latents if embeddings else None

    @property
    def _where(self) -> str:
        return "cpu, OpenVINO"


class _Networks:
    """The compiled networks.

    Args:
        content: A guarded ONNX file.
        n_threads: Number of threads; 0 for one on each core.
        precision: ``"f32"`` or ``"bf16"``.
    """

    @extras_explained()
    def __init__(self, content: bytes, n_threads: int, precision: str) -> None:
        self._core = import_openvino().Core()
        self._model = self._core.read_model(content)
        self._lock = Lock()
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": n_threads,
            "INFERENCE_PRECISION_HINT": precision,
        }

    def run(self, pixels: np.ndarray, *, masks: bool) -> tuple[np.ndarray | None, np.ndarray]:
        """Returns mask logits (n, S, S), if asked for, and embeddings (n, d) of pixels (n, S, S, 3)."""
        with self._lock:  # a compiled model computes for one thread at a time, with all of its own
            results = (self._both if masks else self._only_embeddings)({PIXELS: pixels}, share_outputs=False)
        return results[MASK_LOGITS] if masks else None, results[EMBEDDINGS]

    # Compiled when used: each takes a second or two.

    @cached_property
    def _both(self) -> "CompiledModel":
        return self._compiled(self._model)

    @cached_property
    def _only_embeddings(self) -> "CompiledModel":
        model = self._model.clone()
        for result in model.get_results():
            if MASK_LOGITS in result.input_value(0).get_names():
                model.remove_result(result)
        return self._compiled(model)

    def _compiled(self, model: "Model") -> "CompiledModel":
        return self._core.compile_model(model, "CPU", self._options)
