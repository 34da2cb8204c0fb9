"""Trains bc-sam-tiny, the model in the package, from scratch: python hub/train_tiny.py --help.

Every image is brought to one scale and light. A small SAM is first pretrained
on cells, with their classes, their masks and two plain convolutional networks
as teachers (`bc_sam.training.steps.pretrain`); then the three stages follow, as
for any base. Fold 0 of each data set is held out from all of it; a tenth of
the rest is used to select the best epochs. The teachers are saved as models
too, to be compared with it: plain networks that learned from the same cells
with the same augmentation.
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
from bc_sam.config.labels import KINDS_THAT_CAN_OCCUR
from bc_sam.config.presets import preset
from bc_sam.data.datasets.rendered import ANYWHERE, load_rendered
from bc_sam.data.store import store_cells
from bc_sam.evaluation.tables import render_text
from bc_sam.models.comparison import ComparisonModel
from bc_sam.networks.sam.loading import load_sam
from bc_sam.training.base_model import new_model_config
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.experiment import Experiment, RunConfig
from bc_sam.training.run_report import write_run_report
from bc_sam.training.steps.pretrain import PretrainingCheckpoints, pretrain
from bc_sam.training.steps.train_labels import LabelledViews
from bc_sam.utils.model_source import EMBEDDED_FOLDER

#: The held-out fold.
FOLD = 0

#: Rendered cells per class for pretraining, each from its own simulated laboratory.
RENDERED = 100

#: Cells of a differential count and blasts are expected three times as often as among the training cells, of which
#: about as many are drawn of each class. The smallest weight from which JTSC gains no more, see docs/bc_sam_tiny.md.
EXPECTED = dict.fromkeys(KINDS_THAT_CAN_OCCUR["with-blasts"], 3.0)


def main() -> None:
    """Pretrains the base, trains the three stages on it, evaluates, and writes the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matek19", required=True, help="folder or zip of Matek-19")
    parser.add_argument("--acevedo20", required=True, help="folder or zip of Acevedo-20")
    parser.add_argument("--bccd", help="folder of BCCD: boxes.csv and fields/")
    parser.add_argument("--masks", required=True, help="CSV that pairs images with annotated masks")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an interrupted run is resumed")
    parser.add_argument("--embed", action="store_true", help="write the finished model into the package")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("bc_sam").setLevel("INFO")
    base = options.out.with_name(f"{options.out.name}-base")
    data = [f"matek19={options.matek19}", f"acevedo20={options.acevedo20}"]
    data += [f"bccd={options.bccd}"] if options.bccd else []
    config = RunConfig(tuple(data), options.masks, arguments=arguments(str(base)))
    experiment = Experiment.create(options.out, config)
    if not (base / "model.safetensors").exists():
        train_base(experiment, base)
    experiment.run_fold(FOLD)
    if experiment.is_main_process:
        folder = experiment.publish_model()
        print(render_text(write_run_report(experiment, ["python", *map(shlex.quote, sys.argv)])))
        if options.embed:
            BCSam.from_pretrained(folder).save_pretrained(EMBEDDED_FOLDER, half=True)
    experiment.accelerator.end_training()


def arguments(base: str) -> TrainingArguments:
    """Returns the arguments of the three stages."""
    pretrained = preset("pretrained")
    return replace(
        pretrained,
        base=base,
        validation=0.1,
        keep_pictures=True,  # all data sets are public
        # Of the six the most accurate in JTSC among those whose calibration error there is at most 0.08.
        classifiers=replace(pretrained.classifiers, default="ann", rendered=40, label_weights=EXPECTED),
    )


def train_base(experiment: Experiment, folder: Path) -> None:
    """Pretrains a small SAM on the cells outside the test fold, with the validation cells held out."""
    rows, validation = experiment.split_validation(np.flatnonzero(experiment.folds != FOLD))
    training = experiment.training
    sam = load_sam("tiny", image_size=training.image_size, seed=training.seed)
    work = experiment.folder / "work" / "base"
    pretraining = PretrainingArguments()
    with experiment.accelerator.main_process_first():
        drawn = load_rendered(ANYWHERE, cells_per_class=RENDERED, seed=training.seed)
        rendered = store_cells([drawn], work / "rendered", training.image_size, training.normalization)
    config = new_model_config(sam, experiment.cells, rows, experiment.labels, training)
    views = LabelledViews(
        experiment.cells, rows, rendered, validation, pretraining, experiment.accelerator, config, training.seed
    )
    sam, teachers, _ = pretrain(sam, views, checkpoints=_checkpoints(work, pretraining, views))
    if experiment.is_main_process:
        for teacher in teachers:
            plain = replace(
                config,
                network=teacher.config(len(config.labels)),
                default_classifier="resnet",
                latent_dim=teacher.network.head.in_features,
                average_turns=False,
            )
            model = ComparisonModel(plain, teacher.network, None)
            model.save_pretrained(folder.with_name(f"{folder.name}-teacher-{teacher.size}"))
        part = folder.with_name(f"{folder.name}.part")
        sam.cpu().save_pretrained(part)
        part.replace(folder)  # the base appears only when complete
    experiment.accelerator.wait_for_everyone()


def _checkpoints(work: Path, pretraining: PretrainingArguments, views: LabelledViews) -> PretrainingCheckpoints:
    """Returns the checkpoints; those of a teacher stay valid if the other teachers or the SAM's epochs change."""
    assert views.rendered is not None
    cells = views.cells.content_key, views.rendered.content_key
    writes = views.accelerator.is_main_process

    def teacher(size: int) -> Checkpoints:
        own = replace(pretraining, epochs=0, teacher_sizes=(size,))
        return Checkpoints(work / f"teacher-{size}", repr((own, cells)), writes=writes)

    teachers = tuple(map(teacher, pretraining.teacher_sizes))
    sam = Checkpoints(work / "sam", repr((pretraining, cells)), writes=writes)
    return PretrainingCheckpoints(teachers, sam)


if __name__ == "__main__":
    try:
        main()
    except BCSamError as error:
        sys.exit(f"error: {error}")
