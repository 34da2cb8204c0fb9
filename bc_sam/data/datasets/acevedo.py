"""Acevedo-20 (Acevedo et al. 2020, Mendeley Data snkd93bnjr): the file-name prefix encodes the class."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset, DatasetInfo

from bc_sam.data.annotated_masks import MaskList
from bc_sam.data.cells import FEATURES, build_dataset, find_coded_cells
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.file_search import find_images
from bc_sam.data.names.recognition import find_label
from bc_sam.data.names.table import ACEVEDO20_CODES
from bc_sam.data.provenance import Provenance

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

logger = logging.getLogger(__name__)


def load_acevedo20(
    source: str | Path,
    *,
    masks: "MaskList | str | Path | None" = None,
    domain: str = "acevedo20",
    label_map: Mapping[str, str | None] | None = None,
    group_pattern: str | None = None,
) -> Dataset:
    """Loads Acevedo-20 from its archive layout, ``PBC_dataset_normal_DIB/<folder>/<PREFIX>_100102.jpg``.

    The prefix gives the class. Folders are coarser: ``ig`` contains metamyelocytes, myelocytes and promyelocytes.
    Files in the folder of another class are reported.

    Args:
        source: Folder of the images, any parent folder, or the downloaded zip.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks.match_masks`.
        domain: Value of the column `domain`.
        label_map: Maps prefixes to other canonical classes, or to ``None`` to exclude them.
        group_pattern: Regular expression that extracts the slide; see `bc_sam.data.groups.archive_groups`.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. The archive does not identify slides or patients, so
        `group` is ``None`` without a pattern. Excluded prefixes are counted in ``dataset.info.description``.

    Raises:
        DataError: If there are no images, or a file has an unknown prefix.

    Example:
        ``load_acevedo20("PBC_dataset_normal_DIB.zip")[0]["label"]``
    """
    root = _archive_folder(as_folder(source))
    cells, left_out = find_coded_cells(
        root, acevedo20_code, ACEVEDO20_CODES, label_map=label_map, group_pattern=group_pattern
    )
    contradicting = [cell.file for cell in cells if _contradicts_folder(Path(cell.file))]
    if contradicting:
        logger.warning(
            "%s: the prefix of %d files names another class than their folder, such as %s. The prefix counts.",
            domain,
            len(contradicting),
            contradicting[0],
        )
    info = DatasetInfo(
        features=FEATURES, license=ACEVEDO20.licence, homepage=ACEVEDO20.homepage, citation=ACEVEDO20.bibtex
    )
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, info=info)


def looks_like_acevedo20(folder: Path) -> bool:
    """Whether most images of a folder are named as in the archive, ``<PREFIX>_100102.jpg``.

    Own images, in folders of classes that contradict their prefixes, are not the archive.
    """
    files = [path.relative_to(folder) for path in find_images(folder)]
    named = sum(re.fullmatch(r"[A-Za-z]+_\d+", file.stem) is not None and _has_code(file) for file in files)
    return named > len(files) / 2 and not any(map(_contradicts_folder, files))


def acevedo20_code(file: Path) -> str:
    """Returns the file-name prefix of an image, such as ``"BA"`` for ``BA_100102.jpg``."""
    return file.name.partition("_")[0]


def _archive_folder(folder: Path) -> Path:
    """Returns the archive's top folder at or below `folder`, or `folder` itself if it was renamed."""
    parents = {parent for path in find_images(folder) for parent in path.relative_to(folder).parents}
    found = sorted(parent for parent in parents if parent.name == _ARCHIVE_FOLDER)
    return folder / found[0] if found else folder


def _has_code(file: Path) -> bool:
    return acevedo20_code(file).upper() in ACEVEDO20_CODES


def _contradicts_folder(file: Path) -> bool:
    """Whether the folder of a file is of another class than its prefix; coarse folders, such as ig, are of none."""
    of_folder, of_file = find_label(file.parent.name), ACEVEDO20_CODES.get(acevedo20_code(file).upper())
    return None not in (of_folder, of_file) and of_folder != of_file
