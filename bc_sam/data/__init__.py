"""Data sets of cells: loaders, parquet export and folds."""

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
