"""BC-SAM computed by ONNX Runtime."""

import logging
import os
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.errors import BCSamError, ConfigError, WeightsError
from bc_sam.models.base import CellModel, Encoded
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.classifier_files import load_reference, selected_classifiers
from bc_sam.models.folder import CLASSIFIERS
from bc_sam.models.onnx_backend.files import (
    FINGERPRINT,
    MASK_LOGITS,
    PIXELS,
    cached_export,
    find_export,
    fingerprint,
    most_bytes,
    note_hash,
    probabilities_output,
)
from bc_sam.models.onnx_backend.guard import read_guarded
from bc_sam.models.stored_model import StoredModel
from bc_sam.utils.atomic import WRITE_ERRORS, folder_written_aside
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.forked import require_threads

if TYPE_CHECKING:
    import torch
    from onnxruntime import InferenceSession
    from peft import PeftModel

    from bc_sam.networks.autoencoder import CrossDomainAutoencoder

logger = logging.getLogger(__name__)

_EMBEDDINGS = "embeddings"


class OnnxBCSam(BCSam):
    """BC-SAM computed by ONNX Runtime on the CPU, from one graph with all networks and classifiers.

    It names, embeds and segments cells as `BCSam` does, in float32, and imports neither torch nor scikit-learn for
    that. What needs the torch networks, such as saving to a folder or rendering an embedding, loads them when used.

    Args:
        stored: The model folder.
        session: The opened graph.
        classifiers: The classifiers in the graph.
        reference: A sample of the embeddings of training cells.
        n_threads: Number of threads of the session; 0 for one on each core.
    """

    def __init__(
        self,
        stored: StoredModel,
        session: "InferenceSession",
        classifiers: Mapping[str, LatentClassifier],
        reference: ReferenceLatents | None,
        n_threads: int,
    ) -> None:
        CellModel.__init__(
            self,
            stored.config,
            classifiers,
            sam=None,
            reference=reference,
            evaluation=stored.evaluation,
            record=stored.record,
        )
        self._stored, self._session, self._n_threads = stored, session, n_threads
        self._in_graph = dict(self.classifiers)

    @classmethod
    def load(cls, stored: StoredModel) -> Self:
        """Opens the export of a model, which is made first if there is none; see `BCSam.from_pretrained`.

        Raises:
            MissingPackageError: If ONNX Runtime is not installed, or what makes the export.
            UntrustedFileError: If the export is too large, refers to other files, or is not listed in ``config.json``.
            WeightsError: If it is an export of other weights, or has no such classifier.
        """
        with extras_explained():
            import onnxruntime
        if stored.refit:
            raise ConfigError("Classifiers are refitted by the torch backend. Load the model without backend='onnx'.")
        path = find_export(stored.folder, stored.config) or _export_to_cache(stored)
        n_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # which torch follows too; 0 is one for each core
        session = _open_session(onnxruntime, path, stored, n_threads)
        outputs = {output.name for output in session.get_outputs()}
        names = selected_classifiers(stored.config, stored.classifiers)
        if missing := [name for name in names if probabilities_output(name) not in outputs]:
            chosen = stored.classifiers is not None
            if chosen or stored.config.default_classifier in missing:
                raise WeightsError(
                    f"{path} was exported without the classifier {missing[0]}, whose package was not installed then. "
                    "Install it and export the model again: bc-sam export MODEL."
                )
            logger.warning("%s was exported without %s, which is skipped.", path, ", ".join(missing))
        classifiers = {name: _classifier(stored, name) for name in names if name not in missing}
        return cls(stored, session, classifiers, load_reference(stored.folder, stored.config), n_threads)

    def _encode(
        self, pixels: np.ndarray, *, masks: bool, embeddings: bool, classifiers: Collection[str] = ()
    ) -> Encoded:
        from onnxruntime import RunOptions

        require_threads(self._n_threads or os.cpu_count())
        named = [name for name in classifiers if self.classifiers[name] is self._in_graph.get(name)]
        outputs = [MASK_LOGITS] * masks + [_EMBEDDINGS] * embeddings + [probabilities_output(name) for name in named]
        options = RunOptions()
        options.only_execute_path_to_fetches = True
        results = dict(
            zip(outputs, self._session.run(outputs, {PIXELS: pixels}, options) if outputs else (), strict=True)
        )
        return Encoded(
            results[MASK_LOGITS] > 0 if masks else None,
            results.get(_EMBEDDINGS),
            {name: results[probabilities_output(name)] for name in named},
        )

    @property
    def device(self) -> "torch.device":
        """The CPU."""
        import torch

        return torch.device("cpu")

    @property
    def default_batch_size(self) -> int:
        """A reasonable number of images per batch."""
        return 16

    def to(self, device: "str | torch.device") -> Self:
        """Returns the model, which stays on the CPU.

        Raises:
            ConfigError: If it is another device.
        """
        if str(device) != "cpu":
            raise ConfigError(
                f"The onnx backend computes on the CPU, not on {device}. Load the model with backend='torch'."
            )
        return self

    # ---- what needs the torch networks ----

    @cached_property
    def _with_torch(self) -> BCSam:
        import torch

        with torch.inference_mode(False):  # which the caller may be in, and whose tensors could not be saved
            return BCSam.load(self._stored.with_torch(classifiers=[]))

    @property
    def adapter(self) -> "PeftModel":  # type: ignore[override]  # an attribute there
        """The base SAM with its LoRA adapter, as a torch module."""
        return self._with_torch.adapter

    @property
    def autoencoder(self) -> "CrossDomainAutoencoder":  # type: ignore[override]
        """The autoencoder, as a torch module."""
        return self._with_torch.autoencoder


def _export_to_cache(stored: StoredModel) -> Path:
    """Exports a model whose folder has no export, to where it is found from now on."""
    from bc_sam.models.onnx_backend.export import export_onnx, require_exporters  # with torch

    require_exporters()
    path = cached_export(stored.config)
    logger.info("Exporting %s for ONNX Runtime, which is done once, to %s.", stored.source, path)
    model = BCSam.load(stored.with_torch(classifiers=None))  # with all, whichever were asked for
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        with folder_written_aside(path.parent) as part:
            export_onnx(model, stored.config, part / path.name)
            note_hash(part / path.name)
    except WRITE_ERRORS as error:
        raise BCSamError(
            f"The export could not be written to {path}: {error}. Set HF_HOME to a folder that can be written to, or "
            f"export a copy of the model: bc-sam export {stored.source} --out FOLDER."
        ) from error
    return path


def _open_session(onnxruntime: Any, path: Path, stored: StoredModel, n_threads: int) -> "InferenceSession":
    content = read_guarded(path, most_bytes(stored.folder, stored.config))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # done by the export
    options.log_severity_level = 3  # errors, which are raised
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the runtime's own types, which have no common base
        raise WeightsError(
            f"{path} is not a graph that this version of ONNX Runtime can open ({error}). Export the model again: "
            "bc-sam export MODEL."
        ) from error
    if session.get_modelmeta().custom_metadata_map.get(FINGERPRINT) != fingerprint(stored.config):
        raise WeightsError(
            f"{path} is an export of other weights or classifiers than those of {stored.folder}. Export the model "
            "again: bc-sam export MODEL."
        )
    return session


def _classifier(stored: StoredModel, name: str) -> LatentClassifier:
    """Returns a classifier of the graph; for embeddings from elsewhere, it reads the one in the model folder."""
    path = stored.folder / CLASSIFIERS / f"{name}.skops"
    classes = np.array(stored.config.classifiers[name])
    return LatentClassifier(_StoredEstimator(stored, name), classes, len(stored.config.labels), path)


class _StoredEstimator:
    """The estimator of a model folder, read when it is first used."""

    def __init__(self, stored: StoredModel, name: str) -> None:
        self._stored, self._name = stored, name

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, k) for embeddings (n, d)."""
        return self._estimator.predict_proba(latents)

    @cached_property
    def _estimator(self) -> Any:
        from bc_sam.models.classifier_files import load_classifiers

        loaded, _ = load_classifiers(self._stored.folder, self._stored.config, only=self._name)
        return loaded[self._name].estimator
