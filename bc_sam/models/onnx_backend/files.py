"""Where the export of a model lies, which model it belongs to, and the names in its graph."""

import hashlib
import json
import logging
from pathlib import Path

from huggingface_hub import constants

from bc_sam.config.model import BCSamConfig
from bc_sam.errors import UntrustedFileError
from bc_sam.models.folder import ADAPTER, AUTOENCODER, BASE, CLASSIFIERS, ONNX, REFERENCE, THUMBNAILS, hash_file

logger = logging.getLogger(__name__)

#: Input of the graph, (n, S, S, 3) uint8, and the output of its mask decoder, (n, S, S) float32.
PIXELS, MASK_LOGITS = "pixels", "mask_logits"

#: Name of the metadata that say which weights and classifiers were exported.
FINGERPRINT = "bc_sam.fingerprint"

# Version of the graphs that this version writes and reads: older exports are made anew.
_GRAPH_VERSION = 1

# An export is at most this many times as large as the weights and classifiers, which may be float16 and compressed ...
_MOST_TIMES = 4
# ... plus this for the graph itself, bytes; and for a base on the Hub, whose size is unknown, what protobuf can hold.
_GRAPH_BYTES, _UNKNOWN_BASE_BYTES = 2**24, 2**31

# Files in the folder of the classifiers that are not part of the graph.
_NOT_EXPORTED = (REFERENCE, THUMBNAILS)


def probabilities_output(classifier: str) -> str:
    """Returns the name of the output with a classifier's probabilities, (n, k) float32."""
    return f"{classifier}.probabilities"


def fingerprint(config: BCSamConfig) -> str:
    """Returns a hash of all that determines the graph of a model: weights, classifiers and the config's constants."""
    base = None if config.base_inside else (config.base, config.base_revision)
    constants_ = (config.image_size, config.image_mean, config.image_std, config.mask_tokens, config.average_turns)
    files = {name: config.files[name] for name in _exported_files(config)}
    return hashlib.sha256(json.dumps([_GRAPH_VERSION, base, constants_, files], sort_keys=True).encode()).hexdigest()


def most_bytes(folder: Path, config: BCSamConfig) -> int:
    """Returns the largest plausible size of the export of a model, bytes."""
    weights = sum((folder / name).stat().st_size for name in _exported_files(config))
    return _MOST_TIMES * weights + _GRAPH_BYTES + (0 if config.base_inside else _UNKNOWN_BASE_BYTES)


def cached_export(config: BCSamConfig) -> Path:
    """Returns where the export of a model lies whose folder has none: among the assets in the Hub's cache."""
    return Path(constants.HF_ASSETS_CACHE) / "bc_sam" / "onnx" / fingerprint(config) / Path(ONNX).name


def find_export(folder: Path, config: BCSamConfig) -> Path | None:
    """Returns the undamaged export of a model, in its folder or the cache; ``None`` if there is none.

    Args:
        folder: A model folder whose files have been checked.
        config: Its config.

    Raises:
        UntrustedFileError: If the folder has an export that its config does not list.
    """
    path = folder / ONNX
    if ONNX in config.files:
        return path
    if path.exists():
        raise UntrustedFileError(
            f"{folder / 'config.json'} does not list {ONNX} among its files, so it was not saved with this model. It "
            "was not opened. Remove it, or export the model again: bc-sam export MODEL."
        )
    cached = cached_export(config)
    if not cached.exists():
        return None
    if not _is_noted(cached):
        logger.warning("%s is damaged and will be written again.", cached)
        return None
    return cached


def note_hash(path: Path) -> None:
    """Writes the hash of an export in the cache beside it."""
    _note(path).write_text(hash_file(path) + "\n")


def _is_noted(path: Path) -> bool:
    return _note(path).is_file() and _note(path).read_text().strip() == hash_file(path)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _exported_files(config: BCSamConfig) -> list[str]:
    parts = (f"{ADAPTER}/", AUTOENCODER, f"{BASE}/", f"{CLASSIFIERS}/")
    return sorted(name for name in config.files if name.startswith(parts) and name not in _NOT_EXPORTED)
