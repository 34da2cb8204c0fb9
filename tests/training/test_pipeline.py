"""The torch stages of a pass train in place, keep their results, and record their cost."""

import copy
import logging
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import DECODER_CHANNELS, IMAGE_SIZE, LATENT_DIM

from bc_sam.config.labels import LABELS
from bc_sam.data import load_rendered
from bc_sam.data.store import store_cells
from bc_sam.errors import DataError
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.engine.checkpoints import trained_tensors
from bc_sam.training.pipeline import TrainingPipeline


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Two classes of two laboratories, 16 cells, all with masks."""
    sets = [load_rendered(name, cells_per_class=4, labels=("basophil", "monocyte")) for name in ("munich", "tehran")]
    return store_cells(sets, tmp_path_factory.mktemp("cells"), IMAGE_SIZE)


@pytest.fixture
def pipeline(cells, small_training, tmp_path):
    """Creates a pipeline that holds out the first four cells."""

    def make(folder="pass", first=4, **changes):
        training = replace(small_training, **changes)
        accelerator, precision = start_accelerator(training, tmp_path)
        (tmp_path / folder).mkdir(exist_ok=True)
        rows = np.arange(first, len(cells))
        return TrainingPipeline(cells, rows, rows[:0], tmp_path / folder, training, accelerator, precision, fold=2)

    return make


class TestStage1:
    def test_it_fine_tunes_the_base_and_describes_the_model(self, pipeline, cells):
        run = pipeline()
        adapter, config = run.fine_tune_base(LABELS)
        assert config.labels == LABELS
        assert config.domains == tuple(cells.table.domain_names)
        assert config.base_inside
        assert config.image_mean == run.cells.mean_std(run.rows)[0]
        assert [len(epochs) for epochs in run.history.values()] == [1]
        assert run.trained == {"stage 1: masks": sum(p.numel() for p in adapter.parameters() if p.requires_grad)}
        assert any("lora_B" in name and tensor.any() for name, tensor in trained_tensors(adapter).items())

    def test_a_finished_stage_is_not_rerun_and_reports_its_cost(self, pipeline):
        first, again = pipeline(), pipeline()
        one, _ = first.fine_tune_base(LABELS)
        other, _ = again.fine_tune_base(LABELS)
        ours, theirs = trained_tensors(one), trained_tensors(other)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert again.timings[0].seconds == first.timings[0].seconds

    def test_it_requires_masks(self, pipeline, cells):
        run = pipeline()
        run.cells = copy.copy(cells)
        run.cells.has_mask = np.zeros(len(cells), bool)
        with pytest.raises(DataError, match="no training image has one"):
            run.fine_tune_base(LABELS)

    def test_it_logs_its_estimated_duration(self, pipeline, caplog):
        with caplog.at_level(logging.INFO, logger="bc_sam"):
            pipeline().fine_tune_base(LABELS)
        assert "will take about" in caplog.text


def test_features_are_extracted_from_all_cells_and_kept(pipeline, cells):
    run = pipeline()
    adapter, config = run.fine_tune_base(LABELS)
    features = run.extract_features(adapter, config)
    assert len(features.maps) == len(cells)
    written = {path: path.stat().st_mtime_ns for path in (run.folder / "features").iterdir()}
    again = run.extract_features(adapter, config)
    assert again.key == features.key
    assert {path: path.stat().st_mtime_ns for path in (run.folder / "features").iterdir()} == written


def test_stage_2_trains_the_autoencoder_in_place_and_can_be_resumed(pipeline):
    run = pipeline()
    adapter, config = run.fine_tune_base(LABELS)
    features = run.extract_features(adapter, config)
    start = new_autoencoder(config.feature_channels, LATENT_DIM, DECODER_CHANNELS, seed=0)
    trained, again = copy.deepcopy(start), copy.deepcopy(start)
    run.train_autoencoder(trained, features, n_labels=len(LABELS))
    assert not any(torch.equal(a, b) for a, b in zip(start.parameters(), trained.parameters(), strict=True))
    assert [timing.stage for timing in run.timings] == ["stage 1: masks", "features", "stage 2: autoencoder"]
    assert {timing.fold for timing in run.timings} == {2}
    run.train_autoencoder(again, features, n_labels=len(LABELS))
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), again.parameters(), strict=True))


class TestViews:
    def test_by_default_there_are_none(self, pipeline):
        run = pipeline()
        assert run.extract_view_features(*run.fine_tune_base(LABELS)) is None

    def test_they_are_of_training_cells_and_stage_2_is_trained_on_them(self, pipeline):
        run = pipeline(views=12)
        adapter, config = run.fine_tune_base(LABELS)
        features, views = run.extract_features(adapter, config), run.extract_view_features(adapter, config)
        assert len(views.features.maps) == len(views.cells) == 12
        assert set(views.rows) <= set(run.rows)
        assert "features of views" in [timing.stage for timing in run.timings]
        start = new_autoencoder(config.feature_channels, LATENT_DIM, DECODER_CHANNELS, seed=0)
        alone, with_views = copy.deepcopy(start), copy.deepcopy(start)
        run.train_autoencoder(alone, features, n_labels=len(LABELS))
        run.train_autoencoder(with_views, features, n_labels=len(LABELS), views=views)
        assert any(not torch.equal(a, b) for a, b in zip(alone.parameters(), with_views.parameters(), strict=True))


class TestCheckpoints:
    def test_their_key_depends_on_settings_cells_and_inputs(self, pipeline):
        run = pipeline()
        stage_1, stage_2 = run.training.segmentation, run.training.autoencoder
        keys = {
            run.stage_checkpoints("stage", stage_1, ("weights",)).key,
            run.stage_checkpoints("stage", stage_2, ("weights",)).key,
            run.stage_checkpoints("stage", stage_1, ("other weights",)).key,
            pipeline(first=5).stage_checkpoints("stage", stage_1, ("weights",)).key,
            pipeline(seed=5).stage_checkpoints("stage", stage_1, ("weights",)).key,
        }
        assert len(keys) == 5
        assert run.stage_checkpoints("stage", stage_1, ("weights",)).key in keys

    def test_their_key_depends_on_the_validation_cells(self, pipeline):
        run, other = pipeline(), pipeline()
        other.rows, other.validation = run.rows[:-1], run.rows[-1:]
        keys = {one.stage_checkpoints("stage", run.training.segmentation, ()).key for one in (run, other)}
        assert len(keys) == 2


class TestTimed:
    def test_it_measures_the_enclosed_block(self, pipeline):
        run = pipeline()
        with run.timed("nap"):
            time.sleep(0.05)
        (timing,) = run.timings
        assert timing.seconds >= 0.05
        assert timing.peak_memory_mib > 0

    def test_a_reused_result_reports_its_original_cost(self, pipeline):
        first, quicker, slower, other = pipeline(), pipeline(), pipeline(), pipeline()
        naps = ((first, "one", 0.05), (quicker, "one", 0), (slower, "one", 0.1), (other, "other", 0))
        for run, key, seconds in naps:
            with run.timed("nap", key):
                time.sleep(seconds)
        assert quicker.timings == slower.timings == first.timings
        assert other.timings != first.timings
