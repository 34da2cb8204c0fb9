"""Stage 3 of an adaptation: classifiers fitted on the old and the new laboratory, and their comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.refitting import refit
from bc_sam.config.arguments import AdaptationArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellTable
from bc_sam.evaluation.bootstrap import Comparison, compare
from bc_sam.evaluation.metrics import score
from bc_sam.evaluation.results import ALL, Evaluation
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.training_record import DataRecord, TrainingRecord
from bc_sam.utils.model_source import display_name


@dataclass(frozen=True)
class NewLatents:
    """The cells of the new laboratory as the classifiers see them.

    Attributes:
        before: (n, d) float32, embeddings by the original model.
        after: (n, d) float32, embeddings by the adapted model.
        labels: (n,) label index, -1 if unlabelled.
        held_out: (n,) bool, whether the cell is held out for testing.
        table: Metadata of the cells, such as their slides.
    """

    before: np.ndarray
    after: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    table: CellTable

    @property
    def domain(self) -> str:
        """Name of the laboratory."""
        return self.table.domain_names[0]

    @property
    def test_rows(self) -> np.ndarray:
        """The held-out cells that have a label, (k,) int64."""
        return np.flatnonzero(self.held_out & (self.labels >= 0))

    def training_labels(self, per_class: int | None, seed: int) -> np.ndarray:
        """Returns the label of each cell that may be used for training, (n,) int64; -1 for all others.

        Args:
            per_class: Maximum number of labels per class, drawn at random; ``None`` for all.
            seed: Seed of the draw.
        """
        labels = np.where(self.held_out, -1, self.labels)
        if per_class is None:
            return labels
        rng = np.random.default_rng(seed)
        for label in np.unique(labels[labels >= 0]):
            own = rng.permutation(np.flatnonzero(labels == label))
            labels[own[per_class:]] = -1
        return labels

    def slides(self) -> np.ndarray:
        """Returns the slide index of each cell, (n,) int64; each cell of unknown slide counts as a separate slide."""
        names = [group or f"cell {i}" for i, group in enumerate(self.table.groups)]
        return np.unique(names, return_inverse=True)[1]


@dataclass(frozen=True)
class AdaptedClassifiers:
    """The classifiers of an adapted model, and what is derived from them.

    Attributes:
        model: The original model.
        reference: Its stored latents.
        latents: The cells of the new laboratory.
        arguments: Settings of the adaptation.
        training_labels: (n,) label of each new cell that was used for training, -1 for all others.
        classifiers: The classifiers by name.
    """

    model: BCSam
    reference: ReferenceLatents
    latents: NewLatents
    arguments: AdaptationArguments
    training_labels: np.ndarray
    classifiers: Mapping[str, LatentClassifier]

    @classmethod
    def fit(
        cls, model: BCSam, reference: ReferenceLatents, latents: NewLatents, arguments: AdaptationArguments
    ) -> Self:
        """Refits the classifiers of a model with the new cells; without labels they stay unchanged."""
        seed = arguments.training.seed
        training_labels = latents.training_labels(arguments.labels_per_class, seed)
        rows = np.flatnonzero(training_labels >= 0)
        if not len(rows):
            return cls(model, reference, latents, arguments, training_labels, model.classifiers)
        names, cells = tuple(model.classifiers), (latents.after[rows], training_labels[rows])
        if arguments.learn_from == "both":
            classifiers = refit(names, reference, *cells, len(model.labels), seed)
        else:
            classifiers = fit_classifiers(names, *cells, len(model.labels), seed)
        model.apply_label_settings(classifiers)
        return cls(model, reference, latents, arguments, training_labels, classifiers)

    def comparisons(self) -> list[Comparison]:
        """Compares each classifier with its original on the held-out cells; empty if none is labelled."""
        rows = self.latents.test_rows
        if not len(rows):
            return []
        true, slides = self.latents.labels[rows], self.latents.slides()[rows]
        known = all(self.latents.table.groups[row] for row in rows)
        return [
            compare(
                name,
                true,
                self.model.classifiers[name].predict(self.latents.before[rows]),
                classifier.predict(self.latents.after[rows]),
                slides,
                self.model.labels,
                slides_known=known,
            )
            for name, classifier in self.classifiers.items()
        ]

    def evaluation(self, environment: dict[str, str]) -> Evaluation | None:
        """Returns the evaluation on the held-out cells; ``None`` if none is labelled."""
        rows, labels, domain = self.latents.test_rows, self.model.labels, self.latents.domain
        if not len(rows):
            return None
        true, training = self.latents.labels[rows], self.arguments.training
        allowed = self.model.config.allowed_labels
        identity: dict[str, Any] = {
            "source": ALL,
            "target": domain,
            "fold": 0,
            "n_train": int((~self.latents.held_out).sum()),
        }
        numbers, counts = np.unique(true, return_counts=True)
        return Evaluation(
            protocol="adapted",
            labels=list(labels),
            domains=[domain],
            seed=training.seed,
            n_folds=training.folds,
            pairs=[
                score(
                    fitted.predict_proba(self.latents.after[rows]),
                    true,
                    fitted.classes,
                    labels,
                    classifier=name,
                    **identity,
                )
                for name, fitted in self.classifiers.items()
            ],
            counts={domain: {labels[i]: int(n) for i, n in zip(numbers, counts, strict=True)}},
            environment=environment,
            notes=[f"The classifiers were restricted to {', '.join(allowed)}."] if allowed else [],
        )

    def joined_reference(self, image: Callable[[int], np.ndarray] | None) -> ReferenceLatents:
        """Returns the stored latents of the model with a sample of the new laboratory appended.

        Args:
            image: Returns the image (S, S, 3) uint8 of a new cell, for its thumbnail; ``None`` stores no thumbnails.
        """
        rows = np.flatnonzero(~self.latents.held_out)
        new = ReferenceLatents.sample(
            self.latents.after[rows],
            self.training_labels[rows],
            np.full(len(rows), len(self.model.config.domains)),
            seed=self.arguments.training.seed,
            image=None if image is None else (lambda row: image(int(rows[row]))),
        )
        return self.reference.joined(new)

    def config(self) -> BCSamConfig:
        """Returns the config of the adapted model, which adds the new laboratory."""
        return replace(self.model.config, domains=(*self.model.config.domains, self.latents.domain))

    def record(self, new: tuple[DataRecord, ...], model: str) -> TrainingRecord:
        """Describes how the adapted model was trained.

        Args:
            new: The new laboratory.
            model: Source of the original model; only its display name is recorded.
        """
        old = self.model.record.data if self.model.record else ()
        turns = self.model.config.average_turns
        training = replace(self.arguments.training, base=display_name(model), average_turns=turns)
        return TrainingRecord(training, (*old, *new))
