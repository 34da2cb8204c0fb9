"""The model that the page starts with."""

import os
from pathlib import Path

from huggingface_hub import RepoCard

from bc_sam.utils.model_source import EMBEDDED_MODEL


def model_source(space: Path | None = None) -> str:
    """Returns the model to load.

    This is the environment variable ``BC_SAM_MODEL``, else the Space's folder ``model``, else the model that its card
    lists, else the model bundled with the package.

    Args:
        space: The folder of the Space, if the page runs as one.
    """
    if os.environ.get("BC_SAM_MODEL"):
        return os.environ["BC_SAM_MODEL"]
    if space is not None and (space / "model").is_dir():
        return str(space / "model")
    if space is not None and (listed := RepoCard.load(space / "README.md").data.get("models")):
        return listed[0]
    return EMBEDDED_MODEL
