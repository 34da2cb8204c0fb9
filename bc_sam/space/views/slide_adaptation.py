"""A classifier that learns from the cells of a slide that a visitor named, for this slide only."""

import base64
import io
import pickle
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.ood import OodScore
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.refitting import cross_validate
from bc_sam.errors import DataError
from bc_sam.evaluation.bootstrap import Comparison, compare
from bc_sam.evaluation.naming_error import NamingError
from bc_sam.models.bc_sam import BCSam
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.utils.private_folder import PrivateFolder

#: Fewest named cells, and kinds among them, from which a classifier learns. From ten cells of JTSC, balanced accuracy
#: became worse in 7 of 10 draws; see docs/new_hospital.md.
FEWEST_CELLS, FEWEST_KINDS = 20, 2

#: Largest number of stored cells that take part, and of seconds for measuring the gain.
MOST_STORED, SECONDS = 6_000, 60

# Largest size of an adapted model that is downloaded, which is in memory several times, bytes.
_MOST_DOWNLOADED = 150 * 2**20

_FOLDS = 5
_SEED = 1234

#: Prefix of the temporary folders in which adapted models are written.
ADAPTED_PREFIX = "bc_sam_adapted_"

_HOW_TO_USE = """An adapted model of BC-SAM. It contains embeddings of the cells that you named, and no images.

bc-sam predict cells/ --model adapted
bc-sam serve adapted

It needs torch: pip install "bc_sam[torch]". With the extra export too, bc-sam export adapted makes it run without.
"""


@dataclass(frozen=True)
class NamedCells:
    """Cells of a slide that a person gave a name of the model; copies of one image count once.

    Attributes:
        embeddings: (n, d) float32.
        labels: (n,) int64, label index of the name.
        before: (n, n_labels) float32, probabilities of the classifier before it learns from them.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    before: np.ndarray

    @property
    def n_missing(self) -> int:
        """Number of cells that have to be named before a classifier can learn from them."""
        return max(0, FEWEST_CELLS - len(self.labels))

    @property
    def are_enough(self) -> bool:
        """Whether a classifier can learn from them."""
        return not self.n_missing and len(np.unique(self.labels)) >= FEWEST_KINDS


class Adapted(NamedTuple):
    """What an adapted classifier says of a cell.

    Attributes:
        probabilities: (n_labels,) float32.
        ood: Out-of-distribution score beside the stored cells and those that were named, or ``None``.
    """

    probabilities: np.ndarray
    ood: float | None


@dataclass(frozen=True)
class Adaptation:
    """A classifier that was refitted on the stored cells of its model and the named cells of a slide.

    Attributes:
        classifier: Its name.
        fitted: The classifier.
        reference: The stored cells and the named ones, whose laboratory has the number after the last.
        cells: The named cells.
        after: (n, n_labels) float32, probabilities of each named cell by a classifier that did not learn from it;
            ``None`` if that would have taken too long.
        n_bytes: Its size in memory, bytes.
    """

    classifier: str
    fitted: LatentClassifier
    reference: ReferenceLatents
    cells: NamedCells
    after: np.ndarray | None
    n_bytes: int

    @cached_property
    def _ood_score(self) -> OodScore | None:
        try:
            return OodScore(self.reference)
        except DataError:  # too few cells
            return None

    def predict(self, embeddings: np.ndarray) -> list[Adapted]:
        """Applies the classifier to embeddings (n, d)."""
        rows = self.fitted.predict_proba(embeddings)
        scores = [None] * len(rows) if self._ood_score is None else self._ood_score.score(embeddings).tolist()
        return [Adapted(row, score) for row, score in zip(rows, scores, strict=True)]

    def comparison(self, choice: Choice, labels: Sequence[str]) -> Comparison | None:
        """Compares the classifier before and after on the named cells; ``None`` if that was not measured.

        Args:
            choice: The visitor's choice, of which the possible labels count.
            labels: Label names.
        """
        if self.after is None:
            return None
        before, after = (self._named(rows, choice, labels) for rows in (self.cells.before, self.after))
        return compare(self.classifier, self.cells.labels, before, after, np.arange(len(before)), labels)

    def naming(self, choice: Choice, labels: Sequence[str]) -> NamingError | None:
        """Returns how often the classifier takes one class for another, measured on the named cells."""
        if self.after is None:
            return None
        confusion = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(confusion, (self.cells.labels, self._named(self.after, choice, labels)), 1)
        return NamingError(tuple(labels), confusion)

    def is_worse(self, choice: Choice, labels: Sequence[str]) -> bool:
        """Returns whether it names fewer of the cells rightly than before, so that it should not be used."""
        measured = self.comparison(choice, labels)
        return measured is not None and measured.gain.value < 0

    def _named(self, probabilities: np.ndarray, choice: Choice, labels: Sequence[str]) -> np.ndarray:
        return choice.restrict({self.classifier: probabilities}, labels)[self.classifier].argmax(axis=1)


def can_adapt(loaded: LoadedModel) -> bool:
    """Returns whether a model stores labelled embeddings and has classifiers that can be fitted again on them."""
    model = loaded.model
    return isinstance(model, BCSam) and model.reference is not None and bool((model.reference.labels >= 0).any())


def adapt(loaded: LoadedModel, classifier: str, cells: NamedCells) -> Adaptation:
    """Refits a classifier of a model on its stored cells and on named ones, and measures the gain by cross-validation.

    The model itself does not change. Each fit waits for its turn, so that other visitors do not wait for all of them.

    Args:
        loaded: The model.
        classifier: Name of the classifier.
        cells: The named cells.

    Raises:
        DataError: If the cells are too few, or the model stores no labelled embeddings.
    """
    if not cells.are_enough:
        raise DataError(f"Name at least {FEWEST_CELLS} cells of at least {FEWEST_KINDS} kinds by hand.")
    if not can_adapt(loaded):
        raise DataError("This model stores no embeddings to learn beside. Choose another one in the tab “Model”.")
    stored = _stored(loaded)

    def fit(embeddings: np.ndarray, labels: np.ndarray) -> LatentClassifier:
        return loaded.refit(classifier, stored, embeddings, labels, _SEED)

    start = time.monotonic()
    fitted = fit(cells.embeddings, cells.labels)
    n_folds = min(_FOLDS, len(cells.labels), int(SECONDS / max(time.monotonic() - start, 1e-3)))
    after = cross_validate(fit, cells.embeddings, cells.labels, n_folds, _SEED) if n_folds > 1 else None
    number = np.full(len(cells.labels), len(loaded.model.config.domains))
    reference = stored.joined(ReferenceLatents(cells.embeddings, cells.labels, number))
    n_bytes = len(pickle.dumps((fitted, reference)))  # only counted, and never read
    return Adaptation(classifier, fitted, reference, cells, after, n_bytes)


def _stored(loaded: LoadedModel) -> ReferenceLatents:
    """Returns the stored cells of a model, or a sample of them if they are too many; thumbnails are left out."""
    stored = loaded.model.reference
    assert stored is not None
    strata = np.unique(np.stack([stored.domains, stored.labels]), axis=1).shape[1]
    return ReferenceLatents.sample(
        stored.latents, stored.labels, stored.domains, per_class=max(1, MOST_STORED // strata), seed=_SEED
    )


def zip_model(loaded: LoadedModel, adaptation: Adaptation) -> str:
    """Returns a zip of the model with the adapted classifier alone, in Base64.

    Raises:
        DataError: If the model is too large.
    """
    model = loaded.model
    assert isinstance(model, BCSam)
    known = model.config.domains
    laboratory = next(name for name in ("ours", *(f"ours-{n}" for n in range(2, 99))) if name not in known)
    adapted = model.with_classifiers({adaptation.classifier: adaptation.fitted}, adaptation.reference, laboratory)
    file = io.BytesIO()
    with (
        PrivateFolder(ADAPTED_PREFIX) as folder,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        written = [path for path in adapted.save_pretrained(folder / "adapted").rglob("*") if path.is_file()]
        if sum(path.stat().st_size for path in written) > _MOST_DOWNLOADED:
            raise DataError("The model is too large to download. Save the CSV, and adapt it by bc-sam adapt.")
        for path in sorted(written):
            archive.write(path, path.relative_to(folder))
        archive.writestr("how_to_use.txt", _HOW_TO_USE)
    return base64.b64encode(file.getvalue()).decode()


def named_by_kind(cells: NamedCells, labels: Sequence[str]) -> Mapping[str, int]:
    """Returns the number of named cells of each kind, the most common first.

    Example:
        >>> cells = NamedCells(np.zeros((3, 2)), np.array([1, 0, 1]), np.zeros((3, 2)))
        >>> named_by_kind(cells, ("monocyte", "basophil"))
        {'basophil': 2, 'monocyte': 1}
    """
    numbers, counts = np.unique(cells.labels, return_counts=True)
    return {labels[numbers[i]]: int(counts[i]) for i in np.argsort(-counts, kind="stable")}
