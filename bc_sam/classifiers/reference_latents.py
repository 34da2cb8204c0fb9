"""A sample of the latents that a model learned from, kept with it: to fit its classifiers again, and to check them."""

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

#: Most cells kept of each class of each laboratory. 13 classes of two laboratories then take 1 MB.
PER_CLASS = 200

# Latents whose probabilities are kept, and how far they may be off: two builds of one library agree to 1e-5.
_CHECKED = 16
_TOLERANCE = 1e-3

_PROBABILITIES = "probabilities."


@dataclass(frozen=True)
class ReferenceLatents:
    """Latents of training cells.

    Attributes:
        latents: (n, d) float32.
        labels: (n,) int64, index of the label, -1 where it is not known.
        domains: (n,) int64, index into the model's domains.
        probabilities: For each classifier what it said, when it was saved, of `checked`: (c, n_labels) float32.
        thumbnails: For each cell a small JPEG, empty where there is none; () where there is none at all. They are in
            a file of their own, see `bc_sam.classifiers.thumbnails`; ask `thumbnail` for one that is to be shown.
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
        """Draws at most `per_class` cells of each class of each domain; those without a label count as a class.

        Args:
            latents: (n, d).
            labels: (n,), -1 where it is not known.
            domains: (n,).
            per_class: Most cells of each class of each domain.
            seed: Seed of the draw.
            image: Returns the image (S, S, 3) uint8 of a cell by its row, to keep a small picture of each cell drawn;
                ``None`` keeps no pictures.

        Example:
            >>> sample = ReferenceLatents.sample(np.zeros((9, 2)), np.zeros(9), np.zeros(9), per_class=4)
            >>> sample.latents.shape
            (4, 2)
        """
        shuffled = np.random.default_rng(seed).permutation(len(latents))
        strata = np.stack([domains[shuffled], labels[shuffled]], axis=1)
        _, stratum = np.unique(strata, axis=0, return_inverse=True)
        rank = np.zeros(len(shuffled), dtype=np.int64)
        for number in np.unique(stratum):
            own = np.flatnonzero(stratum == number)
            rank[own] = np.arange(len(own))
        rows = np.sort(shuffled[rank < per_class])
        return cls(
            latents[rows].astype(np.float32),
            labels[rows].astype(np.int64),
            domains[rows].astype(np.int64),
            thumbnails=tuple(draw_thumbnail(image(int(row))) for row in rows) if image else (),
        )

    def subset(self, rows: np.ndarray) -> "ReferenceLatents":
        """Returns some of the cells; what classifiers said belongs to the whole sample and is left out."""
        some = tuple(self.thumbnails[row] for row in rows) if self.thumbnails else ()
        return ReferenceLatents(self.latents[rows], self.labels[rows], self.domains[rows], thumbnails=some)

    def joined(self, other: "ReferenceLatents") -> "ReferenceLatents":
        """Returns the cells of both; what classifiers said belongs to each whole sample and is left out."""
        pictures = [one.thumbnail(row) for one in (self, other) for row in range(len(one.labels))]
        return ReferenceLatents(
            np.concatenate([self.latents, other.latents]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.domains, other.domains]),
            thumbnails=tuple(pictures) if any(pictures) else (),
        )

    def thumbnail(self, row: int) -> bytes:
        """Returns the small picture of a cell, a JPEG; empty if there is none.

        Raises:
            WeightsError: If what is stored is no small JPEG.
        """
        return require_small_jpeg(self.thumbnails[row], row) if self.thumbnails else b""

    def n_thumbnails(self, domains: Sequence[str]) -> dict[str, int]:
        """Returns the number of cells with a thumbnail, by domain name; domains without any are omitted."""
        counts = Counter(int(domain) for domain, drawn in zip(self.domains, self.thumbnails, strict=False) if drawn)
        return {name: counts[index] for index, name in enumerate(domains) if counts[index]}

    @property
    def checked(self) -> np.ndarray:
        """The latents (c, d) on which classifiers are checked, evenly spaced."""
        rows = np.unique(np.linspace(0, len(self.latents) - 1, min(_CHECKED, len(self.latents))).round().astype(int))
        return self.latents[rows]

    def remember(self, classifiers: Mapping[str, LatentClassifier]) -> "ReferenceLatents":
        """Returns a copy that knows what these classifiers say now."""
        said = {name: classifier.learned_proba(self.checked) for name, classifier in classifiers.items()}
        return replace(self, probabilities=said)

    def differences(self, classifiers: Mapping[str, LatentClassifier]) -> dict[str, float]:
        """Returns for each classifier how far its probabilities are from the stored ones, at most, if too far."""
        off = {
            name: float(np.abs(classifiers[name].learned_proba(self.checked) - said).max(initial=0.0))
            for name, said in self.probabilities.items()
            if name in classifiers
        }
        return {name: difference for name, difference in off.items() if not difference <= _TOLERANCE}

    def fit(self, names: tuple[str, ...], n_labels: int, seed: int = 1234) -> dict[str, LatentClassifier]:
        """Fits classifiers on the labelled latents.

        Raises:
            DataError: If fewer than two classes are labelled.
        """
        rows = np.flatnonzero(self.labels >= 0)
        if not len(rows):
            raise DataError("This model stores no labelled latents, so its classifiers cannot be fitted again.")
        return fit_classifiers(names, self.latents[rows], self.labels[rows], n_labels, seed)

    def save(self, path: Path) -> None:
        """Writes the sample, but for its pictures, as safetensors."""
        said = {_PROBABILITIES + name: values for name, values in self.probabilities.items()}
        save_file({"latents": self.latents, "labels": self.labels, "domains": self.domains, **said}, path)

    @classmethod
    def load(cls, path: Path, *, latent_dim: int, n_labels: int, n_domains: int) -> Self:
        """Reads what `save` wrote.

        Raises:
            WeightsError: If the file is damaged, or does not fit the model.
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
            raise WeightsError(f"{path} is broken ({error}). Download or save the model again.") from error
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
            and all(said.shape == (len(self.checked), n_labels) for said in self.probabilities.values())
        )


def _are_indices(values: np.ndarray, n: int, limit: int) -> bool:
    return values.shape == (n,) and values.dtype == np.int64 and bool(((values >= -1) & (values < limit)).all())
