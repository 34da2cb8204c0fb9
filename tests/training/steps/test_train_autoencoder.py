"""Stage 2 on made-up features: what the latent keeps of them."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from bc_sam.config.arguments import AutoencoderArguments, TrainingArguments
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.networks.feature_store import FeatureStore, write_shard
from bc_sam.networks.features import embed_features
from bc_sam.training.engine import loop
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.steps.train_autoencoder import Anchor, AutoencoderStep

CHANNELS, LATENT_DIM, N = 8, 6, 96
ARGUMENTS = AutoencoderArguments(
    latent_dim=LATENT_DIM,
    decoder_channels=(4,) * 7,
    epochs=12,
    warmup_steps=5,
    batch_size=16,
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


def train(features, tmp_path, arguments, validation_rows=(), anchor=None):
    accelerator, _ = start_accelerator(TrainingArguments(mixed_precision="no"), tmp_path)
    model = new_autoencoder(CHANNELS, LATENT_DIM, arguments.decoder_channels, seed=0)
    rows, domains, unseen = np.arange(N), np.arange(N) % 2, np.array(validation_rows, dtype=int)
    step = AutoencoderStep(model, features, rows, unseen, domains, arguments, 1234, anchor)
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
