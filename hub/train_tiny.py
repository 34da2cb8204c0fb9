"""Trains bc-sam-tiny, the model inside the package, from nothing: python hub/train_tiny.py --help.

A new small SAM first learns to see cells, by their classes, their masks and a teacher
(`bc_sam.training.steps.pretrain`); then come the three stages, as for any base.
Fold 0 of both data sets is in none of it; a tenth of the rest chooses the
best epochs.
"""

import argparse
import logging
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bc_sam import BCSam, BCSamError
from bc_sam.config.arguments import PretrainingArguments, TrainingArguments
from bc_sam.config.presets import preset
from bc_sam.data.datasets.rendered import ANYWHERE, load_rendered
from bc_sam.data.store import store_cells
from bc_sam.evaluation.tables import render_text
from bc_sam.networks.sam.loading import load_sam
from bc_sam.training.base_model import new_model_config
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.experiment import Experiment, RunConfig
from bc_sam.training.run_report import write_run_report
from bc_sam.training.steps.pretrain import pretrain
from bc_sam.training.steps.train_labels import LabelledViews
from bc_sam.utils.hub import EMBEDDED_FOLDER

#: The fold that is kept out.
FOLD = 0

#: Rendered cells of each class, each of its own laboratory, to learn to see from.
RENDERED = 100


def main() -> None:
    """Trains the base, then the three stages on it; measures, and writes the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matek19", required=True, help="folder or zip of Matek-19")
    parser.add_argument("--acevedo20", required=True, help="folder or zip of Acevedo-20")
    parser.add_argument("--masks", required=True, help="CSV that ties images to hand masks")
    parser.add_argument("--out", type=Path, required=True, help="run folder; a run that was stopped goes on")
    parser.add_argument("--embed", action="store_true", help="put the model into the package when it is done")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("bc_sam").setLevel("INFO")
    base = options.out.with_name(f"{options.out.name}-base")
    data = f"matek19={options.matek19}", f"acevedo20={options.acevedo20}"
    experiment = Experiment.create(options.out, RunConfig(data, options.masks, arguments=arguments(str(base))))
    if not (base / "model.safetensors").exists():
        train_base(experiment, base)
    experiment.run_fold(FOLD)
    folder = experiment.publish_model()
    print(render_text(write_run_report(experiment, ["python", *map(shlex.quote, sys.argv)])))
    if options.embed:
        BCSam.from_pretrained(folder).save_pretrained(EMBEDDED_FOLDER, half=True)


def arguments(base: str) -> TrainingArguments:
    """The numbers of the three stages: those of the preset, on a base that has seen cells."""
    tiny = preset("tiny")
    return replace(
        tiny,
        base=base,
        validation=0.1,
        keep_pictures=True,  # both data sets are open
        segmentation=replace(tiny.segmentation, train_encoder=False, epochs=12, learning_rate=1e-4),
        autoencoder=replace(tiny.autoencoder, feature_weight=1.0, pixel_weight=10.0, batch_size=32, epochs=24),
        classifiers=replace(
            tiny.classifiers,
            default="logistic",  # the best calibrated
            rendered=40,
        ),
    )


def train_base(experiment: Experiment, folder: Path) -> None:
    """Lets a new small SAM learn to see the cells that are in neither the tested fold nor the validation."""
    learned = np.flatnonzero(experiment.folds != FOLD)
    rows, validation = experiment.split_validation(learned)
    seed = experiment.training.seed
    sam = load_sam("tiny", seed=seed)
    work = experiment.folder / "work" / "base"
    numbers = PretrainingArguments()
    rendered = store_cells(
        [load_rendered(ANYWHERE, cells_per_class=RENDERED, seed=seed)], work / "rendered", experiment.cells.image_size
    )
    views = LabelledViews(
        experiment.cells,
        rows,
        rendered,
        validation,
        numbers,
        experiment.accelerator,
        new_model_config(sam, experiment.cells, rows, experiment.labels, experiment.training),
        seed,
    )
    # A longer later part leaves what came before it as it is.
    known = {
        "teacher": replace(numbers, window_epochs=0, epochs=0),
        "window": replace(numbers, epochs=0),
        "whole": numbers,
    }
    cells = experiment.cells.table.key, rendered.table.key
    teacher, window, whole = (Checkpoints(work / part, repr((own, cells))) for part, own in known.items())
    sam, _ = pretrain(sam, views, checkpoints=(teacher, window, whole))
    sam.save_pretrained(folder)


if __name__ == "__main__":
    try:
        main()
    except BCSamError as error:
        sys.exit(f"error: {error}")
