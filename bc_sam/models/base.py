"""The class of all models: names, embeds and segments cells of any image, and finds them in fields."""

from collections.abc import Iterable, Iterator, Sized
from os import PathLike
from typing import Any, BinaryIO, Literal, overload

import numpy as np
from PIL.Image import Image
from tqdm import tqdm

from bc_sam.classifiers.fitting import require_finite
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.batches import Batch, decoded_batches
from bc_sam.data.image_arguments import image_argument, image_sequence
from bc_sam.data.images import MAX_PIXELS
from bc_sam.data.preparation import Preparation, profile_sources, require_pixel_size, sample_of
from bc_sam.errors import ConfigError, ImageError
from bc_sam.models.abstention import Decision, RejectionThresholds, decide, image_reasons
from bc_sam.models.fields import Search, find_cells
from bc_sam.models.found_cells import FieldCells
from bc_sam.models.inspection import inspect_batch
from bc_sam.models.observation import InspectedCell, Parts
from bc_sam.models.observing import ObservingModel
from bc_sam.models.prediction import Prediction


class CellModel(ObservingModel):
    """Classifies single blood cells: the methods that take images as users have them, of files, fields or streams.

    `PretrainedModel` loads and saves, `ObservingModel` computes, and what a subclass has to implement is said there.
    """

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
