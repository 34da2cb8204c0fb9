"""One pass of a comparison system: it learns from each source of labels in turn, and is tested on each target."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
from transformers import SamModel

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.softmax_head import head_classifier
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import NetworkConfig
from bc_sam.errors import DataError
from bc_sam.evaluation.results import ALL, PairResult
from bc_sam.models.comparison import ComparisonModel
from bc_sam.networks.cell_network import CellNetwork, head_weights, new_network
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import fingerprint_weights
from bc_sam.training.cross_validation import Fitted, LabelledLatents, evaluate_sources
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.pipeline import Stages
from bc_sam.training.steps.train_network import NetworkInputs, embed_cells, train_network
from bc_sam.utils.torch_utils import trained_parameters

logger = logging.getLogger(__name__)

STAGE = "stage 3: network"


@dataclass
class RowClassifier:
    """A network as a classifier of stored cells, which it is given by their rows.

    Attributes:
        network: The trained network.
        inputs: What it sees of all cells.
        head: Its last layer.
    """

    network: CellNetwork
    inputs: NetworkInputs
    head: LatentClassifier

    @property
    def classes(self) -> np.ndarray:
        """Index of the label of each of its classes, (k,) int64."""
        return self.head.classes

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, n_labels), float32, of the cells of some rows (n,)."""
        return self.head.predict_proba(embed_cells(self.network, self.inputs, latents))


@dataclass
class NetworkPass:
    """One fold of a comparison system.

    Attributes:
        stages: Cells, arguments and accelerator; what is timed goes there.
        folder: Where checkpoints go.
        labelled: All cells, by their rows.
        config: The model's, without its network.
        sam: The frozen SAM, where the network needs one.
        features: Features and masks that it gives of all cells.
        sam_channels: Channels of its features.
    """

    stages: Stages
    folder: Path
    labelled: LabelledLatents
    config: BCSamConfig
    sam: SamModel | None = None
    features: FeatureStore | None = None
    sam_channels: int = 0

    def run(self, fold: int) -> tuple[list[PairResult], ComparisonModel, np.ndarray]:
        """Trains on every source and tests on every target.

        Returns:
            The results; the model that learned from the last source, which is all domains together; and what its last
            layer sees of all cells, (n, d).

        Raises:
            DataError: If a source has labels of a single class.
        """
        arguments = self.stages.arguments
        name = arguments.network.variant(arguments.method)
        last: list[RowClassifier] = []  # the one of the newest source

        def fit(source: str, rows: np.ndarray) -> Mapping[str, Fitted]:
            last[:] = [self._train(source, rows)]
            return {name: last[0]}

        pairs = evaluate_sources(self.labelled, fold, arguments.protocol, fit)
        network, config = last[0].network, last[0].inputs.config
        model = ComparisonModel(
            replace(self.config, network=config, default_classifier=name, latent_dim=network.head.in_features),
            network,
            self.sam,
            device=self.stages.accelerator.device,
            precision=self.stages.precision,
        )
        return pairs, model, embed_cells(network, last[0].inputs, np.arange(len(self.stages.cells)))

    def _train(self, source: str, rows: np.ndarray) -> RowClassifier:
        """A network that has learned from some labelled cells."""
        arguments, stages = self.stages.arguments, self.stages
        classes = np.unique(self.labelled.labels[rows])
        if len(classes) < 2:
            raise DataError(f"{source} shows labels of {len(classes)} classes, and a network needs two. Label more.")
        config, network = new_network(
            arguments.method, arguments.network, classes.tolist(), self.sam_channels, seed=arguments.seed
        )
        logger.info("%s: %d labelled cells of %d classes.", source, len(rows), len(classes))
        inputs = NetworkInputs(stages.cells, self.features, config)
        stage, checkpoints = f"{STAGE}, {source}", self._checkpoints(source, rows, config, network)
        with stages.timed(stage, checkpoints.key):
            stages.history[stage] = train_network(
                network,
                inputs,
                rows,
                arguments.network,
                stages.accelerator,
                arguments.seed,
                description=f"Network on {source}",
                checkpoints=checkpoints,
                validation_rows=self._validation(source, classes),
            )
        stages.trained[STAGE] = trained_parameters(network)
        return RowClassifier(
            network, inputs, head_classifier(*head_weights(network), config.classes, len(self.labelled.label_names))
        )

    def _validation(self, source: str, classes: np.ndarray) -> np.ndarray:
        """Cells of the source that were set aside, of classes that the network knows."""
        cells, aside = self.stages.cells, self.stages.validation
        known = np.isin(cells.labels[aside], classes)
        if source != ALL:
            known &= cells.domains[aside] == cells.table.domain_names.index(source)
        return aside[known]

    def _checkpoints(self, source: str, rows: np.ndarray, config: NetworkConfig, network: CellNetwork) -> Checkpoints:
        inputs = (config, fingerprint_weights(network), self.features and self.features.key)
        return self.stages.checkpoints(
            self.folder / f"stage-3-{crc32(source.encode()):08x}", self.stages.arguments.network, rows, inputs
        )
