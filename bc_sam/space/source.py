"""Which model the page starts with."""

import os
from pathlib import Path

from huggingface_hub import RepoCard

from bc_sam.errors import ConfigError


def model_source(space: Path | None = None) -> str:
    """Returns what to load: what ``BC_SAM_MODEL`` says, else the Space's folder ``model``, else what its card names.

    Args:
        space: The folder of the Space, if the page runs as one.

    Raises:
        ConfigError: If nothing names a model.
    """
    if os.environ.get("BC_SAM_MODEL"):
        return os.environ["BC_SAM_MODEL"]
    if space is not None and (space / "model").is_dir():
        return str(space / "model")
    if space is not None and (named := RepoCard.load(space / "README.md").data.get("models")):
        return named[0]
    raise ConfigError("There is no model. Set BC_SAM_MODEL to a model folder, a run folder or a Hub id.")
