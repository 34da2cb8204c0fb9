"""Data sets of cells: loaders, parquet export and folds."""

from typing import TYPE_CHECKING, Any

from bc_sam.utils.lazy_names import lazy_name

if TYPE_CHECKING:
    from bc_sam.data.cells import FEATURES
    from bc_sam.data.datasets.acevedo import load_acevedo20
    from bc_sam.data.datasets.bccd import load_bccd
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
    "load_bccd",
    "load_bmec",
    "load_cells",
    "load_folder",
    "load_matek19",
    "load_rendered",
    "save_parquet",
]

# Module of each public name, imported on first use: `datasets` and scikit-learn take seconds to import, and a mistyped
# path on the command line should be reported before that.
_MODULES = {
    "FEATURES": "cells",
    "assign_folds": "splits",
    "find_copies": "splits",
    "fingerprint": "splits",
    "load_acevedo20": "datasets.acevedo",
    "load_bccd": "datasets.bccd",
    "load_bmec": "datasets.bmec",
    "load_cells": "sources",
    "load_folder": "datasets.image_folder",
    "load_matek19": "datasets.matek",
    "load_rendered": "datasets.rendered",
    "save_parquet": "sources",
}


def __getattr__(name: str) -> Any:
    return lazy_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
