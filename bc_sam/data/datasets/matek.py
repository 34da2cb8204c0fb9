"""Matek-19 (Matek et al. 2019, TCIA collection AML-Cytomorphology_LMU): one folder per class code."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset, DatasetInfo

from bc_sam.data.annotated_masks import MaskList
from bc_sam.data.cells import FEATURES, build_dataset, find_coded_cells
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.file_search import find_images
from bc_sam.data.names.table import BONE_MARROW_CODES, MATEK19_CODES
from bc_sam.data.provenance import Provenance
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

MATEK19 = Provenance(
    title="Matek-19 (AML-Cytomorphology_LMU)",
    licence="CC BY 3.0",
    homepage="https://doi.org/10.7937/tcia.2019.36f5o9ld",
    laboratory="Munich University Hospital: 100 patients with acute myeloid leukaemia, 100 without a malignancy",
    microscope="M8 digital microscope (Precipoint), 100-fold magnification, oil immersion",
    image="400 x 400 px, TIFF",
    citation="Matek, Schwarz, Marr, Spiekermann: A Single-cell Morphological Dataset of Leukocytes from AML Patients "
    "and Non-malignant Controls. The Cancer Imaging Archive, 2019. Matek, Schwarz, Spiekermann, Marr: Human-level "
    "recognition of blast cells in acute myeloid leukaemia with convolutional neural networks. Nature Machine "
    "Intelligence 1, 538-544, 2019.",
    bibtex="""@misc{matek2019aml,
  author = {Matek, Christian and Schwarz, Simone and Marr, Carsten and Spiekermann, Karsten},
  title = {A Single-cell Morphological Dataset of Leukocytes from {AML} Patients and Non-malignant Controls},
  publisher = {The Cancer Imaging Archive},
  year = {2019},
  doi = {10.7937/tcia.2019.36f5o9ld}
}

@article{matek2019recognition,
  author = {Matek, Christian and Schwarz, Simone and Spiekermann, Karsten and Marr, Carsten},
  title = {Human-level recognition of blast cells in acute myeloid leukaemia with convolutional neural networks},
  journal = {Nature Machine Intelligence},
  volume = {1},
  pages = {538--544},
  year = {2019},
  doi = {10.1038/s42256-019-0101-9}
}""",
)


def load_matek19(
    source: str | Path,
    *,
    masks: "MaskList | str | Path | None" = None,
    domain: str = "matek19",
    label_map: Mapping[str, str | None] | None = None,
    group_pattern: str | None = None,
) -> Dataset:
    """Loads Matek-19 from its archive layout, ``AML-Cytomorphology/<CODE>/<CODE>_0001.tiff``.

    Args:
        source: Folder that contains the code folders, any parent folder, or the downloaded zip.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks.match_masks`.
        domain: Value of the column `domain`.
        label_map: Maps codes to other canonical classes, or to ``None`` to exclude them.
        group_pattern: Regular expression that extracts the slide; see `bc_sam.data.groups.archive_groups`.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. The archive does not identify slides or patients, so
        `group` is ``None`` without a pattern. Excluded codes are counted in ``dataset.info.description``.

    Raises:
        DataError: If there are no code folders, or a folder beside them has an unknown name.

    Example:
        ``load_matek19("AML-Cytomorphology_LMU.zip")[0]["label"]``
    """
    folder = as_folder(source)
    root = find_code_folders(folder)
    if root is None:
        raise DataError(f"No folder of Matek-19 found in {folder}. Expected the folders {', '.join(MATEK19_CODES)}.")
    cells, left_out = find_coded_cells(
        root, matek19_code, MATEK19_CODES, label_map=label_map, group_pattern=group_pattern
    )
    if outside := len(find_images(folder)) - len(cells) - len(left_out):
        logger.warning("%s: %d images outside %s are left out.", domain, outside, root)
    info = DatasetInfo(features=FEATURES, license=MATEK19.licence, homepage=MATEK19.homepage, citation=MATEK19.bibtex)
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, info=info)


def looks_like_matek19(folder: Path) -> bool:
    """Whether most images of a folder are named as in the archive, ``<CODE>/<CODE>_0001.tiff``.

    Own images in folders named by the codes are not the archive, nor is the bone-marrow set, which has more codes.
    """
    root = find_code_folders(folder)
    files = [path.relative_to(root or folder) for path in find_images(folder) if path.is_relative_to(root or folder)]
    more_codes = BONE_MARROW_CODES.keys() - MATEK19_CODES.keys()
    if root is None or any(matek19_code(file).upper() in more_codes for file in files):
        return False
    return sum(map(_is_named_as_in_archive, files)) > len(find_images(folder)) / 2


def _is_named_as_in_archive(file: Path) -> bool:
    code = matek19_code(file).upper()
    return code in MATEK19_CODES and re.match(rf"{code}_\d+\.", file.name.upper()) is not None


def matek19_code(file: Path) -> str:
    """Returns the code of an image from its path relative to the parent of the code folders."""
    return file.parts[0]


def find_code_folders(folder: Path) -> Path | None:
    """Returns the topmost folder, at or below `folder`, that has a subfolder named by a Matek-19 code."""
    roots = {
        folder.joinpath(*parts[:level])
        for parts in (path.relative_to(folder).parts for path in find_images(folder))
        for level, name in enumerate(parts[:-1])
        if name.upper() in MATEK19_CODES
    }
    return min(roots, key=lambda root: (len(root.parts), root), default=None)
