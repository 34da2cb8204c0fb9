"""What a training starts from: the base SAM, the config of the model built on it, and its autoencoder."""

import logging
from pathlib import Path
from zlib import crc32

import numpy as np
from transformers import SamModel

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.errors import ConfigError
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.folder import ADAPTER, hash_file, load_config, model_digest
from bc_sam.networks.autoencoder import CrossDomainAutoencoder, new_autoencoder
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.loading import load_sam
from bc_sam.networks.sam.lora import merge
from bc_sam.networks.sam.resizing import resize_sam
from bc_sam.utils.model_source import EMBEDDED_MODEL, is_hub_id, resolve_folder

logger = logging.getLogger(__name__)


def is_trained_model(base: str) -> bool:
    """Whether a base is a BC-SAM model, whose fine-tuned SAM is trained further: the embedded one or a folder."""
    folder = Path(base)
    return base == EMBEDDED_MODEL or any((folder / part / ADAPTER).is_dir() for part in ("", "model"))


def base_digest(training: TrainingArguments) -> str:
    """Identifies the content of the local files that a training starts from, which may change while their names stay.

    Those on the Hub are known by their revision, which the settings hold.

    Returns:
        A hash; empty if the training starts from no local file, or they are not there.
    """
    network, sources = training.network, []
    if training.method == "bc-sam" or network.inputs(training.method).sam:
        sources.append(training.base)
    if training.method != "bc-sam":
        sources += [network.image_backbone, network.mask_backbone]
    found = [digest for digest in map(_digest, sources) if digest]
    return f"{crc32(repr(found).encode()):08x}" if found else ""


def _digest(source: str) -> str:
    """Returns a hash of a model in a file or folder, or an empty text."""
    if is_trained_model(source):
        return model_digest(load_config(resolve_folder(source, [])))
    path = Path(source)
    files = [path, *path.glob("*.json"), *path.glob("*.safetensors")]
    return " ".join(hash_file(file) for file in sorted(files) if file.is_file())


def load_base(training: TrainingArguments) -> SamModel:
    """Loads the base SAM of a training at its image size; of a BC-SAM model, the SAM with its adapter merged.

    Raises:
        ConfigError: If the base is a BC-SAM model of other images than those of the training.
    """
    if not is_trained_model(training.base):
        size, revision = training.image_size, training.base_revision
        return load_sam(training.base, image_size=size, revision=revision, seed=training.seed)
    model = _trained_model(training.base)
    if model.config.normalization != training.normalization:
        raise ConfigError(
            f"{training.base} was trained on images with {model.config.normalization}, but the run prepares them with "
            f"{training.normalization}. Use the same normalization, or another base."
        )
    return resize_sam(merge(model.adapter), training.image_size)


def _trained_model(base: str) -> BCSam:
    return BCSam.from_pretrained(base, classifiers=[], device="cpu", dtype="float32")


def new_model_config(
    sam: SamModel, cells: CellStore, rows: np.ndarray, labels: tuple[str, ...], training: TrainingArguments
) -> BCSamConfig:
    """Returns the config of a model trained from a base.

    The model references its base if that is on the Hub and stays unchanged, and includes it otherwise.

    Args:
        sam: The base.
        cells: All cells.
        rows: Training cells, whose statistics normalize the images, unless the base is a trained model.
        labels: Names of the classes.
        training: Settings of the training.
    """
    on_hub = is_hub_id(training.base) and not training.segmentation.train_encoder
    if is_trained_model(training.base):  # its weights expect the statistics that they were trained with
        trained = _trained_model(training.base).config
        mean, std = trained.image_mean, trained.image_std
    else:
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
        label_weights=training.classifiers.label_weights,
        normalization=training.normalization,
        average_turns=training.average_turns and training.method == "bc-sam",
    )


def initial_autoencoder(config: BCSamConfig, training: TrainingArguments) -> CrossDomainAutoencoder:
    """Returns the autoencoder before stage 2: of a base that is a BC-SAM model its own, else one of random weights.

    Args:
        config: Config of the model to be trained. The autoencoder of a base with another number of features, or with
            another latent or decoder, is not used.
        training: Settings of the training.
    """
    if is_trained_model(training.base):
        trained = _trained_model(training.base)
        if _shape(trained.config) == _shape(config):
            logger.info("Stage 2 starts from the autoencoder of %s.", training.base)
            return trained.autoencoder
        logger.info("The autoencoder of %s has another shape: stage 2 starts from random weights.", training.base)
    return new_autoencoder(*_shape(config), seed=training.seed)


def _shape(config: BCSamConfig) -> tuple[int, int, tuple[int, ...]]:
    return config.feature_channels, config.latent_dim, tuple(config.decoder_channels)
