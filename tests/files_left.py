"""Lists a folder from which other processes remove files, which makes `Path.rglob` fail."""

import os
from pathlib import Path


def files_left(folder, name=None):
    """All files that are currently in a folder, or those of the given name."""
    found = [Path(parent, file) for parent, _, files in os.walk(folder) for file in files]
    return [path for path in found if name is None or path.name == name]
