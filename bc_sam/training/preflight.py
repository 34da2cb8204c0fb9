"""Checks before an image is read: what would otherwise end a training after hours."""

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from datasets import Dataset

from bc_sam.classifiers.kinds import kind_of
from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.base import Protocol
from bc_sam.errors import ConfigError, DataError
from bc_sam.training.base_model import load_base
from bc_sam.training.engine.sampling import require_divisible
from bc_sam.training.estimates import require_memory


def check_training(training: TrainingArguments, accelerator: Accelerator) -> None:
    """Checks the settings of a training against the classifiers, the base, the processes and the memory there are.

    Args:
        training: The settings, each of which is in its range.
        accelerator: The processes and the device.

    Raises:
        ConfigError: If a classifier is unknown, a batch cannot be divided, the base is no SAM of the image size, or
            the LoRA rank exceeds its width.
        BCSamError: If a classifier is not installed, or the base cannot be loaded.
        DataError: If the memory is too small.
    """
    is_bc_sam = training.method == "bc-sam"
    batches = {"segmentation": training.segmentation.batch_size, "autoencoder": training.autoencoder.batch_size}
    for stage, batch_size in (batches if is_bc_sam else {"network": training.network.batch_size}).items():
        require_divisible(batch_size, accelerator, f"{stage}.batch_size")
    if is_bc_sam:
        for name in training.classifiers.names:
            kind_of(name).require_installed()
    if not (is_bc_sam or training.network.inputs(training.method).sam):
        return
    sam = load_base(training)
    vision: Any = sam.config.vision_config
    width, rank = vision.hidden_size, training.segmentation.lora_rank
    if rank > width:
        raise ConfigError(
            f"segmentation.lora_rank must be between 1 and {width}, the width of the base's encoder, but is {rank}."
        )
    if is_bc_sam or training.network.learn_masks or training.network.inputs(training.method).masks:
        require_memory(sam, training, accelerator)


def check_labels(datasets: Sequence[Dataset], protocol: Protocol) -> None:
    """Checks that there are labels to fit classifiers on.

    Args:
        datasets: The data sets, one per laboratory.
        protocol: Under ``"leave-one-out"`` classifiers are fitted on several laboratories only, else also on each.

    Raises:
        DataError: If all labelled cells, or those of a data set that is trained on alone, have the same class.
    """
    classes = []
    for dataset in datasets:
        names = dataset.features["label"].names
        found = sorted({names[label] for label in dataset["label"] if label is not None})
        classes += found
        if len(found) == 1 and protocol != "leave-one-out":
            raise DataError(
                f"All labelled cells of {dataset[0]['domain']!r} are {found[0]}, but classifiers are also fitted on "
                "each data set alone and need two classes. Label more of its cells, pass them as part of another data "
                "set, or omit their labels."
            )
    if len(set(classes)) < 2:
        found = sorted(set(classes)) or ["none"]
        raise DataError(f"Training needs labelled cells of at least two classes, but found {found[0]}. Label more.")
