"""Acevedo-20 (Acevedo et al. 2020, Mendeley Data snkd93bnjr): the prefix of a file's name is its fine class."""

import os
from pathlib import Path
from types import MappingProxyType

from datasets import Dataset, DatasetInfo

from bc_sam.data.cells import FEATURES, build_dataset, find_coded_cells, most_have_code
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.provenance import Provenance

#: Acevedo-20 names a fine class by the prefix of the file name. ``None`` marks a prefix that the paper leaves out.
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
        "IG": None,  # immature granulocyte, stage not told
        "NEUTROPHIL": None,  # stage not told
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


def looks_like_acevedo20(folder: Path) -> bool:
    """Whether most images in a folder have one of its prefixes."""
    return most_have_code(folder, acevedo20_code, ACEVEDO20_CODES)


def acevedo20_code(file: Path) -> str:
    """Returns the prefix of an image's name: ``"BA"`` of ``BA_100102.jpg``."""
    return file.name.partition("_")[0]


def _archive_folder(folder: Path) -> Path:
    """Returns the archive's own folder at or below `folder`, or `folder` itself where it was renamed."""
    return next((Path(parent) for parent, _, _ in os.walk(folder) if Path(parent).name == _ARCHIVE_FOLDER), folder)
