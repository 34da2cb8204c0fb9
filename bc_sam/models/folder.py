"""A model folder on disk: which file is what, whether each is the one that was saved, and how a whole one appears."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bc_sam.config.model import FORMAT_VERSION, BCSamConfig
from bc_sam.errors import BCSamError, WeightsError
from bc_sam.utils.json_config import read_json

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

#: The files of a model folder, as patterns. Nothing else of a repository is downloaded, or removed by a push.
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
)

# Written for people, who may edit them; nothing is computed from them.
_UNCHECKED = (CONFIG, CARD)


def load_config(folder: Path) -> BCSamConfig:
    """Reads a model folder's ``config.json``.

    Raises:
        WeightsError: If the folder is no model folder or was written by a newer version.
        ConfigError: If the file holds something else.
    """
    path = folder / CONFIG
    if not path.exists():
        raise WeightsError(f"{folder} has no config.json, so it is no bc_sam model. Give the folder of a saved model.")
    data = read_json(path)
    found = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise WeightsError(f"{path} has no format_version, so it is no config of bc_sam. Give the folder of a model.")
    if found > FORMAT_VERSION:
        raise WeightsError(f"{folder} was written by a newer bc_sam (format {found}). Run: pip install -U bc_sam.")
    return BCSamConfig.from_dict(data, where=str(path))


def hash_files(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a folder that a model is loaded from, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: _sha256(path)
        for name, path in names.items()
        if name not in _UNCHECKED and not name.startswith(f"{FIGURES}/")
    }


def check_files(folder: Path, config: BCSamConfig) -> None:
    """Checks that the files of a model are those that were saved, before any of them is opened.

    Raises:
        WeightsError: Names the file that is missing, changed, or not vouched for by ``config.json``.
    """
    for name in _required(config):
        if name not in config.files:
            raise WeightsError(
                f"{folder / CONFIG} does not list {name} among its files, so this is no whole model. "
                "Save or download it again."
            )
    for name, expected in config.files.items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"{path} is missing. Copy, download or save the model again.")
        if _sha256(path) != expected:
            raise WeightsError(
                f"{path} is not the file that was saved with this model: its SHA-256 differs from the one in "
                "config.json. It was changed, or broke on its way. Copy or download the model again."
            )


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Hands out an empty folder that takes the place of `folder` when all is written to it, and only then.

    Raises:
        BCSamError: If `folder` exists and is no model folder, or the disk is full.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).exists()):
        raise BCSamError(f"{folder} exists and holds something else. Choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise BCSamError(f"{folder} cannot be made: {error}. Choose another folder.") from error
    try:
        yield part
        _let_others_read(part)
        _swap(part, folder)
    except OSError as error:
        raise BCSamError(f"The model could not be written to {folder}: {error}. Nothing was changed.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_preprocessor(config: BCSamConfig, path: Path) -> None:
    """Writes how pixels are prepared, in the form of transformers: ``AutoImageProcessor`` does the same with it."""
    settings: dict[str, Any] = {
        "image_processor_type": "ViTImageProcessor",
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
    path.write_text(json.dumps(settings, indent=2) + "\n")


def _required(config: BCSamConfig) -> list[str]:
    """The files without which there is no model."""
    base = [f"{BASE}/config.json", f"{BASE}/model.safetensors"]
    if config.network is not None:
        return [NETWORK, *(base if config.base_inside and config.network.needs_sam else [])]
    names = [f"{ADAPTER}/adapter_config.json", f"{ADAPTER}/adapter_model.safetensors", AUTOENCODER]
    names += [f"{CLASSIFIERS}/{name}.skops" for name in config.classifiers]
    return [*names, *base] if config.base_inside else names


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _let_others_read(folder: Path) -> None:
    """Gives a temporary folder, and what libraries wrote for their owner alone, the rights of an ordinary one."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _swap(new: Path, folder: Path) -> None:
    """Puts a folder in the place of another, which is moved aside first and comes back if that fails."""
    if not folder.exists():
        os.rename(new, folder)
        return
    aside = new.with_name(new.name + ".old")
    os.rename(folder, aside)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
