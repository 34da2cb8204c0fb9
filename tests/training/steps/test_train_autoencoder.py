"""Stage 2 on made-up features: what the latent keeps of them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch.nn import functional

from bc_sam.config.arguments import AutoencoderArguments, TrainingArguments
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.networks.feature_store import FeatureStore, write_shard
from bc_sam.networks.features import embed_features
from bc_sam.training.engine import loop
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.steps.train_autoencoder import Anchor, AutoencoderStep, ViewFeatures

CHANNELS, LATENT_DIM, N = 8, 6, 48
ARGUMENTS = AutoencoderArguments(
    latent_dim=LATENT_DIM,
    decoder_channels=(4,) * 7,
    epochs=6,
    warmup_steps=5,
    batch_size=4,
    learning_rate=5e-3,
    mmd_weight=0.0,
)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Cells of identical appearance, whose features encode three independent factors."""
    random = np.random.default_rng(0)
    kinds, directions = random.standard_normal((N, 3)), np.linalg.qr(random.standard_normal((CHANNELS, 3)))[0]
    digests = np.arange(N, dtype=np.uint64)
    maps = 0.3 * random.standard_normal((N, CHANNELS, 6, 6)) + (kinds @ directions.T)[:, :, None, None]
    folder = tmp_path_factory.mktemp("features")
    shard = {
        "maps": maps.astype(np.float16),
        "masks": np.ones((N, 8, 8), bool),
        "targets": np.full((N, 128, 128, 3), 128, np.uint8),
    }
    write_shard(folder, "encoder", digests, shard)
    return FeatureStore(folder, digests, "encoder")


@dataclass
class Cells:
    """What stage 2 needs to know of the cells besides their features."""

    domains: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)


def cells_with(labels):
    """Cells of two alternating laboratories."""
    return Cells(np.arange(len(labels)) % 2, np.asarray(labels))


UNLABELLED = cells_with(np.full(N, -1))


def make(features, arguments, *, rows=None, validation_rows=(), cells=UNLABELLED, n_labels=2, **more):
    """The step, and the autoencoder that it trains."""
    model = new_autoencoder(CHANNELS, LATENT_DIM, arguments.decoder_channels, seed=0)
    rows, unseen = np.arange(N) if rows is None else rows, np.array(validation_rows, dtype=int)
    step = AutoencoderStep(model, features, rows, unseen, cells, arguments, n_labels=n_labels, seed=1234, **more)
    return step, model


def train(features, tmp_path, arguments, **more):
    accelerator, _ = start_accelerator(TrainingArguments(mixed_precision="no"), tmp_path)
    step, model = make(features, arguments, **more)
    return model, loop.train(step, arguments.schedule(), accelerator)


def told(model, features):
    """R² of a linear regression from latents to mean features, on held-out cells."""
    latents, means = embed_features(model, features.maps), features.maps[:].astype(np.float32).mean(axis=(2, 3))
    return LinearRegression().fit(latents[::2], means[::2]).score(latents[1::2], means[1::2])


def test_feature_weight_keeps_what_pixels_cannot_show(features, tmp_path):
    plain, _ = train(features, tmp_path, ARGUMENTS)
    recalling, history = train(features, tmp_path, replace(ARGUMENTS, feature_weight=1.0))
    assert history[-1]["loss"] < history[0]["loss"]
    assert told(recalling, features) > told(plain, features) + 0.3


def test_the_feature_head_is_not_part_of_the_model(features, tmp_path):
    plain, recalling = (
        train(features, tmp_path, replace(ARGUMENTS, epochs=1, feature_weight=weight))[0] for weight in (0.0, 1.0)
    )
    assert plain.state_dict().keys() == recalling.state_dict().keys()


def test_validation_includes_the_feature_loss(features, tmp_path):
    losses = [
        train(
            features, tmp_path, replace(ARGUMENTS, epochs=1, feature_weight=weight), validation_rows=np.arange(0, N, 5)
        )[1][0]["validation_loss"]
        for weight in (0.0, 5.0)
    ]
    assert losses[1] > losses[0] + 0.5


def test_latents_are_aligned_with_an_anchor(features, tmp_path):
    """The anchor is another laboratory with a distant mean latent."""
    anchor = Anchor(np.full((32, LATENT_DIM), 3, np.float32), np.full(32, 2))
    arguments = replace(ARGUMENTS, mmd_weight=5.0)
    alone, anchored = (
        embed_features(train(features, tmp_path, arguments, anchor=one)[0], features.maps).mean(axis=0)
        for one in (None, anchor)
    )
    assert np.linalg.norm(anchored - 3) < np.linalg.norm(alone - 3) - 0.5


class TestLabels:
    """The embedding may also be trained to tell the classes apart."""

    @pytest.fixture
    def labels(self, features):
        """Two classes that mean features tell apart."""
        means = features.maps[:].astype(np.float32).mean(axis=(2, 3))
        strongest = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][0]
        return (means @ strongest > np.median(means @ strongest)).astype(np.int64)

    def test_their_loss_falls(self, features, labels, tmp_path):
        arguments = replace(ARGUMENTS, epochs=4, label_weight=1.0)
        step, _ = make(features, arguments, cells=cells_with(labels))

        @torch.inference_mode()
        def loss():
            logits = step.module.eval()(torch.tensor(features.maps[:]).float())[3]
            return functional.cross_entropy(logits, torch.tensor(labels)).item()

        before = loss()
        accelerator, _ = start_accelerator(TrainingArguments(mixed_precision="no"), tmp_path)
        loop.train(step, arguments.schedule(), accelerator)
        assert loss() < before - 0.1

    def test_it_is_part_of_the_validation_loss(self, features, labels):
        steps = [
            make(
                features,
                replace(ARGUMENTS, label_weight=weight),
                cells=cells_with(labels),
                validation_rows=np.arange(0, N, 5),
            )[0]
            for weight in (0.0, 1.0, 2.0)
        ]
        with torch.inference_mode():
            losses = [step.validate(step.module.eval()) for step in steps]
        assert losses[1] > losses[0] + 0.5
        assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3)

    def test_the_head_is_absent_at_weight_0_and_never_part_of_the_model(self, features):
        (plain, without), (step, model) = (
            make(features, replace(ARGUMENTS, label_weight=weight), n_labels=3) for weight in (0.0, 1.0)
        )
        assert plain.module.classify is None
        assert step.module.classify.out_features == 3
        assert model.state_dict().keys() == without.state_dict().keys()

    def test_labels_are_not_read_at_weight_0(self, features, labels, tmp_path):
        one, other = (
            train(features, tmp_path, replace(ARGUMENTS, epochs=1), cells=cells)[0].state_dict()
            for cells in (UNLABELLED, cells_with(labels))
        )
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_cells_without_a_label_cost_nothing(self, features, tmp_path):
        losses = [
            train(features, tmp_path, replace(ARGUMENTS, epochs=1, label_weight=weight))[1][0]["loss"]
            for weight in (0.0, 1.0)
        ]
        assert losses[1] == pytest.approx(losses[0], abs=1e-6)

    def test_the_loss_is_the_mean_over_labelled_cells(self, features):
        step, _ = make(features, replace(ARGUMENTS, label_weight=2.0))
        logits = torch.tensor([[3.0, 0.0], [0.0, 9.0], [1.0, 2.0]])
        one, other = (
            step._label_loss(logits[i : i + 1], torch.tensor([label])).item() for i, label in ((0, 0), (2, 0))
        )
        assert step._label_loss(logits, torch.tensor([0, -1, 0])).item() == pytest.approx((one + other) / 2)
        assert one < other


class TestViews:
    """Augmented views of the training cells are trained on in addition to the cells."""

    ROWS = np.arange(0, N, 4)

    @pytest.fixture
    def views(self, tmp_path):
        random = np.random.default_rng(9)
        digests = 1000 + np.arange(40, dtype=np.uint64)
        shard = {
            "maps": random.standard_normal((40, CHANNELS, 6, 6)).astype(np.float16),
            "masks": np.ones((40, 8, 8), bool),
            "targets": random.integers(0, 256, (40, 128, 128, 3), np.uint8),
        }
        write_shard(tmp_path / "views", "encoder", digests, shard)
        store = FeatureStore(tmp_path / "views", digests, "encoder")
        return ViewFeatures(store, Cells(np.zeros(40, int), np.arange(40) % 2), np.zeros(40, int))

    def test_they_follow_the_cells_with_domain_and_label(self, features, views):
        step, _ = make(features, ARGUMENTS, rows=self.ROWS, cells=cells_with(np.arange(N) % 3), views=views)
        assert len(step.dataset) == len(self.ROWS) + 40
        maps, target, domain, label = step.dataset[len(self.ROWS) + 5]
        assert np.array_equal(maps, views.features.maps[5])
        assert np.array_equal(target.permute(1, 2, 0), views.features.targets[5])
        assert (domain, label) == (0, 1)

    def test_every_batch_has_the_laboratories_in_equal_parts(self, features, views):
        rows = np.arange(0, N, 2) + (np.arange(0, N, 2) % 4 > 0)  # of both laboratories
        step, _ = make(features, ARGUMENTS, rows=rows, views=views)
        order = step.order()(np.random.default_rng(0))
        domains = np.array([step.dataset[i][2] for i in order[:16]])
        assert (domains == 0).sum() == (domains == 1).sum() == 8

    def test_they_are_not_validated_on(self, features, views):
        step, _ = make(features, ARGUMENTS, validation_rows=[1, 2, 3], views=views)
        assert len(step.validation) == 3

    def test_they_change_what_is_learned(self, features, views, tmp_path):
        plain, with_views = (
            train(features, tmp_path, replace(ARGUMENTS, epochs=1), views=some)[0].state_dict()
            for some in (None, views)
        )
        assert any(not torch.equal(plain[name], with_views[name]) for name in plain)
