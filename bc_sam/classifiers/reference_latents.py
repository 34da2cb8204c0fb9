"""A sample of the training embeddings, stored with a model to refit and verify its classifiers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.classifiers.thumbnails import draw_thumbnail, require_small_jpeg
from bc_sam.errors import DataError, WeightsError

#: Maximum number of cells per class and domain. 13 classes of two domains then take 1 MB.
PER_CLASS = 200

# Number of embeddings whose probabilities are stored, and the tolerance for later differences. Two builds of the same
# library agree to 1e-5.
_CHECKED = 16
_TOLERANCE = 1e-3

_PROBABILITIES = "probabilities."


@dataclass(frozen=True)
class ReferenceLatents:
    """Embeddings of training cells.

    Attributes:
        latents: Embeddings (n, d), float32.
        labels: (n,) int64, label index, -1 if unknown.
        domains: (n,) int64, index into the model's domains.
        probabilities: Each classifier's probabilities for `checked` when it was saved, (c, n_labels) float32.
        thumbnails: A small JPEG per cell, empty for cells without one; () if there are none. They are stored in a
            separate file, see `bc_sam.classifiers.thumbnails`. To display one, use `thumbnail`, which validates it.
    """

    latents: np.ndarray
    labels: np.ndarray
    domains: np.ndarray
    probabilities: Mapping[str, np.ndarray] = field(default_factory=dict)
    thumbnails: tuple[bytes, ...] = ()

    @classmethod
    def sample(
        cls,
        latents: np.ndarray,
        labels: np.ndarray,
        domains: np.ndarray,
        *,
        per_class: int = PER_CLASS,
        seed: int = 0,
        image: Callable[[int], np.ndarray] | None = None,
    ) -> Self:
        """Samples at most `per_class` cells per class and domain; unlabelled cells count as a class.

        Args:
            latents: (n, d).
            labels: (n,), -1 if unknown.
            domains: (n,).
            per_class: Maximum number of cells per class and domain.
            seed: Seed of the sample.
            image: Returns the image (S, S, 3) uint8 of a cell, given its row, to make thumbnails; ``None`` makes none.

        Example:
            >>> sample = ReferenceLatents.sample(np.zeros((9, 2)), np.zeros(9), np.zeros(9), per_class=4)
            >>> sample.latents.shape
            (4, 2)
        """
        shuffled = np.random.default_rng(seed).permutation(len(latents))
        strata = np.stack([domains[shuffled], labels[shuffled]], axis=1)
        _, stratum = np.unique(strata, axis=0, return_inverse=True)
        rank = np.zeros(len(shuffled), dtype=np.int64)
        for index in np.unique(stratum):
            members = np.flatnonzero(stratum == index)
            rank[members] = np.arange(len(members))
        rows = np.sort(shuffled[rank < per_class])
        return cls(
            latents[rows].astype(np.float32),
            labels[rows].astype(np.int64),
            domains[rows].astype(np.int64),
            thumbnails=tuple(draw_thumbnail(image(int(row))) for row in rows) if image else (),
        )

    def subset(self, rows: np.ndarray) -> "ReferenceLatents":
        """Returns a subset of the cells, without probabilities, which are valid for the whole sample only."""
        thumbnails = tuple(self.thumbnails[row] for row in rows) if self.thumbnails else ()
        return ReferenceLatents(self.latents[rows], self.labels[rows], self.domains[rows], thumbnails=thumbnails)

    def joined(self, other: "ReferenceLatents") -> "ReferenceLatents":
        """Returns the cells of both samples, without probabilities."""
        thumbnails = [sample.thumbnail(row) for sample in (self, other) for row in range(len(sample.labels))]
        return ReferenceLatents(
            np.concatenate([self.latents, other.latents]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.domains, other.domains]),
            thumbnails=tuple(thumbnails) if any(thumbnails) else (),
        )

    def thumbnail(self, row: int) -> bytes:
        """Returns the thumbnail of a cell as a JPEG; empty if there is none.

        Raises:
            WeightsError: If the stored thumbnail is not a small JPEG.
        """
        return require_small_jpeg(self.thumbnails[row], row) if self.thumbnails else b""

    def n_thumbnails(self, domains: Sequence[str]) -> dict[str, int]:
        """Returns the number of cells with a thumbnail, by domain name; domains without any are omitted."""
        pairs = zip(self.domains, self.thumbnails, strict=False)
        counts = Counter(int(domain) for domain, thumbnail in pairs if thumbnail)
        return {name: counts[index] for index, name in enumerate(domains) if counts[index]}

    @property
    def checked(self) -> np.ndarray:
        """Evenly spaced embeddings (c, d) for verifying classifiers."""
        rows = np.unique(np.linspace(0, len(self.latents) - 1, min(_CHECKED, len(self.latents))).round().astype(int))
        return self.latents[rows]

    def remember(self, classifiers: Mapping[str, LatentClassifier]) -> "ReferenceLatents":
        """Returns a copy with the probabilities of these classifiers, ignoring any restriction of labels."""
        probabilities = {name: classifier.learned_proba(self.checked) for name, classifier in classifiers.items()}
        return replace(self, probabilities=probabilities)

    def differences(self, classifiers: Mapping[str, LatentClassifier]) -> dict[str, float]:
        """Returns each classifier's largest deviation from its stored probabilities, if beyond the tolerance."""
        differences = {
            name: float(np.abs(classifiers[name].learned_proba(self.checked) - stored).max(initial=0.0))
            for name, stored in self.probabilities.items()
            if name in classifiers
        }
        # `not <=` rather than `>`, so that NaN counts as a difference.
        return {name: difference for name, difference in differences.items() if not difference <= _TOLERANCE}

    def fit(self, names: tuple[str, ...], n_labels: int, seed: int = 1234) -> dict[str, LatentClassifier]:
        """Fits classifiers on the labelled embeddings.

        Raises:
            DataError: If fewer than two classes are labelled.
        """
        rows = np.flatnonzero(self.labels >= 0)
        if not len(rows):
            raise DataError("The model has no labelled reference embeddings, so its classifiers cannot be refitted.")
        return fit_classifiers(names, self.latents[rows], self.labels[rows], n_labels, seed)

    def save(self, path: Path) -> None:
        """Writes the sample without its thumbnails as safetensors."""
        probabilities = {_PROBABILITIES + name: values for name, values in self.probabilities.items()}
        arrays = {"latents": self.latents, "labels": self.labels, "domains": self.domains, **probabilities}
        # The writer stores the memory as it lies, whatever the strides say.
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path)

    @classmethod
    def load(cls, path: Path, *, latent_dim: int, n_labels: int, n_domains: int) -> Self:
        """Loads a sample written by `save`.

        Raises:
            WeightsError: If the file is damaged or does not fit the model.
        """
        try:
            arrays = load_file(path)
            loaded = cls(
                arrays["latents"],
                arrays["labels"],
                arrays["domains"],
                {
                    name.removeprefix(_PROBABILITIES): values
                    for name, values in arrays.items()
                    if name.startswith(_PROBABILITIES)
                },
            )
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} is damaged ({error}). Download or save the model again.") from error
        if not loaded._fits(latent_dim, n_labels, n_domains):
            raise WeightsError(f"{path} does not fit the model. Download or save the model again.")
        return loaded

    def _fits(self, latent_dim: int, n_labels: int, n_domains: int) -> bool:
        n = len(self.labels)
        return (
            self.latents.shape == (n, latent_dim)
            and self.latents.dtype == np.float32
            and bool(np.isfinite(self.latents).all())
            and all(
                _are_indices(values, n, limit)
                for values, limit in ((self.labels, n_labels), (self.domains, n_domains))
            )
            and all(values.shape == (len(self.checked), n_labels) for values in self.probabilities.values())
        )


def _are_indices(values: np.ndarray, n: int, limit: int) -> bool:
    return values.shape == (n,) and values.dtype == np.int64 and bool(((values >= -1) & (values < limit)).all())
