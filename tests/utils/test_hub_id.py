import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.utils.hub_id import reads_as_hub_id


@pytest.mark.parametrize("text", ["org/bc-sam", "facebook/sam-vit-base", "a/b", "org/model.v1_2"])
def test_owner_and_name_form_a_hub_id(text):
    assert reads_as_hub_id(text)


@pytest.mark.parametrize("text", ["", "bc-sam", "/bc-sam", "org/", "a/b/c", "../x", "org/..", "./x", "a b/c", "a/b\n"])
def test_anything_else_is_not_a_hub_id(text):
    assert not reads_as_hub_id(text)


@given(st.text("ab./-_~ ", max_size=8))
def test_a_hub_id_never_leads_out_of_a_folder(text):
    if reads_as_hub_id(text):
        assert all(part not in ("", ".", "..", "~") for part in text.split("/"))
