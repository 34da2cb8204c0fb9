"""BMEC (Wang et al. 2023, github.com/wangye8899/BMEC): single erythroid cells from bone marrow, in four stages."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from datasets import Dataset, DatasetInfo

from bc_sam.config.labels import ERYTHROID_LABELS
from bc_sam.data.annotated_masks import MaskList
from bc_sam.data.cells import Cell, build_dataset, features_of
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.file_search import find_images
from bc_sam.data.groups import read_groups
from bc_sam.data.names.label_map import LabelMap
from bc_sam.data.provenance import Provenance
from bc_sam.errors import DataError

BMEC = Provenance(
    title="BMEC (Bone Marrow Erythroid Cells)",
    homepage="https://github.com/wangye8899/BMEC",
    image="single cells, 5,666 images",
    citation="Wang, Ma, Ma, Cui, Xiao, Wu, Zhou: Shape-aware fine-grained classification of erythroid cells. Applied "
    "Intelligence, 2023.",
    bibtex="""@article{wang2023shape,
  author = {Wang, Ye and Ma, Rui and Ma, Xiaoqing and Cui, Honghua and Xiao, Yubin and Wu, Xuan and Zhou, You},
  title = {Shape-aware fine-grained classification of erythroid cells},
  journal = {Applied Intelligence},
  year = {2023},
  doi = {10.1007/s10489-023-04465-z}
}""",
)

# Words in folder names that identify a stage, unless words of several stages occur.
_STAGES = {
    "proerythroblast": ("proerythroblast", "pronormoblast", "rubriblast", "primitive"),
    "basophilic_erythroblast": ("basophilic", "early", "prorubricyte"),
    "polychromatic_erythroblast": ("polychromatic", "polychromatophilic", "intermediate", "middle", "rubricyte"),
    "orthochromatic_erythroblast": ("orthochromatic", "orthochromatophilic", "late", "metarubricyte"),
}
_ERYTHROID = ("erythroblast", "normoblast", "erythroid", "erythrocyte")


def load_bmec(
    source: str | Path,
    *,
    domain: str = "bmec",
    label_map: Mapping[str, str | None] | None = None,
    masks: "MaskList | str | Path | None" = None,
    group_pattern: str | None = None,
) -> Dataset:
    r"""Loads BMEC from its unzipped archive, which has one folder of single-cell images per stage.

    According to its repository, ``red_4_cells_raw.zip`` is unzipped in ``data``, and training reads class folders
    below split folders. The names of the class folders are not documented, so any folder on an image's path may
    identify the stage, and `label_map` maps names that do not. The archive has no masks; the original stored them as a
    fourth channel of unpublished images.

    Args:
        source: Folder of the images, any parent folder, or a zip of it.
        domain: Value of the column `domain`.
        label_map: Maps folder names to labels in `bc_sam.config.labels.ERYTHROID_LABELS`, or to ``None`` to exclude
            them.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks.match_masks`.
        group_pattern: Regular expression that extracts the slide or patient; see `bc_sam.data.groups.read_groups`.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`; its labels are `bc_sam.config.labels.ERYTHROID_LABELS`.

    Raises:
        DataError: If there are no images, or the folders of an image do not identify exactly one stage.

    Example:
        ``load_bmec("data/red_4_cells_raw", label_map={"1": "proerythroblast"})``
    """
    root = as_folder(source)
    given = LabelMap.of(label_map)
    given.require_labels(ERYTHROID_LABELS)
    cells, left_out = [], []
    for path in find_images(root):
        file = path.relative_to(root)
        label = _label(file, given, root)
        if label is None:
            left_out.append(file.parts[-2])
        else:
            cells.append(Cell(file.as_posix(), label))
    if given is not label_map:
        given.require_used()
    groups = read_groups([cell.file for cell in cells], group_pattern, where=domain)
    cells = [replace(cell, group=group) for cell, group in zip(cells, groups, strict=True)]
    features = features_of(ERYTHROID_LABELS)
    info = DatasetInfo(features=features, license=BMEC.licence, homepage=BMEC.homepage, citation=BMEC.bibtex)
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, info=info)


def looks_like_bmec(folder: Path) -> bool:
    """Whether the subfolder names identify at least three erythroid stages.

    Example:
        ``looks_like_bmec(Path("red_4_cells_raw"))``
    """
    names = {part for path in find_images(folder) for part in path.relative_to(folder).parts[:-1]}
    stages = {name: stage for name in names if (stage := find_stage(name)) is not None}
    return len(set(stages.values())) > 2 and any(_is_erythroid(name) for name in stages)


def find_stage(name: str) -> str | None:
    """Returns the stage that a folder name identifies, or ``None``.

    Example:
        >>> find_stage("Early_Erythroblast"), find_stage("late normoblasts"), find_stage("3")
        ('basophilic_erythroblast', 'orthochromatic_erythroblast', None)
    """
    words = {word.removesuffix("s") for word in re.findall(r"[a-z]+", name.lower())}
    found = [stage for stage, keywords in _STAGES.items() if words & set(keywords)]
    return found[0] if len(found) == 1 else None


def _is_erythroid(name: str) -> bool:
    return any(word in name.lower() for word in (*_ERYTHROID, "rubri"))


def _label(file: Path, given: Mapping[str, str | None], root: Path) -> str | None:
    """Returns the stage that the folders of an image identify, or ``None`` if the label map excludes it."""
    stages: set[str | None] = set()
    for name in file.parts[:-1]:
        if name in given:
            stages.add(given[name])
        elif (stage := find_stage(name)) is not None:
            stages.add(stage)
    if len(stages) != 1:
        raise DataError(
            f"The folders of {file} in {root} identify {len(stages)} of the stages {', '.join(ERYTHROID_LABELS)}. Map "
            "their names with label_map, or --map 1=proerythroblast on the command line; an empty class excludes one."
        )
    return stages.pop()
