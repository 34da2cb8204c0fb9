"""A finished model meets a new laboratory: with its labels or without, with hand masks or without."""

import copy
import csv
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from peft import PeftModel

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers, restrict_classifiers
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.arguments import AdaptationArguments
from bc_sam.data.cells import require_labels
from bc_sam.data.mask_quality import mask_problem
from bc_sam.data.sources import load_cells
from bc_sam.data.splits import assign_folds
from bc_sam.data.store import CellStore, store_cells
from bc_sam.data.survey import Survey, survey_cells
from bc_sam.errors import BCSamError, DataError
from bc_sam.evaluation.comparison import Comparison, compare
from bc_sam.evaluation.metrics import score
from bc_sam.evaluation.results import ALL, Evaluation
from bc_sam.models.auto import load_model
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.training_record import DataRecord, TrainingRecord
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import embed_features
from bc_sam.networks.precision import dtype_of
from bc_sam.networks.sam.lora import make_trainable
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.environment import environment
from bc_sam.training.pipeline import Stages
from bc_sam.training.run import claim_folder
from bc_sam.training.steps.train_autoencoder import Anchor
from bc_sam.utils.hub import display_name, is_hub_id
from bc_sam.utils.json_config import JsonConfig

logger = logging.getLogger(__name__)

#: Hand masks from which on the adapter learns on.
ENOUGH_MASKS = 10

#: Most times that a cell of the new laboratory is shown to a classifier.
MOST_WEIGHT = 20


@dataclass(frozen=True)
class AdaptationConfig(JsonConfig):
    """What was asked of an adaptation; the file ``adaptation.json``.

    Attributes:
        model: The model to start from: a folder or a Hub id.
        data: The new laboratory as ``NAME=SOURCE``; see `bc_sam.data.sources.load_cells`.
        revision: Branch, tag or commit of the model on the Hub.
        masks: CSV file that ties images to hand masks.
        label_map: Canonical class of each of a folder's own names; ``None`` leaves it out.
        group_pattern: Regular expression whose first group on a file name is the slide.
        log_with: Trackers that Accelerate is to log to.
        arguments: Numbers of the adaptation.
    """

    model: str
    data: str
    revision: str | None = None
    masks: str | None = None
    label_map: dict[str, str | None] = field(default_factory=dict)
    group_pattern: str | None = None
    log_with: tuple[str, ...] = ()
    arguments: AdaptationArguments = field(default_factory=AdaptationArguments)


@dataclass(frozen=True)
class AdaptationResult(JsonConfig):
    """What came of an adaptation; the file ``result.json``.

    Attributes:
        learned: Cells that it learned from.
        labelled: Those of them whose label it was shown.
        held_out: Cells that it was tested on.
        masks: Hand masks that the adapter learned from; with none it stayed as it was.
        doubtful: Images whose predicted mask is probably wrong; they are listed in ``doubtful.csv``.
        comparisons: Each classifier before and after; none where no held-out cell has a label.
    """

    learned: int
    labelled: int
    held_out: int
    masks: int
    doubtful: int
    comparisons: list[Comparison]


class Adaptation:
    """A run folder of one adaptation, which can be left at any time and taken up again.

    ::

        adaptation.json     what was asked
        model/              the adapted model
        result.json         before and after
        doubtful.csv        images whose mask is probably wrong
        work/               decoded cells, features, checkpoints

    Args:
        folder: The run folder.
        config: What was asked.
    """

    def __init__(self, folder: Path, config: AdaptationConfig) -> None:
        self.folder = folder
        self.config = config
        self.arguments = config.arguments
        training = self.arguments.training
        self.accelerator, self.precision = start_accelerator(training, folder, config.log_with)
        device = self.accelerator.device
        dtype = dtype_of(self.precision, device)
        model = load_model(config.model, revision=config.revision, device=device, dtype=dtype)
        if not isinstance(model, BCSam) or model.reference is None or not model.classifiers:
            raise BCSamError(f"{config.model} stores no embeddings, or no classifiers, so it cannot be adapted.")
        self.model = model
        if self.arguments.among:
            self.model.restrict_labels(self.arguments.among)

    @classmethod
    def create(cls, folder: str | Path, config: AdaptationConfig) -> Self:
        """Starts an adaptation, or takes up one of the same configuration.

        Raises:
            BCSamError: If the folder holds something else.
        """
        folder = Path(folder)
        claim_folder(folder, "adaptation.json", config)
        return cls(folder, config)

    # ---- data ----

    @cached_property
    def cells(self) -> CellStore:
        """The decoded cells of the new laboratory."""
        config = self.config
        with self.accelerator.main_process_first():
            dataset = load_cells(
                config.data,
                masks=config.masks,
                label_map=config.label_map or None,
                group_pattern=config.group_pattern,
            )
            require_labels(dataset, self.model.labels)
            self._require_possible(dataset["label"])
            return store_cells([dataset], self.folder / "work" / "cells", self.model.config.image_size)

    def _require_possible(self, given: Iterable[int | None]) -> None:
        """Refuses labels of cells that were said not to occur."""
        possible, labels = self.model.config.allowed_labels, self.model.labels
        found = {labels[label] for label in given if label is not None}
        if possible and (others := sorted(found.difference(possible))):
            raise DataError(
                f"{self.config.data} holds cells labelled {', '.join(others)}, but the model is to choose among "
                f"{', '.join(possible)}. Add the others to --labels, or leave their folders out with --map FOLDER= ."
            )

    @cached_property
    def survey(self) -> Survey:
        """What is odd about the data."""
        return survey_cells(self.cells, self.model.labels, quiet=not self.accelerator.is_main_process)

    @cached_property
    def held_out(self) -> np.ndarray:
        """Whether each cell is kept out of everything, to be tested on: whole slides, about one part in `folds`."""
        table, training = self.cells.table, self.arguments.training
        labels = self.cells.labels.tolist()
        return assign_folds(labels, table.groups, table.fingerprints, training.folds, training.seed) == 0

    def shown_labels(self) -> np.ndarray:
        """The label of each cell that may be learned from, (n,) int64; -1 for all others.

        Of each class at most `AdaptationArguments.labels_per_class` are shown, drawn by the seed.
        """
        labels = np.where(self.held_out, -1, self.cells.labels)
        most = self.arguments.labels_per_class
        if most is None:
            return labels
        rng = np.random.default_rng(self.arguments.training.seed)
        for label in np.unique(labels[labels >= 0]):
            own = rng.permutation(np.flatnonzero(labels == label))
            labels[own[most:]] = -1
        return labels

    @property
    def advice(self) -> str | None:
        """What may help much: to say what can occur, where the labels hold some of the names only."""
        known = self.model.labels
        held = [known[label] for label in np.unique(self.cells.labels) if label >= 0]
        if self.model.config.allowed_labels or self.arguments.learn_from == "new" or len(held) == len(known):
            return None
        names = ",".join(held) if held else "NAME,NAME,..."
        return (
            f"The model may give any of {len(known)} names; your labels hold {len(held)} of them. If you know which "
            f"can occur on your slides, say so, and fewer cells get a wrong one: --labels {names} (another --out)."
        )

    # ---- the stages ----

    def run(self) -> AdaptationResult:
        """Adapts the model, and compares it with what it was on the held-out cells.

        Raises:
            DataError: If there are too few slides to hold one out.
        """
        done = self.folder / "result.json"
        if not done.exists():
            stages = self._stages()
            stages.announce(self.model.sam, self.model.config)
            before = self._latents_before(stages)
            adapter = self._learn_masks(stages)
            features = stages.extract(adapter, self.model.config)
            stages.rows = stages.rows[~self._doubtful(features)[stages.rows]]
            autoencoder = self._align(stages, features)
            if self.accelerator.is_main_process:
                after = embed_features(autoencoder, features.maps)
                np.save(self.folder / "work" / "after.npy", after)
                self._finish(adapter, autoencoder, before, after)
            self.accelerator.wait_for_everyone()
        return AdaptationResult.load(done)

    def _stages(self) -> Stages:
        rows = np.flatnonzero(~self.held_out)
        training, work = self.arguments.training, self.folder / "work"
        return Stages(self.cells, rows, rows[:0], work, training, self.accelerator, self.precision)

    def _latents_before(self, stages: Stages) -> np.ndarray:
        """The latents that the model gives the new cells before it has learned anything of them."""
        path = stages.folder / "before.npy"
        if not path.exists():
            features = stages.extract(self.model.adapter, self.model.config)
            if self.accelerator.is_main_process:
                np.save(path, embed_features(self.model.autoencoder, features.maps))
            self.accelerator.wait_for_everyone()
        return np.load(path)

    def _learn_masks(self, stages: Stages) -> PeftModel:
        """Stage 1: the adapter learns on from hand masks; with few of them it stays as it is."""
        adapter, config = copy.deepcopy(self.model.adapter), self.model.config
        masks = int(self.cells.has_mask[stages.rows].sum())
        if masks < ENOUGH_MASKS:
            logger.info("%d hand masks, fewer than %d: the adapter stays as it is.", masks, ENOUGH_MASKS)
            return adapter
        make_trainable(adapter, mask_tokens=config.mask_tokens)
        stages.segment(adapter, config)
        return adapter

    def _align(self, stages: Stages, features: FeatureStore) -> CrossDomainAutoencoder:
        """Stage 2: draws the latents of the new laboratory to those of the old ones, without labels."""
        autoencoder, reference = copy.deepcopy(self.model.autoencoder), self._reference
        if len(stages.rows) > 1 and self.arguments.training.autoencoder.epochs:
            stages.align(autoencoder, features, Anchor(reference.latents, reference.domains + 1))
        return autoencoder

    @property
    def _reference(self) -> ReferenceLatents:
        assert self.model.reference is not None  # or `__init__` had refused
        return self.model.reference

    def _doubtful(self, features: FeatureStore) -> np.ndarray:
        """Whether the predicted mask of each cell is probably wrong, (n,) bool; lists those that are."""
        doubts = [mask_problem(features.masks[row]) for row in range(len(self.cells))]
        if self.accelerator.is_main_process:
            with (self.folder / "doubtful.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["file", "doubt"])
                table.writerows((name, why) for name, why in zip(self.cells.table.files, doubts, strict=True) if why)
        return np.array([why is not None for why in doubts])

    # ---- what comes of it ----

    def _finish(
        self, adapter: PeftModel, autoencoder: CrossDomainAutoencoder, before: np.ndarray, after: np.ndarray
    ) -> None:
        """Stage 3, the comparison, and what is kept."""
        shown = self.shown_labels()
        classifiers = self._fit(after, shown)
        comparisons = self._compare(classifiers, before, after)
        adapted = BCSam(
            replace(self.model.config, domains=(*self.model.config.domains, self.cells.table.domain_names[0])),
            adapter,
            autoencoder,
            classifiers,
            reference=self._joined_reference(after, shown),
            evaluation=self._evaluate(classifiers, after) if comparisons else None,
            record=self._record(),
            device=self.accelerator.device,
            precision=self.precision,
        )
        adapted.save_pretrained(self.folder / "model")
        AdaptationResult(
            learned=int((~self.held_out).sum()),
            labelled=int((shown >= 0).sum()),
            held_out=int(self.held_out.sum()),
            masks=int(self.cells.has_mask[~self.held_out].sum()),
            doubtful=len((self.folder / "doubtful.csv").read_text().splitlines()) - 1,
            comparisons=comparisons,
        ).save(self.folder / "result.json")
        for stage in (self.folder / "work").glob("stage-*"):
            shutil.rmtree(stage, ignore_errors=True)

    def _fit(self, latents: np.ndarray, shown: np.ndarray) -> dict[str, LatentClassifier]:
        """Stage 3 on the old laboratories' stored latents and the new labels; without labels nothing changes."""
        rows = np.flatnonzero(shown >= 0)
        if not len(rows):
            return self.model.classifiers
        names, n_labels = tuple(self.model.classifiers), len(self.model.labels)
        seed = self.arguments.training.seed
        cells = latents[rows], shown[rows]
        if self.arguments.learn_from == "both":
            old = self._reference.subset(np.flatnonzero(self._reference.labels >= 0))
            rows = np.repeat(rows, _weights(old.labels, shown[rows]))
            cells = np.concatenate([old.latents, latents[rows]]), np.concatenate([old.labels, shown[rows]])
        fitted = fit_classifiers(names, *cells, n_labels, seed)
        restrict_classifiers(fitted, self.model.labels, self.model.config.allowed_labels)
        return fitted

    def _joined_reference(self, latents: np.ndarray, shown: np.ndarray) -> ReferenceLatents:
        """The stored latents of the old laboratories and a sample of the new one's."""
        rows = np.flatnonzero(~self.held_out)
        training = self.arguments.training
        new = ReferenceLatents.sample(
            latents[rows],
            shown[rows],
            np.full(len(rows), len(self.model.config.domains)),
            seed=training.seed,
            image=(lambda row: self.cells.pixels[rows[row]]) if training.keep_pictures else None,
        )
        return self._reference.joined(new)

    def compare(self) -> list[Comparison]:
        """Fits the classifiers of a finished adaptation again, with the arguments as they are now, and compares."""
        before, after = (np.load(self.folder / "work" / f"{name}.npy") for name in ("before", "after"))
        return self._compare(self._fit(after, self.shown_labels()), before, after)

    @property
    def _tested(self) -> np.ndarray:
        """The held-out cells that have a label."""
        return np.flatnonzero(self.held_out & (self.cells.labels >= 0))

    def _compare(
        self, classifiers: Mapping[str, LatentClassifier], before: np.ndarray, after: np.ndarray
    ) -> list[Comparison]:
        rows, labels = self._tested, self.model.labels
        if not len(rows):
            return []
        true, slides = self.cells.labels[rows], self._slides()[rows]
        return [
            compare(
                name,
                true,
                self.model.classifiers[name].predict(before[rows]),
                classifier.predict(after[rows]),
                slides,
                labels,
            )
            for name, classifier in classifiers.items()
        ]

    def _evaluate(self, classifiers: Mapping[str, LatentClassifier], after: np.ndarray) -> Evaluation:
        """The figures of the new model on the held-out cells, for its card."""
        rows, labels = self._tested, self.model.labels
        true, laboratory = self.cells.labels[rows], self.cells.table.domain_names[0]
        possible = self.model.config.allowed_labels
        identity = {"source": ALL, "target": laboratory, "fold": 0, "n_train": int((~self.held_out).sum())}
        numbers, counts = np.unique(true, return_counts=True)
        made_of = environment(self.arguments.training, self.precision) | {"base": display_name(self.config.model)}
        return Evaluation(
            protocol="adapted",
            labels=list(labels),
            domains=[laboratory],
            seed=self.arguments.training.seed,
            n_folds=self.arguments.training.folds,
            pairs=[
                score(fitted.predict_proba(after[rows]), true, fitted.classes, labels, classifier=name, **identity)
                for name, fitted in classifiers.items()
            ],
            counts={laboratory: {labels[i]: int(n) for i, n in zip(numbers, counts, strict=True)}},
            environment=made_of,
            notes=[f"The classifiers chose among {', '.join(possible)} only."] if possible else [],
        )

    def _slides(self) -> np.ndarray:
        """A number for the slide of each cell; a cell without one is on its own."""
        table = self.cells.table
        names = [group or f"cell {i}" for i, group in enumerate(table.groups)]
        return np.unique(names, return_inverse=True)[1]

    def _record(self) -> TrainingRecord:
        old = self.model.record.data if self.model.record else ()
        table, source = self.cells.table, self.config.data.partition("=")[2]
        new = DataRecord(
            name=table.domain_names[0],
            images=len(self.cells),
            labelled=int((self.cells.labels >= 0).sum()),
            masks=int(self.cells.has_mask.sum()),
            unreadable=len(table.unreadable),
            hub_id=source if is_hub_id(source) else None,
        )
        arguments = replace(self.arguments.training, base=display_name(self.config.model))
        return TrainingRecord(arguments, (*old, new))


def _weights(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """How often to show each new cell, so that the new laboratory counts as much as the old ones in each class."""
    counts = np.array([((old == label).sum(), (new == label).sum()) for label in new])
    return np.clip(counts[:, 0] // counts[:, 1], 1, MOST_WEIGHT)
