"""A user's own images: a folder for each class, or a flat folder of unlabelled cells."""

import difflib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from datasets import Dataset

from bc_sam.config.labels import LABELS
from bc_sam.data.cells import Cell, build_dataset
from bc_sam.data.datasets.acevedo import ACEVEDO20_CODES
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.datasets.matek import MATEK19_CODES
from bc_sam.data.images import find_images
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

#: Other names of a class that leave no doubt; `find_label` ignores case, plural and the order of the words.
SYNONYMS = MappingProxyType(
    {
        "band": "neutrophil_banded",
        "band neutrophil": "neutrophil_banded",
        "stab neutrophil": "neutrophil_banded",
        "seg": "neutrophil_segmented",
        "seg neutrophil": "neutrophil_segmented",
        "normoblast": "erythroblast",
        "nucleated red blood cell": "erythroblast",
        "nrbc": "erythroblast",
        "reactive lymphocyte": "lymphocyte_atypical",
        "monoblast": "monocyte",
        "smudge": "smudge_cell",
    }
)

# Names that do leave a doubt: they are proposed in the error message, never taken silently.
_PROPOSALS: Mapping[str, str | None] = MappingProxyType(
    {
        "neutrophil": "neutrophil_segmented",
        "granulocyte": "neutrophil_segmented",
        "lymphocyte": "lymphocyte_typical",
        "blast": "myeloblast",
        "ig": None,
        "immature granulocyte": None,
        "platelet": None,
        "thrombocyte": None,
        "pmb": None,
    }
)


def load_folder(
    source: str | Path,
    *,
    domain: str,
    label_map: Mapping[str, str | None] | None = None,
    masks: str | Path | None = None,
    group_pattern: str | None = None,
) -> Dataset:
    r"""Reads images that lie in one subfolder for each class, or, unlabelled, directly in one folder.

    Args:
        source: The folder, or a zip of it.
        domain: Name of the laboratory, for the column `domain`.
        label_map: Canonical class of a subfolder whose name is not known; ``None`` leaves the subfolder out.
        masks: CSV that ties images to masks; see `bc_sam.data.annotated_masks.match_masks`.
        group_pattern: Regular expression whose first group, searched in a file's name, is the slide or patient.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. Images left out are counted by subfolder in
        ``dataset.info.description``.

    Raises:
        DataError: If no image is found, a subfolder names no class, images lie both in subfolders and beside
            them, or `label_map` or `group_pattern` is wrong.

    Example:
        ``load_folder("cells", domain="site_7", label_map={"neutrophil": "neutrophil_segmented", "debris": None},
        group_pattern=r"^([^_]+)_")``
    """
    root = _class_folder(as_folder(source))
    files = [path.relative_to(root) for path in find_images(root)]
    folders = sorted({file.parts[0] for file in files if len(file.parts) > 1})
    if folders and any(len(file.parts) == 1 for file in files):
        raise DataError(f"{root} holds images beside the subfolders {', '.join(folders)}. Move them into a class.")
    labels = resolve_labels(folders, label_map or {}, where=str(root))
    kept = [file for file in files if len(file.parts) == 1 or labels[file.parts[0]] is not None]
    groups = _groups([file.name for file in kept], group_pattern)
    cells = [Cell(file.as_posix(), labels.get(file.parts[0]), group) for file, group in zip(kept, groups, strict=True)]
    left_out = [file.parts[0] for file in files if len(file.parts) > 1 and labels[file.parts[0]] is None]
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out)


def find_label(name: str) -> str | None:
    """Returns the canonical class that a name means beyond doubt, or ``None``.

    Example:
        >>> find_label("Segmented Neutrophils"), find_label("EOS"), find_label("neutrophil")
        ('neutrophil_segmented', 'eosinophil', None)
    """
    known = {**SYNONYMS, **MATEK19_CODES, **ACEVEDO20_CODES, **{label: label for label in LABELS}}
    return {_words(key): label for key, label in known.items()}.get(_words(name))


def resolve_labels(names: list[str], label_map: Mapping[str, str | None], *, where: str) -> dict[str, str | None]:
    """Maps each name of a class to its canonical class, or to ``None`` where `label_map` leaves it out.

    Args:
        names: Names of subfolders, or of the classes of a data set.
        label_map: Takes precedence; keys without regard to case.
        where: Folder or data set, for the error message.

    Raises:
        DataError: If a name is not known, or `label_map` names a class that does not exist. The message lists the
            known names and proposes a mapping.
    """
    for name, label in label_map.items():
        if label is not None and label not in LABELS:
            raise DataError(f"The label map gives {name!r} the class {label!r}. The classes are {', '.join(LABELS)}.")
    given = {name.casefold(): label for name, label in label_map.items()}
    labels = {name: given.get(name.casefold(), find_label(name)) for name in names}
    unknown = [name for name, label in labels.items() if label is None and name.casefold() not in given]
    if unknown:
        proposal = {name: _propose(name) for name in unknown}
        raise DataError(
            f"{where} has the classes {', '.join(unknown)}, which could mean several or none of {', '.join(LABELS)}. "
            f"Rename them, or give label_map, for example {proposal}; None leaves a class out. On the command line: "
            f"{' '.join(f'--map {name}={label or str()}' for name, label in proposal.items())}"
        )
    return labels


def _words(name: str) -> tuple[str, ...]:
    """Splits a name into lower-case singular words, sorted, so that order, case and separators do not matter."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return tuple(sorted(word.removesuffix("s") if len(word) > 3 else word for word in words))


def _propose(name: str) -> str | None:
    words = " ".join(_words(name))
    close = difflib.get_close_matches(words, [*_PROPOSALS, *LABELS], n=1)
    return _PROPOSALS.get(close[0], close[0]) if close else None


def _class_folder(folder: Path) -> Path:
    """Descends through folders that only wrap another, as a zip has them, to the one whose subfolders are classes."""
    children = [child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX"))]
    if len(children) != 1 or not children[0].is_dir() or find_label(children[0].name):
        return folder
    wraps = any(grandchild.is_dir() for grandchild in children[0].iterdir())
    return _class_folder(children[0]) if wraps else folder


def _groups(names: list[str], pattern: str | None) -> list[str | None]:
    """Reads the slide of each file from its name; a name without one has no group."""
    if pattern is None:
        return [None] * len(names)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"The group pattern {pattern!r} is no regular expression: {error}.") from None
    if expression.groups == 0:
        raise DataError(f"The group pattern {pattern!r} has no group. Put the slide's part in brackets: '^([^_]+)_'.")
    matches = [expression.search(name) for name in names]
    if names and not any(matches):
        raise DataError(f"The group pattern {pattern!r} matches no file name, such as {names[0]!r}. Correct it.")
    if missing := matches.count(None):
        logger.warning("The group pattern %r does not match %d of %d file names.", pattern, missing, len(names))
    return [match.group(1) if match else None for match in matches]
