"""An experiment: trains a model from a base with each fold held out in turn, and joins the results."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.network import Method
from bc_sam.data.reading_options import Layout
from bc_sam.data.survey import require_two_classes
from bc_sam.errors import ConfigError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.auto import load_model
from bc_sam.models.training_record import TrainingRecord
from bc_sam.training.base_model import base_digest
from bc_sam.training.comparison_fold import run_comparison_fold
from bc_sam.training.cross_validation import assign_cell_folds, require_classes
from bc_sam.training.engine.checkpoints import remove_checkpoints
from bc_sam.training.environment import environment
from bc_sam.training.fold import Fold, FoldResult, run_bc_sam_fold
from bc_sam.training.pipeline import TrainingPipeline
from bc_sam.training.preflight import check_labels, check_training
from bc_sam.training.run import DataSources, Run, lock_run_folder
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.model_source import display_name

logger = logging.getLogger(__name__)

_CONFIG = "run.json"


@dataclass(frozen=True)
class RunConfig(JsonConfig):
    """The config of an experiment; the file ``run.json``.

    Attributes:
        data: Data sets as ``NAME=SOURCE``; see `bc_sam.data.sources.load_cells`.
        masks: CSV file that pairs images with annotated masks.
        label_map: Canonical class of each of a folder's own class names; ``None`` skips the folder.
        group_pattern: Regular expression whose first group on a file name is the slide.
        microns_per_pixel: Known pixel size of the data sets' images, µm, by name; the others are measured.
        layout: Where slides, splits and columns of the data are.
        log_with: Trackers for Accelerate to log to, such as ``"tensorboard"``.
        shared: Folder where runs on the same data share decoded cells, stage 1 and features; ``None`` keeps them in
            the run folder.
        arguments: Settings of the training.
    """

    data: tuple[str, ...]
    masks: str | None = None
    label_map: dict[str, str | None] = field(default_factory=dict)
    group_pattern: str | None = None
    microns_per_pixel: dict[str, float] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    log_with: tuple[str, ...] = ()
    shared: str | None = None
    arguments: TrainingArguments = field(default_factory=TrainingArguments)


@dataclass(frozen=True)
class FoldRunner:
    """How a method runs one fold.

    Attributes:
        run: Runs the fold and saves its results.
        one_pass_for_paper: Whether one pass serves all folds under the protocol ``"paper"``.
    """

    run: Callable[[Fold], None]
    one_pass_for_paper: bool = False


_COMPARISON = FoldRunner(run_comparison_fold)

#: The fold runner of each method.
FOLD_RUNNERS: dict[Method, FoldRunner] = {
    "bc-sam": FoldRunner(run_bc_sam_fold, one_pass_for_paper=True),
    "slca": _COMPARISON,
    "shape-aware": _COMPARISON,
    "resnet": _COMPARISON,
}


class Experiment(Run):
    """A run folder that can be interrupted at any time and resumed; finished folds are not repeated.

    ::

        run.json            the config
        model/              the model
        evaluation.json     the results
        report.html         the report
        work/cells/         the decoded images
        work/fold-0/        features, latents, result and model with fold 0 held out

    Args:
        folder: The run folder.
        config: Data and settings.

    Example:
        ::

            config = RunConfig(("north=rendered:munich", "south=rendered:barcelona"), arguments=preset("tiny"))
            experiment = Experiment.create("runs/mine", config)
            experiment.run_fold(0)
            experiment.publish_model()
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        sources = DataSources(
            config.data,
            config.masks,
            config.label_map,
            config.group_pattern,
            config.microns_per_pixel,
            config.layout,
        )
        work = Path(config.shared) if config.shared else None
        super().__init__(folder, config.arguments, sources, log_with=config.log_with, work=work)
        self.config = config
        self._is_checked = False
        self._outdated: set[int] = set()
        self.runner = FOLD_RUNNERS[config.arguments.method]

    @classmethod
    def create(cls, folder: str | Path, config: RunConfig) -> Self:
        """Starts a run, or resumes one with the same config.

        Raises:
            BCSamError: If the folder holds another run, is not a run folder, or is in use by another process.
        """
        folder = Path(folder)
        with lock_run_folder(folder, _CONFIG, config) or nullcontext():
            return cls(folder, config)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Resumes an existing run.

        Raises:
            ConfigError: If the folder is not a run folder.
        """
        path = Path(folder) / _CONFIG
        if not path.exists():
            raise ConfigError(f"{folder} is not a run folder, as it has no {_CONFIG}. Create one with 'bc-sam train'.")
        return cls(Path(folder), RunConfig.load(path))

    # ---- folds ----

    @cached_property
    def folds(self) -> np.ndarray:
        """Fold of each cell, (n,) int64; see `assign_cell_folds`. Under ``"leave-one-out"`` it is its domain."""
        if self.training.protocol == "leave-one-out":
            return self.cells.domains
        rows, training = np.arange(len(self.cells)), self.training
        return assign_cell_folds(self.cells, len(self.labels), rows, training.folds, training.seed)

    @property
    def n_folds(self) -> int:
        """Number of folds to hold out in turn.

        Raises:
            ConfigError: If there is only one laboratory to leave out.
        """
        if self.training.protocol != "leave-one-out":
            return self.training.folds
        n_domains = len(self.cells.table.domain_names)
        if n_domains < 2:
            raise ConfigError("leave-one-out needs two or more laboratories. Give --data NAME=SOURCE for each.")
        return n_domains

    def split_validation(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Splits cells into training and validation cells, keeping slides and duplicates together."""
        share = self.training.validation
        if not share:
            return rows, rows[:0]
        parts, seed = max(2, round(1 / share)), self.training.seed + 1
        split = assign_cell_folds(self.cells, len(self.labels), rows, parts, seed)
        return rows[split != 0], rows[split == 0]

    def run_fold(self, number: int) -> FoldResult:
        """Trains without one fold and evaluates on it, unless already done.

        Args:
            number: The fold to hold out, from 0.

        Raises:
            DataError: If the data is unsuitable for training, or the disk is too small.
        """
        folder = self._fold_folder(number)
        if not self.is_measured(number):
            if number >= self.n_folds:
                raise ConfigError(f"There is no fold {number}. Choose a fold from 0 to {self.n_folds - 1}.")
            self.check()
            require_two_classes(self.survey)
            folder.mkdir(parents=True, exist_ok=True)
            fold = self._fold(number)
            for tested in range(self.training.folds) if self.training.protocol == "paper" else [number]:
                require_classes(fold.labelled(np.arange(len(self.cells))), tested, self.training.protocol)
            self.runner.run(fold)
            self.accelerator.wait_for_everyone()
        elif self.is_main_process:
            self._remove_checkpoints(folder)
        return FoldResult.load(folder / "result.json")

    def check(self) -> None:
        """Checks the settings and the labels before an image is read, unless a pass is finished already.

        Raises:
            BCSamError: If training would fail: see `bc_sam.training.preflight.check_training`.
        """
        if not (self._fold_folder(0) / "result.json").exists() and not self._is_checked:
            check_training(self.training, self.accelerator)
            check_labels(self.datasets, self.training.protocol)
            self._is_checked = True

    def is_measured(self, number: int) -> bool:
        """Whether a fold has been evaluated on the cells and base as they are now; if on others, it says so once."""
        result = FoldResult.load_intact(self._fold_folder(number) / "result.json")
        if result is None:
            return False
        changed = result.outdated(self.cells, self.base)
        if changed and number not in self._outdated:
            self._outdated.add(number)
            have = "have" if changed == "cells" else "has"
            text = "The %s %s changed since fold %d was evaluated. It is evaluated again."
            logger.warning(text, changed, have, number)
        return changed is None

    def finished_passes(self) -> list[Path]:
        """Lists the folders of the passes that were finished on the cells and base as they are now."""
        folders = dict.fromkeys(self._fold_folder(number) for number in range(self.n_folds))
        results = {folder: FoldResult.load_intact(folder / "result.json") for folder in folders}
        return [folder for folder, result in results.items() if result and not result.outdated(self.cells, self.base)]

    @cached_property
    def base(self) -> str:
        """Identifies the content of what the training starts from; see `base_digest`."""
        return base_digest(self.training)

    def _remove_checkpoints(self, folder: Path) -> None:
        """Removes the checkpoints that a pass leaves in its folder if it is killed while removing them."""
        for stage in folder.glob("stage-*"):
            if not (self._shares_stage_1 and stage.name == "stage-1"):
                remove_checkpoints(stage)

    @property
    def _shares_stage_1(self) -> bool:
        """Whether stage 1 is the same for several passes: of runs that share their work, or the protocol "paper"."""
        return self.training.protocol == "paper" or self.config.shared is not None

    def _fold(self, number: int) -> Fold:
        training = self.training
        paper = training.protocol == "paper"
        rows, validation = self.split_validation(np.flatnonzero(paper | (self.folds != number)))
        held_out = self._describe_held_out(number)
        logger.info("Holding out %s: %d training cells.", held_out, len(rows))
        work = self.work / ("all" if paper else f"fold-{number}")
        work.mkdir(parents=True, exist_ok=True)
        pipeline = TrainingPipeline(
            self.cells, rows, validation, work, training, self.accelerator, self.precision, fold=number
        )
        folder, shared = self._fold_folder(number), self._shares_stage_1
        return Fold(self, number, self.folds, folder, pipeline, keep_stage_1=shared, base=self.base)

    def _describe_held_out(self, number: int) -> str:
        if self.training.protocol == "leave-one-out":
            return f"the laboratory {self.cells.table.domain_names[number]}"
        return "every fold in turn" if self.training.protocol == "paper" else f"fold {number} of {self.n_folds}"

    def _fold_folder(self, number: int) -> Path:
        serves_all = self.training.protocol == "paper" and self.runner.one_pass_for_paper
        return self.folder / "work" / ("all" if serves_all else f"fold-{number}")

    # ---- results ----

    def evaluation(self) -> Evaluation:
        """Joins the results of all finished passes."""
        results = [FoldResult.load(folder / "result.json") for folder in self.finished_passes()]
        table = self.cells.table
        return Evaluation(
            protocol=self.training.protocol,
            labels=list(self.labels),
            domains=table.domain_names,
            seed=self.training.seed,
            n_folds=self.n_folds,
            pairs=[pair for result in results for pair in result.pairs],
            dice=[dice for result in results for dice in result.dice],
            timings=[timing for result in results for timing in result.timings],
            counts={name: self._count(domain) for domain, name in enumerate(table.domain_names)},
            notes=[f"Unreadable, skipped: {file}" for file in table.unreadable],
            environment=environment(self.training, self.precision)
            | {"trained parameters": f"{sum(results[0].trained.values()):,}"},
        )

    def _count(self, domain: int) -> dict[str, int]:
        labels = self.cells.labels[self.cells.domains == domain]
        counts = {name: int((labels == index).sum()) for index, name in enumerate(self.labels)}
        unlabelled = {"unlabelled": int((labels < 0).sum())}
        return {name: count for name, count in (counts | unlabelled).items() if count}

    def publish_model(self) -> Path:
        """Saves the model of the first finished pass with the evaluation to ``model/``; returns that folder."""
        model = load_model(self.finished_passes()[0] / "model")
        model.evaluation, model.record = self.evaluation(), self.record()
        return model.save_pretrained(self.folder / "model")

    def record(self) -> TrainingRecord:
        """Returns the training record of the model, without local paths."""
        return TrainingRecord(replace(self.training, base=display_name(self.training.base)), self.data_records())
