"""The 13 canonical classes, and the codes by which each data set names them."""

from types import MappingProxyType

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

#: The four stages of erythroid cells, of data sets of bone marrow such as BMEC, from the youngest on.
ERYTHROID_LABELS: tuple[str, ...] = (
    "proerythroblast",
    "basophilic_erythroblast",
    "polychromatic_erythroblast",
    "orthochromatic_erythroblast",
)

#: Matek-19 names a class by its folder. ``None`` marks a code that the paper leaves out.
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
