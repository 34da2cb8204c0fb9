"""A user's own images: one subfolder per class, or a flat folder of unlabelled cells."""

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

#: Unambiguous synonyms of class names. `find_label` ignores case, plural and word order.
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

#: Probable classes of ambiguous names: `resolve_labels` proposes them in its error message, but never applies them.
PROPOSED_LABELS: Mapping[str, str | None] = MappingProxyType(
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
    r"""Loads images from one subfolder per class, or unlabelled images from a flat folder.

    Args:
        source: The folder, or a zip of it.
        domain: Name of the laboratory, for the column `domain`.
        label_map: Maps unknown subfolder names to canonical classes, or to ``None`` to exclude them.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks.match_masks`.
        group_pattern: Regular expression whose first group, searched in the file name, is the slide or patient.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. Excluded images are counted by subfolder in
        ``dataset.info.description``.

    Raises:
        DataError: If there are no images, a subfolder name is unknown, images are both in subfolders and beside them,
            or `label_map` or `group_pattern` is invalid.

    Example:
        ``load_folder("cells", domain="site_7", label_map={"neutrophil": "neutrophil_segmented", "debris": None},
        group_pattern=r"^([^_]+)_")``
    """
    root = _class_folder(as_folder(source))
    files = [path.relative_to(root) for path in find_images(root)]
    folders = sorted({file.parts[0] for file in files if len(file.parts) > 1})
    if folders and any(len(file.parts) == 1 for file in files):
        raise DataError(f"{root} contains images beside the subfolders {', '.join(folders)}. Move them into one.")
    labels = resolve_labels(folders, label_map or {}, where=str(root))
    kept = [file for file in files if len(file.parts) == 1 or labels[file.parts[0]] is not None]
    groups = _groups([file.name for file in kept], group_pattern)
    cells = [Cell(file.as_posix(), labels.get(file.parts[0]), group) for file, group in zip(kept, groups, strict=True)]
    left_out = [file.parts[0] for file in files if len(file.parts) > 1 and labels[file.parts[0]] is None]
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out)


def find_label(name: str) -> str | None:
    """Returns the canonical class of a name, or ``None`` if it is unknown or ambiguous.

    Example:
        >>> find_label("Segmented Neutrophils"), find_label("EOS"), find_label("neutrophil")
        ('neutrophil_segmented', 'eosinophil', None)
    """
    label_of = {**SYNONYMS, **MATEK19_CODES, **ACEVEDO20_CODES, **{label: label for label in LABELS}}
    return {_words(key): label for key, label in label_of.items()}.get(_words(name))


def resolve_labels(names: list[str], label_map: Mapping[str, str | None], *, where: str) -> dict[str, str | None]:
    """Maps each class name to its canonical class, or to ``None`` if `label_map` excludes it.

    Args:
        names: Names of subfolders, or of the classes of a data set.
        label_map: Mapping that takes precedence; keys are case-insensitive.
        where: Folder or data set, for error messages.

    Raises:
        DataError: If a name is unknown or ambiguous, or `label_map` maps to an unknown class. The message lists the
            valid classes and proposes a mapping.
    """
    for name, label in label_map.items():
        if label is not None and label not in LABELS:
            raise DataError(f"label_map maps {name!r} to {label!r}. Choose one of {', '.join(LABELS)}.")
    given = {name.casefold(): label for name, label in label_map.items()}
    labels = {name: given.get(name.casefold(), find_label(name)) for name in names}
    unknown = [name for name, label in labels.items() if label is None and name.casefold() not in given]
    if unknown:
        proposal = {name: _propose(name) for name in unknown}
        raise DataError(
            f"{where} has unknown or ambiguous classes: {', '.join(unknown)}. "
            f"Rename them to one of {', '.join(LABELS)}, or pass label_map, for example {proposal}; None excludes a "
            "class. On the command line: "
            f"{' '.join(f'--map {name}={label or str()}' for name, label in proposal.items())}"
        )
    return labels


def _words(name: str) -> tuple[str, ...]:
    """Returns the sorted lower-case singular words of a name, so that order, case and separators are ignored."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return tuple(sorted(word.removesuffix("s") if len(word) > 3 else word for word in words))


def _propose(name: str) -> str | None:
    words = " ".join(_words(name))
    close = difflib.get_close_matches(words, [*PROPOSED_LABELS, *LABELS], n=1)
    return PROPOSED_LABELS.get(close[0], close[0]) if close else None


def _class_folder(folder: Path) -> Path:
    """Descends through folders with a single subfolder, as in zips, to the one with the class folders."""
    children = [child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX"))]
    if len(children) != 1 or not children[0].is_dir() or find_label(children[0].name):
        return folder
    has_subfolders = any(grandchild.is_dir() for grandchild in children[0].iterdir())
    return _class_folder(children[0]) if has_subfolders else folder


def _groups(names: list[str], pattern: str | None) -> list[str | None]:
    """Extracts the slide from each file name; ``None`` if the pattern does not match."""
    if pattern is None:
        return [None] * len(names)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"The group pattern {pattern!r} is not a valid regular expression: {error}.") from None
    if expression.groups == 0:
        raise DataError(
            f"The group pattern {pattern!r} has no group. Put the slide in parentheses, as in '^([^_]+)_'."
        )
    matches = [expression.search(name) for name in names]
    if names and not any(matches):
        raise DataError(f"The group pattern {pattern!r} matches no file name, such as {names[0]!r}. Correct it.")
    if missing := matches.count(None):
        logger.warning("The group pattern %r does not match %d of %d file names.", pattern, missing, len(names))
    return [match.group(1) if match else None for match in matches]
