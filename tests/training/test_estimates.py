"""What a run needs is known before it begins."""

from types import SimpleNamespace

import pytest
from small_model import small_sam

from bc_sam.config.model import BCSamConfig
from bc_sam.data import load_rendered
from bc_sam.data.store import store_cells
from bc_sam.errors import DataError
from bc_sam.training.estimates import expected_seconds, require_space


@pytest.fixture
def cells(tmp_path):
    return store_cells([load_rendered(cells_per_class=2, labels=["basophil", "monocyte"])], tmp_path / "store", 64)


def test_a_disk_without_room_is_refused(cells, tmp_path, monkeypatch):
    require_space(cells, small_sam(), tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"Free some, or choose another --out"):
        require_space(cells, small_sam(), tmp_path)


def test_more_epochs_are_expected_to_take_longer(cells):
    sam, config = small_sam(), BCSamConfig(image_size=64)
    short, long = (expected_seconds(sam, config, cells, len(cells), epochs) for epochs in (1, 100))
    assert 0 < 5 * short < long
