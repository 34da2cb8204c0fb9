"""One fold of an experiment: trains without its cells and evaluates on them; here for BC-SAM itself."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bc_sam.classifiers.fitting import fit_classifiers
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.data.store import CellStore
from bc_sam.evaluation.metrics import dice_by_domain
from bc_sam.evaluation.results import DiceResult, PairResult, StageTiming
from bc_sam.models.base import CellModel
from bc_sam.models.bc_sam import BCSam
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import embed_features
from bc_sam.training.base_model import initial_autoencoder
from bc_sam.training.cross_validation import LabelledLatents, ViewLatents, dice_of_rows, evaluate_fold
from bc_sam.training.engine.checkpoints import remove_checkpoints
from bc_sam.training.pipeline import History, TrainingPipeline
from bc_sam.training.run import Run
from bc_sam.training.steps.train_autoencoder import ViewFeatures
from bc_sam.training.synthetic_cells import embed_synthetic_cells
from bc_sam.utils.atomic import save_array
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.resources import measure

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldResult(JsonConfig):
    """The results of one pass; the file ``result.json`` of its folder.

    Attributes:
        pairs: Classification results.
        dice: Segmentation results on held-out cells.
        timings: Cost of each stage.
        history: Loss of each epoch of the torch stages.
        trained: Number of trained parameters of each torch stage.
        cells: `CellStore.content_key` of the cells it was measured on; 0 in files of earlier versions.
        base: `base_digest` of what the training started from; empty in files of earlier versions.
    """

    pairs: list[PairResult]
    dice: list[DiceResult]
    timings: list[StageTiming]
    history: History
    trained: dict[str, int] = field(default_factory=dict)
    cells: int = 0
    base: str = ""

    def outdated(self, cells: CellStore, base: str) -> str | None:
        """Returns what it does not belong to any more: its ``"cells"`` or ``"base"``; ``None`` if it is current."""
        if self.cells not in (0, cells.content_key):
            return "cells"
        return "base" if self.base and base and self.base != base else None


@dataclass(frozen=True)
class Fold:
    """One pass of any method: its cells, torch stages and folder.

    Attributes:
        run: The run it belongs to.
        number: The held-out fold.
        assignment: (n,) fold of each cell.
        folder: Folder of its results.
        pipeline: Its torch stages.
        keep_stage_1: Whether to keep the checkpoints of stage 1 for other passes.
        base: `base_digest` of what it starts from.
    """

    run: Run
    number: int
    assignment: np.ndarray
    folder: Path
    pipeline: TrainingPipeline
    keep_stage_1: bool = False
    base: str = ""

    def labelled(self, latents: np.ndarray) -> LabelledLatents:
        """Adds labels, domains and folds to the latents (n, ...) of all cells; validation cells become unlabelled."""
        cells, training = self.run.cells, self.run.training
        labels = cells.labels.copy()
        labels[self.pipeline.validation] = -1
        return LabelledLatents(
            latents,
            labels,
            cells.domains,
            self.assignment,
            tuple(cells.table.domain_names),
            self.run.labels,
            fraction=training.label_fraction,
            seed=training.seed,
        )

    def segmentation_dice(self, features: FeatureStore) -> list[DiceResult]:
        """Returns the Dice per domain on annotated masks that stage 1 was not trained on."""
        cells = self.run.cells
        held_out = cells.has_mask.copy()
        held_out[np.concatenate([self.pipeline.rows, self.pipeline.validation])] = False
        rows = np.flatnonzero(held_out)
        if not len(rows):
            return []
        values = dice_of_rows(features.masks, cells.masks, rows)
        return dice_by_domain(values, cells.domains[rows], tuple(cells.table.domain_names), self.number)

    def save(self, model: CellModel, latents: np.ndarray, pairs: list[PairResult], dice: list[DiceResult]) -> None:
        """Writes the model, the latents of all cells and the results, and removes obsolete checkpoints.

        The result file is written last, so that an incomplete pass is repeated.
        """
        save_array(latents, self.folder / "latents.npy")
        model.save_pretrained(self.folder / "model")
        pipeline = self.pipeline
        key = pipeline.cells.content_key
        result = FoldResult(pairs, dice, pipeline.timings, pipeline.history, pipeline.trained, key, self.base)
        result.save(self.folder / "result.json")
        for stage in [*self.folder.glob("stage-*"), *pipeline.folder.glob("stage-*")]:
            if not (self.keep_stage_1 and stage.name == "stage-1"):
                remove_checkpoints(stage)


def run_bc_sam_fold(fold: Fold) -> None:
    """Runs the three stages of BC-SAM without one fold, evaluates on it, and saves the results.

    Under the protocol ``"paper"`` stages 1 and 2 are trained on all images, so that one pass serves all folds.

    Raises:
        DataError: If there are no masks or labels to train on, or too little disk space.
    """
    run, pipeline = fold.run, fold.pipeline
    adapter, config = pipeline.fine_tune_base(run.labels)
    features = pipeline.extract_features(adapter, config)
    autoencoder = initial_autoencoder(config, run.training)
    views = pipeline.extract_view_features(adapter, config)
    pipeline.train_autoencoder(autoencoder, features, n_labels=len(run.labels), views=views)
    if not run.is_main_process:
        return
    model = BCSam(config, adapter, autoencoder, {}, device=run.accelerator.device, precision=run.precision)
    with pipeline.timed("embeddings"):
        latents = pipeline.embed(adapter, model.autoencoder, config, features)
    with measure() as cost:
        pairs = _classify(fold, model, latents, views)
    pipeline.timings.append(StageTiming("stage 3: classifiers", fold.number, cost.seconds, cost.peak_memory_mib))
    model.reference = _reference(fold, latents)
    fold.save(model, latents, pairs, fold.segmentation_dice(features))


def _classify(fold: Fold, model: BCSam, latents: np.ndarray, views: ViewFeatures | None) -> list[PairResult]:
    """Runs stage 3; sets the model's classifiers to those fitted on all training cells."""
    training = fold.run.training
    arguments, paper = training.classifiers, training.protocol == "paper"
    labelled = fold.labelled(latents)
    if views is not None:
        of_views = embed_features(model.autoencoder, views.features.maps)
        labelled = replace(labelled, views=ViewLatents(of_views, views.rows))
    if n := arguments.rendered:
        # A different seed from that of the rendered cells that a base may have been pretrained on.
        synthetic = embed_synthetic_cells(model, n, training.seed + 1, fold.pipeline.folder / "rendered")
        labelled = replace(labelled, synthetic=synthetic)
    pairs = []
    for number in range(training.folds) if paper else [fold.number]:
        results, model.classifiers = evaluate_fold(labelled, number, training.protocol, arguments, training.seed)
        pairs += results
    if paper:
        rows = np.flatnonzero(labelled.labels >= 0)
        training_set = labelled.training_set(labelled.sources(training.protocol)[-1], rows)
        model.classifiers = fit_classifiers(arguments.names, *training_set, len(fold.run.labels), training.seed)
        model.apply_label_settings(model.classifiers)
    return pairs


def _reference(fold: Fold, latents: np.ndarray) -> ReferenceLatents:
    """Samples the reference latents of the model from its training cells."""
    rows, cells, training = fold.pipeline.rows, fold.run.cells, fold.run.training
    return ReferenceLatents.sample(
        latents[rows],
        cells.labels[rows],
        cells.domains[rows],
        seed=training.seed,
        image=(lambda row: cells.pixels[rows[row]]) if training.keep_pictures else None,
    )
