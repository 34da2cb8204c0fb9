"""Matek-19 (Matek et al. 2019, TCIA collection AML-Cytomorphology_LMU): one folder per class code."""

import os
from pathlib import Path
from types import MappingProxyType

from datasets import Dataset, DatasetInfo

from bc_sam.data.cells import FEATURES, build_dataset, find_coded_cells, most_have_code
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.provenance import Provenance
from bc_sam.errors import DataError

#: Canonical class of each folder code; ``None`` for codes that the paper excludes.
MATEK19_CODES = MappingProxyType(
    {
        "BAS": "basophil",
        "EOS": "eosinophil",
        "EBO": "erythroblast",
        "MYO": "myeloblast",
        "PMO": "promyelocyte",
        "MYB": "myelocyte",
        "MMZ": "metamyelocyte",
        "NGB": "neutrophil_banded",
        "NGS": "neutrophil_segmented",
        "MON": "monocyte",
        "MOB": "monocyte",  # monoblast
        "LYT": "lymphocyte_typical",
        "LYA": "lymphocyte_atypical",
        "KSC": "smudge_cell",
        "PMB": None,  # promyelocyte, bilobed
    }
)

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


def load_matek19(source: str | Path, *, masks: str | Path | None = None, domain: str = "matek19") -> Dataset:
    """Loads Matek-19 from its archive layout, ``AML-Cytomorphology/<CODE>/<CODE>_0001.tiff``.

    Args:
        source: Folder that contains the code folders, any parent folder, or the downloaded zip.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks.match_masks`.
        domain: Value of the column `domain`.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. The archive does not identify slides or patients, so
        `group` is ``None``. Excluded codes are counted in ``dataset.info.description``.

    Raises:
        DataError: If there are no code folders, or a folder beside them has an unknown name.

    Example:
        ``load_matek19("AML-Cytomorphology_LMU.zip")[0]["label"]``
    """
    folder = as_folder(source)
    root = find_code_folders(folder)
    if root is None:
        raise DataError(f"No folder of Matek-19 found in {folder}. Expected the folders {', '.join(MATEK19_CODES)}.")
    cells, left_out = find_coded_cells(root, matek19_code, MATEK19_CODES)
    info = DatasetInfo(features=FEATURES, license=MATEK19.licence, homepage=MATEK19.homepage, citation=MATEK19.bibtex)
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, info=info)


def looks_like_matek19(folder: Path) -> bool:
    """Whether a folder contains code folders of Matek-19, and most images beside or in them have a code."""
    root = find_code_folders(folder)
    return root is not None and most_have_code(root, matek19_code, MATEK19_CODES)


def matek19_code(file: Path) -> str:
    """Returns the code of an image from its path relative to the parent of the code folders."""
    return file.parts[0]


def find_code_folders(folder: Path) -> Path | None:
    """Returns the topmost folder, at or below `folder`, that has a subfolder named by a Matek-19 code."""
    for parent, subfolders, _ in os.walk(folder):
        subfolders.sort()
        if any(name.upper() in MATEK19_CODES for name in subfolders):
            return Path(parent)
    return None
