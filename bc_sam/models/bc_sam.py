"""The model as its users see it: load it, name cells with it, save it, share it."""

# First, since skops searches all that is loaded for scipy's functions: after transformers that takes half a second.
import skops.io  # noqa: F401

# isort: split
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
import torch
from huggingface_hub import CommitInfo
from peft import PeftModel
from PIL import Image
from tqdm import tqdm
from transformers import SamModel

from bc_sam.classifiers.fitting import LatentClassifier, restrict_classifiers
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.data.batches import Batch, decoded_batches
from bc_sam.errors import BCSamError, ConfigError, DataError, ImageError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models import folder as model_folder
from bc_sam.models.card import write_card
from bc_sam.models.classifier_files import installed_versions, load_classifiers, save_classifiers
from bc_sam.models.training_record import TrainingRecord
from bc_sam.models.upload import Repository
from bc_sam.networks.autoencoder import CrossDomainAutoencoder, load_autoencoder, save_autoencoder
from bc_sam.networks.features import default_batch_size, encode_pixels, inference_sam, predict_masks
from bc_sam.networks.precision import precision_of
from bc_sam.networks.sam.compiling import compile_blocks
from bc_sam.networks.sam.loading import load_hub_sam, load_sam
from bc_sam.networks.sam.lora import base_model, load_adapter, save_adapter
from bc_sam.networks.sam.resizing import keep_mask_tokens
from bc_sam.utils.hub import EMBEDDED_MODEL, resolve_folder
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.torch_utils import halve_weights, quiet

T = TypeVar("T", bound=JsonConfig)


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        source: The image, as it was given.
        label: Name of the most probable class; ``None`` if the image could not be read.
        probabilities: (n_labels,) float32 in the order of the model's labels; ``None`` if it could not be read.
        latent: (latent_dim,) float32; ``None`` if it could not be read.
        error: Why it could not be read, or ``None``.
    """

    source: Any
    label: str | None
    probabilities: np.ndarray | None
    latent: np.ndarray | None
    error: ImageError | None = None


class BCSam:
    """Names single blood cells: SAM with an adapter, a cross-domain autoencoder and classical classifiers.

    Args:
        config: What must be known to use the parts.
        adapter: The base SAM with its LoRA adapter, at the config's image size.
        autoencoder: The autoencoder, in eval mode.
        classifiers: Fitted classifiers by name.
        reference: Latents of training cells, to check the classifiers by and to fit them again.
        evaluation: What was measured of it.
        record: How it was trained.
        device: Where to compute; the parts are moved there.
        precision: Number format of SAM's encoder; ``"auto"`` takes bf16 where the device is fast at it.

    Example:
        >>> model = BCSam.from_pretrained("runs/real")  # doctest: +SKIP
        >>> model.predict(["cell_1.tiff", "cell_2.jpg"])  # doctest: +SKIP
        ['monocyte', 'basophil']
    """

    def __init__(
        self,
        config: BCSamConfig,
        adapter: PeftModel,
        autoencoder: CrossDomainAutoencoder,
        classifiers: Mapping[str, LatentClassifier],
        *,
        reference: ReferenceLatents | None = None,
        evaluation: Evaluation | None = None,
        record: TrainingRecord | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "no",
    ) -> None:
        self.config = config
        self.adapter = adapter
        self.sam = inference_sam(adapter, device, precision)
        self.autoencoder = autoencoder.to(device).eval()
        self.classifiers = dict(classifiers)
        self.reference = reference
        self.evaluation = evaluation
        self.record = record
        restrict_classifiers(self.classifiers, self.labels, self.config.among)

    # ---- loading, saving, sharing ----

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = EMBEDDED_MODEL,
        *,
        revision: str | None = None,
        subfolder: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        classifiers: Collection[str] | None = None,
        refit: bool = False,
    ) -> Self:
        """Loads a model from a folder or from the Hub, every part from one revision.

        Where the folder's config tells of another method (SLCA, the shape-aware network, a plain one), the model is a
        `bc_sam.models.comparison.ComparisonModel`, which is asked, saved and shared in the same way.

        Args:
            source: Model folder, run folder of ``bc-sam train``, or Hub id; by default the small model inside the
                package, which needs no network.
            revision: Branch, tag or commit on the Hub.
            subfolder: Folder in it that holds the model, where a repository holds several.
            token: Token for a private repository; by default the one that ``hf auth login`` stored.
            cache_dir: Where downloads are kept.
            local_files_only: Do not ask the Hub.
            force_download: Download again what is already there.
            device: Where to compute; by default the first CUDA device, else the processor.
            dtype: Number format of SAM's encoder: ``"auto"`` is bfloat16 where the device has units for it, else
                float32; or ``"float32"``, ``"bfloat16"``, ``"float16"``. The rest is computed in float32.
            classifiers: Those to load, which saves time; ``"default"`` is the config's. By default all.
            refit: Fit the classifiers again on the stored latents, and open no skops file. The stored latents are a
                sample of the training cells, so the classifiers will not be quite the same.

        Raises:
            HubError: If the Hub has no such repository or revision, or cannot be reached.
            WeightsError: If a part is missing, misshapen, changed, of a newer format, or was written by another
                version of a library and no longer says the same.
            UntrustedFileError: If a file holds more than its part has need of.
        """
        remote: dict[str, Any] = {
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "force_download": force_download,
        }
        files = model_folder.MODEL_FILES
        folder = resolve_folder(source, files, revision=revision, subfolder=subfolder, **remote)
        config = model_folder.load_config(folder)
        model_folder.check_files(folder, config)
        known: dict[str, Any] = {
            "evaluation": _load_if_listed(Evaluation, folder, model_folder.EVALUATION, config),
            "record": _load_if_listed(TrainingRecord, folder, model_folder.RECORD, config),
            "device": device or ("cuda" if torch.cuda.is_available() else "cpu"),
            "precision": precision_of(dtype),
        }
        if config.network is not None:
            from bc_sam.models.comparison import ComparisonModel  # it is a kind of this class

            if refit:
                raise ConfigError(f"{source} is one network, and has no classifiers to fit again.")
            return cast(Self, ComparisonModel.load(folder, config, remote, **known))
        sizes = (config.feature_channels, config.latent_dim, config.decoder_channels)
        loaded, reference = load_classifiers(folder, config, only=classifiers, refit=refit)
        return cls(
            config,
            load_adapter(load_base(folder, config, remote), folder / model_folder.ADAPTER),
            load_autoencoder(folder / model_folder.AUTOENCODER, *sizes),
            loaded,
            reference=reference,
            **known,
        )

    def save_pretrained(self, folder: str | Path, *, include_base: bool = False, half: bool = False) -> Path:
        """Writes a model folder. It appears whole or not at all; an older one in its place is replaced.

        What people have written into the ``README.md`` of the older one is kept.

        Args:
            folder: Where to; parents are made.
            include_base: Also write a base that is on the Hub, for a machine without a network.
            half: Write the weights of SAM and the autoencoder in float16, which takes half the room. They are read
                back as float32; what is rounded changes latents by about a thousandth.

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
    ) -> CommitInfo:
        """Makes this model the content of a repository on the Hub, in one commit.

        Files of an older model that no longer belong are removed; files that others put there stay, and so does what
        people have written into the card.

        Args:
            repo_id: ``owner/name``; made if it does not exist.
            private: Whether a new repository is private; by default what its owner has set.
            revision: Branch; made if it does not exist.
            create_pr: Propose the commit as a pull request.
            commit_message: Title of the commit.
            token: Token with the right to write; by default the one that ``hf auth login`` stored.
            include_base: Also push a base that is on the Hub already.

        Returns:
            The commit, or pull request, with its address.

        Raises:
            HubError: If the Hub refuses or fails; no commit was made then.
        """
        repository = Repository.open(repo_id, private=private, revision=revision, create_pr=create_pr, token=token)
        with tempfile.TemporaryDirectory() as folder:
            card = repository.read_text(model_folder.CARD)
            self._write(Path(folder), include_base=include_base, existing_card=card, repo_id=repo_id)
            return repository.commit(Path(folder), model_folder.MODEL_FILES, commit_message)

    def _write(
        self,
        folder: Path,
        *,
        include_base: bool,
        existing_card: str | None,
        repo_id: str | None = None,
        half: bool = False,
    ) -> None:
        inside = self.config.base_inside or include_base
        self._write_weights(folder, with_base=inside)
        if half:
            halve_weights(folder)
        classifiers = self._write_classifiers(folder)  # after that, since these stay as they are
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
        config.save(folder / model_folder.CONFIG)
        known: dict[str, Any] = {"existing": existing_card, "repo_id": repo_id, "thumbnails": self.pictured}
        write_card(folder, config, self.evaluation, self.record, **known)

    def _write_weights(self, folder: Path, *, with_base: bool) -> None:
        save_adapter(self.adapter, folder / model_folder.ADAPTER)
        if with_base:
            with quiet():
                base_model(self.adapter).save_pretrained(folder / model_folder.BASE)
        (folder / model_folder.AUTOENCODER).parent.mkdir()
        save_autoencoder(self.autoencoder, folder / model_folder.AUTOENCODER)

    def _write_classifiers(self, folder: Path) -> dict[str, tuple[int, ...]]:
        """Returns what the config says of them: the labels that each knows."""
        if lost := self.config.classifiers.keys() - self.classifiers.keys():
            raise BCSamError(f"The classifiers {', '.join(lost)} were not loaded, and would be lost. Load them all.")
        save_classifiers(self.classifiers, self.reference, folder)
        return {name: tuple(fitted.classes.tolist()) for name, fitted in self.classifiers.items()}

    def refit(self, seed: int = 1234) -> None:
        """Fits the classifiers again on the stored latents, such as after an upgrade of scikit-learn.

        Args:
            seed: Seed of everything random in them.

        Raises:
            DataError: If the model stores no labelled latents.
        """
        if self.reference is None:
            raise DataError("This model stores no latents, so its classifiers cannot be fitted again.")
        self.classifiers = self.reference.fit(tuple(self.classifiers), len(self.labels), seed)
        restrict_classifiers(self.classifiers, self.labels, self.config.among)

    # ---- inference ----

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.sam.device

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probability columns."""
        return self.config.labels

    @property
    def pictured(self) -> dict[str, int]:
        """How many cells of each laboratory the model holds a small picture of, for all to see who get it."""
        return self.reference.n_thumbnails(self.config.domains) if self.reference else {}

    def compile(self, batch_size: int | None = None) -> bool:
        """Compiles SAM's encoder, which takes up to half a minute and then saves a little on every image.

        The command line does so by itself from `bc_sam.networks.sam.compiling.WORTH_COMPILING` images on.

        Args:
            batch_size: Images a step, as it will be given to `predict`; smaller batches go the ordinary way.

        Returns:
            Whether it is compiled now; not where there is no compiler.
        """
        return compile_blocks(self.sam, batch_size or default_batch_size(self.device))

    def choose_among(self, labels: Collection[str]) -> None:
        """From now on gives each cell one of some names only, such as the five of a differential count.

        In a laboratory that the model has not seen, most wrong names are those of cells that are not there. Where it
        is known what can be there, the probability of all else is shared among the names that are possible. Cells of
        other classes get one of these names too, so leave out only what cannot occur. The choice is saved with the
        model; to choose among all `labels` again takes it back.

        Args:
            labels: Some of `labels`.

        Raises:
            ConfigError: If one is unknown, or a classifier has learned none of them.

        Example:
            >>> model.choose_among(["neutrophil_segmented", "lymphocyte_typical", "monocyte"])  # doctest: +SKIP
        """
        if unknown := [label for label in labels if label not in self.labels]:
            raise ConfigError(f"The model has no label {unknown[0]!r}; choose among {', '.join(self.labels)}.")
        chosen = tuple(label for label in self.labels if label in labels)
        restrict_classifiers(self.classifiers, self.labels, chosen)
        self.config = replace(self.config, among=() if chosen == self.labels else chosen)

    def predict(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> list[str]:
        """Names each cell.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            classifier: One of `classifiers`; by default the config's.
            batch_size: Images a step; by default what suits the device.
            show_progress_bar: Whether to show progress.

        Returns:
            The most probable label of each image; always the column of `predict_proba` that is largest.

        Raises:
            ImageError: If an image cannot be read; `stream` goes on instead.
        """
        probabilities = self.predict_proba(
            images, classifier=classifier, batch_size=batch_size, show_progress_bar=show_progress_bar
        )
        return [self.labels[column] for column in probabilities.argmax(axis=1)]

    def predict_proba(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> np.ndarray:
        """Returns probabilities (n, n_labels), float32, columns in the order of `labels`; see `predict`."""
        chosen = self._classifier(classifier)
        return chosen.predict_proba(self.embed(images, batch_size=batch_size, show_progress_bar=show_progress_bar))

    def __call__(
        self, images: Any, *, top_k: int = 5, classifier: str | None = None
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Names cells in the form of transformers' image classification.

        Args:
            images: One image, or a list of them.
            top_k: Labels to return for each.
            classifier: One of `classifiers`.

        Returns:
            ``[{"label": ..., "score": ...}, ...]``, most probable first; a list of such lists for a list of images.
        """
        many = isinstance(images, list | tuple)
        ranked = [
            [{"label": self.labels[i], "score": float(row[i])} for i in np.argsort(-row, kind="stable")[:top_k]]
            for row in self.predict_proba(images if many else [images], classifier=classifier)
        ]
        return ranked if many else ranked[0]

    def embed(
        self, images: Iterable[Any], *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> np.ndarray:
        """Returns the latents (n, latent_dim), float32, of images; see `predict`."""
        batches = self._readable_batches(images, batch_size, show_progress_bar)
        latents = [self._latents(batch.pixels) for batch in batches]
        return np.concatenate(latents) if latents else np.empty((0, self.config.latent_dim), np.float32)

    def segment(
        self, images: Iterable[Any], *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> list[np.ndarray]:
        """Returns the mask of the cell in each image, bool, at the image's own height and width; see `predict`."""
        masks = []
        for batch in self._readable_batches(images, batch_size, show_progress_bar):
            predicted = predict_masks(self.sam, self.config, encode_pixels(self.sam, self.config, batch.pixels))
            for mask, (height, width) in zip(predicted, batch.sizes, strict=True):
                resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
                masks.append(np.asarray(resized, dtype=bool))
        return masks

    def stream(
        self, images: Iterable[Any], *, classifier: str | None = None, batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Names a stream of cells, of any length in constant memory; what cannot be read is said and passed over.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            classifier: One of `classifiers`.
            batch_size: Images a step; by default what suits the device.

        Yields:
            One `Prediction` for each image, in order.
        """
        chosen = self._classifier(classifier)
        for batch in self._batches(images, batch_size):
            latents = self._latents(batch.pixels) if len(batch.pixels) else np.empty((0, self.config.latent_dim))
            readable = zip(latents, chosen.predict_proba(latents), strict=True)
            for source, error in zip(batch.sources, batch.errors, strict=True):
                if error is not None:
                    yield Prediction(source, None, None, None, error)
                else:
                    latent, row = next(readable)
                    yield Prediction(source, self.labels[row.argmax()], row, latent)

    def _readable_batches(self, images: Iterable[Any], batch_size: int | None, progress: bool) -> Iterator[Batch]:
        """Batches of a finite set of images, of which each must be readable."""
        if isinstance(images, str | bytes | Path | Image.Image):
            raise ConfigError("Pass a list of images, even for one: model.predict([image]).")
        total = len(images) if isinstance(images, Sized) else None
        with tqdm(total=total, unit="image", disable=not progress) as bar:
            for batch in self._batches(images, batch_size):
                for error in filter(None, batch.errors):
                    raise error
                yield batch
                bar.update(len(batch.sources))

    def _batches(self, images: Iterable[Any], batch_size: int | None) -> Iterator[Batch]:
        size = default_batch_size(self.device) if batch_size is None else batch_size
        return decoded_batches(images, self.config.image_size, size)

    @torch.inference_mode()
    def _latents(self, pixels: np.ndarray) -> np.ndarray:
        features = encode_pixels(self.sam, self.config, pixels)
        return self.autoencoder.encode(features.float()).cpu().numpy()

    def _classifier(self, name: str | None) -> LatentClassifier:
        name = name or self.config.default_classifier
        if name not in self.classifiers:
            raise ConfigError(f"This model has no classifier {name!r}; it has {', '.join(self.classifiers)}.")
        return self.classifiers[name]


def load_base(folder: Path, config: BCSamConfig, remote: dict[str, Any]) -> SamModel:
    """Loads the SAM underneath, from the model folder or from its own pinned revision on the Hub."""
    if config.base_inside:
        sam = load_sam(folder / model_folder.BASE, image_size=config.image_size)
    else:
        sam = load_hub_sam(str(config.base), image_size=config.image_size, revision=config.base_revision, **remote)
    return keep_mask_tokens(sam, 2) if config.mask_tokens == "two" else sam


def _load_if_listed(kind: type[T], folder: Path, name: str, config: BCSamConfig) -> T | None:
    return kind.load(folder / name) if name in config.files else None
