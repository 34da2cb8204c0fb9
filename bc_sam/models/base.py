"""The base class of all models: classifies, embeds and segments cells; saves, loads and shares models."""

import logging
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal, NamedTuple, Self, Unpack, overload

import numpy as np
from PIL.Image import Image
from tqdm import tqdm

from bc_sam.classifiers.fitting import LatentClassifier, require_finite, restrict_classifiers
from bc_sam.classifiers.laboratory_fit import LaboratoryCheck, LaboratoryFit
from bc_sam.classifiers.ood import OodScore
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.labels import KINDS_THAT_CAN_OCCUR, kinds_that_can_occur
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import Method
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.batches import Batch, decoded_batches
from bc_sam.data.image_arguments import image_argument, image_sequence
from bc_sam.data.image_quality import measure_quality
from bc_sam.data.images import MAX_PIXELS
from bc_sam.data.preparation import Preparation, profile_sources, require_pixel_size, sample_of
from bc_sam.errors import BCSamError, ConfigError, DataError, ImageError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models import folder as model_folder
from bc_sam.models.abstention import Decision, RejectionThresholds, decide, image_reasons
from bc_sam.models.classifier_files import NO_CLASSIFIERS, installed_versions
from bc_sam.models.fields import Search, find_cells
from bc_sam.models.found_cells import FieldCells
from bc_sam.models.inspection import inspect_batch
from bc_sam.models.observation import InspectedCell, Observation, Parts, separate_cells
from bc_sam.models.onnx_backend.files import Export, exported_names, fingerprint
from bc_sam.models.prediction import Prediction
from bc_sam.models.stored_model import LoadOptions, StoredModel
from bc_sam.models.training_record import TrainingRecord
from bc_sam.utils.atomic import WRITE_ERRORS
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.forked import note_threads
from bc_sam.utils.model_source import EMBEDDED_MODEL
from bc_sam.utils.private_folder import PrivateFolder, remove_abandoned

# torch, transformers and the Hub's client are imported where they are used: the onnx backend needs none of them, and
# importing them takes most of the time to its first answer; see benchmarks/first_answer.py.
if TYPE_CHECKING:
    import torch
    from huggingface_hub import CommitInfo
    from transformers import SamModel

logger = logging.getLogger(__name__)

# Name of the temporary folders from which models are pushed.
_PUSHED_PREFIX = "bc_sam_push_"


class Encoded(NamedTuple):
    """The output of one pass of a model's networks on n images; parts that were not requested are ``None``.

    Attributes:
        foreground: (n, S, S) bool, the predicted masks with all components; also ``None`` if the model predicts none.
        embeddings: (n, latent_dim) float32.
    """

    foreground: np.ndarray | None
    embeddings: np.ndarray | None


class CellModel(ABC):
    """Classifies single blood cells.

    A subclass computes masks and embeddings in `_encode`, reads its own parts in `load` and writes them in
    `_write_weights` and `_write_classifiers`. Everything else is shared.

    Args:
        config: The config of the model.
        classifiers: Classifiers on its embeddings, by name.
        sam: The SAM of the model, ready for inference, if it has one.
        reference: A sample of the embeddings of training cells.
        evaluation: Evaluation of the model.
        record: How it was trained.
    """

    #: The methods, see `BCSamConfig.method`, whose models the class can load.
    methods: ClassVar[tuple[Method, ...]] = ()

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
        self.config = config
        self.classifiers = dict(classifiers)
        self.sam = sam
        self.reference = reference
        self.evaluation = evaluation
        self.record = record
        self._ood_score: OodScore | None = None
        self._laboratory_check: tuple[ReferenceLatents, LaboratoryCheck] | None = None
        self._stored_half = False
        self._export: tuple[Export, str] | None = None
        note_threads()  # the weights were merged with them
        restrict_classifiers(self.classifiers, self.labels, self.config.allowed_labels)

    # ---- loading, saving, sharing ----

    @classmethod
    @extras_explained()
    def from_pretrained(cls, source: str | Path = EMBEDDED_MODEL, **options: Unpack[LoadOptions]) -> Self:
        """Loads a model from a folder or from the Hub, every part from one revision.

        Args:
            source: Model folder, run folder of ``bc-sam train``, or Hub id; by default the small bundled model.
            **options: ``revision``, ``token``, ``device``, ``dtype``, ``classifiers``, ``backend`` and others; see
                `bc_sam.models.stored_model.LoadOptions`.

        Raises:
            HubError: If the Hub has no such repository or revision, or cannot be reached.
            WeightsError: If a part is missing, misshapen, changed, of a newer format, or was written by another
                version of a library and no longer gives the same probabilities.
            UntrustedFileError: If a file contains types that its part does not need.
            ConfigError: If the model is of a method that this class does not implement.
        """
        stored = StoredModel.open(source, **options)
        if stored.config.method not in cls.methods:
            raise ConfigError(
                f"{source} is a model of the method {stored.config.method}, which {cls.__name__} does not implement. "
                "Load it with bc_sam.load_model."
            )
        return cls.opened(stored)

    @classmethod
    def opened(cls, stored: StoredModel) -> Self:
        """Loads a model and notes how its weights are stored, to save them alike, and its export to ONNX, if any."""
        model = cls.load(stored)
        model._stored_half = stored.is_half
        if names := exported_names(stored.config):
            model._export = Export(stored.folder / model_folder.ONNX, names), fingerprint(stored.config)
        return model

    @classmethod
    @abstractmethod
    def load(cls, stored: StoredModel) -> Self:
        """Builds a model of one of the class's `methods` from its checked files; see `from_pretrained`."""

    @extras_explained()
    def save_pretrained(self, folder: str | Path, *, include_base: bool = False, half: bool | None = None) -> Path:
        """Writes a model folder atomically, replacing an older one in its place.

        Manual edits of the older ``README.md`` are kept.

        Args:
            folder: The folder to write; parents are created.
            include_base: Include the base SAM even if it is on the Hub, for offline use.
            half: Write the weights of SAM and the autoencoder in float16, which halves their size. They are read back
                as float32; the rounding changes embeddings by about a thousandth. By default as they were stored, in
                float32 for a model that was not loaded.

        Returns:
            The folder.

        Raises:
            BCSamError: If the folder exists and is no model folder, or the disk is full.
        """
        folder = Path(folder)
        card = folder / model_folder.CARD
        existing = card.read_text("utf-8") if card.exists() else None
        with model_folder.replaced_folder(folder) as part:
            self._write(part, include_base=include_base, existing_card=existing, half=half)
        return folder

    @extras_explained()
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload BC-SAM",
        token: str | bool | None = None,
        include_base: bool = False,
    ) -> "CommitInfo":
        """Pushes the model to a repository on the Hub, in one commit.

        Obsolete files of an older model are removed. Other files and manual edits of the card are kept.

        Args:
            repo_id: ``owner/name``, or only a name for your own; created if it does not exist.
            private: Whether a new repository is private; by default the owner's setting.
            revision: Branch; created if it does not exist.
            create_pr: Propose the commit as a pull request.
            commit_message: Title of the commit.
            token: Token with the right to write; by default the one that ``hf auth login`` stored.
            include_base: Include the base SAM even if it is on the Hub.

        Returns:
            The commit, with its URL and that of the pull request, if any.

        Raises:
            HubError: If the push fails; no commit is made then.
        """
        from bc_sam.models.upload import Repository

        repository = Repository.open(repo_id, private=private, revision=revision, create_pr=create_pr, token=token)
        card = repository.read_text(model_folder.CARD)
        remove_abandoned(_PUSHED_PREFIX)  # by pushes that were killed
        try:
            with PrivateFolder(_PUSHED_PREFIX) as folder:
                self._write(folder, include_base=include_base, existing_card=card, repo_id=repository.repo_id)
                return repository.commit(folder, model_folder.MODEL_FILES, commit_message)
        except WRITE_ERRORS as error:
            raise BCSamError(
                f"The model could not be written to {tempfile.gettempdir()} to be pushed: {error}. Nothing was pushed."
            ) from error

    def _write(
        self,
        folder: Path,
        *,
        include_base: bool,
        existing_card: str | None,
        repo_id: str | None = None,
        half: bool | None = None,
    ) -> None:
        from bc_sam.models.card import write_card
        from bc_sam.utils.torch_utils import halve_weights

        inside = self.config.base_inside or include_base
        self._write_weights(folder, with_base=inside)
        if self._stored_half if half is None else half:
            halve_weights(folder)
        classifiers = self._write_classifiers(folder)  # after halving, which does not apply to them
        model_folder.write_preprocessor(self.config, folder / model_folder.PREPROCESSOR)
        for part, name in ((self.evaluation, model_folder.EVALUATION), (self.record, model_folder.RECORD)):
            if part is not None:
                part.save(folder / name)
        config = replace(
            self.config,
            base_inside=inside,
            classifiers=classifiers,
            versions=installed_versions(),
            files=model_folder.hash_files(folder),
        )
        config = self._with_export(folder, config)
        model_folder.write_config(config, folder / model_folder.CONFIG)
        options: dict[str, Any] = {"existing": existing_card, "repo_id": repo_id, "thumbnails": self.n_thumbnails}
        write_card(folder, config, self.evaluation, self.record, **options)

    def _with_export(self, folder: Path, config: BCSamConfig) -> BCSamConfig:
        """Copies the export to ONNX with which the model was loaded, if it is one of what has just been written."""
        if self._export is None:
            return config
        export, exported = self._export
        if exported != fingerprint(config):
            logger.warning(
                "The export to ONNX is of other weights or classifiers and is left out. Export again: bc-sam export."
            )
            return config
        (folder / model_folder.ONNX).mkdir()
        for name in export.names:
            shutil.copyfile(export.folder / name, folder / model_folder.ONNX / name)
        return replace(config, files=model_folder.hash_files(folder))

    @abstractmethod
    def _write_weights(self, folder: Path, *, with_base: bool) -> None:
        """Writes the networks into a model folder, with the base SAM if there is one and `with_base` is set."""

    @abstractmethod
    def _write_classifiers(self, folder: Path) -> dict[str, tuple[int, ...]]:
        """Writes the classifiers that are not part of a network; returns the label indices of each."""

    # ---- facts ----

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
    def n_thumbnails(self) -> dict[str, int]:
        """Number of stored thumbnails of training cells by laboratory; anyone with the model can view them."""
        return self.reference.n_thumbnails(self.config.domains) if self.reference else {}

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

    # ---- inference ----

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
            BCSamError: If the process was forked after the model was loaded; see `bc_sam.utils.forked`.

        Example:
            >>> model = load_model()  # doctest: +SKIP
            >>> model.observe(np.zeros((2, 224, 224, 3), np.uint8), Parts.MASKS).masks.shape  # doctest: +SKIP
            (2, 224, 224)
        """
        names = self.classifiers if classifiers is None else classifiers
        applied = {name: self._classifier(name) for name in names} if Parts.PROBABILITIES in parts else {}
        if not len(pixels):
            return Observation(pixels, embeddings=np.empty((0, self.config.latent_dim), np.float32))
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

    @overload
    def predict(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        microns_per_pixel: float | None = ...,
        abstain: Literal[False] = ...,
    ) -> list[str]: ...

    @overload
    def predict(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        microns_per_pixel: float | None = ...,
        abstain: bool | RejectionThresholds,
    ) -> list[str | None]: ...

    def predict(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        microns_per_pixel: float | None = None,
        abstain: bool | RejectionThresholds = False,
    ) -> list[str] | list[str | None]:
        """Classifies each cell.

        Args:
            images: A list or another iterable of paths, bytes, binary files, PIL images, arrays (H, W, C) or tensors
                (C, H, W), one cell each; or one array (n, H, W, C) or tensor (n, C, H, W).
            classifier: Name of a loaded classifier; by default the config's.
            batch_size: Images per batch; by default chosen for the device.
            show_progress_bar: Whether to show a progress bar.
            microns_per_pixel: Pixel size of the images, µm, for a model that normalizes them; by default it is
                measured. The images of one call are taken to be of one microscope and camera.
            abstain: Whether to return ``None`` for cells that should not be named; `stream` gives the reasons.
                ``True`` uses the default thresholds.

        Returns:
            The most probable label of each image, the argmax of `predict_proba`.

        Raises:
            ImageError: If an image cannot be read; `stream` skips it instead.
        """
        options: dict[str, Any] = {
            "batch_size": batch_size,
            "show_progress_bar": show_progress_bar,
            "microns_per_pixel": microns_per_pixel,
        }
        if abstain is False:
            probabilities = self.predict_proba(images, classifier=classifier, **options)
            return [self.labels[column] for column in probabilities.argmax(axis=1)]
        batches = self._readable_batches(images, **options)
        return [cell.label for batch in batches for cell in self._predictions(batch, classifier, abstain)]

    def predict_proba(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        microns_per_pixel: float | None = None,
    ) -> np.ndarray:
        """Returns probabilities (n, n_labels), float32, columns in the order of `labels`; see `predict`.

        Raises:
            ImageError: If an image cannot be read.
            DataError: If the embedding of an image is not finite.
        """
        name = classifier or self.config.default_classifier
        self._classifier(name)  # unknown names are refused before an image is read
        batches = self._readable_batches(images, batch_size, show_progress_bar, microns_per_pixel)
        observed = (self.observe(batch.pixels, Parts.PROBABILITIES, classifiers=[name]) for batch in batches)
        probabilities = np.concatenate(
            [np.empty((0, len(self.labels)), np.float32), *(batch.probabilities[name] for batch in observed)]
        )
        require_finite(probabilities)
        return probabilities

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        *,
        top_k: int = ...,
        classifier: str | None = ...,
        batch_size: int | None = ...,
    ) -> list[list[dict[str, Any]]]: ...

    @overload
    def __call__(
        self,
        images: str | bytes | PathLike[str] | BinaryIO | Image,
        *,
        top_k: int = ...,
        classifier: str | None = ...,
        batch_size: int | None = ...,
    ) -> list[dict[str, Any]]: ...

    # An array or tensor is one image or a batch, by its number of dimensions.
    @overload
    def __call__(
        self, images: Any, *, top_k: int = ..., classifier: str | None = ..., batch_size: int | None = ...
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]: ...

    def __call__(
        self, images: Any, *, top_k: int = 5, classifier: str | None = None, batch_size: int | None = None
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Classifies cells in the format of transformers' image classification pipeline.

        Args:
            images: One image, or a list or batch of them; see `predict`.
            top_k: Number of labels to return per image.
            classifier: Name of a loaded classifier; by default the config's.
            batch_size: Images per batch; by default chosen for the device.

        Returns:
            ``[{"label": ..., "score": ...}, ...]``, most probable first; a list of such lists for a list of images.
        """
        is_batch = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        ranked = [
            [{"label": self.labels[i], "score": float(row[i])} for i in np.argsort(-row, kind="stable")[:top_k]]
            for row in self.predict_proba(
                images if is_batch else [image_argument(images)], classifier=classifier, batch_size=batch_size
            )
        ]
        return ranked if is_batch else ranked[0]

    def embed(
        self,
        images: Iterable[Any],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        microns_per_pixel: float | None = None,
    ) -> np.ndarray:
        """Returns the embeddings (n, latent_dim), float32, of images; see `predict`."""
        batches = self._readable_batches(images, batch_size, show_progress_bar, microns_per_pixel)
        embeddings: list[Any] = [self.observe(batch.pixels, Parts.EMBEDDINGS).embeddings for batch in batches]
        return np.concatenate([np.empty((0, self.config.latent_dim), np.float32), *embeddings])

    def segment(
        self,
        images: Iterable[Any],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        microns_per_pixel: float | None = None,
    ) -> list[np.ndarray]:
        """Returns the mask of the cell in each image, bool, of the image's own height and width; see `predict`.

        Raises:
            ConfigError: If the model predicts no masks; see `can_segment`.
            ImageError: If an image cannot be read.
        """
        if not self.can_segment:
            raise ConfigError(f"A model of the method {self.config.method} predicts no masks. Use a BC-SAM model.")
        resized = []
        for batch in self._readable_batches(images, batch_size, show_progress_bar, microns_per_pixel):
            masks = self.observe(batch.pixels, Parts.MASKS).masks
            assert masks is not None
            resized += [image.restore(mask) for image, mask in zip(batch.prepared, masks, strict=True)]
        return resized

    def find_cells(
        self,
        field: Any,
        *,
        red_cells: bool = False,
        platelets: bool = False,
        name: bool = False,
        classifier: str | None = None,
        abstain: bool | RejectionThresholds = True,
        microns_per_pixel: float | None = None,
        profile: AppearanceProfile | None = None,
        show_progress_bar: bool = False,
    ) -> FieldCells:
        """Finds the white cells of a field of any size.

        Nuclei are found by their stain, at a common scale; the model's own mask around each of them gives the outline,
        tells the nuclei of touching cells from the lobes of one, and rejects platelets and debris.

        Args:
            field: Path, bytes, PIL image, array or tensor. Large TIFF files and scanned slides are read in tiles, in
                constant memory.
            red_cells: Also count red cells.
            platelets: Also count platelets.
            name: Also name the white cells, in the same pass; see `bc_sam.models.found_cells.FoundCell.prediction`.
            classifier: Name of a loaded classifier; by default the config's.
            abstain: As for `stream`.
            microns_per_pixel: Pixel size of the field, µm; by default it is measured from the red cells.
            profile: Scale and stain of the laboratory, from `bc_sam.models.fields.profile_fields`; by default those of
                this field, which is less accurate.
            show_progress_bar: Whether to show a progress bar if the field is read in several tiles.

        Returns:
            The cells, with boxes and masks in pixels of the field. If the field cannot be searched, such as out of
            focus or without red cells to measure its scale, there are none, and `FieldCells.problem` says why.

        Raises:
            ImageError: If the field cannot be read.
            ConfigError: If the pixel size is not plausible, or a classifier is unknown.

        Example:
            >>> found = model.find_cells("field.jpg", name=True)  # doctest: +SKIP
            >>> [(cell.box, cell.prediction.label) for cell in found.cells]  # doctest: +SKIP
            [((260, 177, 491, 376), 'neutrophil_segmented')]
        """
        search = Search(red_cells, platelets, name, classifier, abstain)
        return find_cells(
            self,
            field,
            search,
            microns_per_pixel=microns_per_pixel,
            profile=profile,
            show_progress_bar=show_progress_bar,
        )

    def stream(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = None,
        batch_size: int | None = None,
        abstain: bool | RejectionThresholds = False,
        microns_per_pixel: float | None = None,
        profile: AppearanceProfile | None = None,
    ) -> Iterator[Prediction]:
        """Classifies a stream of cells of any length, in constant memory. Unreadable images are reported and skipped.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            classifier: Name of a loaded classifier; by default the config's.
            batch_size: Images per batch; by default chosen for the device.
            abstain: Whether to give no name to cells with a poor image, a high out-of-distribution score or a low
                probability; see `Prediction.reasons`. ``True`` uses the default thresholds. It also computes masks,
                image quality and out-of-distribution scores, which takes a little longer.
            microns_per_pixel: Pixel size of the images, µm; see `predict`.
            profile: Scale and stain of the laboratory, from `profile`; by default estimated as in `batches`.

        Yields:
            One `Prediction` for each image, in order.
        """
        for batch in self.batches(images, batch_size, microns_per_pixel=microns_per_pixel, profile=profile):
            yield from self._predictions(batch, classifier, abstain)

    def _predictions(
        self, batch: Batch, classifier: str | None, abstain: bool | RejectionThresholds
    ) -> Iterator[Prediction]:
        name = classifier or self.config.default_classifier
        parts = Parts.EMBEDDINGS | Parts.PROBABILITIES if abstain is False else Parts.ALL
        for cell in inspect_batch(self, batch, parts, classifiers=[name]):
            yield self.prediction_of(cell, name, abstain)

    def prediction_of(self, cell: InspectedCell, classifier: str, abstain: bool | RejectionThresholds) -> Prediction:
        """Returns the prediction that follows from the results for one image; see `stream`."""
        observed = cell.observed
        if observed is None:
            return Prediction(cell.source, None, None, None, cell.error)
        probabilities = observed.probabilities[classifier]
        if not np.isfinite(probabilities).all():
            error = ImageError(
                'The model computes no finite embedding for this image. Use dtype="float32" or --dtype float32; if '
                "that does not help, the model is damaged."
            )
            return Prediction(cell.source, None, None, None, error)
        if abstain is False:
            decision = Decision(int(probabilities.argmax()))
        else:
            thresholds = RejectionThresholds() if abstain is True else abstain
            decision = decide(probabilities, observed.ood, image_reasons(observed), thresholds, self.labels)
        return Prediction.of(
            cell.source, decision, probabilities, self.labels, latent=observed.embedding, ood=observed.ood
        )

    def _readable_batches(
        self,
        images: Iterable[Any],
        batch_size: int | None,
        show_progress_bar: bool,
        microns_per_pixel: float | None = None,
        profile: AppearanceProfile | None = None,
    ) -> Iterator[Batch]:
        """Yields batches of images, all of which must be readable."""
        images = image_sequence(images)
        total = len(images) if isinstance(images, Sized) else None
        with tqdm(total=total, unit="image", disable=not show_progress_bar) as bar:
            for batch in self.batches(images, batch_size, microns_per_pixel=microns_per_pixel, profile=profile):
                for error in filter(None, batch.errors):
                    raise error
                yield batch
                bar.update(len(batch.sources))

    def profile(
        self, images: Iterable[Any], microns_per_pixel: float | None = None, *, max_pixels: int = MAX_PIXELS
    ) -> AppearanceProfile | None:
        """Estimates the scale and stain that the images of a laboratory share; see `profile_sources`.

        Args:
            images: Images of one laboratory: all of them, or a sample.
            microns_per_pixel: Their pixel size, µm, if known.
            max_pixels: Maximum number of pixels of an image; larger ones are skipped.

        Returns:
            The profile; ``None`` if the model does not normalize images, or fewer than two can be read.
        """
        if self.config.normalization is None:
            return None
        return profile_sources(list(images), microns_per_pixel=microns_per_pixel, max_pixels=max_pixels)

    def batches(
        self,
        images: Iterable[Any],
        batch_size: int | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        microns_per_pixel: float | None = None,
        profile: AppearanceProfile | None = None,
    ) -> Iterator[Batch]:
        """Decodes a stream of images of one laboratory as the model's encoder sees them, in constant memory.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            batch_size: Images per batch; by default chosen for the device.
            max_pixels: Maximum number of pixels of an image.
            microns_per_pixel: Pixel size of the images, µm; by default it is measured.
            profile: Scale and stain of the laboratory; by default those of a sample of a sequence of images, or of the
                first images of an iterator.
        """
        images = image_sequence(images)
        size = self.default_batch_size if batch_size is None else batch_size
        normalization = self.config.normalization
        if normalization is not None and profile is None:
            require_pixel_size(microns_per_pixel)
            sample, images = sample_of(images)
            profile = self.profile(sample, microns_per_pixel, max_pixels=max_pixels)
        preparation = Preparation(self.config.image_size, normalization, profile, microns_per_pixel)
        return decoded_batches(images, preparation, size, max_pixels=max_pixels)

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
