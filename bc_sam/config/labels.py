"""Class labels: the 13 blood-cell classes and the four erythroid stages."""

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

#: The four stages of erythroid maturation, from the least mature, as in bone-marrow data sets such as BMEC.
ERYTHROID_LABELS: tuple[str, ...] = (
    "proerythroblast",
    "basophilic_erythroblast",
    "polychromatic_erythroblast",
    "orthochromatic_erythroblast",
)
