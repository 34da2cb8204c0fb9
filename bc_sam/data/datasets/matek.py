"""Matek-19 (Matek et al. 2019, TCIA collection AML-Cytomorphology_LMU): a folder for each class code."""

import os
from pathlib import Path

from datasets import Dataset, DatasetInfo

from bc_sam.config.labels import MATEK19_CODES
from bc_sam.data.cells import FEATURES, build_dataset, find_coded_cells
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.provenance import MATEK19
from bc_sam.errors import DataError


def load_matek19(source: str | Path, *, masks: str | Path | None = None, domain: str = "matek19") -> Dataset:
    """Reads Matek-19 in its archive's own layout, ``AML-Cytomorphology/<CODE>/<CODE>_0001.tiff``.

    Args:
        source: The folder that holds the code folders, any folder above it, or the downloaded zip.
        masks: CSV that ties images to masks; see `bc_sam.data.annotated_masks.match_masks`.
        domain: Value of the column `domain`.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. The archive names no slide or patient, so `group` is
        ``None``. The codes that the paper leaves out are counted in ``dataset.info.description``.

    Raises:
        DataError: If no code folder is found, or a folder beside them is no code.

    Example:
        ``load_matek19("AML-Cytomorphology_LMU.zip")[0]["label"]``
    """
    folder = as_folder(source)
    root = find_code_folders(folder)
    if root is None:
        raise DataError(f"No folder of Matek-19 was found in {folder}. Its folders are {', '.join(MATEK19_CODES)}.")
    cells, left_out = find_coded_cells(root, matek19_code, MATEK19_CODES)
    info = DatasetInfo(features=FEATURES, license=MATEK19.licence, homepage=MATEK19.homepage, citation=MATEK19.bibtex)
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, info=info)


def matek19_code(file: Path) -> str:
    """Returns the code folder of an image, from its path relative to the folder that holds the code folders."""
    return file.parts[0]


def find_code_folders(folder: Path) -> Path | None:
    """Returns the highest folder, at or below `folder`, that has a subfolder named by a Matek-19 code."""
    for parent, subfolders, _ in os.walk(folder):
        subfolders.sort()
        if any(name.upper() in MATEK19_CODES for name in subfolders):
            return Path(parent)
    return None
