"""Acevedo-20 (Acevedo et al. 2020, Mendeley Data snkd93bnjr): the prefix of a file's name is its fine class."""

import os
from pathlib import Path

from datasets import Dataset, DatasetInfo

from bc_sam.config.labels import ACEVEDO20_CODES
from bc_sam.data.cells import FEATURES, build_dataset, find_coded_cells
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.provenance import ACEVEDO20

_ARCHIVE_FOLDER = "PBC_dataset_normal_DIB"


def load_acevedo20(source: str | Path, *, masks: str | Path | None = None, domain: str = "acevedo20") -> Dataset:
    """Reads Acevedo-20 in its archive's own layout, ``PBC_dataset_normal_DIB/<folder>/<PREFIX>_100102.jpg``.

    The class is the prefix: the folders are coarser, as ``ig`` holds metamyelocytes, myelocytes and promyelocytes.

    Args:
        source: The folder of the images, any folder above it, or the downloaded zip.
        masks: CSV that ties images to masks; see `bc_sam.data.annotated_masks.match_masks`.
        domain: Value of the column `domain`.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. The archive names no slide or patient, so `group` is
        ``None``. The prefixes that the paper leaves out are counted in ``dataset.info.description``.

    Raises:
        DataError: If no image is found, or a file has an unknown prefix.

    Example:
        ``load_acevedo20("PBC_dataset_normal_DIB.zip")[0]["label"]``
    """
    root = _archive_folder(as_folder(source))
    cells, left_out = find_coded_cells(root, acevedo20_code, ACEVEDO20_CODES)
    info = DatasetInfo(
        features=FEATURES, license=ACEVEDO20.licence, homepage=ACEVEDO20.homepage, citation=ACEVEDO20.bibtex
    )
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, info=info)


def acevedo20_code(file: Path) -> str:
    """Returns the prefix of an image's name: ``"BA"`` of ``BA_100102.jpg``."""
    return file.name.partition("_")[0]


def _archive_folder(folder: Path) -> Path:
    """Returns the archive's own folder at or below `folder`, or `folder` itself where it was renamed."""
    return next((Path(parent) for parent, _, _ in os.walk(folder) if Path(parent).name == _ARCHIVE_FOLDER), folder)
