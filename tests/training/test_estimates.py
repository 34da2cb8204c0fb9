"""Disk space is checked and time estimated before a run."""

import time
from dataclasses import dataclass

import pytest
from accelerate import Accelerator
from small_model import IMAGE_SIZE, small_sam

from bc_sam.config.model import BCSamConfig
from bc_sam.data import load_rendered
from bc_sam.data.store import store_cells
from bc_sam.errors import DataError
from bc_sam.networks.features import extract_features
from bc_sam.training.estimates import expected_seconds, feature_bytes, require_space, seconds_per_cell

CONFIG = BCSamConfig(image_size=IMAGE_SIZE, feature_channels=32)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    dataset = load_rendered("munich", cells_per_class=2, labels=("basophil", "monocyte"))
    return store_cells([dataset], tmp_path_factory.mktemp("cells"), IMAGE_SIZE)


class TestSpace:
    def test_the_estimate_is_what_the_features_take(self, cells, tmp_path):
        accelerator = Accelerator(cpu=True, mixed_precision="no")
        extract_features(small_sam(), CONFIG, cells, tmp_path, accelerator=accelerator)
        written = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
        assert feature_bytes(cells, small_sam()) == pytest.approx(written, rel=0.01)

    def test_cells_that_fit_are_accepted(self, cells, tmp_path):
        require_space(cells, small_sam(), tmp_path)

    def test_cells_that_do_not_fit_are_rejected(self, tmp_path):
        @dataclass
        class ManyCells:
            image_size: int = IMAGE_SIZE

            def __len__(self):
                return 10**15

        with pytest.raises(DataError, match=r"Free some space, or choose another --out"):
            require_space(ManyCells(), small_sam(), tmp_path)


class TestTime:
    @staticmethod
    def slow_sam(seconds):
        """A SAM whose encoder takes at least a given time per batch."""
        sam = small_sam()
        sam.vision_encoder.layers[0].register_forward_pre_hook(lambda *_: time.sleep(seconds))
        return sam

    def test_a_cell_takes_its_share_of_the_measured_batch(self, cells):
        assert 0.2 / len(cells) <= seconds_per_cell(self.slow_sam(0.2), CONFIG, cells) < 1.0

    def test_without_masks_only_the_features_take_time(self, cells):
        assert 0.2 <= expected_seconds(self.slow_sam(0.2), CONFIG, cells, n_masks=0, epochs=100) < 2.0

    def test_each_epoch_of_stage_1_takes_longer_than_the_features(self, cells):
        with_epochs = expected_seconds(self.slow_sam(0.2), CONFIG, cells, n_masks=len(cells), epochs=20)
        assert with_epochs > 20 * 0.2
