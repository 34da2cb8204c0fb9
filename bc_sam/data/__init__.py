"""Data sets of cells: loaders, the parquet form, folds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bc_sam.data.cells import FEATURES
    from bc_sam.data.datasets.acevedo import load_acevedo20
    from bc_sam.data.datasets.bmec import load_bmec
    from bc_sam.data.datasets.image_folder import load_folder
    from bc_sam.data.datasets.matek import load_matek19
    from bc_sam.data.datasets.rendered import load_rendered
    from bc_sam.data.sources import load_cells, save_parquet
    from bc_sam.data.splits import assign_folds, find_copies, fingerprint

__all__ = [
    "FEATURES",
    "assign_folds",
    "find_copies",
    "fingerprint",
    "load_acevedo20",
    "load_bmec",
    "load_cells",
    "load_folder",
    "load_matek19",
    "load_rendered",
    "save_parquet",
]

# Where each public name lives. It is imported when it is first used: naming cells needs no `datasets`.
_HOMES = {
    "FEATURES": "cells",
    "assign_folds": "splits",
    "find_copies": "splits",
    "fingerprint": "splits",
    "load_acevedo20": "datasets.acevedo",
    "load_bmec": "datasets.bmec",
    "load_cells": "sources",
    "load_folder": "datasets.image_folder",
    "load_matek19": "datasets.matek",
    "load_rendered": "datasets.rendered",
    "save_parquet": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bc_sam.data' has no attribute {name!r}")
    return getattr(import_module(f"bc_sam.data.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
