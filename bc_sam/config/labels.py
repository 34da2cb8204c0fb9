"""The 13 canonical classes, and the codes by which each data set names them."""

#: The canonical class names. Their order is the order of every probability column and of every `ClassLabel`.
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

#: Labels that many laboratories do not tell apart, under the name that these use for all of them.
COARSE_LABELS: dict[str, tuple[str, ...]] = {
    "neutrophil": ("neutrophil_banded", "neutrophil_segmented"),
    "lymphocyte": ("lymphocyte_typical", "lymphocyte_atypical"),
}

#: The four stages of erythroid cells, of data sets of bone marrow such as BMEC, from the youngest on.
ERYTHROID_LABELS: tuple[str, ...] = (
    "proerythroblast",
    "basophilic_erythroblast",
    "polychromatic_erythroblast",
    "orthochromatic_erythroblast",
)
