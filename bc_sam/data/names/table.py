"""The field's names of cells in several languages and public data sets, as tables.

Names are compared by `bc_sam.data.names.recognition.words_of`: case, accents, separators, word order and a plural s do
not count.
"""

from collections.abc import Mapping
from types import MappingProxyType

#: Canonical class of each folder code of Matek-19; ``None`` for codes that the paper excludes.
MATEK19_CODES: Mapping[str, str | None] = MappingProxyType(
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

#: Canonical class of each file-name prefix of Acevedo-20; ``None`` for prefixes that the paper excludes.
ACEVEDO20_CODES: Mapping[str, str | None] = MappingProxyType(
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

#: The 21 codes of the bone-marrow set of Matek et al. 2021 (TCIA Bone-Marrow-Cytomorphology_MLL_Helmholtz_Fraunhofer).
BONE_MARROW_CODES: Mapping[str, str | None] = MappingProxyType(
    {
        "ABE": "eosinophil",  # abnormal eosinophil
        "ART": None,  # artefact
        "BAS": "basophil",
        "BLA": "myeloblast",  # blast; lymphoblasts are not told apart
        "EBO": "erythroblast",
        "EOS": "eosinophil",
        "FGC": None,  # faggot cell
        "HAC": None,  # hairy cell
        "KSC": "smudge_cell",
        "LYI": None,  # immature lymphocyte
        "LYT": "lymphocyte_typical",
        "MMZ": "metamyelocyte",
        "MON": "monocyte",
        "MYB": "myelocyte",
        "NGB": "neutrophil_banded",
        "NGS": "neutrophil_segmented",
        "NIF": None,  # not identifiable
        "OTH": None,  # other cell
        "PEB": "erythroblast",  # proerythroblast
        "PLM": None,  # plasma cell
        "PMO": "promyelocyte",
    }
)

#: The 13 codes of WBCBench 2026.
WBCBENCH_CODES: Mapping[str, str | None] = MappingProxyType(
    {
        "BA": "basophil",
        "EO": "eosinophil",
        "BL": "myeloblast",  # blast of any lineage
        "PMY": "promyelocyte",
        "MY": "myelocyte",
        "MMY": "metamyelocyte",
        "BNE": "neutrophil_banded",
        "SNE": "neutrophil_segmented",
        "MO": "monocyte",
        "LY": "lymphocyte_typical",
        "VLY": "lymphocyte_atypical",  # variant lymphocyte
        "PLY": None,  # prolymphocyte
        "PC": None,  # plasma cell
    }
)

#: Codes that are used as a whole, by data set. One applies if all class names are among its codes and at least one
#: is in no other table.
CONVENTIONS: Mapping[str, Mapping[str, str | None]] = MappingProxyType(
    {"the bone-marrow set of 21 codes": BONE_MARROW_CODES, "WBCBench": WBCBENCH_CODES}
)

#: Unambiguous names of each class. German, French, Spanish and Chinese follow English.
SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "basophil": (
            *("baso", "bas", "basophilic granulocyte", "basophil granulocyte", "basophilic leukocyte"),
            *("Basophiler", "Basophile", "Basophilen", "basophiler Granulozyt", "basophile Granulozyten"),
            *("polynucléaire basophile", "granulocyte basophile"),
            *("basófilo", "granulocito basófilo"),
            *("嗜碱性粒细胞", "嗜碱粒细胞", "嗜鹼性球"),
        ),
        "eosinophil": (
            *("eo", "eos", "eosi", "eosino", "eosinophilic granulocyte", "eosinophil granulocyte", "acidophil"),
            *("Eosinophiler", "Eosinophile", "Eosinophilen", "eosinophiler Granulozyt", "eosinophile Granulozyten"),
            *("polynucléaire éosinophile", "granulocyte éosinophile"),
            *("eosinófilo", "granulocito eosinófilo"),
            *("嗜酸性粒细胞", "嗜酸粒细胞", "嗜酸性球"),
        ),
        "erythroblast": (
            *("normoblast", "nucleated red blood cell", "nucleated red cell", "nrbc", "erythroblast nrbc"),
            *("proerythroblast", "pronormoblast", "rubriblast", "basophilic erythroblast", "basophilic normoblast"),
            *("polychromatic erythroblast", "polychromatic normoblast", "polychromatophilic erythroblast"),
            *("orthochromatic erythroblast", "orthochromatic normoblast", "orthochromatophilic erythroblast"),
            *("Erythroblasten", "Normoblasten", "Proerythroblasten", "kernhaltiger Erythrozyt"),
            *("érythroblaste", "proérythroblaste", "normoblaste"),
            *("eritroblasto", "proeritroblasto", "normoblasto"),
            *("有核红细胞", "幼红细胞", "原红细胞", "早幼红细胞", "中幼红细胞", "晚幼红细胞"),
        ),
        "myeloblast": (
            *("myeloid blast", "myelo blast"),
            *("Myeloblasten",),
            *("myéloblaste",),
            *("mieloblasto",),
            *("原始粒细胞", "原粒细胞"),
        ),
        "promyelocyte": (
            *("promyelo", "progranulocyte"),
            *("Promyelozyt", "Promyelozyten", "Promyelocyt"),
            *("promyélocyte",),
            *("promielocito",),
            *("早幼粒细胞",),
        ),
        "myelocyte": (
            *("myelo", "neutrophilic myelocyte"),
            *("Myelozyt", "Myelozyten", "Myelocyt"),
            *("myélocyte",),
            *("mielocito",),
            *("中幼粒细胞",),
        ),
        "metamyelocyte": (
            *("meta", "metamyelo", "neutrophilic metamyelocyte", "juvenile neutrophil"),
            *("Metamyelozyt", "Metamyelozyten", "Jugendlicher"),
            *("métamyélocyte",),
            *("metamielocito",),
            *("晚幼粒细胞",),
        ),
        "neutrophil_banded": (
            *("band", "banded", "band cell", "band form", "band neutrophil", "neutrophil band form", "stab"),
            *("stab cell", "stab neutrophil", "band-form neutrophil", "band granulocyte", "rod neutrophil"),
            *("stabkernig", "Stabkernige", "Stabkerniger", "stabkerniger Neutrophiler", "stabkernige Neutrophile"),
            *("stabkerniger Granulozyt", "stabkernige Granulozyten"),
            *("neutrophile non segmenté", "polynucléaire neutrophile non segmenté"),
            *("neutrófilo en banda", "neutrófilos en banda", "cayado", "neutrófilo cayado", "banda"),
            *("杆状核粒细胞", "中性杆状核粒细胞", "杆状核中性粒细胞"),
        ),
        "neutrophil_segmented": (
            *("seg", "segs", "segment", "segmented", "segmented cell", "seg neutrophil", "neutrophil seg"),
            *("neutrophil segment", "neutrophil segments", "segmented granulocyte", "polysegmented neutrophil"),
            *("segmentkernig", "Segmentkernige", "Segmentkerniger", "segmentkerniger Neutrophiler"),
            *("segmentkernige Neutrophile", "segmentkerniger Granulozyt", "segmentkernige Granulozyten"),
            *("neutrophile segmenté", "polynucléaire neutrophile segmenté"),
            *("neutrófilo segmentado", "segmentado"),
            *("分叶核粒细胞", "中性分叶核粒细胞", "分叶核中性粒细胞"),
        ),
        "monocyte": (
            *("mono", "monos", "monoblast"),
            *("Monozyt", "Monozyten", "Monocyt", "Monocyten"),
            *("monocito",),
            *("单核细胞", "單核球"),
        ),
        "lymphocyte_typical": (
            *("normal lymphocyte", "mature lymphocyte", "small lymphocyte"),
            *("typischer Lymphozyt", "typische Lymphozyten", "kleiner Lymphozyt", "reifer Lymphozyt"),
            *("lymphocyte typique", "lymphocyte normal"),
            *("linfocito típico", "linfocito normal", "linfocito maduro"),
            *("成熟淋巴细胞", "正常淋巴细胞"),
        ),
        "lymphocyte_atypical": (
            *("reactive lymphocyte", "variant lymphocyte", "variant lymph", "activated lymphocyte", "atypical lymph"),
            *("lymphocyte variant form", "lymphocyte variant", "reactive lymph", "downey cell", "virocyte", "vly"),
            *("atypischer Lymphozyt", "atypische Lymphozyten", "reaktiver Lymphozyt", "reaktive Lymphozyten"),
            *("lymphocyte atypique", "lymphocyte réactionnel", "lymphocyte hyperbasophile"),
            *("linfocito atípico", "linfocito reactivo", "linfocito activado"),
            *("异型淋巴细胞", "反应性淋巴细胞", "非典型淋巴细胞"),
        ),
        "smudge_cell": (
            *("smudge", "smudged cell", "basket cell", "gumprecht shadow", "smear cell"),
            *("Kernschatten", "Gumprechtscher Kernschatten", "Gumprecht Kernschatten"),
            *("ombre de Gumprecht", "ombres de Gumprecht"),
            *("sombra de Gumprecht", "sombras de Gumprecht"),
            *("涂抹细胞", "破碎细胞"),
        ),
    }
)

#: Names that may mean more than one of our classes, or a cell close to one: the class is proposed in the error
#: message, and never applied by itself.
PROPOSED_LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "neutrophil_segmented": (
            *("neutrophil", "neut", "neutro", "neu", "neutrophilic granulocyte", "polymorph", "pmn"),
            *("Neutrophiler", "Neutrophile", "Neutrophilen", "neutrophiler Granulozyt", "neutrophile Granulozyten"),
            *("polynucléaire neutrophile", "granulocyte neutrophile"),
            *("neutrófilo", "granulocito neutrófilo"),
            *("中性粒细胞", "嗜中性粒细胞", "嗜中性球"),
        ),
        "lymphocyte_typical": (
            *("lymphocyte", "lymph", "lymphs", "lymp", "lympho", "lym", "large granular lymphocyte", "lgl"),
            *("Lymphozyt", "Lymphozyten", "Lymphocyt", "Lymphocyten"),
            *("linfocito", "linfo"),
            *("淋巴细胞", "淋巴球"),
        ),
        "lymphocyte_atypical": ("aberrant lymphocyte", "abnormal lymphocyte", "abnormaler Lymphozyt"),
        "myeloblast": (
            *("blast", "blast cell", "blast no lineage spec", "bl", "bla", "undifferentiated blast"),
            *("Blasten", "Blastenzelle"),
            *("blaste",),
            *("blasto",),
            *("原始细胞", "母细胞"),
        ),
        "promyelocyte": ("abnormal promyelocyte", "atypical promyelocyte", "faggot cell", "faggott cell"),
        "monocyte": ("promonocyte", "Promonozyt", "promonocito", "幼单核细胞", "原单核细胞"),
        "eosinophil": ("abnormal eosinophil",),
        "smudge_cell": ("broken cell", "damaged cell"),
    }
)

#: Names of what is none of our classes: to be left out, or mapped by whoever knows better.
WITHOUT_CLASS: tuple[str, ...] = (
    *("lymphoblast", "Lymphoblasten", "lymphoblaste", "linfoblasto", "原始淋巴细胞"),
    *("prolymphocyte", "ply", "Prolymphozyt", "Prolymphozyten", "prolinfocito", "幼淋巴细胞", "immature lymphocyte"),
    *("plasma cell", "plasmacyte", "pc", "Plasmazelle", "Plasmazellen", "plasmocyte", "célula plasmática", "浆细胞"),
    *("hairy cell", "Haarzelle", "Haarzellen", "tricholeucocyte", "célula peluda", "毛细胞", "sezary cell"),
    *("megakaryocyte", "Megakaryozyt", "Megakaryozyten", "mégacaryocyte", "megacariocito", "巨核细胞"),
    *("promegakaryocyte", "megakaryoblast", "micromegakaryocyte"),
    *("platelet", "platelets clump", "giant platelet", "plt", "thrombocyte", "giant thrombocyte", "Thrombozyt"),
    *("Thrombozyten", "plaquette", "plaqueta", "血小板", "thrombocyte aggregation", "platelet aggregation"),
    *("red blood cell", "red cell", "rbc", "erythrocyte", "Erythrozyt", "Erythrozyten", "globule rouge"),
    *("érythrocyte", "glóbulo rojo", "eritrocito", "hematíe", "红细胞", "reticulocyte"),
    *("immature granulocyte", "ig", "unreife Granulozyten", "granulocito inmaduro", "未成熟粒细胞"),
    *("promyelocyte bilobed", "pmb"),
    *("artefact", "artifact", "Artefakt", "Artefakte", "artéfact", "artefacto", "杂质", "debris", "dirt"),
    *("not identifiable", "unidentified", "unidentifiable", "unknown", "unclassified", "other", "other cell", "misc"),
    *("mixt", "background", "stain", "ghost cell"),
)

#: Names of white cells whose kind is not given: with boxes, they are cells without a label.
UNTYPED: tuple[str, ...] = (
    *("wbc", "white blood cell", "white cell", "leukocyte", "leucocyte", "Leukozyt", "Leukozyten", "globule blanc"),
    *("leucocito", "glóbulo blanco", "白细胞"),
)
