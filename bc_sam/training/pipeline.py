"""The torch stages on one set of cells: fine-tuning of SAM, feature extraction, autoencoder. All are resumable."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from zlib import crc32

import numpy as np
from accelerate import Accelerator
from peft import PeftModel
from transformers import SamModel

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.base import Precision, Schedule
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.evaluation.results import StageTiming
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import (
    embed_cells_in_turns,
    embed_features,
    extract_features,
    fingerprint_weights,
    inference_sam,
)
from bc_sam.networks.sam.lora import add_lora
from bc_sam.training.augmented_views import store_views
from bc_sam.training.base_model import load_base, new_model_config
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.engine.loop import TrainingStep, train
from bc_sam.training.estimates import expected_seconds, require_space
from bc_sam.training.steps.train_autoencoder import Anchor, AutoencoderStep, ViewFeatures
from bc_sam.training.steps.train_segmentation import SegmentationStep
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.resources import measure
from bc_sam.utils.torch_utils import trained_parameters

logger = logging.getLogger(__name__)

#: One record per epoch for each stage.
History = dict[str, list[dict[str, float]]]

_MASKS, _AUTOENCODER = "stage 1: masks", "stage 2: autoencoder"


@dataclass
class TrainingPipeline:
    """The torch stages of one pass, in one folder.

    Attributes:
        cells: All cells; features are extracted from each.
        rows: Training cells.
        validation: Validation cells, by which the best epoch is chosen.
        folder: Folder of checkpoints and features.
        training: Settings of the stages.
        accelerator: Device and processes.
        precision: Precision of the encoder.
        fold: Number of the fold, for the timings.
        history: Loss of each epoch of each stage so far.
        timings: Cost of each stage so far.
        trained: Number of trained parameters of each stage so far.
    """

    cells: CellStore
    rows: np.ndarray
    validation: np.ndarray
    folder: Path
    training: TrainingArguments
    accelerator: Accelerator
    precision: Precision
    fold: int = 0
    history: History = field(default_factory=dict)
    timings: list[StageTiming] = field(default_factory=list)
    trained: dict[str, int] = field(default_factory=dict)

    def check_resources(self, sam: SamModel, config: BCSamConfig) -> None:
        """Checks that the features fit on the disk, and logs an estimate of the duration of the stages.

        Raises:
            DataError: If the disk is too small.
        """
        require_space(self.cells, sam, self.folder.parent)
        n_masks, epochs = int(self.cells.has_mask[self.rows].sum()), self.training.segmentation.epochs
        encoder = inference_sam(sam, self.accelerator.device, self.precision)
        seconds = expected_seconds(encoder, config, self.cells, n_masks, epochs) / self.accelerator.num_processes
        minutes = max(1, seconds / 60)
        logger.info("Stage 1 and feature extraction will take about %.0f min, estimated from one batch.", minutes)

    def fine_tune_base(self, labels: tuple[str, ...]) -> tuple[PeftModel, BCSamConfig]:
        """Runs stage 1 from the base: adds LoRA and fine-tunes.

        Args:
            labels: Names of the classes.

        Returns:
            The fine-tuned adapter, and the config of its model.

        Raises:
            DataError: If the disk is too small, or no training cell has a mask.
        """
        sam = load_base(self.training)
        config = new_model_config(sam, self.cells, self.rows, labels, self.training)
        self.check_resources(sam, config)
        adapter = add_lora(
            sam,
            self.training.segmentation.lora_rank,
            base=config.base,
            base_revision=config.base_revision,
            seed=self.training.seed,
        )
        self.fine_tune_sam(adapter, config)
        return adapter, config

    def fine_tune_sam(self, adapter: PeftModel, config: BCSamConfig) -> None:
        """Runs stage 1 on an adapter, in place."""
        arguments = self.training.segmentation
        checkpoints = self.stage_checkpoints("stage-1", arguments, (fingerprint_weights(adapter),))
        with self.timed(_MASKS, checkpoints.key):
            step = SegmentationStep(
                adapter, self.cells, self.rows, self.validation, arguments, config, self.training.seed
            )
            self.fit(_MASKS, step, arguments.schedule(), checkpoints)
        self.trained[_MASKS] = trained_parameters(adapter)

    def extract_features(self, adapter: PeftModel | SamModel, config: BCSamConfig) -> FeatureStore:
        """Extracts the features of all cells, or opens them if they exist."""
        with self.timed("features", f"{fingerprint_weights(adapter)} {self.cells.content_key}"):
            return extract_features(
                inference_sam(adapter, self.accelerator.device, self.precision),
                config,
                self.cells,
                self.folder / "features",
                accelerator=self.accelerator,
            )

    def extract_view_features(self, adapter: PeftModel | SamModel, config: BCSamConfig) -> ViewFeatures | None:
        """Draws augmented views of the labelled training cells and extracts their features, if the settings ask so."""
        if not self.training.views:
            return None
        with self.accelerator.main_process_first():
            views = store_views(self.cells, self.rows, self.training, self.folder / "views")
        with self.timed("features of views", f"{fingerprint_weights(adapter)} {views.cells.content_key}"):
            features = extract_features(
                inference_sam(adapter, self.accelerator.device, self.precision),
                config,
                views.cells,
                self.folder / "view-features",
                accelerator=self.accelerator,
            )
        return ViewFeatures(features, views.cells, views.rows)

    def train_autoencoder(
        self,
        autoencoder: CrossDomainAutoencoder,
        features: FeatureStore,
        *,
        n_labels: int,
        anchor: Anchor | None = None,
        views: ViewFeatures | None = None,
    ) -> None:
        """Runs stage 2 on an autoencoder, in place."""
        arguments = self.training.autoencoder
        inputs: tuple = (fingerprint_weights(autoencoder), features.key)
        if views is not None:
            inputs += (views.features.key,)
        checkpoints = self.stage_checkpoints("stage-2", arguments, inputs)
        with self.timed(_AUTOENCODER):
            step = AutoencoderStep(
                autoencoder,
                features,
                self.rows,
                self.validation,
                self.cells,
                arguments,
                n_labels=n_labels,
                seed=self.training.seed,
                anchor=anchor,
                views=views,
            )
            self.fit(_AUTOENCODER, step, arguments.schedule(), checkpoints)
        self.trained[_AUTOENCODER] = trained_parameters(autoencoder)

    def embed(
        self,
        adapter: PeftModel | SamModel,
        autoencoder: CrossDomainAutoencoder,
        config: BCSamConfig,
        features: FeatureStore,
    ) -> np.ndarray:
        """Returns the embeddings (n, d) of all cells, float32, as a model of these parts predicts from them."""
        if not config.average_turns:
            return embed_features(autoencoder, features.maps)
        sam = inference_sam(adapter, self.accelerator.device, self.precision)
        return embed_cells_in_turns(sam, autoencoder, config, self.cells, features.maps)

    def fit(self, stage: str, step: TrainingStep, schedule: Schedule, checkpoints: Checkpoints) -> None:
        """Runs the training loop on a step, and records the loss of each epoch of the stage."""
        self.history[stage] = train(step, schedule, self.accelerator, self.training.seed, checkpoints=checkpoints)

    @contextmanager
    def timed(self, stage: str, key: str | None = None) -> Iterator[None]:
        """Measures the cost of a stage.

        Args:
            stage: Its name.
            key: Identifies the result if other runs may share it; a run that reuses it reports its original cost.
        """
        with measure() as cost:
            yield
        timing = StageTiming(stage, self.fold, cost.seconds, cost.peak_memory_mib)
        if key is not None and self.accelerator.is_main_process:
            path = self.folder / f"cost-{crc32(f'{stage} {key}'.encode()):08x}.json"
            timing = replace(StageTiming.load_intact(path) or timing, fold=self.fold)
            timing.save(path)
        self.timings.append(timing)

    def stage_checkpoints(self, name: str, arguments: JsonConfig, inputs: tuple) -> Checkpoints:
        """Returns the checkpoints of a stage on the cells of this pass, in a folder of the pass."""
        rows = np.concatenate([self.rows, [-1], self.validation])
        return self.checkpoints(self.folder / name, arguments, rows, inputs)

    def checkpoints(self, folder: Path, arguments: JsonConfig, rows: np.ndarray, inputs: tuple) -> Checkpoints:
        """Returns the checkpoints of a stage with given settings, training cells and inputs."""
        rows_key = crc32(rows.astype(np.int64).tobytes())
        key = repr((arguments, self.training.seed, self.cells.content_key, rows_key, inputs))
        steps, writes = self.training.checkpoint_steps, self.accelerator.is_main_process
        return Checkpoints(folder, key, every=steps, writes=writes)
