"""The base SAM of a training, and the config of the model built on it."""

import numpy as np
from transformers import SamModel

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.loading import load_sam
from bc_sam.utils.hub import is_hub_id


def load_base(training: TrainingArguments) -> SamModel:
    """Loads the base SAM of a training at its image size."""
    return load_sam(training.base, image_size=training.image_size, revision=training.base_revision, seed=training.seed)


def new_model_config(
    sam: SamModel, cells: CellStore, rows: np.ndarray, labels: tuple[str, ...], training: TrainingArguments
) -> BCSamConfig:
    """Returns the config of a model trained from a base.

    The model references its base if that is on the Hub and stays unchanged, and includes it otherwise.

    Args:
        sam: The base.
        cells: All cells.
        rows: Training cells, whose statistics normalize the images.
        labels: Names of the classes.
        training: Settings of the training.
    """
    on_hub = is_hub_id(training.base) and not training.segmentation.train_encoder
    mean, std = cells.mean_std(rows)
    return BCSamConfig(
        labels=labels,
        domains=tuple(cells.table.domain_names),
        default_classifier=training.classifiers.default,
        base=training.base if on_hub else None,
        base_revision=sam.config._commit_hash if on_hub else None,
        base_inside=not on_hub,
        image_size=training.image_size,
        image_mean=mean,
        image_std=std,
        feature_channels=feature_shape(sam)[0],
        latent_dim=training.autoencoder.latent_dim,
        decoder_channels=training.autoencoder.decoder_channels,
        normalization=training.normalization,
    )
