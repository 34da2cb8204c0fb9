"""What a model computes for prepared images, in one pass: the one path from pixels to probabilities."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier, restrict_classifiers, weigh_classifiers
from bc_sam.classifiers.laboratory_fit import LaboratoryCheck, LaboratoryFit
from bc_sam.classifiers.ood import OodScore
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.labels import KINDS_THAT_CAN_OCCUR, kinds_that_can_occur
from bc_sam.config.model import BCSamConfig
from bc_sam.data.image_quality import measure_quality
from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.classifier_files import NO_CLASSIFIERS
from bc_sam.models.observation import Observation, Parts, separate_cells
from bc_sam.models.pretrained import PretrainedModel
from bc_sam.models.stored_model import Backend
from bc_sam.models.training_record import TrainingRecord
from bc_sam.utils.forked import note_threads

# torch, transformers and the Hub's client are imported where they are used: the onnx backend needs none of them, and
# importing them takes most of the time to its first answer; see benchmarks/first_answer.py.
if TYPE_CHECKING:
    import torch
    from transformers import SamModel


# What torch says of an allocation that failed, on the CPU and on a GPU.
_OUT_OF_MEMORY = "can't allocate memory", "out of memory"


class Encoded(NamedTuple):
    """The output of one pass of a model's networks on n images; parts that were not requested are ``None``.

    Attributes:
        foreground: (n, S, S) bool, the predicted masks with all components; also ``None`` if the model predicts none.
        embeddings: (n, latent_dim) float32.
    """

    foreground: np.ndarray | None
    embeddings: np.ndarray | None


class ObservingModel(PretrainedModel):
    """Computes masks, embeddings and probabilities of cells whose images are prepared already.

    A subclass computes masks and embeddings in `_encode`; everything else is shared.

    Args:
        config: The config of the model.
        classifiers: Classifiers on its embeddings, by name.
        sam: The SAM of the model, ready for inference, if it has one.
        reference: A sample of the embeddings of training cells.
        evaluation: Evaluation of the model.
        record: How it was trained.
    """

    #: What computes the model.
    backend: ClassVar[Backend] = "torch"

    def __init__(
        self,
        config: BCSamConfig,
        classifiers: Mapping[str, LatentClassifier],
        *,
        sam: "SamModel | None",
        reference: ReferenceLatents | None = None,
        evaluation: Evaluation | None = None,
        record: TrainingRecord | None = None,
    ) -> None:
        super().__init__(config, classifiers, reference=reference, evaluation=evaluation, record=record)
        self.sam = sam
        self._ood_score: OodScore | None = None
        self._laboratory_check: tuple[ReferenceLatents, LaboratoryCheck] | None = None
        note_threads()  # the weights were merged with them
        self.apply_label_settings(self.classifiers)

    @property
    @abstractmethod
    def device(self) -> "torch.device":
        """The device of the model."""

    @property
    def default_batch_size(self) -> int:
        """A reasonable number of images per batch on the model's device; ``bc-sam bench`` measures the best one."""
        from bc_sam.networks.features import default_batch_size

        return default_batch_size(self.device)

    @abstractmethod
    def to(self, device: "str | torch.device") -> Self:
        """Moves the model to a device, in place, and returns it.

        Raises:
            ConfigError: If there is no such device.
        """

    @property
    def dtype(self) -> "torch.dtype":
        """Data type that SAM's encoder computes in; float32 without a SAM in torch."""
        import torch

        return torch.float32 if self.sam is None else next(self.sam.vision_encoder.parameters()).dtype

    def eval(self) -> Self:
        """Returns the model, which is always in evaluation mode; for code that treats it as a module."""
        return self

    def __repr__(self) -> str:
        laboratories = ", ".join(self.config.domains) or "no laboratory"
        classifiers = ", ".join(self.classifiers) or "no classifier"
        return (
            f"{type(self).__name__}({len(self.labels)} labels, trained on {laboratories}; {classifiers}; "
            f"{self.config.image_size} px, {self._where})"
        )

    @property
    def _where(self) -> str:
        """What computes the model, for `repr`."""
        return str(self.device)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probability columns."""
        return self.config.labels

    @property
    @abstractmethod
    def can_segment(self) -> bool:
        """Whether the model predicts masks."""

    @property
    def ood_score(self) -> OodScore | None:
        """The out-of-distribution score; ``None`` if the model stores too few reference cells."""
        if self.reference is None:
            return None
        if self._ood_score is None or self._ood_score.reference is not self.reference:
            try:
                self._ood_score = OodScore(self.reference)
            except DataError:
                return None
        return self._ood_score

    def judge_laboratory(self, embeddings: np.ndarray, ood: np.ndarray | None = None) -> LaboratoryFit:
        """Judges for a set of cells as a whole whether the model knows the laboratory that they come from.

        In a laboratory that it does not know, names are often wrong: restrict the labels to those that can occur, or
        adapt the model. For the predictions of `stream`, see `bc_sam.models.laboratory.laboratory_of`.

        Args:
            embeddings: (n, d) of cells of one laboratory with a good image, at least 25.
            ood: (n,) their out-of-distribution scores, if known.

        Returns:
            The judgement; its ``known`` is ``None`` if there are too few cells or the model stores none.

        Example:
            >>> model.judge_laboratory(model.embed(cells)).known  # doctest: +SKIP
            False
        """
        if self.reference is None:
            return LaboratoryFit(None, n_cells=len(embeddings))
        if self._laboratory_check is None or self._laboratory_check[0] is not self.reference:
            self._laboratory_check = self.reference, LaboratoryCheck(self.reference, self.config.domains)
        return self._laboratory_check[1].judge(embeddings, ood)

    def restrict_labels(self, labels: str | Collection[str]) -> Self:
        """Restricts predictions to the labels that can occur, such as the five of a differential count.

        In a new laboratory, most errors are predictions of classes that do not occur there. The probability of all
        other labels is redistributed among the allowed ones. Cells of other classes get an allowed label too, so
        exclude only what cannot occur. The restriction is saved with the model; restricting to all `labels` lifts it.

        Args:
            labels: The allowed labels, a subset of `labels`, or a single one; or ``"five-part"``, ``"with-blasts"``
                (the five and blasts) or ``"all"``, see `bc_sam.config.labels.KINDS_THAT_CAN_OCCUR`.

        Returns:
            The model itself.

        Raises:
            ConfigError: If there are no labels, one is unknown, or a classifier was trained on none of them.

        Example:
            >>> model.restrict_labels(["neutrophil_segmented", "lymphocyte_typical", "monocyte"])  # doctest: +SKIP
        """
        labels = [labels] if isinstance(labels, str) else list(labels)
        if len(labels) == 1 and labels[0] in (*KINDS_THAT_CAN_OCCUR, "all") and labels[0] not in self.labels:
            labels = list(kinds_that_can_occur(labels[0], self.labels))
        if not labels:
            raise ConfigError(f"At least one label must be possible. Choose from {', '.join(self.labels)}.")
        if unknown := [label for label in labels if label not in self.labels]:
            raise ConfigError(f"The model has no label {unknown[0]!r}. Choose from {', '.join(self.labels)}.")
        allowed = tuple(label for label in self.labels if label in labels)
        restrict_classifiers(self.classifiers, self.labels, allowed)
        self.config = replace(self.config, allowed_labels=() if allowed == self.labels else allowed)
        return self

    def weigh_labels(self, weights: Mapping[str, float]) -> Self:
        """Says how much more often than among the training cells some labels are expected where the model is used.

        Classifiers are trained on about as many cells of each class, and most cells of most slides are of five kinds.
        The probabilities of each label are multiplied by its weight and renormalized, in all predictions. The weights
        are saved with the model, in place of those that it had.

        Args:
            weights: Weights of some labels, 0.001 to 1,000; those of all others are 1. None lifts all weights.

        Returns:
            The model itself.

        Raises:
            ConfigError: If a label is unknown, or a weight out of range.

        Example:
            >>> model.weigh_labels({"monocyte": 3, "myeloblast": 3})  # doctest: +SKIP
        """
        self.config = replace(self.config, label_weights={label: float(weights[label]) for label in weights})
        self.apply_label_settings(self.classifiers)
        return self

    def apply_label_settings(self, classifiers: Mapping[str, LatentClassifier]) -> None:
        """Has classifiers on the model's embeddings predict the allowed labels, weighed, as those of the model do.

        Raises:
            ConfigError: If one was trained on none of the allowed labels.
        """
        restrict_classifiers(classifiers, self.labels, self.config.allowed_labels)
        weigh_classifiers(classifiers, self.labels, self.config.label_weights)

    def compile(self, batch_size: int | None = None) -> bool:
        """Compiles SAM's encoder, which takes up to half a minute and then saves a little time per image.

        The command line compiles automatically from `bc_sam.networks.sam.compiling.WORTH_COMPILING` images on.

        Args:
            batch_size: Images per batch, as passed to `predict`; smaller batches run uncompiled.

        Returns:
            Whether it is compiled; false if the model has no SAM in torch, or there is no compiler.
        """
        if self.sam is None:
            return False
        from bc_sam.networks.sam.compiling import compile_blocks

        return compile_blocks(self.sam, batch_size or self.default_batch_size)

    def observe(
        self, pixels: np.ndarray, parts: Parts = Parts.ALL, *, classifiers: Collection[str] | None = None
    ) -> Observation:
        """Runs the model on a batch of images in one pass of the encoder; all other inference builds on this.

        Args:
            pixels: (n, S, S, 3) uint8, RGB, where S is the config's `image_size`.
            parts: What to compute.
            classifiers: Names of the classifiers to apply; by default all loaded ones.

        Raises:
            ConfigError: If a classifier is unknown.
            BCSamError: If the memory is not enough for the batch, or the process was forked after the model was
                loaded; see `bc_sam.utils.forked`.

        Example:
            >>> model = load_model()  # doctest: +SKIP
            >>> model.observe(np.zeros((2, 224, 224, 3), np.uint8), Parts.MASKS).masks.shape  # doctest: +SKIP
            (2, 224, 224)
        """
        names = self.classifiers if classifiers is None else classifiers
        applied = {name: self._classifier(name) for name in names} if Parts.PROBABILITIES in parts else {}
        if not len(pixels):
            return Observation(pixels, embeddings=np.empty((0, self.config.latent_dim), np.float32))
        with _memory_explained(pixels):
            foreground, embeddings = self._encode(
                pixels,
                masks=Parts.MASKS in parts,
                embeddings=bool(parts & (Parts.EMBEDDINGS | Parts.PROBABILITIES | Parts.OOD)),
            )
        separated = None if foreground is None else [separate_cells(image) for image in foreground]
        score = self.ood_score if Parts.OOD in parts else None
        return Observation(
            pixels=pixels,
            masks=None if separated is None else np.stack([mask for mask, _ in separated]),
            n_cells=None if separated is None else np.array([n_cells for _, n_cells in separated]),
            embeddings=embeddings,
            probabilities={
                name: _where_finite(classifier.predict_proba, embeddings)
                for name, classifier in applied.items()
                if embeddings is not None
            },
            ood=None if score is None or embeddings is None else _where_finite(score.score, embeddings),
            quality=measure_quality(pixels, quiet=True) if Parts.QUALITY in parts else None,
        )

    @abstractmethod
    def _encode(self, pixels: np.ndarray, *, masks: bool, embeddings: bool) -> Encoded:
        """Runs the networks once on a batch of images.

        Args:
            pixels: (n, S, S, 3) uint8, n at least 1.
            masks: Whether to predict masks, if the model can.
            embeddings: Whether to compute embeddings.

        Raises:
            BCSamError: If the process was forked after the model was loaded; see `bc_sam.utils.forked`.
        """

    def render(self, embedding: np.ndarray) -> np.ndarray | None:
        """Decodes an embedding (d,) to an image of its cell, (128, 128, 3) uint8; ``None`` without a decoder."""
        return None

    def require_classifiers(self) -> None:
        """Checks that the model can name cells.

        Raises:
            ConfigError: If it has no classifiers, as after `bc_sam.models.conversion.convert_original`.
        """
        if not self.classifiers and not self.config.classifiers:
            raise ConfigError(NO_CLASSIFIERS)

    def _classifier(self, name: str | None) -> LatentClassifier:
        self.require_classifiers()
        name = name or self.config.default_classifier
        if name not in self.classifiers:
            raise ConfigError(f"This model has no classifier {name!r}. Choose from {', '.join(self.classifiers)}.")
        return self.classifiers[name]


def _where_finite(function: Callable[[np.ndarray], np.ndarray], embeddings: np.ndarray) -> np.ndarray:
    """Applies a function to embeddings (n, d), with NaN where they are not finite, as such cells get no name."""
    finite = np.isfinite(embeddings).all(axis=1)
    values = function(embeddings[finite] if finite.any() else np.zeros_like(embeddings[:1]))
    results = np.full((len(embeddings), *values.shape[1:]), np.nan, values.dtype)
    results[finite] = values[: finite.sum()]
    return results


@contextmanager
def _memory_explained(pixels: np.ndarray) -> Iterator[None]:
    """Turns an allocation that fails while a batch (n, S, S, 3) is computed into one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch raises the latter
        if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
            raise BCSamError(
                f"The memory is not enough for {len(pixels)} images of {pixels.shape[1]} px at a time. Use a smaller "
                "batch size, or a model of smaller images."
            ) from error
        raise
