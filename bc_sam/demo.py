"""The whole pipeline on rendered cells of two laboratories, in a few minutes and with no data of one's own."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from bc_sam.config import ClassifierArguments, TrainingArguments, preset
from bc_sam.experiment import Experiment, RunConfig

#: Cells of each class that each laboratory stains and photographs.
CELLS_PER_CLASS = 24

LABORATORIES = ("munich", "barcelona")


def demo_config() -> RunConfig:
    """What the demonstration trains: the preset ``tiny``, shortened."""
    tiny = preset("tiny")
    arguments: TrainingArguments = replace(
        tiny,
        segmentation=replace(tiny.segmentation, epochs=6, warmup_epochs=1),
        autoencoder=replace(tiny.autoencoder, epochs=6, warmup_steps=10),
        classifiers=ClassifierArguments(),
    )
    return RunConfig(
        data=tuple(f"{name}=rendered:{name}:{CELLS_PER_CLASS}" for name in LABORATORIES), arguments=arguments
    )
