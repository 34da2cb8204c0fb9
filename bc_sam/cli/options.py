"""Options shared by several commands, and their parsers."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer

from bc_sam.config.arguments import ClassifierArguments
from bc_sam.config.labels import LABELS
from bc_sam.errors import ConfigError
from bc_sam.utils.model_source import EMBEDDED_MODEL

if TYPE_CHECKING:
    from bc_sam.config.arguments import TrainingArguments
    from bc_sam.config.network import Method
    from bc_sam.data.reading_options import Layout

#: Panels that group the data, training and download options in ``--help``.
DATA_PANEL, TRAINING_PANEL, HUB_PANEL, ENGINE_PANEL = "Data", "Training", "Hub", "Engine"

Model = Annotated[
    str, typer.Argument(help="Model folder, run folder, or Hub id such as org/bc-sam; bc-sam-tiny is bundled.")
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Model folder, run folder, or Hub id; by default the bundled one.")
]
Cells = Annotated[
    list[str],
    typer.Argument(
        help="Image files, folders, zips, quoted glob patterns, a CSV of files, parquet, or a Hub data set id."
    ),
]
Data = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="NAME=SOURCE",
        help="Data set of one laboratory. Repeatable. SOURCE is a folder or zip (Matek-19, Acevedo-20, BCCD, or a "
        "subfolder per class), a CSV of files and labels, parquet or WebDataset tars, a Hub data set id, an address "
        "such as s3://bucket/cells, or rendered:LAB[:CELLS[:SEED]].",
        rich_help_panel=DATA_PANEL,
    ),
]
Masks = Annotated[
    Path | None,
    typer.Option(
        help="CSV file with columns image and mask: the annotated masks, also of only some images.",
        rich_help_panel=DATA_PANEL,
    ),
]
LabelMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FOLDER=CLASS",
        help="Class of the images in FOLDER, or with the label FOLDER; FOLDER= skips them. Repeatable.",
        rich_help_panel=DATA_PANEL,
    ),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Regular expression whose first group extracts the slide or patient from a file name: '^([^_]+)_'; with "
        "a slash in it, from the path below the source.",
        rich_help_panel=DATA_PANEL,
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="folder",
        help="folder: the folders above the classes, or else below them, are slides or patients.",
        rich_help_panel=DATA_PANEL,
    ),
]
ConfigName = Annotated[
    str | None, typer.Option("--config", help="Config of a data set on the Hub.", rich_help_panel=DATA_PANEL)
]
Split = Annotated[
    str | None,
    typer.Option(help="Read this split only, of folders or the Hub; by default all.", rich_help_panel=DATA_PANEL),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="ROLE=NAME",
        help="Column of a CSV, parquet or Hub data set for image, file, label, group or mask; by default found by "
        "name. With --engine also id, for the ids of the results, of a CSV. Repeatable.",
        rich_help_panel=DATA_PANEL,
    ),
]
MicronsPerPixel = Annotated[
    float | None,
    typer.Option(
        help="Pixel size of the images, µm, for models that bring cells to one scale. By default it is measured from "
        "the red cells, else the white cells.",
        rich_help_panel=DATA_PANEL,
    ),
]
PixelSizes = Annotated[
    list[str] | None,
    typer.Option(
        "--microns-per-pixel",
        metavar="NAME=UM",
        help="Known pixel size of the images of data set NAME, µm. Repeatable; the others are measured.",
        rich_help_panel=DATA_PANEL,
    ),
]
Normalize = Annotated[
    bool,
    typer.Option(
        "--normalize/--no-normalize",
        help="Bring every cell to one scale and light; or stretch whole images to squares, as in the paper.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.", rich_help_panel=HUB_PANEL)
]
Subfolder = Annotated[
    str | None, typer.Option(help="Folder of the model in the repository.", rich_help_panel=HUB_PANEL)
]
Token = Annotated[
    str | None,
    typer.Option(
        help="Access token; by default that of 'hf auth login' or HF_TOKEN, which other users of the machine cannot "
        "read from the list of processes.",
        rich_help_panel=HUB_PANEL,
    ),
]
LocalFilesOnly = Annotated[
    bool,
    typer.Option(
        "--local-files-only",
        help="Use downloaded files only, without contacting the Hub.",
        rich_help_panel=HUB_PANEL,
    ),
]
ForceDownload = Annotated[
    bool,
    typer.Option(
        "--force-download",
        help="Download the model again, such as if its cached files are damaged.",
        rich_help_panel=HUB_PANEL,
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Images per batch; by default chosen for the device.")
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...; by default the first CUDA GPU, else the CPU.")
]
Dtype = Annotated[str, typer.Option(help="Data type of SAM's encoder: auto, float32, bfloat16 or float16.")]
Backend = Annotated[
    Literal["torch", "onnx", "openvino"] | None,
    typer.Option(
        help="What computes: torch, the default where it is installed; ONNX Runtime, which starts faster and uses the "
        "CPU only; or OpenVINO, which takes half of the time on CPUs with bfloat16. A model without an export is "
        "exported once, which takes a minute.",
    ),
]
EngineName = Annotated[
    Literal["local", "ray", "accelerate"] | None,
    typer.Option(
        "--engine",
        help="For any number of cells, into a folder of Parquet files, continued after an interruption: local (this "
        "process), ray (a machine or a cluster) or accelerate (under accelerate launch). SOURCE may then also be a "
        "WebDataset tar, or an address such as s3://bucket/cells.",
        rich_help_panel=ENGINE_PANEL,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Workers of --engine ray, each with a model; by default as many as there are cores or GPUs for.",
        rich_help_panel=ENGINE_PANEL,
    ),
]
CpusPerWorker = Annotated[
    float | None,
    typer.Option(min=0.1, help="Cores of each worker of --engine ray; 1 by default.", rich_help_panel=ENGINE_PANEL),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs of each worker of --engine ray; none by default.", rich_help_panel=ENGINE_PANEL),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT; by default RAY_ADDRESS, else Ray is started here.",
        rich_help_panel=ENGINE_PANEL,
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Cells or fields of a block, the unit of --engine that is written and repeated; by default 1,000 cells "
        "or 20 fields.",
        rich_help_panel=ENGINE_PANEL,
    ),
]
IncludeBase = Annotated[bool, typer.Option("--include-base", help="Include the base SAM even if it is on the Hub.")]
Refit = Annotated[
    bool, typer.Option("--refit", help="Refit the classifiers on the stored latents without opening any skops file.")
]
Base = Annotated[
    str | None,
    typer.Option(
        help="Base SAM: Hub id, folder or original .pth; bc-sam-tiny for the small one of that model, which has "
        "learned from cells; tiny for a small one with random weights.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Preset of settings: paper, pretrained or tiny; by default tiny for --base tiny, pretrained for --base "
        "bc-sam-tiny, else paper.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help="strict excludes the held-out fold from every stage, paper from stage 3 only; leave-one-out holds out "
        "each laboratory in turn.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Folds = Annotated[int | None, typer.Option(help="Number of folds.", rich_help_panel=TRAINING_PANEL)]
Seed = Annotated[
    int | None, typer.Option(help="Seed of folds, initial weights and shuffling.", rich_help_panel=TRAINING_PANEL)
]
TrainingPrecision = Annotated[
    str | None,
    typer.Option("--precision", help="Mixed precision: auto, no, bf16 or fp16.", rich_help_panel=TRAINING_PANEL),
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
        help="Store thumbnails of training cells in the model, to be shown as similar cells. Anyone with the "
        "model can view them: do not use it on patient images that must not leave your institution.",
    ),
]
LabelsPerClass = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="N", help="Maximum number of labels per class to train on; 0 for none. By default all."
    ),
]
LearnFrom = Annotated[
    str | None,
    typer.Option(help="both (default) fits the classifiers on old and new cells, new on the new cells only."),
]
Classifier = Annotated[
    str | None,
    typer.Option(
        help=f"Classifier to use, of those that the model has: {', '.join(ClassifierArguments().names)}. By default "
        "the model's own choice."
    ),
]

Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="Comma-separated labels to which predictions are restricted: all that can occur, such as the classes "
        "you count; or five-part, with-blasts (five-part and blasts) or all. By default the labels that the model was "
        f"saved with, usually all it was trained on: {', '.join(LABELS)}.",
    ),
]
CountAll = Annotated[
    bool,
    typer.Option(
        "--count-all", help="Count nucleated red cells and smudge cells among the 100 %, not per 100 white cells."
    ),
]


def read_pairs(values: list[str] | None) -> dict[str, str | None]:
    """Parses the ``FOLDER=CLASS`` pairs of ``--map``; an empty class skips the folder."""
    pairs: dict[str, str | None] = {}
    for pair in values or []:
        folder, separator, label = pair.partition("=")
        if not separator:
            raise ConfigError(f"--map {pair} has no '='. Write it as --map neutrophil=neutrophil_segmented.")
        pairs[folder] = label or None
    return pairs


def read_weights(values: list[str] | None) -> dict[str, float]:
    """Parses the ``LABEL=WEIGHT`` pairs of ``--weigh``."""
    weights = {}
    for pair in values or []:
        label, _, weight = pair.partition("=")
        try:
            weights[label] = float(weight)
        except ValueError:
            raise ConfigError(f"--weigh {pair} is not LABEL=WEIGHT. Write it as --weigh monocyte=3.") from None
    return weights


def read_layout(group_by: str | None, config: str | None, split: str | None, columns: list[str] | None) -> "Layout":
    """Combines ``--group-by``, ``--config``, ``--split`` and the ``ROLE=NAME`` pairs of ``--column``."""
    from bc_sam.data.reading_options import Layout

    roles: dict[str, str] = {}
    for pair in columns or []:
        role, separator, name = pair.partition("=")
        if not (role and separator and name):
            raise ConfigError(f"--column {pair} is not ROLE=NAME. Write it as --column label=cell_type.")
        roles[role] = name
    return Layout(group_by, config, split, roles)


def read_pixel_sizes(values: list[str] | None) -> dict[str, float]:
    """Parses the ``NAME=UM`` pairs of ``--microns-per-pixel``."""
    sizes: dict[str, float] = {}
    for pair in values or []:
        name, separator, size = pair.partition("=")
        try:
            sizes[name] = float(size)
        except ValueError:
            separator = ""
        if not (name and separator):
            raise ConfigError(f"--microns-per-pixel {pair} is not NAME=UM. Write it as --microns-per-pixel ours=0.1.")
    return sizes


def use_token(token: str | None) -> None:
    """Uses an access token for all that this process fetches from the Hub, such as data sets; it is stored nowhere."""
    if token:
        os.environ["HF_TOKEN"] = token


def read_labels(labels: str | None) -> list[str] | None:
    """Parses the comma-separated names of ``--labels``."""
    return None if labels is None else [name.strip() for name in labels.split(",")]


def require_writable(path: Path, option: str) -> None:
    """Checks that a file can be written, before hours of computation whose result would be lost.

    Args:
        path: The file.
        option: The option that names it.

    Raises:
        ConfigError: If its folder does not exist or cannot be written to, or the path is a folder.
    """
    folder = path.resolve().parent
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder. Name a file in it.")
    if not folder.is_dir():
        raise ConfigError(f"{option} {path} is in a folder that does not exist. Create {folder} first.")
    # A file is written beside its place and then moved there, a device such as /dev/stdout directly.
    if not os.access(path if path.exists() and not path.is_file() else folder, os.W_OK):
        raise ConfigError(f"{option} {path} cannot be written: no permission. Name a file in another folder.")


def read_method(name: str) -> "Method":
    """Validates ``--method``."""
    from bc_sam.config.network import Method

    if name not in get_args(Method):
        raise ConfigError(f"Unknown method {name!r}. Choose one of {', '.join(get_args(Method))}.")
    return cast("Method", name)


def read_arguments(
    preset_name: str | None, given: dict[str, Any], settings: list[str] | None, method: str = "bc-sam"
) -> "TrainingArguments":
    """Returns the training settings: a preset, overridden by options and then by ``--set``.

    Args:
        preset_name: The preset; ``None`` chooses it by the base.
        given: Option values by field name; ``None`` if not given.
        settings: ``NAME=VALUE`` of each ``--set``.
        method: The method to train.

    Raises:
        ConfigError: If a name or value is not valid.
    """
    from bc_sam.config.presets import preset

    by_base = {"tiny": "tiny", EMBEDDED_MODEL: "pretrained"}
    name = preset_name or by_base.get(given.get("base") or "", "paper")
    return preset(name, read_method(method)).updated(read_settings(given, settings), where="The command line")


def with_normalization(arguments: "TrainingArguments", normalize: bool) -> "TrainingArguments":
    """Applies ``--no-normalize``."""
    return arguments if normalize else replace(arguments, normalization=None)


def read_settings(given: dict[str, Any], settings: list[str] | None) -> dict[str, Any]:
    """Merges options and ``--set`` into nested settings.

    Args:
        given: Option values by dotted field name; ``None`` if not given.
        settings: ``NAME=VALUE`` of each ``--set``, VALUE being JSON or else a string. They take precedence.

    Raises:
        ConfigError: If a setting has no value, or a prefix of its name is not a section.

    Example:
        >>> read_settings({"seed": 5, "folds": None}, ["segmentation.epochs=20"])
        {'seed': 5, 'segmentation': {'epochs': 20}}
    """
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            _set_nested(changes, name, value)
    for setting in settings or []:
        name, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting} has no value. Write it as --set segmentation.epochs=20.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        _set_nested(changes, name, value)
    return changes


def _set_nested(changes: dict[str, Any], name: str, value: Any) -> None:
    """Sets the value of a dotted name in nested settings, in place."""
    *sections, key = name.split(".")
    for section in sections:
        changes = changes.setdefault(section, {})
        if not isinstance(changes, dict):
            raise ConfigError(f"{name}: {section} already has a value, so it cannot be a section.")
    changes[key] = value
