"""BC-SAM: Segment Anything with LoRA, a cross-domain autoencoder, and classical classifiers on its embeddings."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.arguments import ClassifierArguments
from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import Method
from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.base import CellModel
from bc_sam.models.classifier_files import installed_only, load_classifiers, save_classifiers
from bc_sam.models.folder import ADAPTER, AUTOENCODER, BASE
from bc_sam.models.observing import Encoded
from bc_sam.models.stored_model import StoredModel
from bc_sam.models.training_record import TrainingRecord
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.forked import require_threads

# The networks are imported where they are used, since the onnx backend, a subclass, does without torch.
if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import SamModel

    from bc_sam.networks.autoencoder import CrossDomainAutoencoder


class BCSam(CellModel):
    """Classifies single blood cells by SAM with LoRA, a cross-domain autoencoder and classical classifiers.

    Args:
        config: The config of the model.
        adapter: The base SAM with its LoRA adapter, at the config's image size.
        autoencoder: The autoencoder, in eval mode.
        classifiers: Fitted classifiers by name.
        reference: A sample of the embeddings of training cells, to check and refit the classifiers.
        evaluation: Evaluation of the model.
        record: How it was trained.
        device: Device to which the parts are moved.
        precision: Data type of SAM's encoder; ``"auto"`` uses bf16 on devices with fast support for it.

    Example:
        >>> model = BCSam.from_pretrained("runs/real")  # doctest: +SKIP
        >>> model.predict(["cell_1.tiff", "cell_2.jpg"])  # doctest: +SKIP
        ['monocyte', 'basophil']
    """

    methods: ClassVar[tuple[Method, ...]] = ("bc-sam",)
    sam: "SamModel"

    def __init__(
        self,
        config: BCSamConfig,
        adapter: "PeftModel",
        autoencoder: "CrossDomainAutoencoder",
        classifiers: Mapping[str, LatentClassifier],
        *,
        reference: ReferenceLatents | None = None,
        evaluation: Evaluation | None = None,
        record: TrainingRecord | None = None,
        device: "str | torch.device" = "cpu",
        precision: Precision = "no",
    ) -> None:
        from bc_sam.networks.features import inference_sam

        sam = inference_sam(adapter, device, precision)
        super().__init__(config, classifiers, sam=sam, reference=reference, evaluation=evaluation, record=record)
        self.adapter = adapter
        self.autoencoder = autoencoder.to(device).eval()

    @classmethod
    def load(cls, stored: StoredModel) -> Self:
        """Builds the model from its checked files; see `from_pretrained`."""
        if stored.backend == "onnx":
            from bc_sam.models.onnx_backend.model import OnnxBCSam  # only here, since it is a subclass

            return OnnxBCSam.load(stored)  # type: ignore[return-value]
        if stored.backend == "openvino":
            from bc_sam.models.openvino_backend.model import OpenVinoBCSam  # only here, since it is a subclass

            return OpenVinoBCSam.load(stored)  # type: ignore[return-value]
        from bc_sam.networks.autoencoder import load_autoencoder
        from bc_sam.networks.sam.lora import load_adapter

        folder, config = stored.folder, stored.config
        sizes = (config.feature_channels, config.latent_dim, config.decoder_channels)
        classifiers, reference = load_classifiers(folder, config, only=stored.classifiers, refit=stored.refit)
        return cls(
            config,
            load_adapter(stored.load_base(), folder / ADAPTER),
            load_autoencoder(folder / AUTOENCODER, *sizes),
            classifiers,
            reference=reference,
            evaluation=stored.evaluation,
            record=stored.record,
            device=stored.device,
            precision=stored.precision,
        )

    def _write_weights(self, folder: Path, *, with_base: bool, half: bool) -> None:
        from bc_sam.networks.autoencoder import save_autoencoder
        from bc_sam.networks.sam.lora import base_model, save_adapter
        from bc_sam.utils.torch_utils import halve_weights, quiet

        # A base in the folder has the trained mask decoder, of which a second copy would take a third of the room.
        save_adapter(self.adapter, folder / ADAPTER, lora_only=with_base)
        if with_base:
            with quiet():
                base_model(self.adapter, with_trained=True).save_pretrained(folder / BASE)
        (folder / AUTOENCODER).parent.mkdir()
        save_autoencoder(self.autoencoder, folder / AUTOENCODER)
        if half:
            halve_weights(folder)

    def _write_classifiers(self, folder: Path) -> dict[str, tuple[int, ...]]:
        if lost := [name for name in self.config.classifiers if name not in self.classifiers]:
            raise BCSamError(f"The classifiers {', '.join(lost)} were not loaded and would be lost. {_remedy(lost)}")
        save_classifiers(self.classifiers, self.reference, folder)
        return {name: tuple(fitted.classes.tolist()) for name, fitted in self.classifiers.items()}

    @extras_explained()
    def refit(self, seed: int = 1234) -> None:
        """Refits the classifiers on the stored embeddings, such as after an upgrade of scikit-learn.

        Args:
            seed: Seed of their random number generators.

        Raises:
            DataError: If the model stores no labelled embeddings.
        """
        if self.reference is None:
            raise DataError(
                "This model stores no embeddings, so its classifiers cannot be refitted. Fit new ones on labelled "
                "cells: bc-sam fit MODEL --data NAME=SOURCE --out NEW."
            )
        self.classifiers = self.reference.fit(tuple(self.classifiers), len(self.labels), seed)
        self.apply_label_settings(self.classifiers)

    @extras_explained()
    def fit(
        self,
        embeddings: np.ndarray,
        labels: Sequence[str] | np.ndarray,
        laboratories: str | Sequence[str] | np.ndarray,
        *,
        names: Sequence[str] | None = None,
        default: str | None = None,
        seed: int = 1234,
    ) -> Self:
        """Fits classifiers on labelled embeddings, in place of those that the model has.

        A sample of the embeddings replaces the stored one, by which the model can be adapted; the evaluation, which is
        that of the former classifiers, is removed. To keep what the model has learned before, use ``bc-sam adapt``.

        Args:
            embeddings: (n, latent_dim) float, from `embed`.
            labels: Label of each cell, (n,): names, or indices into `labels`.
            laboratories: Name of the laboratory of all cells, or of each cell, (n,).
            names: Classifiers to fit, keys of `bc_sam.classifiers.kinds.KINDS`; by default all that are installed.
            default: The one that `predict` uses by default; by default the present one, or else the first.
            seed: Seed of the classifiers and of the sample.

        Returns:
            The model itself.

        Raises:
            ConfigError: If a classifier is unknown, or all cells are of labels that are not allowed.
            DataError: If an array has another shape, holds values that are not finite or unknown labels, or if there
                are fewer than two classes.

        Example:
            >>> model.fit(model.embed(files), ["monocyte", "basophil"], "ours").predict(files)  # doctest: +SKIP
            ['monocyte', 'basophil']
        """
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        if embeddings.ndim != 2 or embeddings.shape[1] != self.config.latent_dim or len(labels) != len(embeddings):
            raise DataError(
                f"Embeddings (n, {self.config.latent_dim}) and n labels are needed, but the embeddings have the shape "
                f"{embeddings.shape}, and there are {len(labels)} labels. Compute the embeddings with this model."
            )
        if not np.isfinite(embeddings).all():
            raise DataError("Some embeddings are not finite. Leave these cells out.")
        indices = self._label_indices(labels)
        laboratory_names, numbers = np.unique(np.broadcast_to(laboratories, len(labels)), return_inverse=True)
        domains = tuple(dict.fromkeys((*self.config.domains, *map(str, laboratory_names))))
        numbers = np.array([domains.index(name) for name in laboratory_names], np.int64)[numbers]
        names = installed_only(ClassifierArguments().names) if names is None else tuple(names)
        default = default or (self.config.default_classifier if self.config.default_classifier in names else names[0])
        if default not in names:
            raise ConfigError(f"The default classifier must be one of {', '.join(names)}, but is {default!r}.")
        classifiers = fit_classifiers(names, embeddings, indices, len(self.labels), seed)
        self.apply_label_settings(classifiers)
        self.classifiers, self.evaluation = classifiers, None
        self.reference = ReferenceLatents.sample(embeddings, indices, numbers, seed=seed)
        if self.record is not None:
            fitted = {domains[i]: int(n) for i, n in zip(*np.unique(numbers, return_counts=True), strict=True)}
            self.record = self.record.with_fitted(fitted, ClassifierArguments(names, default))
        self.config = replace(self.config, domains=domains, classifiers={}, default_classifier=default)
        return self

    def with_classifiers(
        self, classifiers: Mapping[str, LatentClassifier], reference: ReferenceLatents, laboratory: str
    ) -> Self:
        """Returns a model that shares the networks of this one, with other classifiers.

        It has no evaluation, since the stored one is that of the former classifiers.

        Args:
            classifiers: The classifiers; the first is the default.
            reference: The stored embeddings, in which the new laboratory has the number after the last.
            laboratory: Name of the laboratory whose cells the classifiers learned.

        Raises:
            ConfigError: If a classifier was trained on none of the labels that are allowed.
        """
        made, default = copy.copy(self), next(iter(classifiers))
        domains = (*self.config.domains, laboratory)
        made.classifiers, made.reference, made.evaluation = dict(classifiers), reference, None
        made.config = replace(self.config, domains=domains, classifiers={}, default_classifier=default)
        if self.record is not None:
            learned = {laboratory: int((reference.domains == len(self.config.domains)).sum())}
            made.record = self.record.with_fitted(learned, ClassifierArguments(tuple(classifiers), default))
        made._export = None
        made.apply_label_settings(made.classifiers)
        return made

    def _label_indices(self, labels: Sequence[str] | np.ndarray) -> np.ndarray:
        """Returns the index of each label, (n,) int64, of names or indices."""
        given = np.asarray(labels)
        valid = np.arange(len(self.labels)) if np.issubdtype(given.dtype, np.integer) else np.array(self.labels)
        if len(unknown := given[~np.isin(given, valid)]):
            raise DataError(f"The model has no label {unknown[0]!s}. Its labels: {', '.join(self.labels)}.")
        return np.array([valid.tolist().index(label) for label in given.tolist()], np.int64)

    @property
    def device(self) -> "torch.device":
        """The device of the model."""
        return self.sam.device

    def to(self, device: "str | torch.device") -> Self:
        """Moves SAM and the autoencoder to a device, in place."""
        from bc_sam.utils.torch_utils import usable_device

        device = usable_device(device)
        self.sam.to(device)  # type: ignore[arg-type]  # typed by the library as taking no argument
        self.autoencoder.to(device)
        return self

    @property
    def can_segment(self) -> bool:
        """BC-SAM predicts masks."""
        return True

    def _encode(self, pixels: np.ndarray, *, masks: bool, embeddings: bool) -> Encoded:
        import torch

        from bc_sam.networks.features import embed_turns, encode_pixels, predict_foreground

        if self.device.type == "cpu":
            require_threads()
        with torch.inference_mode():
            features = encode_pixels(self.sam, self.config, pixels)
            foreground = predict_foreground(self.sam, self.config, features) if masks else None
            if not embeddings:
                return Encoded(foreground, None)
            if self.config.average_turns:
                latents = embed_turns(self.sam, self.autoencoder, self.config, pixels, features)
            else:
                latents = self.autoencoder.encode(features.float())
            return Encoded(foreground, latents.cpu().numpy())

    @extras_explained()
    def render(self, embedding: np.ndarray) -> np.ndarray:
        """Decodes an embedding (d,) to an image of its cell, (128, 128, 3) uint8."""
        import torch

        with torch.inference_mode():
            (image,) = self.autoencoder.decode(torch.tensor(embedding, device=self.device)[None])
            return (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _remedy(lost: Sequence[str]) -> str:
    """Returns how to load classifiers that were not loaded, which may need an optional package."""
    to_install = dict.fromkeys(
        KINDS[name].how_to_install for name in lost if name in KINDS and not KINDS[name].is_installed
    )
    return f"Run {' and '.join(to_install)}, then load the model again." if to_install else "Load them all."
