"""Which model the page starts with."""

import os
from pathlib import Path

from huggingface_hub import RepoCard

from bc_sam.utils.hub import EMBEDDED_MODEL


def model_source(space: Path | None = None) -> str:
    """Returns what to load.

    That is what ``BC_SAM_MODEL`` says, else the Space's folder ``model``, else what its card names, else the model
    inside the package.

    Args:
        space: The folder of the Space, if the page runs as one.
    """
    if os.environ.get("BC_SAM_MODEL"):
        return os.environ["BC_SAM_MODEL"]
    if space is not None and (space / "model").is_dir():
        return str(space / "model")
    if space is not None and (named := RepoCard.load(space / "README.md").data.get("models")):
        return named[0]
    return EMBEDDED_MODEL
