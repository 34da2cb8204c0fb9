"""A model folder on disk: its layout, integrity checks, and atomic replacement."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bc_sam.config.model import FORMAT_VERSION, BCSamConfig
from bc_sam.errors import BCSamError, WeightsError
from bc_sam.utils.atomic import WRITE_ERRORS, folder_written_aside, written_aside
from bc_sam.utils.json_config import read_json

logger = logging.getLogger(__name__)

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
CARD = "README.md"
EVALUATION = "evaluation.json"
RECORD = "training.json"
ADAPTER = "adapter"
AUTOENCODER = "autoencoder/model.safetensors"
CLASSIFIERS = "classifiers"
REFERENCE = "classifiers/reference.safetensors"
THUMBNAILS = "classifiers/thumbnails.safetensors"
BASE = "base"
NETWORK = "network/model.safetensors"
FIGURES = "figures"
ONNX = "onnx"

# Key of the digest of the other content of `CONFIG`.
_DIGEST = "digest"

#: Patterns of the files of a model folder. No other files of a repository are downloaded, or removed by a push.
MODEL_FILES = (
    CONFIG,
    PREPROCESSOR,
    CARD,
    EVALUATION,
    RECORD,
    f"{ADAPTER}/*",
    "autoencoder/*",
    f"{CLASSIFIERS}/*",
    f"{BASE}/*",
    "network/*",
    f"{FIGURES}/*",
    f"{ONNX}/*",
)

# Files that users may edit.
_UNCHECKED = (CONFIG, CARD)


def load_config(folder: Path) -> BCSamConfig:
    """Reads a model folder's ``config.json``.

    Raises:
        WeightsError: If the folder is not a model folder, or was written by a newer version.
        ConfigError: If the config is invalid.
    """
    path = folder / CONFIG
    if not path.exists():
        raise WeightsError(
            f"{folder} has no config.json, so it is not a bc_sam model. Give the folder of a saved model."
        )
    data = read_json(path)
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise WeightsError(
            f"{path} has no format_version, so it is not a bc_sam config. Give the folder of a saved model."
        )
    if version > FORMAT_VERSION:
        raise WeightsError(
            f"{folder} was written by a newer bc_sam (format {version}). In an updated clone of its repository, run: "
            "pip install -U ."
        )
    _check_digest(data, path)
    return BCSamConfig.from_dict({name: data[name] for name in data if name != _DIGEST}, where=str(path))


def write_config(config: BCSamConfig, path: Path) -> None:
    """Writes the config with a digest of its content, which `load_config` verifies."""
    data = config.to_dict()
    with written_aside(path) as unfinished:
        unfinished.write_text(json.dumps(data | {_DIGEST: _digest(data)}, indent=2) + "\n")


def _check_digest(data: dict[str, Any], path: Path) -> None:
    """Verifies that a config was not changed after it was saved; models of earlier versions have no digest."""
    if _DIGEST not in data:
        logger.warning("%s has no digest, so changes of it go unnoticed. Save the model again to add one.", path)
    elif data[_DIGEST] != _digest({name: data[name] for name in data if name != _DIGEST}):
        raise WeightsError(
            f"{path} is not the file that was saved with this model: it was modified or damaged. Copy or download "
            "the model again; to restrict its labels, use bc-sam save --labels."
        )


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file that a model is loaded from, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: hash_file(path)
        for name, path in names.items()
        if name not in _UNCHECKED and not name.startswith(f"{FIGURES}/")
    }


def check_files(folder: Path, config: BCSamConfig) -> None:
    """Verifies the checksums of a model's files, before any of them is opened.

    Raises:
        WeightsError: If a file is missing, changed, or not listed in ``config.json``.
    """
    for name in _required(config):
        if name not in config.files:
            raise WeightsError(
                f"{folder / CONFIG} does not list {name} among its files, so the model is incomplete. "
                "Save or download it again."
            )
    for name, expected in config.files.items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"{path} is missing. Copy, download or save the model again.")
        if hash_file(path) != expected:
            raise WeightsError(
                f"{path} is not the file that was saved with this model: its SHA-256 differs from the one in "
                "config.json. It was modified or damaged. Copy or download the model again."
            )


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that atomically replaces `folder` on success.

    Raises:
        BCSamError: If `folder` exists and is not a model folder, or the disk is full.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).exists()):
        raise BCSamError(f"{folder} exists and is not a model folder. Choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BCSamError(f"{folder} cannot be created: {error}. Choose another folder.") from error
    try:
        with folder_written_aside(folder) as part:
            yield part
    except WRITE_ERRORS as error:
        raise BCSamError(f"The model could not be saved to {folder}: {error}. Nothing was changed.") from error


def write_preprocessor(config: BCSamConfig, path: Path) -> None:
    """Writes the preprocessing in the format of transformers.

    After ``import bc_sam``, ``AutoImageProcessor`` reads it as `bc_sam.models.auto_classes.image_processor`, which
    prepares images as the model itself does.
    """
    settings: dict[str, Any] = {
        "image_processor_type": "CellImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": config.image_size, "width": config.image_size},
        "resample": 2,  # bilinear
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [mean / 255 for mean in config.image_mean],
        "image_std": [std / 255 for std in config.image_std],
    }
    if config.normalization is not None:
        settings["normalization"] = config.normalization.to_dict()
    path.write_text(json.dumps(settings, indent=2) + "\n")


def _required(config: BCSamConfig) -> list[str]:
    """Returns the files that a model requires."""
    base = [f"{BASE}/config.json", f"{BASE}/model.safetensors"]
    if config.network is not None:
        return [NETWORK, *(base if config.base_inside and config.network.needs_sam else [])]
    names = [f"{ADAPTER}/adapter_config.json", f"{ADAPTER}/adapter_model.safetensors", AUTOENCODER]
    names += [f"{CLASSIFIERS}/{name}.skops" for name in config.classifiers]
    return [*names, *base] if config.base_inside else names


def model_digest(config: BCSamConfig) -> str:
    """Returns a hash of the weights, classifiers and config of a model, but not of where it lies or its export."""
    values = config.to_dict()
    values["files"] = {name: digest for name, digest in values["files"].items() if Path(name).parts[0] != ONNX}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
