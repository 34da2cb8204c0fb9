"""A loaded data set knows where it comes from."""

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


def test_known_data_sets_are_recognised(image, tmp_path):
    for name in ("matek/BAS/BAS_0001.png", "acevedo/basophil/BA_1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(image)
    assert provenance_of(load_matek19(tmp_path / "matek")) == MATEK19
    assert provenance_of(load_acevedo20(tmp_path / "acevedo")) == ACEVEDO20
    assert provenance_of(load_cells("a=rendered:munich:1")) == RENDERED


def test_of_a_laboratorys_own_nothing_is_claimed(image, tmp_path):
    (tmp_path / "ours" / "monocyte").mkdir(parents=True)
    (tmp_path / "ours" / "monocyte" / "1.png").write_bytes(image)
    assert provenance_of(load_folder(tmp_path / "ours", domain="ours")) is None


@pytest.mark.parametrize("provenance", [MATEK19, ACEVEDO20])
def test_the_published_ones_say_whom_to_thank(provenance):
    assert provenance.homepage.startswith("https://doi.org/")
    assert provenance.licence.startswith("CC BY")
    assert provenance.bibtex.startswith("@")
    assert provenance.bibtex.count("{") == provenance.bibtex.count("}")
