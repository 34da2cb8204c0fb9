"""One fold of a comparison network, which is trained on each source and tested on each target."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from transformers import SamModel

from bc_sam.classifiers.fitting import LatentClassifier, weigh_classifiers
from bc_sam.classifiers.softmax_head import head_classifier
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import IMAGENET_MEAN, IMAGENET_STD, NetworkConfig
from bc_sam.errors import DataError
from bc_sam.evaluation.results import ALL, OTHERS
from bc_sam.models.comparison import ComparisonModel
from bc_sam.networks.cell_network import CellNetwork, head_weights, new_network
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import fingerprint_weights
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.lora import merge
from bc_sam.training.base_model import load_base, new_model_config
from bc_sam.training.cross_validation import evaluate_sources
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.estimates import require_space
from bc_sam.training.fold import Fold
from bc_sam.training.steps.train_network import NetworkInputs, NetworkStep, embed_cells
from bc_sam.utils.torch_utils import trained_parameters

logger = logging.getLogger(__name__)

STAGE = "stage 3: network"


@dataclass
class RowClassifier:
    """A network as a predictor of stored cells, identified by their rows.

    Attributes:
        network: The trained network.
        inputs: Its inputs for all cells.
        head: Its last layer.
    """

    network: CellNetwork
    inputs: NetworkInputs
    head: LatentClassifier

    @property
    def classes(self) -> np.ndarray:
        """Label index of each of its classes, (k,) int64."""
        return self.head.classes

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, n_labels), float32, of the cells in given rows (n,)."""
        return self.head.predict_proba(embed_cells(self.network, self.inputs, latents))


@dataclass(frozen=True)
class FrozenSam:
    """The frozen SAM of a comparison model, if it has one.

    Attributes:
        config: Config of the model, without its network.
        sam: The SAM, or ``None``.
        features: Its features and predicted masks of all cells, or ``None``.
    """

    config: BCSamConfig
    sam: SamModel | None = None
    features: FeatureStore | None = None

    @property
    def channels(self) -> int:
        """Channels of its features; 0 without a SAM."""
        return 0 if self.sam is None else feature_shape(self.sam)[0]


def run_comparison_fold(fold: Fold) -> None:
    """Trains a network on every source without one fold, tests it on every target, and saves the results.

    The saved model is the one that was trained on all domains together.

    Raises:
        DataError: If a source has labels of a single class.
    """
    frozen = prepare_sam(fold)
    trainer = _NetworkTrainer(fold, frozen)
    training = fold.run.training
    rows = np.arange(len(fold.run.cells))
    pairs, predictors = evaluate_sources(fold.labelled(rows), fold.number, training.protocol, trainer.fit)
    ((name, trained),) = predictors.items()
    network, config = trained.network, trained.inputs.config
    latents = embed_cells(network, trained.inputs, rows)
    if not fold.run.is_main_process:
        return
    model = ComparisonModel(
        replace(frozen.config, network=config, default_classifier=name, latent_dim=network.head.in_features),
        network,
        frozen.sam,
        device=fold.run.accelerator.device,
        precision=fold.run.precision,
    )
    dice = fold.segmentation_dice(frozen.features) if frozen.features and config.needs_masks else []
    fold.save(model, latents, pairs, dice)


def prepare_sam(fold: Fold) -> FrozenSam:
    """Prepares the SAM that the network of a fold needs: none, a fine-tuned one, or the unchanged base."""
    run, pipeline = fold.run, fold.pipeline
    network, method = run.training.network, run.training.method
    if not network.inputs(method).sam:
        return FrozenSam(
            BCSamConfig(
                labels=run.labels,
                domains=tuple(run.cells.table.domain_names),
                image_size=run.training.image_size,
                normalization=run.training.normalization,
                image_mean=IMAGENET_MEAN,
                image_std=IMAGENET_STD,
                label_weights=run.training.classifiers.label_weights,
            )
        )
    if network.learn_masks or network.inputs(method).masks:
        adapter, config = pipeline.fine_tune_base(run.labels)
        features = pipeline.extract_features(adapter, config)
        config = replace(config, base=None, base_revision=None, base_inside=True)
        return FrozenSam(config, merge(adapter), features)
    sam = load_base(run.training)
    config = new_model_config(sam, run.cells, pipeline.rows, run.labels, run.training)
    # Weights and normalization, and hence the features, are the same in every fold.
    config = replace(config, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)
    require_space(run.cells, sam, run.work)
    return FrozenSam(config, sam, replace(pipeline, folder=run.work / "frozen").extract_features(sam, config))


@dataclass(frozen=True)
class _NetworkTrainer:
    """Trains the network of a fold on one source after another.

    Attributes:
        fold: The fold.
        frozen: The frozen SAM of the network.
    """

    fold: Fold
    frozen: FrozenSam

    def fit(self, source: str, rows: np.ndarray) -> Mapping[str, RowClassifier]:
        """Returns a network trained on labelled cells of a source, by its name in tables."""
        pipeline, training = self.fold.pipeline, self.fold.run.training
        arguments, method = training.network, training.method
        classes = np.unique(self.fold.run.cells.labels[rows])
        if len(classes) < 2:
            raise DataError(
                f"{source} has labels of {len(classes)} classes, but a network needs at least two. Label more cells."
            )
        config, network = new_network(method, arguments, classes.tolist(), self.frozen.channels, seed=training.seed)
        logger.info("%s: %d labelled cells of %d classes.", source, len(rows), len(classes))
        inputs = NetworkInputs(self.fold.run.cells, self.frozen.features, config)
        stage, checkpoints = f"{STAGE}, {source}", self._checkpoints(source, rows, config, network)
        with pipeline.timed(stage, checkpoints.key):
            validation = self._validation_rows(source, classes)
            step = NetworkStep(f"Network on {source}", network, inputs, rows, validation, arguments, training.seed)
            pipeline.fit(stage, step, arguments.schedule(), checkpoints)
        pipeline.trained[STAGE] = trained_parameters(network)
        head = head_classifier(*head_weights(network), config.classes, len(self.fold.run.labels))
        weigh_classifiers({"head": head}, self.fold.run.labels, training.classifiers.label_weights)
        return {arguments.variant(method): RowClassifier(network, inputs, head)}

    def _validation_rows(self, source: str, classes: np.ndarray) -> np.ndarray:
        """Returns the validation cells of a source that belong to the network's classes."""
        cells, rows = self.fold.run.cells, self.fold.pipeline.validation
        mask = np.isin(cells.labels[rows], classes)
        if source not in (ALL, OTHERS):
            mask &= cells.domains[rows] == cells.table.domain_names.index(source)
        return rows[mask]

    def _checkpoints(self, source: str, rows: np.ndarray, config: NetworkConfig, network: CellNetwork) -> Checkpoints:
        features = self.frozen.features
        inputs = (config, fingerprint_weights(network), features and features.key)
        folder = self.fold.folder / f"stage-3-{crc32(source.encode()):08x}"
        return self.fold.pipeline.checkpoints(folder, self.fold.run.training.network, rows, inputs)
