"""Class labels: the 13 blood-cell classes and the four erythroid stages."""

from collections.abc import Sequence

#: Canonical class names, in the order of probability columns and of every `ClassLabel`. A new class also needs its
#: codes and synonyms in `bc_sam.data.names.table` and a way to draw it in `bc_sam.data.rendering.cell_types`.
LABELS: tuple[str, ...] = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "myeloblast",
    "promyelocyte",
    "myelocyte",
    "metamyelocyte",
    "neutrophil_banded",
    "neutrophil_segmented",
    "monocyte",
    "lymphocyte_typical",
    "lymphocyte_atypical",
    "smudge_cell",
)

#: Labels that many laboratories do not distinguish, by the coarse name that they use instead.
COARSE_LABELS: dict[str, tuple[str, ...]] = {
    "neutrophil": ("neutrophil_banded", "neutrophil_segmented"),
    "lymphocyte": ("lymphocyte_typical", "lymphocyte_atypical"),
}

#: Names that a person can give although no model has them.
KINDS_BY_HAND: tuple[str, ...] = ("plasma_cell", "other", "platelet", "giant_platelet", "artefact")

#: The four stages of erythroid maturation, from the least mature, as in bone-marrow data sets such as BMEC.
ERYTHROID_LABELS: tuple[str, ...] = (
    "proerythroblast",
    "basophilic_erythroblast",
    "polychromatic_erythroblast",
    "orthochromatic_erythroblast",
)

#: Sets of labels that can occur together, by the name under which users choose them; "all" stands for all labels.
KINDS_THAT_CAN_OCCUR: dict[str, tuple[str, ...]] = {
    "five-part": (
        "basophil",
        "eosinophil",
        "neutrophil_banded",
        "neutrophil_segmented",
        "monocyte",
        "lymphocyte_typical",
    ),
    "with-blasts": (
        "basophil",
        "eosinophil",
        "myeloblast",
        "neutrophil_banded",
        "neutrophil_segmented",
        "monocyte",
        "lymphocyte_typical",
    ),
}


def kinds_that_can_occur(name: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the labels of a model that a name of `KINDS_THAT_CAN_OCCUR`, or "all", stands for.

    Example:
        >>> kinds_that_can_occur("five-part", ["monocyte", "myeloblast"])
        ('monocyte',)
    """
    kinds = KINDS_THAT_CAN_OCCUR.get(name, tuple(labels))
    return tuple(label for label in labels if label in kinds)


#: Names that a person gives to what is no white cell. They are never part of a count of white cells, nor labels.
NO_WHITE_CELL = ("platelet", "giant_platelet", "artefact", "no_cell")

#: Names as a laboratory prints them, where they are not the label itself.
_PLAIN_NAMES = {
    "neutrophil_banded": "Band neutrophil",
    "neutrophil_segmented": "Segmented neutrophil",
    "neutrophil_undecided": "Band or segmented",
    "lymphocyte": "Lymphocyte, typical or atypical",
    "lymphocyte_typical": "Lymphocyte",
    "lymphocyte_atypical": "Atypical lymphocyte",
    "erythroblast": "Nucleated red cell",
    "myeloblast": "Blast",
    "other": "Other white cell",
    "no_cell": "Not a cell",
}


def plain_name(label: str) -> str:
    """Returns the name of a label as a laboratory prints it.

    Example:
        >>> plain_name("neutrophil_segmented"), plain_name("giant_platelet")
        ('Segmented neutrophil', 'Giant platelet')
    """
    words = label.replace("_", " ")
    return _PLAIN_NAMES.get(label, words[:1].upper() + words[1:])
