"""Published data sets carry their provenance."""

import pytest

from bc_sam.data import load_acevedo20, load_cells, load_folder, load_matek19
from bc_sam.data.datasets.acevedo import ACEVEDO20
from bc_sam.data.datasets.matek import MATEK19
from bc_sam.data.datasets.rendered import RENDERED, write_rendered
from bc_sam.data.sources import provenance_of


@pytest.fixture
def image(tmp_path):
    write_rendered(tmp_path / "rendered", ("munich",), cells_per_class=1, labels=("monocyte",))
    return next((tmp_path / "rendered" / "munich").rglob("*.png")).read_bytes()


def test_published_data_sets_have_their_provenance(image, tmp_path):
    for name in ("matek/BAS/BAS_0001.png", "acevedo/basophil/BA_1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(image)
    assert provenance_of(load_matek19(tmp_path / "matek")) == MATEK19
    assert provenance_of(load_acevedo20(tmp_path / "acevedo")) == ACEVEDO20
    assert provenance_of(load_cells("a=rendered:munich:1")) == RENDERED


def test_a_users_own_folder_has_no_provenance(image, tmp_path):
    (tmp_path / "ours" / "monocyte").mkdir(parents=True)
    (tmp_path / "ours" / "monocyte" / "1.png").write_bytes(image)
    assert provenance_of(load_folder(tmp_path / "ours", domain="ours")) is None


@pytest.mark.parametrize("provenance", [MATEK19, ACEVEDO20])
def test_the_provenance_includes_licence_and_reference(provenance):
    assert provenance.homepage.startswith("https://doi.org/")
    assert provenance.licence.startswith("CC BY")
    assert provenance.bibtex.startswith("@")
    assert provenance.bibtex.count("{") == provenance.bibtex.count("}")
