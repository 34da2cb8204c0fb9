"""Options that several commands take, and how what is written in them is read."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from bc_sam.errors import ConfigError

if TYPE_CHECKING:
    from bc_sam.config.arguments import TrainingArguments
    from bc_sam.config.network import Method

#: Panels of ``--help`` that group the options of data and of training.
DATA_PANEL, TRAINING_PANEL = "Data", "Training"

Model = Annotated[
    str, typer.Argument(help="Model folder, run folder, or Hub id such as org/bc-sam; bc-sam-tiny is in the package.")
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Model folder, run folder, or Hub id; by default the one in the package.")
]
Cells = Annotated[
    list[str], typer.Argument(help="Image files, folders, patterns in quotes, parquet, or a Hub data set id.")
]
Data = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="NAME=SOURCE",
        help="A data set, once for each laboratory. SOURCE is a folder or zip (Matek-19, Acevedo-20, or one subfolder "
        "per class), parquet, a Hub data set id, or rendered:LABORATORY[:CELLS[:SEED]].",
        rich_help_panel=DATA_PANEL,
    ),
]
Masks = Annotated[
    Path | None,
    typer.Option(
        help="CSV file with the columns image and mask: annotated masks of some images.", rich_help_panel=DATA_PANEL
    ),
]
LabelMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FOLDER=CLASS",
        help="Class of a folder name of your own; FOLDER= skips the folder. Repeatable.",
        rich_help_panel=DATA_PANEL,
    ),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Regular expression whose first group on a file name is the slide or patient, such as '^([^_]+)_'.",
        rich_help_panel=DATA_PANEL,
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images a step; by default what suits the device.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16: number format of SAM's encoder.")]
Subfolder = Annotated[str | None, typer.Option(help="Folder in the repository that holds the model.")]
IncludeBase = Annotated[bool, typer.Option("--include-base", help="Also write a base SAM that is on the Hub.")]
Refit = Annotated[
    bool, typer.Option("--refit", help="Fit the classifiers again on the stored latents, and open no skops file.")
]
Base = Annotated[
    str | None,
    typer.Option(
        help="SAM to start from: Hub id, folder, original .pth, or tiny for a small one with random weights.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset", help="paper or tiny; by default tiny for --base tiny, else paper.", rich_help_panel=TRAINING_PANEL
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help="strict keeps the held-out fold out of every stage, paper out of stage 3 only; leave-one-out holds out "
        "a whole laboratory instead, each in turn.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Folds = Annotated[
    int | None, typer.Option(help="Folds that each data set is split into.", rich_help_panel=TRAINING_PANEL)
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of folds, initial weights and shuffling.", rich_help_panel=TRAINING_PANEL)
]
TrainingPrecision = Annotated[
    str | None, typer.Option("--precision", help="auto, no, bf16 or fp16.", rich_help_panel=TRAINING_PANEL)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting, such as segmentation.epochs=20. Repeatable.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
LogWith = Annotated[
    list[str] | None,
    typer.Option(help="Tracker: tensorboard, wandb, trackio or another of Accelerate's. Repeatable."),
]
KeepPictures = Annotated[
    bool,
    typer.Option(
        "--keep-pictures",
        help="Store thumbnails of training cells in the model, to be shown as similar cells. Everyone who gets the "
        "model sees them: not for patient images that must not leave your institution.",
    ),
]
LabelsPerClass = Annotated[
    int | None, typer.Option(min=0, help="Most labels of each class to learn from; 0 for none. By default all.")
]
LearnFrom = Annotated[
    str | None,
    typer.Option(help="both fits the classifiers on old and new cells, new on the new ones alone. By default both."),
]
Classifier = Annotated[str | None, typer.Option(help="Classifier to use; by default the model's own choice.")]

Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="Restrict predictions to these labels, separated by commas: all that can occur, such as the classes that "
        "you count. By default those that the model was saved with, ordinarily all that it has learned.",
    ),
]
FormerLabels = Annotated[str | None, typer.Option("--among", hidden=True)]


def read_pairs(given: list[str] | None) -> dict[str, str | None]:
    """Reads FOLDER=CLASS of ``--map``; an empty class skips the folder."""
    pairs: dict[str, str | None] = {}
    for pair in given or []:
        folder, separator, label = pair.partition("=")
        if not separator:
            raise ConfigError(f"--map {pair} has no '='. Write it as --map neutrophil=neutrophil_segmented.")
        pairs[folder] = label or None
    return pairs


def read_labels(labels: str | None, former: str | None = None) -> list[str] | None:
    """Reads ``--labels``, or its former spelling ``--among``, of which it prints a line.

    Raises:
        ConfigError: If both are given.
    """
    if former is not None:
        if labels is not None:
            raise ConfigError("--among is the former spelling of --labels. Give --labels alone.")
        announce_new_spelling("--among", "--labels")
        labels = former
    return None if labels is None else [name.strip() for name in labels.split(",")]


def read_method(name: str) -> "Method":
    """Reads ``--method``."""
    from bc_sam.config.network import Method

    if name not in get_args(Method):
        raise ConfigError(f"There is no method {name!r}; choose one of {', '.join(get_args(Method))}.")
    return cast("Method", name)


def read_arguments(
    preset_name: str | None, given: dict[str, Any], settings: list[str] | None, method: str = "bc-sam"
) -> "TrainingArguments":
    """Returns the settings of a training: a preset, changed by options and then by ``--set``.

    Args:
        preset_name: The preset; ``None`` chooses the one that suits the base.
        given: Values of options by field name; ``None`` for those that were not given.
        settings: ``NAME=VALUE`` of each ``--set``.
        method: What is trained.

    Raises:
        ConfigError: If a name or value is not valid.
    """
    from bc_sam.config.presets import preset

    name = preset_name or ("tiny" if given.get("base") == "tiny" else "paper")
    return preset(name, read_method(method)).updated(read_settings(given, settings), where="The command line")


def read_settings(given: dict[str, Any], settings: list[str] | None) -> dict[str, Any]:
    """Merges options and ``--set`` into nested settings.

    Args:
        given: Values of options by field name, with dots between nested names; ``None`` for those not given.
        settings: ``NAME=VALUE`` of each ``--set``, where VALUE is JSON or else a string. They take precedence.

    Raises:
        ConfigError: If one of `settings` has no value, or its name goes into what is not a section.

    Example:
        >>> read_settings({"seed": 5, "folds": None}, ["segmentation.epochs=20"])
        {'seed': 5, 'segmentation': {'epochs': 20}}
    """
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            _put(changes, name, value)
    for setting in settings or []:
        name, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting} has no value. Write it as --set segmentation.epochs=20.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        _put(changes, name, value)
    return changes


def _put(changes: dict[str, Any], name: str, value: Any) -> None:
    """Puts a value at a dotted name into nested settings, in place."""
    *sections, key = name.split(".")
    for section in sections:
        changes = changes.setdefault(section, {})
        if not isinstance(changes, dict):
            raise ConfigError(f"{name}: {section} was given a value, so it has no settings of its own.")
    changes[key] = value


def announce_new_spelling(former: str, current: str) -> None:
    """Prints how an option or command of an older version is spelled now."""
    print(f"{former} is now spelled {current}.", file=sys.stderr)
