"""The model as its users see it: load it, name cells with it, save it."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from peft import PeftModel
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from bc_sam.autoencoder import CrossDomainAutoencoder
from bc_sam.batches import Batch, decoded_batches
from bc_sam.classifiers import LatentClassifier
from bc_sam.config import FORMAT_VERSION, BCSamConfig, Precision
from bc_sam.errors import BCSamError, ConfigError, ImageError, WeightsError
from bc_sam.features import encode_pixels, predict_masks
from bc_sam.hub import resolve_folder
from bc_sam.sam.encoding import Encoded
from bc_sam.sam.loading import load_sam
from bc_sam.sam.lora import base_model, load_adapter, merge, save_adapter
from bc_sam.sam.resizing import keep_mask_tokens
from bc_sam.sam.weights import quiet
from bc_sam.serialisation import read_json
from bc_sam.trust import load_estimator, save_estimator

_LIBRARIES = ("bc_sam", "torch", "transformers", "peft", "scikit-learn", "skops", "xgboost")


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
        device: Where to compute; the parts are moved there.
        precision: Number format of SAM's matrix products; ``"auto"`` takes bf16 where the device is fast at it.

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
        device: str | torch.device = "cpu",
        precision: Precision = "no",
    ) -> None:
        self.config = config
        self.adapter = adapter
        self.sam = merge(adapter)
        self.sam.to(device)  # type: ignore[arg-type]  # the library types it as taking no argument
        self.autoencoder = autoencoder.to(device).eval()
        self.classifiers = dict(classifiers)
        self.precision = precision

    # ---- loading and saving ----

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        device: str | torch.device | None = None,
        precision: Precision = "no",
    ) -> Self:
        """Loads a model from a folder or from the Hub, every part from one revision.

        Args:
            source: Model folder, run folder of ``bc-sam train``, or Hub id.
            revision: Branch, tag or commit on the Hub.
            token: Token for a private repository.
            cache_dir: Where downloads are kept.
            local_files_only: Do not ask the Hub.
            force_download: Download again what is already there.
            device: Where to compute; by default the first CUDA device, else the processor.
            precision: Number format of SAM's matrix products.

        Raises:
            WeightsError: If a part is missing, misshapen or of a newer format.
            UntrustedFileError: If a classifier holds a type that it has no need of.
        """
        remote: dict[str, Any] = {
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "force_download": force_download,
        }
        folder = resolve_folder(source, revision=revision, **remote)
        config = load_config(folder)
        base = str(folder / "base") if config.base is None else config.base
        sam = load_sam(base, image_size=config.image_size, revision=config.base_revision, **remote)
        if config.mask_tokens == "two":
            sam = keep_mask_tokens(sam, 2)
        return cls(
            config,
            load_adapter(sam, folder / "adapter"),
            _load_autoencoder(folder / "autoencoder", config),
            _load_classifiers(folder / "classifiers", config),
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
            precision=precision,
        )

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes a model folder. It appears whole or not at all; an older one in its place is replaced.

        Args:
            folder: Where to; parents are made.

        Returns:
            The folder.

        Raises:
            BCSamError: If the folder exists and is no model folder, or the disk is full.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
            raise BCSamError(f"{folder} exists and holds something else. Choose another folder.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            self._write(part)
            part.chmod(0o755)
            _swap(part, folder)
        except OSError as error:
            raise BCSamError(f"The model could not be written to {folder}: {error}. Nothing was changed.") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder

    def _write(self, folder: Path) -> None:
        save_adapter(self.adapter, folder / "adapter")
        if self.config.base is None:
            with quiet():
                base_model(self.adapter).save_pretrained(folder / "base")
        (folder / "autoencoder").mkdir()
        tensors = {name: tensor.contiguous() for name, tensor in self.autoencoder.state_dict().items()}
        save_file(tensors, folder / "autoencoder" / "model.safetensors")
        (folder / "classifiers").mkdir()
        for name, classifier in self.classifiers.items():
            save_estimator(classifier.estimator, folder / "classifiers" / f"{name}.skops")
        versions = {name: version(name) for name in _LIBRARIES}
        classes = {name: tuple(classifier.classes.tolist()) for name, classifier in self.classifiers.items()}
        replace(self.config, classifiers=classes, versions=versions).save(folder / "config.json")

    # ---- inference ----

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.sam.device

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probability columns."""
        return self.config.labels

    def predict(
        self,
        images: Iterable[Any],
        *,
        classifier: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
    ) -> list[str]:
        """Names each cell.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            classifier: One of `classifiers`; by default the config's.
            batch_size: Images a step.
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
        batch_size: int = 32,
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

    def embed(self, images: Iterable[Any], *, batch_size: int = 32, show_progress_bar: bool = False) -> np.ndarray:
        """Returns the latents (n, latent_dim), float32, of images; see `predict`."""
        batches = self._readable_batches(images, batch_size, show_progress_bar)
        latents = [self._latents(batch.pixels) for batch in batches]
        return np.concatenate(latents) if latents else np.empty((0, self.config.latent_dim), np.float32)

    def segment(
        self, images: Iterable[Any], *, batch_size: int = 32, show_progress_bar: bool = False
    ) -> list[np.ndarray]:
        """Returns the mask of the cell in each image, bool, at the image's own height and width; see `predict`."""
        masks = []
        for batch in self._readable_batches(images, batch_size, show_progress_bar):
            predicted = predict_masks(self.sam, self.config, self._encode(batch.pixels))
            for mask, (height, width) in zip(predicted, batch.sizes, strict=True):
                resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
                masks.append(np.asarray(resized, dtype=bool))
        return masks

    def stream(
        self, images: Iterable[Any], *, classifier: str | None = None, batch_size: int = 32
    ) -> Iterator[Prediction]:
        """Names a stream of cells, of any length in constant memory; what cannot be read is said and passed over.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            classifier: One of `classifiers`.
            batch_size: Images a step.

        Yields:
            One `Prediction` for each image, in order.
        """
        chosen = self._classifier(classifier)
        for batch in decoded_batches(images, self.config.image_size, batch_size):
            latents = self._latents(batch.pixels) if len(batch.pixels) else np.empty((0, self.config.latent_dim))
            readable = zip(latents, chosen.predict_proba(latents), strict=True)
            for source, error in zip(batch.sources, batch.errors, strict=True):
                if error is not None:
                    yield Prediction(source, None, None, None, error)
                else:
                    latent, row = next(readable)
                    yield Prediction(source, self.labels[row.argmax()], row, latent)

    def _readable_batches(self, images: Iterable[Any], batch_size: int, progress: bool) -> Iterator[Batch]:
        """Batches of a finite set of images, of which each must be readable."""
        if isinstance(images, str | bytes | Path | Image.Image):
            raise ConfigError("Pass a list of images, even for one: model.predict([image]).")
        total = len(images) if isinstance(images, Sized) else None
        with tqdm(total=total, unit="image", disable=not progress) as bar:
            for batch in decoded_batches(images, self.config.image_size, batch_size):
                for error in filter(None, batch.errors):
                    raise error
                yield batch
                bar.update(len(batch.sources))

    def _encode(self, pixels: np.ndarray) -> Encoded:
        return encode_pixels(self.sam, self.config, pixels, self.precision)

    @torch.inference_mode()
    def _latents(self, pixels: np.ndarray) -> np.ndarray:
        return self.autoencoder.encode(self._encode(pixels).features).cpu().numpy()

    def _classifier(self, name: str | None) -> LatentClassifier:
        name = name or self.config.default_classifier
        if name not in self.classifiers:
            raise ConfigError(f"This model has no classifier {name!r}; it has {', '.join(self.classifiers)}.")
        return self.classifiers[name]


def load_config(folder: Path) -> BCSamConfig:
    """Reads a model folder's ``config.json``.

    Raises:
        WeightsError: If the folder is no model folder or was written by a newer version.
        ConfigError: If the file holds something else.
    """
    path = folder / "config.json"
    if not path.exists():
        raise WeightsError(f"{folder} has no config.json, so it is no bc_sam model. Give the folder of a saved model.")
    data = read_json(path)
    found = data.get("format_version", 0) if isinstance(data, dict) else 0
    if found > FORMAT_VERSION:
        raise WeightsError(f"{folder} was written by a newer bc_sam (format {found}). Run: pip install -U bc_sam.")
    return BCSamConfig.from_dict(data, where=str(path))


def _load_autoencoder(folder: Path, config: BCSamConfig) -> CrossDomainAutoencoder:
    model = CrossDomainAutoencoder(config.feature_channels, config.latent_dim, config.decoder_channels)
    path = folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is missing or broken ({error}). Download or save the model again.") from error
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the autoencoder: {error}") from error
    return model.eval()


def _load_classifiers(folder: Path, config: BCSamConfig) -> dict[str, LatentClassifier]:
    return {
        name: LatentClassifier(load_estimator(folder / f"{name}.skops", name), np.array(classes), len(config.labels))
        for name, classes in config.classifiers.items()
    }


def _swap(new: Path, folder: Path) -> None:
    """Puts a folder in the place of another, which is moved aside first and comes back if that fails."""
    if not folder.exists():
        os.rename(new, folder)
        return
    aside = new.with_name(new.name + ".old")
    os.rename(folder, aside)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
