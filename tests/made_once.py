"""Expensive folders that the workers of pytest-xdist share: the first one that needs a folder makes it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """Returns a folder of this session, made by this process unless another one has made it; nobody may change it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once" / name
    folder.parent.mkdir(exist_ok=True)
    done = folder.with_name(f"{name}.done")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


def copied(folder: Path, tmp_path_factory) -> Path:
    """Returns a copy of a folder, with the times of its files, for this process alone."""
    return shutil.copytree(folder, tmp_path_factory.mktemp(folder.name) / folder.name)
