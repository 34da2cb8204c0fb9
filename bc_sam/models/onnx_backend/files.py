"""Where the export of a model lies, which model it belongs to, and the names in its graphs."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from bc_sam.config.model import BCSamConfig
from bc_sam.errors import ConfigError, UntrustedFileError
from bc_sam.models.folder import ADAPTER, AUTOENCODER, BASE, CLASSIFIERS, ONNX, REFERENCE, THUMBNAILS, hash_file
from bc_sam.utils.json_config import read_json

logger = logging.getLogger(__name__)

#: Files of an export: the graph of the networks, and which of its weights are those of the model.
NETWORKS, SHARED = "networks.onnx", "shared_weights.json"

#: Input of the networks' graph, (n, S, S, 3) uint8, and its outputs, (n, d) and (n, S, S) float32. The embeddings are
#: also the input of the classifiers' graphs, whose output is (n, k) float32.
PIXELS, EMBEDDINGS, MASK_LOGITS, PROBABILITIES = "pixels", "embeddings", "mask_logits", "probabilities"

#: Name of the metadata that say which weights and classifiers were exported.
FINGERPRINT = "bc_sam.fingerprint"

# Version of the graphs that this version writes and reads: older exports are made anew.
_GRAPH_VERSION = 2

# An export is at most this many times as large as the weights and classifiers, which may be float16 and compressed ...
_MOST_TIMES = 4
# ... plus this for the graph itself, bytes; and for a base on the Hub, whose size is unknown, what protobuf can hold.
_GRAPH_BYTES, _UNKNOWN_BASE_BYTES = 2**24, 2**31

# Files in the folder of the classifiers that are not part of the export.
_NOT_EXPORTED = (REFERENCE, THUMBNAILS)

# In the cache, where no config lists the files of an export, this one does.
_HASHES = "hashes.json"


@dataclass(frozen=True)
class Export:
    """The undamaged export of a model.

    Attributes:
        folder: Its folder.
        names: Names of its files; others in the folder do not belong to it.
    """

    folder: Path
    names: frozenset[str]

    def has_classifier(self, name: str) -> bool:
        """Whether it has a classifier."""
        return classifier_file(name) in self.names


def classifier_file(name: str) -> str:
    """Returns the name of the file with a classifier's graph."""
    return f"{name}.onnx"


def fingerprint(config: BCSamConfig) -> str:
    """Returns a hash of all that determines the export of a model: weights, classifiers and the config's constants."""
    base = None if config.base_inside else (config.base, config.base_revision)
    constants_ = (config.image_size, config.image_mean, config.image_std, config.mask_tokens)
    files = {name: config.files[name] for name in _exported_files(config)}
    return hashlib.sha256(json.dumps([_GRAPH_VERSION, base, constants_, files], sort_keys=True).encode()).hexdigest()


def most_bytes(folder: Path, config: BCSamConfig) -> int:
    """Returns the largest plausible size of a file in the export of a model, bytes."""
    weights = sum((folder / name).stat().st_size for name in _exported_files(config))
    return _MOST_TIMES * weights + _GRAPH_BYTES + (0 if config.base_inside else _UNKNOWN_BASE_BYTES)


def exported_names(config: BCSamConfig) -> frozenset[str]:
    """Returns the names of the files of the export that a model's config lists."""
    listed = (Path(name) for name in config.files)
    return frozenset(path.name for path in listed if path.parent == Path(ONNX))


def cached_export(config: BCSamConfig) -> Path:
    """Returns the folder for the export of a model whose own has none: among the assets in the Hub's cache."""
    return Path(constants.HF_ASSETS_CACHE) / "bc_sam" / "onnx" / fingerprint(config)


def find_export(folder: Path, config: BCSamConfig) -> Export | None:
    """Returns the undamaged export of a model, in its folder or the cache; ``None`` if there is none.

    Args:
        folder: A model folder whose files have been checked.
        config: Its config.

    Raises:
        UntrustedFileError: If the folder has an export that its config does not list.
    """
    if listed := exported_names(config):
        return Export(folder / ONNX, listed)
    if (folder / ONNX / NETWORKS).exists():
        raise UntrustedFileError(
            f"{folder / 'config.json'} does not list {ONNX}/{NETWORKS} among its files, so it was not saved with this "
            "model. It was not opened. Remove it, or export the model again: bc-sam export MODEL."
        )
    cached = cached_export(config)
    if not cached.exists():
        return None
    hashes = _noted_hashes(cached)
    if NETWORKS not in hashes or any(not _is_file(cached / name, noted) for name, noted in hashes.items()):
        logger.warning("%s is damaged and will be written again.", cached)
        return None
    return Export(cached, frozenset(hashes))


def note_hashes(folder: Path) -> None:
    """Writes the hashes of the files of an export in the cache beside them."""
    hashes = {path.name: hash_file(path) for path in folder.iterdir()}
    (folder / _HASHES).write_text(json.dumps(hashes, indent=1) + "\n")


def _noted_hashes(folder: Path) -> Mapping[str, str]:
    try:
        hashes = read_json(folder / _HASHES)
    except (ConfigError, OSError):
        return {}
    return hashes if isinstance(hashes, dict) else {}


def _is_file(path: Path, noted: str) -> bool:
    return path.is_file() and hash_file(path) == noted


def _exported_files(config: BCSamConfig) -> list[str]:
    parts = (f"{ADAPTER}/", AUTOENCODER, f"{BASE}/", f"{CLASSIFIERS}/")
    return sorted(name for name in config.files if name.startswith(parts) and name not in _NOT_EXPORTED)
