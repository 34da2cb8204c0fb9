"""Class names of many languages and public sets are recognized by tables; a similarity of letters proposes nothing."""

import pytest

from bc_sam.config.labels import LABELS
from bc_sam.data.names.label_map import LabelMap, resolve_labels
from bc_sam.data.names.recognition import find_convention, find_label, has_no_class, is_untyped, propose_label
from bc_sam.data.names.table import (
    BONE_MARROW_CODES,
    PROPOSED_LABELS,
    SYNONYMS,
    UNTYPED,
    WBCBENCH_CODES,
    WITHOUT_CLASS,
)
from bc_sam.errors import DataError


def listed(table):
    return [(name, label) for label, names in table.items() for name in names]


@pytest.mark.parametrize(("name", "label"), listed(SYNONYMS))
def test_every_synonym_is_recognized_and_belongs_to_one_class(name, label):
    assert find_label(name) == label
    assert find_label(name.upper()) == label
    assert propose_label(name) is None
    assert not has_no_class(name)


@pytest.mark.parametrize(("name", "label"), listed(PROPOSED_LABELS))
def test_every_ambiguous_name_is_proposed_and_never_applied(name, label):
    assert propose_label(name) == label
    assert find_label(name) is None
    assert not has_no_class(name)


@pytest.mark.parametrize("name", WITHOUT_CLASS)
def test_every_cell_without_a_class_is_known_as_such(name):
    assert has_no_class(name)
    assert find_label(name) is None
    assert propose_label(name) is None


@pytest.mark.parametrize("name", UNTYPED)
def test_a_white_cell_of_no_kind_is_none_of_the_classes(name):
    assert is_untyped(name)
    assert find_label(name) is None
    assert propose_label(name) is None


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Baso", "basophil"),  # LISC
        ("eosi", "eosinophil"),
        ("mono", "monocyte"),
        ("Band Neutrophils", "neutrophil_banded"),  # CellaVision
        ("Segmented neutrophils (SNE)", "neutrophil_segmented"),
        ("Variant Lymphocyte", "lymphocyte_atypical"),
        ("Erythroblast (NRBC)", "erythroblast"),
        ("Smudge cells", "smudge_cell"),
        ("neutrophil bands", "neutrophil_banded"),  # Bodzas
        ("neutrophil segments", "neutrophil_segmented"),
        ("normoblasts", "erythroblast"),
        ("Stabkernige", "neutrophil_banded"),
        ("polynucléaire éosinophile", "eosinophil"),
        ("POLYNUCLEAIRES EOSINOPHILES", "eosinophil"),
        ("monocitos", "monocyte"),
        ("嗜酸性粒细胞", "eosinophil"),
        ("01_basophil", "basophil"),
        ("Metamyelocytes", "metamyelocyte"),
    ],
)
def test_names_as_data_sets_write_them_are_recognized(name, label):
    assert find_label(name) == label


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("lymphoblast", None),
        ("megakaryocyte", None),
        ("large granular lymphocyte", "lymphocyte_typical"),
        ("blasts", "myeloblast"),
        ("neut", "neutrophil_segmented"),
        ("Lymphozyten", "lymphocyte_typical"),
        ("monocytoid thing", None),
        ("neutrofilzz", None),
    ],
)
def test_proposals_are_right_or_not_made(name, proposal):
    assert find_label(name) is None
    assert propose_label(name) == proposal


class TestMessages:
    """What the error for unknown names proposes."""

    def advice(self, *names):
        with pytest.raises(DataError) as caught:
            resolve_labels(names, {}, where="ours")
        return str(caught.value)

    def test_cells_without_a_class_are_proposed_to_be_left_out_beside_others(self):
        message = self.advice("monocyte", "plasma cell", "platelet")
        assert "--map 'plasma cell=' --map platelet=" in message

    def test_leaving_out_everything_is_never_proposed(self):
        message = self.advice("plasma cell", "platelet")
        assert "--map platelet=" not in message
        assert "None excludes" not in message
        assert "Nothing is proposed for plasma cell, platelet" in message

    def test_unknown_names_get_no_proposal(self):
        assert "Nothing is proposed for xyz: name the class, or exclude it." in self.advice("monocyte", "xyz")

    def test_the_advice_of_the_message_works(self):
        names = ["neutrophil", "lymphocyte", "platelet", "blast"]
        message = self.advice(*names)
        pairs = dict(pair.split("=") for pair in message.split("On the command line: ")[1].split() if "=" in pair)
        labels = resolve_labels(names, {name: label or None for name, label in pairs.items()}, where="ours")
        assert labels == {
            "neutrophil": "neutrophil_segmented",
            "lymphocyte": "lymphocyte_typical",
            "platelet": None,
            "blast": "myeloblast",
        }


class TestConventions:
    """Codes of data sets that are read as a whole."""

    @pytest.mark.parametrize("codes", [BONE_MARROW_CODES, WBCBENCH_CODES])
    def test_all_codes_of_a_set_are_read_and_it_is_said(self, codes, caplog):
        assert resolve_labels(list(codes), {}, where="ours") == dict(codes)
        assert {label for label in codes.values() if label} <= set(LABELS)
        assert "class names are read as the codes of" in caplog.text

    def test_a_label_map_takes_precedence(self):
        labels = resolve_labels(["ABE", "EOS", "HAC"], {"hac": "lymphocyte_atypical"}, where="ours")
        assert labels == {"ABE": "eosinophil", "EOS": "eosinophil", "HAC": "lymphocyte_atypical"}

    def test_common_codes_alone_are_no_convention(self):
        assert find_convention(["EOS", "LYT", "MON"]) is None
        assert find_convention(["BL", "monocyte"]) is None


class TestLabelMap:
    """A mapping that matches nothing is an error."""

    def test_an_unused_name_is_rejected_with_the_names_there_are(self):
        given = LabelMap({"neutro": "neutrophil_segmented"})
        resolve_labels(["monocyte"], given, where="ours")
        with pytest.raises(DataError, match=r"names neutro, but the classes are monocyte"):
            given.require_used()

    def test_a_used_name_is_accepted_in_any_case(self):
        given = LabelMap({"Neutro": "neutrophil_segmented"})
        assert resolve_labels(["NEUTRO"], given, where="ours") == {"NEUTRO": "neutrophil_segmented"}
        given.require_used()
