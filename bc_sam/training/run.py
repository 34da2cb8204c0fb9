"""A run folder belongs to what was first asked of it, unless nothing came of that."""

from pathlib import Path

from bc_sam.errors import BCSamError
from bc_sam.training.engine.accelerator import processes
from bc_sam.utils.json_config import JsonConfig


def claim_folder(folder: Path, name: str, config: JsonConfig) -> None:
    """Writes what is asked of a run into its folder, or finds that the very same was asked of it before.

    What was asked before is replaced if there is nothing else in the folder yet, as after data that could not be read.

    Args:
        folder: The run folder; parents are made.
        name: Name of the file that says what was asked.
        config: What is asked now.

    Raises:
        BCSamError: If the folder holds what came of other options, or is none of a run.
    """
    path = folder / name
    inside = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or (inside and name not in inside):
        raise BCSamError(f"{folder} exists and is no such run. Choose another --out.")
    if inside - {name} and type(config).load(path) != config:
        raise BCSamError(f"{folder} holds a run with other options. Choose another --out, or delete it.")
    together = processes()
    together.wait_for_everyone()  # all have looked before one writes
    if together.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        config.save(path)
    together.wait_for_everyone()
