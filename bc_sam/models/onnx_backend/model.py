"""BC-SAM computed by ONNX Runtime."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.errors import BCSamError, ConfigError, MissingPackageError, WeightsError
from bc_sam.models.base import CellModel
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.classifier_files import load_reference, selected_classifiers
from bc_sam.models.folder import ADAPTER, AUTOENCODER, BASE, CLASSIFIERS
from bc_sam.models.observing import Encoded
from bc_sam.models.onnx_backend.decoder import decode
from bc_sam.models.onnx_backend.files import (
    EMBEDDINGS,
    FINGERPRINT,
    MASK_LOGITS,
    NETWORKS,
    PIXELS,
    PROBABILITIES,
    SHARED,
    Export,
    cached_export,
    classifier_file,
    find_export,
    fingerprint,
    most_bytes,
    note_hashes,
)
from bc_sam.models.onnx_backend.guard import read_guarded
from bc_sam.models.onnx_backend.requirements import require_exporters
from bc_sam.models.onnx_backend.session import LimitError, Session, shared_memory
from bc_sam.models.onnx_backend.shared_weights import NetworkWeights, put_back
from bc_sam.models.stored_model import Backend, StoredModel
from bc_sam.utils.atomic import WRITE_ERRORS, folder_written_aside
from bc_sam.utils.extras import extras_explained, install_command
from bc_sam.utils.forked import require_threads
from bc_sam.utils.json_config import read_json

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from bc_sam.networks.autoencoder import CrossDomainAutoencoder

logger = logging.getLogger(__name__)

# By how much the rounding of a runtime may take a probability out of its range.
_ROUNDING = 1e-3

_AGAIN = "Export the model again: bc-sam export MODEL."


class OnnxBCSam(BCSam):
    """BC-SAM computed by ONNX Runtime on the CPU, from a graph of the networks and one of each classifier.

    It names, embeds and segments cells as `BCSam` does, in float32, and imports neither torch nor scikit-learn for
    that. What needs the torch networks, such as training, loads them when used.

    Args:
        stored: The model folder.
        session: The opened graph of the networks.
        classifiers: The classifiers, computed by ONNX Runtime too.
        reference: A sample of the embeddings of training cells.
        n_threads: Number of threads of the session; 0 for one on each core.
    """

    backend: ClassVar[Backend] = "onnx"

    def __init__(
        self,
        stored: StoredModel,
        session: Session,
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

    @classmethod
    def load(cls, stored: StoredModel) -> Self:
        """Opens the export of a model, which is made first if there is none; see `BCSam.from_pretrained`.

        Raises:
            MissingPackageError: If there is no export, and what makes it is not installed.
            UntrustedFileError: If the export is too large, refers to other files, or is not listed in ``config.json``.
            WeightsError: If it is an export of other weights, or has no such classifier.
        """
        if stored.refit:
            raise ConfigError(
                f"Classifiers are refitted by the torch backend. Load the model without backend={cls.backend!r}."
            )
        export = find_export(stored.folder, stored.config) or _export_to_cache(stored)
        n_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # which torch follows too; 0 is one for each core
        with shared_memory():
            classifiers = {name: _classifier(stored, export, name) for name in _exported_classifiers(stored, export)}
            session = cls._open_networks(stored, export, n_threads)
        return cls(stored, session, classifiers, load_reference(stored.folder, stored.config), n_threads)

    @classmethod
    def _open_networks(cls, stored: StoredModel, export: Export, n_threads: int) -> Any:
        return _open_session(read_networks(stored, export), export.folder / NETWORKS, stored, n_threads)

    def _encode(self, pixels: np.ndarray, *, masks: bool, embeddings: bool) -> Encoded:
        require_threads(self._n_threads or os.cpu_count())
        logits, latents = self._checked(pixels, masks=masks, embeddings=embeddings)
        if latents is not None and self.config.average_turns:
            turned = np.concatenate([np.rot90(pixels, turns, axes=(1, 2)) for turns in (1, 2, 3)])
            _, others = self._checked(turned, masks=False, embeddings=True)
            assert others is not None
            latents = np.stack([latents, *np.split(others, 3)]).mean(axis=0)
        return Encoded(None if logits is None else logits > 0, latents)

    def _checked(
        self, pixels: np.ndarray, *, masks: bool, embeddings: bool
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Returns what `_run` does. The graph may be anybody's, so that its outputs may be anything.

        Raises:
            WeightsError: If it cannot be computed, or the outputs are not those of this model.
        """
        n, side = len(pixels), self.config.image_size
        where = f"The export of {self._stored.source}"
        with _failures_explained(where):
            logits, latents = self._run(pixels, masks=masks, embeddings=embeddings)
        if logits is not None:
            _require_output(logits, (n, side, side), MASK_LOGITS, where)
        if latents is not None:
            _require_output(latents, (n, self.config.latent_dim), EMBEDDINGS, where)
        return logits, latents

    def _run(
        self, pixels: np.ndarray, *, masks: bool, embeddings: bool
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Returns mask logits (n, S, S) and embeddings (n, d), each if asked for, of pixels (n, S, S, 3)."""
        outputs = [MASK_LOGITS] * masks + [EMBEDDINGS] * embeddings
        results = self._session.run(outputs, {PIXELS: pixels}) if outputs else []
        computed = dict(zip(outputs, results, strict=True))
        return computed.get(MASK_LOGITS), computed.get(EMBEDDINGS)

    @property
    def _where(self) -> str:
        return "cpu, ONNX Runtime"

    @property
    @extras_explained()
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
                f"The {self.backend} backend computes on the CPU, not on {device}. Load the model with "
                "backend='torch'."
            )
        return self

    def render(self, embedding: np.ndarray) -> np.ndarray:
        """Decodes an embedding (d,) to an image of its cell, (128, 128, 3) uint8."""
        image = decode(embedding, self.config, self._weights)
        return np.rint(image * 255).astype(np.uint8).transpose(1, 2, 0)

    @cached_property
    def _weights(self) -> NetworkWeights:
        return NetworkWeights(self._stored.folder)

    def _write_weights(self, folder: Path, *, with_base: bool, half: bool) -> None:
        if with_base != self._stored.config.base_inside or half != self._stored_half:
            super()._write_weights(folder, with_base=with_base, half=half)  # with torch
            return
        for name in self._stored.config.files:
            if name.startswith((f"{ADAPTER}/", f"{BASE}/")) or name == AUTOENCODER:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._stored.folder / name, folder / name)

    def _write_classifiers(self, folder: Path) -> dict[str, tuple[int, ...]]:
        lost = [name for name in self.config.classifiers if name not in self.classifiers]
        if lost and find_spec("torch") is None:
            raise MissingPackageError(
                f"{self._stored.source} was exported to ONNX without {', '.join(lost)}, which would be lost, so that "
                f"torch is needed. Run: {install_command('torch')}"
            )
        return super()._write_classifiers(folder)

    # ---- what needs the torch networks ----

    @cached_property
    @extras_explained()
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


def _export_to_cache(stored: StoredModel) -> Export:
    """Exports a model whose folder has no export, to where it is found from now on."""
    if find_spec("torch") is None:
        raise MissingPackageError(
            f"{stored.source} has no export to ONNX, so that torch is needed. Run: {install_command('torch')}"
        )
    require_exporters()
    from bc_sam.models.onnx_backend.export import export_onnx  # with torch

    folder = cached_export(stored.config)
    logger.info("Exporting %s for ONNX Runtime, which is done once, to %s.", stored.source, folder)
    model = BCSam.load(stored.with_torch(classifiers=None))  # with all, whichever were asked for
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_written_aside(folder) as part:
            export_onnx(model, stored, part)
            note_hashes(part)
    except WRITE_ERRORS as error:
        raise BCSamError(
            f"The export could not be written to {folder}: {error}. Set HF_HOME to a folder that can be written to, "
            f"or export a copy of the model: bc-sam export {stored.source} --out FOLDER."
        ) from error
    export = find_export(stored.folder, stored.config)
    assert export is not None
    return export


def _exported_classifiers(stored: StoredModel, export: Export) -> tuple[str, ...]:
    """Returns the classifiers to load, of those that were exported."""
    names = selected_classifiers(stored.config, stored.classifiers)
    missing = [name for name in names if not export.has_classifier(name)]
    if not missing:
        return names
    if stored.classifiers is not None or stored.config.default_classifier in missing:
        without = f"{stored.source} was exported to ONNX without the classifier {missing[0]}"
        if find_spec("torch") is None:
            raise MissingPackageError(f"{without}, for which torch is needed. Run: {install_command('torch')}")
        raise WeightsError(f"{without}. Use the torch backend, or export the model again: bc-sam export MODEL.")
    logger.info("%s was exported to ONNX without %s.", stored.source, ", ".join(missing))
    return tuple(name for name in names if name not in missing)


def read_networks(stored: StoredModel, export: Export) -> bytes:
    """Returns the guarded ONNX file of the networks, with all of its weights."""
    content = _read(stored, export, NETWORKS)
    if SHARED not in export.names:
        return content
    most = most_bytes(stored.folder, stored.config)
    return put_back(content, read_json(export.folder / SHARED), NetworkWeights(stored.folder), most)


def _read(stored: StoredModel, export: Export, name: str) -> bytes:
    return read_guarded(export.folder / name, most_bytes(stored.folder, stored.config))


def _open_session(content: bytes, path: Path, stored: StoredModel, n_threads: int) -> Session:
    """Opens a graph.

    Args:
        content: The guarded file.
        path: Where it lies, for error messages.
        stored: The model of which it must be.
        n_threads: Number of threads; 0 for one on each core.
    """
    try:
        session = Session(content, n_threads)
    except Exception as error:  # of the runtime's own types, which have no common base
        raise WeightsError(
            f"{path} is not a graph that this version of ONNX Runtime can open ({error}). Export the model again: "
            "bc-sam export MODEL."
        ) from error
    if session.metadata.get(FINGERPRINT) != fingerprint(stored.config):
        raise WeightsError(
            f"{path} is an export of other weights or classifiers than those of {stored.folder}. Export the model "
            "again: bc-sam export MODEL."
        )
    return session


def _classifier(stored: StoredModel, export: Export, name: str) -> LatentClassifier:
    """Returns a classifier that is computed by ONNX Runtime, and saved as the file in the model folder."""
    file = classifier_file(name)
    session = _open_session(_read(stored, export, file), export.folder / file, stored, n_threads=1)
    path = stored.folder / CLASSIFIERS / f"{name}.skops"
    classes = np.array(stored.config.classifiers[name])
    estimator = _OnnxEstimator(session, len(classes), f"The export of the classifier {name}")
    return LatentClassifier(estimator, classes, len(stored.config.labels), path)


class _OnnxEstimator:
    """An estimator that is computed by ONNX Runtime.

    Args:
        session: The opened graph.
        n_classes: Number of classes.
        name: What it is called in error messages.
    """

    def __init__(self, session: Session, n_classes: int, name: str) -> None:
        self._session, self._n_classes, self._name = session, n_classes, name

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, k) float32 for embeddings (n, d).

        Raises:
            WeightsError: If it cannot be computed, or the output is something else.
        """
        with _failures_explained(self._name):
            (values,) = self._session.run([PROBABILITIES], {EMBEDDINGS: np.asarray(latents, np.float32)})
        _require_output(values, (len(latents), self._n_classes), PROBABILITIES, self._name)
        if ((values < -_ROUNDING) | (values > 1 + _ROUNDING)).any():
            raise WeightsError(f"{self._name} gives probabilities below 0 or above 1. {_AGAIN}")
        return values


@contextmanager
def _failures_explained(name: str) -> Iterator[None]:
    """Turns an error of a runtime into one of the model, which is called by a name."""
    try:
        yield
    except (BCSamError, MemoryError):
        raise
    except LimitError as error:
        raise WeightsError(f"{name} was not computed: {error}. Use a smaller batch size. {_AGAIN}") from error
    except Exception as error:  # of the runtime's own types, which have no common base
        raise WeightsError(
            f"{name} could not be computed ({error}). If memory is short, use a smaller batch size. {_AGAIN}"
        ) from error


def _require_output(values: Any, shape: tuple[int, ...], output: str, name: str) -> None:
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.shape != shape:
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise WeightsError(f"{name} gives {output} of {found} instead of float32 {shape}. {_AGAIN}")
