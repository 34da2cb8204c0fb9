"""A run folder: what was asked, the decoded cells, each fold's stages and figures, and the model that comes of it."""

import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from transformers import SamModel

from bc_sam.classifiers import fit_classifiers
from bc_sam.config import BCSamConfig, TrainingArguments
from bc_sam.data.sources import load_cells
from bc_sam.data.splits import assign_folds
from bc_sam.data.store import CellStore, store_cells
from bc_sam.errors import BCSamError, ConfigError
from bc_sam.evaluation import LabelledLatents, dice_by_domain, evaluate_fold
from bc_sam.features import FeatureStore, embed_features, extract_features
from bc_sam.hub import is_hub_id
from bc_sam.labels import LABELS
from bc_sam.measure import measure
from bc_sam.model import BCSam
from bc_sam.precision import resolve_precision
from bc_sam.results import DiceResult, Evaluation, PairResult, StageTiming
from bc_sam.sam.encoding import feature_shape
from bc_sam.sam.loading import load_sam
from bc_sam.sam.lora import merge
from bc_sam.serialisation import JsonConfig
from bc_sam.training.autoencoder import train_autoencoder
from bc_sam.training.segmentation import train_segmentation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig(JsonConfig):
    """What was asked of a run; the file ``run.json``.

    Attributes:
        data: Data sets as ``NAME=SOURCE``; see `bc_sam.data.sources.load_cells`.
        masks: CSV file that ties images to hand masks.
        label_map: Canonical class of each of a folder's own names; ``None`` leaves it out.
        group_pattern: Regular expression whose first group on a file name is the slide.
        arguments: Numbers of the training.
    """

    data: tuple[str, ...]
    masks: str | None = None
    label_map: dict[str, str | None] = field(default_factory=dict)
    group_pattern: str | None = None
    arguments: TrainingArguments = field(default_factory=TrainingArguments)


@dataclass(frozen=True)
class FoldResult(JsonConfig):
    """What one pass through the three stages measured; the file ``result.json`` of its folder.

    Attributes:
        pairs: Classification.
        dice: Segmentation of cells that no stage learned from.
        timings: Cost of each stage.
        history: Loss of each epoch of the two torch stages.
    """

    pairs: list[PairResult]
    dice: list[DiceResult]
    timings: list[StageTiming]
    history: dict[str, list[dict[str, float]]]


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
        self.precision = resolve_precision(config.arguments.mixed_precision, PartialState().device)
        self.accelerator = Accelerator(mixed_precision=self.precision)

    @classmethod
    def create(cls, folder: str | Path, config: RunConfig) -> Self:
        """Starts a run, or takes up one of the same configuration.

        Raises:
            BCSamError: If the folder holds another run, or something else.
        """
        folder = Path(folder)
        path = folder / "run.json"
        if path.exists() and RunConfig.load(path) != config:
            raise BCSamError(f"{folder} holds a run with other options. Choose another --out, or delete it.")
        if not path.exists() and folder.exists() and any(folder.iterdir()):
            raise BCSamError(f"{folder} exists and is no run. Choose another --out.")
        folder.mkdir(parents=True, exist_ok=True)
        config.save(path)
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
    def cells(self) -> CellStore:
        """The decoded cells of all data sets."""
        datasets = [
            load_cells(
                spec,
                masks=self.config.masks,
                label_map=self.config.label_map or None,
                group_pattern=self.config.group_pattern,
            )
            for spec in self.config.data
        ]
        return store_cells(datasets, self.folder / "work" / "cells", self.arguments.image_size)

    @cached_property
    def folds(self) -> np.ndarray:
        """Fold of each cell, (n,) int64: stratified by domain and class, with slides and duplicates kept together."""
        table = self.cells.table
        strata = self.cells.domains * (len(LABELS) + 1) + self.cells.labels
        groups = [
            None if group is None else f"{domain}/{group}"
            for domain, group in zip(table.domains, table.groups, strict=True)
        ]
        return assign_folds(strata.tolist(), groups, table.fingerprints, self.arguments.folds, self.arguments.seed)

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
        paper = self.arguments.protocol == "paper"
        rows = np.arange(len(self.cells)) if paper else np.flatnonzero(self.folds != fold)
        held_out = "every fold in turn" if paper else f"fold {fold} of {self.arguments.folds}"
        logger.info("Holding out %s: %d cells to learn from.", held_out, len(rows))
        model, features, history, timings = self._train_stages(rows, fold)
        latents = embed_features(model.autoencoder, features.maps)
        np.save(folder / "latents.npy", latents)
        with measure() as cost:
            pairs = self._classify(model, latents, range(self.arguments.folds) if paper else [fold])
        timings.append(StageTiming("stage 3: classifiers", fold, cost.seconds, cost.peak_memory_mib))
        model.save_pretrained(folder / "model")
        result = FoldResult(pairs, self._dice(features, rows, fold), timings, history)
        result.save(folder / "result.json")
        return result

    def is_measured(self, fold: int) -> bool:
        """Whether the result of the pass that holds out a fold is on disk."""
        return (self._fold_folder(fold) / "result.json").exists()

    def _fold_folder(self, fold: int) -> Path:
        name = "all" if self.arguments.protocol == "paper" else f"fold-{fold}"
        return self.folder / "work" / name

    def _train_stages(
        self, rows: np.ndarray, fold: int
    ) -> tuple[BCSam, FeatureStore, dict[str, list[dict[str, float]]], list[StageTiming]]:
        """Stages 1 and 2 on some cells, and the features of all of them."""
        arguments, timings = self.arguments, []
        sam = load_sam(
            arguments.base, image_size=arguments.image_size, revision=arguments.base_revision, seed=arguments.seed
        )
        config = self._model_config(sam, rows)
        with measure() as cost:
            adapter, segmentation_history = train_segmentation(
                sam, self.cells, rows, arguments.segmentation, self.accelerator, config, arguments.seed
            )
        timings.append(StageTiming("stage 1: masks", fold, cost.seconds, cost.peak_memory_mib))
        with measure() as cost:
            features = extract_features(
                merge(adapter).to(self.accelerator.device),
                config,
                self.cells,
                self._fold_folder(fold) / "features",
                precision=self.precision,
            )
        timings.append(StageTiming("features", fold, cost.seconds, cost.peak_memory_mib))
        with measure() as cost:
            autoencoder, autoencoder_history = train_autoencoder(
                features, rows, self.cells.domains, arguments.autoencoder, self.accelerator, arguments.seed
            )
        timings.append(StageTiming("stage 2: autoencoder", fold, cost.seconds, cost.peak_memory_mib))
        model = BCSam(config, adapter, autoencoder, {}, device=self.accelerator.device, precision=self.precision)
        history = {"stage 1: masks": segmentation_history, "stage 2: autoencoder": autoencoder_history}
        return model, features, history, timings

    def _model_config(self, sam: SamModel, rows: np.ndarray) -> BCSamConfig:
        """The config of a model that learns from `rows`; a base that the Hub does not hold as it is goes inside."""
        arguments = self.arguments
        on_hub = is_hub_id(arguments.base) and not arguments.segmentation.train_encoder
        mean, std = self.cells.mean_std(rows)
        return BCSamConfig(
            domains=tuple(self.cells.table.domain_names),
            default_classifier=arguments.classifiers.default,
            base=arguments.base if on_hub else None,
            base_revision=sam.config._commit_hash if on_hub else None,
            image_size=arguments.image_size,
            image_mean=mean,
            image_std=std,
            feature_channels=feature_shape(sam)[0],
            latent_dim=arguments.autoencoder.latent_dim,
            decoder_channels=arguments.autoencoder.decoder_channels,
        )

    def _classify(self, model: BCSam, latents: np.ndarray, folds: Sequence[int]) -> list[PairResult]:
        """Stage 3 for some held-out folds; leaves in the model the classifiers that saw all cells it may see."""
        arguments = self.arguments
        labelled = self.labelled(latents)
        pairs = []
        for fold in folds:
            results, model.classifiers = evaluate_fold(
                labelled, fold, arguments.protocol, arguments.classifiers, arguments.seed
            )
            pairs += results
        if arguments.protocol == "paper":
            rows = np.flatnonzero(labelled.labels >= 0)
            model.classifiers = fit_classifiers(
                arguments.classifiers.names, latents[rows], labelled.labels[rows], len(LABELS), arguments.seed
            )
        return pairs

    def labelled(self, latents: np.ndarray) -> LabelledLatents:
        """Joins the latents of all cells with what the protocol must know of them."""
        return LabelledLatents(
            latents, self.cells.labels, self.cells.domains, self.folds, tuple(self.cells.table.domain_names), LABELS
        )

    def _dice(self, features: FeatureStore, rows: np.ndarray, fold: int) -> list[DiceResult]:
        """Dice on the hand masks of cells that stage 1 did not learn from."""
        unseen = self.cells.has_mask.copy()
        unseen[rows] = False
        test = np.flatnonzero(unseen)
        if not len(test):
            return []
        names = tuple(self.cells.table.domain_names)
        return dice_by_domain(features.masks[test], self.cells.masks[test] > 0, self.cells.domains[test], names, fold)

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
            labels=list(LABELS),
            domains=table.domain_names,
            seed=self.arguments.seed,
            n_folds=self.arguments.folds,
            pairs=[pair for result in results for pair in result.pairs],
            dice=[dice for result in results for dice in result.dice],
            timings=[timing for result in results for timing in result.timings],
            counts={name: self._count(domain) for domain, name in enumerate(table.domain_names)},
            notes=[f"Could not be read and was left out: {file}" for file in table.unreadable],
            environment=environment(self.arguments, self.precision),
        )

    def _count(self, domain: int) -> dict[str, int]:
        labels = self.cells.labels[self.cells.domains == domain]
        counts = {name: int((labels == index).sum()) for index, name in enumerate(LABELS)}
        unlabelled = {"unlabelled": int((labels < 0).sum())}
        return {name: count for name, count in (counts | unlabelled).items() if count}

    def publish_model(self) -> Path:
        """Puts the model of the first finished pass at ``model/`` and returns that folder."""
        return BCSam.from_pretrained(self.finished_passes()[0] / "model").save_pretrained(self.folder / "model")


def environment(arguments: TrainingArguments, precision: str) -> dict[str, str]:
    """Returns what the figures of a run depend on beside its data: base, precision, machine, versions."""
    libraries = ("bc_sam", "torch", "transformers", "peft", "accelerate", "scikit-learn", "xgboost")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return {
        "base": arguments.base,
        "precision": precision,
        "machine": gpu or f"{processor}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    } | {library: version(library) for library in libraries}
