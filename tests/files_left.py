"""The files in a folder out of which others remove files at the same time, over which `Path.rglob` stumbles."""

import os
from pathlib import Path


def files_left(folder, name=None):
    """Every file in it at this moment, or those of one name."""
    found = [Path(parent, file) for parent, _, files in os.walk(folder) for file in files]
    return [path for path in found if name is None or path.name == name]
