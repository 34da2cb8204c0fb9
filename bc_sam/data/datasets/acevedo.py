"""Acevedo-20 (Acevedo et al. 2020, Mendeley Data snkd93bnjr): the file-name prefix encodes the class."""

import os
from pathlib import Path
from types import MappingProxyType

from datasets import Dataset, DatasetInfo

from bc_sam.data.cells import FEATURES, build_dataset, find_coded_cells, most_have_code
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.provenance import Provenance

#: Canonical class of each file-name prefix; ``None`` for prefixes that the paper excludes.
ACEVEDO20_CODES = MappingProxyType(
    {
        "BA": "basophil",
        "EO": "eosinophil",
        "ERB": "erythroblast",
        "PMY": "promyelocyte",
        "MY": "myelocyte",
        "MMY": "metamyelocyte",
        "BNE": "neutrophil_banded",
        "SNE": "neutrophil_segmented",
        "MO": "monocyte",
        "LY": "lymphocyte_typical",
        "IG": None,  # immature granulocyte, unspecified stage
        "NEUTROPHIL": None,  # unspecified stage
        "PLATELET": None,
    }
)

ACEVEDO20 = Provenance(
    title="Acevedo-20 (PBC_dataset_normal_DIB)",
    licence="CC BY 4.0",
    homepage="https://doi.org/10.17632/snkd93bnjr.1",
    laboratory="Core Laboratory, Hospital Clinic of Barcelona: people without infection, blood disease or tumour",
    stain="May Grünwald-Giemsa (Sysmex SP1000i)",
    microscope="CellaVision DM96",
    image="360 x 363 px, JPEG",
    citation="Acevedo, Merino, Alférez, Molina, Boldú, Rodellar: A dataset of microscopic peripheral blood cell "
    "images for development of automatic recognition systems. Data in Brief 30, 105474, 2020.",
    bibtex="""@article{acevedo2020dataset,
  author = {Acevedo, Andrea and Merino, Anna and Alf{\\'e}rez, Santiago and Molina, {\\'A}ngel and Bold{\\'u}, Laura
    and Rodellar, Jos{\\'e}},
  title = {A dataset of microscopic peripheral blood cell images for development of automatic recognition systems},
  journal = {Data in Brief},
  volume = {30},
  pages = {105474},
  year = {2020},
  doi = {10.1016/j.dib.2020.105474}
}""",
)

_ARCHIVE_FOLDER = "PBC_dataset_normal_DIB"


def load_acevedo20(source: str | Path, *, masks: str | Path | None = None, domain: str = "acevedo20") -> Dataset:
    """Loads Acevedo-20 from its archive layout, ``PBC_dataset_normal_DIB/<folder>/<PREFIX>_100102.jpg``.

    The prefix gives the class. Folders are coarser: ``ig`` contains metamyelocytes, myelocytes and promyelocytes.

    Args:
        source: Folder of the images, any parent folder, or the downloaded zip.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks.match_masks`.
        domain: Value of the column `domain`.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. The archive does not identify slides or patients, so
        `group` is ``None``. Excluded prefixes are counted in ``dataset.info.description``.

    Raises:
        DataError: If there are no images, or a file has an unknown prefix.

    Example:
        ``load_acevedo20("PBC_dataset_normal_DIB.zip")[0]["label"]``
    """
    root = _archive_folder(as_folder(source))
    cells, left_out = find_coded_cells(root, acevedo20_code, ACEVEDO20_CODES)
    info = DatasetInfo(
        features=FEATURES, license=ACEVEDO20.licence, homepage=ACEVEDO20.homepage, citation=ACEVEDO20.bibtex
    )
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, info=info)


def looks_like_acevedo20(folder: Path) -> bool:
    """Whether most images in a folder have a prefix of Acevedo-20."""
    return most_have_code(folder, acevedo20_code, ACEVEDO20_CODES)


def acevedo20_code(file: Path) -> str:
    """Returns the file-name prefix of an image, such as ``"BA"`` for ``BA_100102.jpg``."""
    return file.name.partition("_")[0]


def _archive_folder(folder: Path) -> Path:
    """Returns the archive's top folder at or below `folder`, or `folder` itself if it was renamed."""
    return next((Path(parent) for parent, _, _ in os.walk(folder) if Path(parent).name == _ARCHIVE_FOLDER), folder)
