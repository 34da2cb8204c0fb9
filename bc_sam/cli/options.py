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
        help="NAME=SOURCE, once for each laboratory. SOURCE is a folder or zip (Matek-19, Acevedo-20, or a subfolder "
        "a class), parquet, a Hub data set id, or rendered:LABORATORY[:CELLS_PER_CLASS[:SEED]].",
    ),
]
Masks = Annotated[Path | None, typer.Option(help="CSV with the columns image and mask: hand masks for some images.")]
LabelMap = Annotated[
    list[str] | None,
    typer.Option("--map", help="FOLDER=CLASS for a folder name of your own; FOLDER= leaves it out. Repeatable."),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        help="Regular expression whose first group on the file name is the slide or patient, e.g. '^([^_]+)_'."
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
    str | None, typer.Option(help="SAM to start from: Hub id, folder, original .pth, or 'tiny' for a new small one.")
]
PresetName = Annotated[
    str | None, typer.Option("--preset", help="paper or tiny; by default tiny for --base tiny, else paper.")
]
Protocol = Annotated[
    str | None, typer.Option(help="strict keeps the test fold out of every stage; paper out of stage 3 only.")
]
Folds = Annotated[int | None, typer.Option(help="Parts that each data set is cut into.")]
Seed = Annotated[int | None, typer.Option(help="Seed of folds, weights and shuffling.")]
TrainingPrecision = Annotated[str | None, typer.Option("--precision", help="auto, no, bf16 or fp16.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other number, as in --set segmentation.epochs=20. Repeatable."),
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
    """Reads FOLDER=CLASS of ``--map``; an empty class leaves the folder out."""
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
        print("--among is now spelled --labels.", file=sys.stderr)
        labels = former
    return None if labels is None else [name.strip() for name in labels.split(",")]


def read_method(name: str) -> "Method":
    """Reads ``--method``."""
    from bc_sam.config.network import Method

    if name not in get_args(Method):
        raise ConfigError(f"There is no method {name!r}; choose one of {', '.join(get_args(Method))}.")
    return cast("Method", name)


def read_arguments(
    name: str, given: dict[str, Any], settings: list[str], method: str = "bc-sam"
) -> "TrainingArguments":
    """Returns a preset of a method, with the options that were given, and ``--set SECTION.NAME=VALUE``, on top."""
    from bc_sam.config.arguments import TrainingArguments
    from bc_sam.config.presets import preset

    options = {key: value for key, value in given.items() if value is not None}
    data = preset(name, read_method(method)).to_dict() | options
    return TrainingArguments.from_dict(put_settings(data, settings), where="The command line")


def put_settings(data: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Puts each ``SECTION.NAME=VALUE`` into nested settings, in place."""
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting} has no value. Write it as --set segmentation.epochs=20.")
        *sections, key = path.split(".")
        target: Any = data
        for section in sections:
            target = target.get(section)
            if not isinstance(target, dict):
                raise ConfigError(f"--set {setting}: there is no section {section!r} among {', '.join(data)}.")
        try:
            target[key] = json.loads(text)
        except ValueError:
            target[key] = text
    return data
