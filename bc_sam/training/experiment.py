"""A run folder: what was asked, the decoded cells, each fold's stages and figures, and the model that comes of it."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from datasets import Dataset
from peft import PeftModel
from transformers import SamModel

from bc_sam.classifiers.fitting import fit_classifiers
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import IMAGENET_MEAN, IMAGENET_STD
from bc_sam.data.sources import load_cells, provenance_of
from bc_sam.data.splits import assign_folds
from bc_sam.data.store import CellStore, store_cells
from bc_sam.data.survey import Survey, require_two_classes, survey_cells
from bc_sam.errors import ConfigError, DataError
from bc_sam.evaluation.metrics import dice_by_domain
from bc_sam.evaluation.results import DiceResult, Evaluation, PairResult, StageTiming
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.training_record import DataRecord, TrainingRecord
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import embed_features
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.loading import load_sam
from bc_sam.networks.sam.lora import add_lora, merge
from bc_sam.training.comparison_fold import NetworkPass
from bc_sam.training.cross_validation import LabelledLatents, dice_of_rows, evaluate_fold
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.environment import environment
from bc_sam.training.estimates import require_space
from bc_sam.training.pipeline import Stages
from bc_sam.training.run import claim_folder
from bc_sam.training.synthetic_cells import embed_companions
from bc_sam.utils.hub import display_name, is_hub_id
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.resources import measure

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig(JsonConfig):
    """What was asked of a run; the file ``run.json``.

    Attributes:
        data: Data sets as ``NAME=SOURCE``; see `bc_sam.data.sources.load_cells`.
        masks: CSV file that ties images to hand masks.
        label_map: Canonical class of each of a folder's own names; ``None`` leaves it out.
        group_pattern: Regular expression whose first group on a file name is the slide.
        log_with: Trackers that Accelerate is to log to, such as ``"tensorboard"``.
        shared: Folder where runs on the same data keep what is the same for all of them: the decoded cells, stage 1
            and the features; ``None`` for the run's own.
        arguments: Numbers of the training.
    """

    data: tuple[str, ...]
    masks: str | None = None
    label_map: dict[str, str | None] = field(default_factory=dict)
    group_pattern: str | None = None
    log_with: tuple[str, ...] = ()
    shared: str | None = None
    arguments: TrainingArguments = field(default_factory=TrainingArguments)


@dataclass(frozen=True)
class FoldResult(JsonConfig):
    """What one pass through the three stages measured; the file ``result.json`` of its folder.

    Attributes:
        pairs: Classification.
        dice: Segmentation of cells that no stage learned from.
        timings: Cost of each stage.
        history: Loss of each epoch of the torch stages.
        trained: How many numbers each torch stage trains.
    """

    pairs: list[PairResult]
    dice: list[DiceResult]
    timings: list[StageTiming]
    history: dict[str, list[dict[str, float]]]
    trained: dict[str, int] = field(default_factory=dict)


class Experiment:
    """A run folder, which can be left at any time and taken up again: finished folds are not computed twice.

    ::

        run.json            what was asked
        model/              the model
        evaluation.json     the figures
        report.html         all of it, to look at
        work/cells/         the decoded images
        work/fold-0/        features, latents, result and model of the pass that keeps fold 0 out

    Args:
        folder: The run folder.
        config: What was asked.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self.config = config
        self.arguments = config.arguments
        self.work = Path(config.shared) if config.shared else folder / "work"
        self.accelerator, self.precision = start_accelerator(config.arguments, folder, config.log_with)

    @classmethod
    def create(cls, folder: str | Path, config: RunConfig) -> Self:
        """Starts a run, or takes up one of the same configuration.

        Raises:
            BCSamError: If the folder holds another run, or something else.
        """
        folder = Path(folder)
        claim_folder(folder, "run.json", config)
        return cls(folder, config)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Takes up an existing run.

        Raises:
            ConfigError: If the folder is no run folder.
        """
        path = Path(folder) / "run.json"
        if not path.exists():
            raise ConfigError(f"{folder} is no run folder: it has no run.json. Make one with 'bc-sam train'.")
        return cls(Path(folder), RunConfig.load(path))

    @cached_property
    def datasets(self) -> list[Dataset]:
        """The data sets, whose images are not decoded yet."""
        with self.accelerator.main_process_first():  # it unpacks, downloads and renders for all
            return [
                load_cells(
                    spec,
                    masks=self.config.masks,
                    label_map=self.config.label_map or None,
                    group_pattern=self.config.group_pattern,
                )
                for spec in self.config.data
            ]

    @cached_property
    def cells(self) -> CellStore:
        """The decoded cells of all data sets."""
        datasets = self.datasets
        with self.accelerator.main_process_first():
            return store_cells(datasets, self.work / "cells", self.arguments.image_size)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes: the 13 of white cells, or those of a data set of other cells.

        Raises:
            DataError: If the data sets are of different kinds of cells.
        """
        kinds = {tuple(dataset.features["label"].names) for dataset in self.datasets}
        if len(kinds) > 1:
            raise DataError(f"The data sets name different kinds of cells: {kinds}. Train on one kind at a time.")
        return kinds.pop()

    @cached_property
    def survey(self) -> Survey:
        """What is odd about the data."""
        return survey_cells(self.cells, self.labels, quiet=not self.accelerator.is_main_process)

    @cached_property
    def folds(self) -> np.ndarray:
        """Fold of each cell, (n,) int64: stratified by domain and class, with slides and duplicates kept together."""
        return self._split(np.arange(len(self.cells)), self.arguments.folds, self.arguments.seed)

    def _split(self, rows: np.ndarray, parts: int, seed: int) -> np.ndarray:
        """Cuts some cells into parts of like proportions of domains and classes; returns the part of each."""
        table = self.cells.table
        strata = self.cells.domains * (len(self.labels) + 1) + self.cells.labels
        groups = [
            None if group is None else f"{domain}/{group}"
            for domain, group in zip(table.domains, table.groups, strict=True)
        ]
        return assign_folds(
            strata[rows].tolist(),
            [groups[row] for row in rows],
            [table.fingerprints[row] for row in rows],
            parts,
            seed,
        )

    # ---- the three stages ----

    def run_fold(self, fold: int) -> FoldResult:
        """Runs the three stages without one fold, and measures on it what they learned.

        Under the protocol ``"paper"`` stages 1 and 2 see every image, so one pass serves all folds.

        Args:
            fold: Number of the fold to hold out, from 0.
        """
        folder = self._fold_folder(fold)
        if self.is_measured(fold):
            return FoldResult.load(folder / "result.json")
        require_two_classes(self.survey)
        paper = self.arguments.protocol == "paper"
        learned = np.arange(len(self.cells)) if paper else np.flatnonzero(self.folds != fold)
        rows, validation = self.set_aside(learned)
        held_out = "every fold in turn" if paper else f"fold {fold} of {self.arguments.folds}"
        logger.info("Holding out %s: %d cells to learn from.", held_out, len(rows))
        part = self.work / ("all" if paper else f"fold-{fold}")
        stages = Stages(
            self.cells, rows, validation, part, self.arguments, self.accelerator, self.precision, fold=fold
        )
        folder.mkdir(parents=True, exist_ok=True)
        part.mkdir(parents=True, exist_ok=True)
        if self.arguments.method != "bc-sam":
            self._run_network(stages, folder)
        else:
            model, features = self._train_stages(stages)
            if self.accelerator.is_main_process:
                self._finish_fold(model, features, stages)
        self.accelerator.wait_for_everyone()
        return FoldResult.load(folder / "result.json")

    def set_aside(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parts the cells to learn from and those to validate by, with slides and copies kept together."""
        share = self.arguments.validation
        if not share:
            return rows, rows[:0]
        parts = self._split(rows, max(2, round(1 / share)), self.arguments.seed + 1)
        return rows[parts != 0], rows[parts == 0]

    def _finish_fold(self, model: BCSam, features: FeatureStore, stages: Stages) -> None:
        """Stage 3, and what is kept of the pass."""
        folder, fold, rows = self._fold_folder(stages.fold), stages.fold, stages.rows
        folds = range(self.arguments.folds) if self.arguments.protocol == "paper" else [fold]
        latents = embed_features(model.autoencoder, features.maps)
        np.save(folder / "latents.npy", latents)
        with measure() as cost:
            pairs = self._classify(model, latents, folds, stages)
        stages.timings.append(StageTiming("stage 3: classifiers", fold, cost.seconds, cost.peak_memory_mib))
        model.reference = ReferenceLatents.sample(
            latents[rows],
            self.cells.labels[rows],
            self.cells.domains[rows],
            seed=self.arguments.seed,
            image=(lambda row: self.cells.pixels[rows[row]]) if self.arguments.keep_pictures else None,
        )
        model.save_pretrained(folder / "model")
        self._keep(folder, pairs, self._dice(features, stages), stages)

    def _keep(self, folder: Path, pairs: list[PairResult], dice: list[DiceResult], stages: Stages) -> None:
        """Writes what a pass measured, and removes the checkpoints that nothing will take up again."""
        FoldResult(pairs, dice, stages.timings, stages.history, stages.trained).save(folder / "result.json")
        done = [*folder.glob("stage-*"), *stages.folder.glob("stage-*")]
        # Stage 1 is the same for other runs, and for the other folds of a network under the protocol "paper".
        kept = "stage-1" if self.config.shared or self.arguments.protocol == "paper" else ""
        for stage in done:
            if stage.name != kept:
                shutil.rmtree(stage, ignore_errors=True)

    def _run_network(self, stages: Stages, folder: Path) -> None:
        """A pass of another method than BC-SAM: what SAM is to give it, then the network."""
        config, sam, features = self._see(stages)
        labelled = self.labelled(np.arange(len(self.cells)), stages.validation)
        channels = 0 if sam is None else feature_shape(sam)[0]
        network = NetworkPass(stages, folder, labelled, config, sam, features, channels)
        pairs, model, latents = network.run(stages.fold)
        if self.accelerator.is_main_process:
            np.save(folder / "latents.npy", latents)
            model.save_pretrained(folder / "model")
            has_masks = features is not None and model.network_config.needs_masks
            self._keep(folder, pairs, self._dice(features, stages) if features and has_masks else [], stages)

    def _see(self, stages: Stages) -> tuple[BCSamConfig, SamModel | None, FeatureStore | None]:
        """The config of a network's model, the frozen SAM that it needs, and what that SAM sees of all cells."""
        arguments = self.arguments
        network, method = arguments.network, arguments.method
        if not network.needs_sam(method):
            own = BCSamConfig(
                labels=self.labels,
                domains=tuple(self.cells.table.domain_names),
                image_size=arguments.image_size,
                image_mean=IMAGENET_MEAN,
                image_std=IMAGENET_STD,
            )
            return own, None, None
        if network.learn_masks or network.needs_masks(method):
            adapter, config = self._learn_masks(stages)
            features = stages.extract(adapter, config)
            return replace(config, base=None, base_revision=None, base_inside=True), merge(adapter), features
        sam = load_sam(
            arguments.base, image_size=arguments.image_size, revision=arguments.base_revision, seed=arguments.seed
        )
        # What it sees is the same in every fold, as its weights and the scale of the pixels are.
        config = replace(self.model_config(sam, stages.rows), image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)
        require_space(self.cells, sam, self.work)
        return config, sam, replace(stages, folder=self.work / "frozen").extract(sam, config)

    def is_measured(self, fold: int) -> bool:
        """Whether the result of the pass that holds out a fold is on disk."""
        return (self._fold_folder(fold) / "result.json").exists()

    def _fold_folder(self, fold: int) -> Path:
        serves_all = self.arguments.protocol == "paper" and self.arguments.method == "bc-sam"
        return self.folder / "work" / ("all" if serves_all else f"fold-{fold}")

    def _learn_masks(self, stages: Stages) -> tuple[PeftModel, BCSamConfig]:
        """Stage 1 from the base on."""
        arguments = self.arguments
        sam = load_sam(
            arguments.base, image_size=arguments.image_size, revision=arguments.base_revision, seed=arguments.seed
        )
        config = self.model_config(sam, stages.rows)
        stages.announce(sam, config)
        rank, base = arguments.segmentation.lora_rank, config.base
        adapter = add_lora(sam, rank, base=base, base_revision=config.base_revision, seed=arguments.seed)
        stages.segment(adapter, config)
        return adapter, config

    def _train_stages(self, stages: Stages) -> tuple[BCSam, FeatureStore]:
        """Stages 1 and 2."""
        arguments = self.arguments
        adapter, config = self._learn_masks(stages)
        features = stages.extract(adapter, config)
        sizes = (config.feature_channels, config.latent_dim, config.decoder_channels)
        autoencoder = new_autoencoder(*sizes, seed=arguments.seed)
        stages.align(autoencoder, features)
        model = BCSam(config, adapter, autoencoder, {}, device=self.accelerator.device, precision=self.precision)
        return model, features

    def model_config(self, sam: SamModel, rows: np.ndarray) -> BCSamConfig:
        """The config of a model that learns from `rows`; a base that the Hub does not hold as it is goes inside."""
        arguments = self.arguments
        on_hub = is_hub_id(arguments.base) and not arguments.segmentation.train_encoder
        mean, std = self.cells.mean_std(rows)
        return BCSamConfig(
            labels=self.labels,
            domains=tuple(self.cells.table.domain_names),
            default_classifier=arguments.classifiers.default,
            base=arguments.base if on_hub else None,
            base_revision=sam.config._commit_hash if on_hub else None,
            base_inside=not on_hub,
            image_size=arguments.image_size,
            image_mean=mean,
            image_std=std,
            feature_channels=feature_shape(sam)[0],
            latent_dim=arguments.autoencoder.latent_dim,
            decoder_channels=arguments.autoencoder.decoder_channels,
        )

    def _classify(self, model: BCSam, latents: np.ndarray, folds: Sequence[int], stages: Stages) -> list[PairResult]:
        """Stage 3 for some held-out folds; leaves in the model the classifiers that saw all cells it may see."""
        arguments = self.arguments
        labelled = self.labelled(latents, stages.validation)
        if n := arguments.classifiers.rendered:
            # The seed itself is that of the rendered cells from which a base may have learned.
            companions = embed_companions(model, n, arguments.seed + 1, stages.folder / "rendered")
            labelled = replace(labelled, companions=companions)
        pairs = []
        for fold in folds:
            results, model.classifiers = evaluate_fold(
                labelled, fold, arguments.protocol, arguments.classifiers, arguments.seed
            )
            pairs += results
        if arguments.protocol == "paper":
            rows = np.flatnonzero(labelled.labels >= 0)
            model.classifiers = fit_classifiers(
                arguments.classifiers.names,
                *labelled.lessons(labelled.sources()[-1], rows),
                len(self.labels),
                arguments.seed,
            )
        return pairs

    def labelled(self, latents: np.ndarray, left_out: np.ndarray) -> LabelledLatents:
        """Joins the latents of all cells with what the protocol must know of them; some are left out of it."""
        labels = self.cells.labels.copy()
        labels[left_out] = -1
        names = tuple(self.cells.table.domain_names)
        arguments = self.arguments
        return LabelledLatents(
            latents,
            labels,
            self.cells.domains,
            self.folds,
            names,
            self.labels,
            fraction=arguments.label_fraction,
            seed=arguments.seed,
        )

    def _dice(self, features: FeatureStore, stages: Stages) -> list[DiceResult]:
        """Dice on the hand masks of cells that stage 1 did not learn from."""
        unseen = self.cells.has_mask.copy()
        unseen[np.concatenate([stages.rows, stages.validation])] = False
        test = np.flatnonzero(unseen)
        if not len(test):
            return []
        names = tuple(self.cells.table.domain_names)
        values = dice_of_rows(features.masks, self.cells.masks, test)
        return dice_by_domain(values, self.cells.domains[test], names, stages.fold)

    # ---- what came of it ----

    def finished_passes(self) -> list[Path]:
        """Folders of the passes through the stages whose result is on disk."""
        folders = dict.fromkeys(self._fold_folder(fold) for fold in range(self.arguments.folds))
        return [folder for folder in folders if (folder / "result.json").exists()]

    def evaluation(self) -> Evaluation:
        """Joins the figures of all finished passes."""
        results = [FoldResult.load(folder / "result.json") for folder in self.finished_passes()]
        table = self.cells.table
        return Evaluation(
            protocol=self.arguments.protocol,
            labels=list(self.labels),
            domains=table.domain_names,
            seed=self.arguments.seed,
            n_folds=self.arguments.folds,
            pairs=[pair for result in results for pair in result.pairs],
            dice=[dice for result in results for dice in result.dice],
            timings=[timing for result in results for timing in result.timings],
            counts={name: self._count(domain) for domain, name in enumerate(table.domain_names)},
            notes=[f"Could not be read and was left out: {file}" for file in table.unreadable],
            environment=environment(self.arguments, self.precision)
            | {"trained parameters": f"{sum(results[0].trained.values()):,}"},
        )

    def _count(self, domain: int) -> dict[str, int]:
        labels = self.cells.labels[self.cells.domains == domain]
        counts = {name: int((labels == index).sum()) for index, name in enumerate(self.labels)}
        unlabelled = {"unlabelled": int((labels < 0).sum())}
        return {name: count for name, count in (counts | unlabelled).items() if count}

    def publish_model(self) -> Path:
        """Puts the model of the first finished pass at ``model/``, with its figures and card; returns that folder."""
        model = BCSam.from_pretrained(self.finished_passes()[0] / "model")
        model.evaluation, model.record = self.evaluation(), self.record()
        return model.save_pretrained(self.folder / "model")

    def record(self) -> TrainingRecord:
        """How the model was trained: the numbers, and what the data were, but not where they lie."""
        table = self.cells.table
        records = []
        for domain, (spec, dataset) in enumerate(zip(self.config.data, self.datasets, strict=True)):
            own = self.cells.domains == domain
            source = spec.partition("=")[2]
            records.append(
                DataRecord(
                    name=table.domain_names[domain],
                    images=int(own.sum()),
                    labelled=int((self.cells.labels[own] >= 0).sum()),
                    masks=int(self.cells.has_mask[own].sum()),
                    unreadable=len(dataset) - int(own.sum()),
                    hub_id=source if is_hub_id(source) else None,
                    provenance=provenance_of(dataset),
                )
            )
        return TrainingRecord(replace(self.arguments, base=display_name(self.arguments.base)), tuple(records))
