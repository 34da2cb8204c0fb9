"""The two torch stages on some cells, with the features between them; what was left unfinished is taken up again."""

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
from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.evaluation.results import StageTiming
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import extract_features, fingerprint_weights, inference_sam
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.estimates import expected_seconds, require_space
from bc_sam.training.steps.train_autoencoder import Anchor, train_autoencoder
from bc_sam.training.steps.train_segmentation import train_segmentation
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.resources import measure
from bc_sam.utils.torch_utils import trained_parameters

logger = logging.getLogger(__name__)

#: For each stage one record an epoch.
History = dict[str, list[dict[str, float]]]


@dataclass
class Stages:
    """One pass through stages 1 and 2, in a folder.

    Attributes:
        cells: All cells; features are computed of each.
        rows: Cells to learn from.
        validation: Cells by which the best epoch is chosen.
        folder: Where checkpoints and features go.
        arguments: Numbers of the stages.
        accelerator: Device and processes.
        precision: Number format.
        fold: Number of the pass, for its timings.
        history: Loss of each epoch of each stage, as they come.
        timings: Cost of each stage, as they come.
        trained: How many numbers each stage trains, as they come.
    """

    cells: CellStore
    rows: np.ndarray
    validation: np.ndarray
    folder: Path
    arguments: TrainingArguments
    accelerator: Accelerator
    precision: Precision
    fold: int = 0
    history: History = field(default_factory=dict)
    timings: list[StageTiming] = field(default_factory=list)
    trained: dict[str, int] = field(default_factory=dict)

    def announce(self, sam: SamModel, config: BCSamConfig) -> None:
        """Refuses to begin on a disk that is too small, and says how long it will take.

        Raises:
            DataError: If the features have no room.
        """
        require_space(self.cells, sam, self.folder.parent)
        learning, epochs = int(self.cells.has_mask[self.rows].sum()), self.arguments.segmentation.epochs
        ready = inference_sam(sam, self.accelerator.device, self.precision)
        processes = self.accelerator.num_processes
        seconds = expected_seconds(ready, config, self.cells, learning, epochs) / processes
        logger.info("Stage 1 and the features will take about %.0f min here, by one batch.", max(1, seconds / 60))

    def segment(self, adapter: PeftModel, config: BCSamConfig) -> None:
        """Stage 1: trains the adapter, in place."""
        arguments, stage = self.arguments.segmentation, "stage 1: masks"
        learned = np.concatenate([self.rows, [-1], self.validation])
        checkpoints = self.checkpoints(self.folder / "stage-1", arguments, learned, (fingerprint_weights(adapter),))
        with self.timed(stage, checkpoints.key):
            self.history[stage] = train_segmentation(
                adapter,
                self.cells,
                self.rows,
                arguments,
                self.accelerator,
                config,
                self.arguments.seed,
                checkpoints=checkpoints,
                validation_rows=self.validation,
            )
        self.trained[stage] = trained_parameters(adapter)

    def extract(self, adapter: PeftModel | SamModel, config: BCSamConfig) -> FeatureStore:
        """Computes the features of all cells, or opens them."""
        with self.timed("features", f"{fingerprint_weights(adapter)} {self.cells.table.key}"):
            return extract_features(
                inference_sam(adapter, self.accelerator.device, self.precision),
                config,
                self.cells,
                self.folder / "features",
                accelerator=self.accelerator,
            )

    def align(self, autoencoder: CrossDomainAutoencoder, features: FeatureStore, anchor: Anchor | None = None) -> None:
        """Stage 2: trains the autoencoder, in place."""
        arguments, stage = self.arguments.autoencoder, "stage 2: autoencoder"
        learned = np.concatenate([self.rows, [-1], self.validation])
        inputs = (fingerprint_weights(autoencoder), features.key)
        checkpoints = self.checkpoints(self.folder / "stage-2", arguments, learned, inputs)
        with self.timed(stage):
            self.history[stage] = train_autoencoder(
                autoencoder,
                features,
                self.rows,
                self.cells.domains,
                arguments,
                self.accelerator,
                self.arguments.seed,
                checkpoints=checkpoints,
                validation_rows=self.validation,
                anchor=anchor,
            )
        self.trained[stage] = trained_parameters(autoencoder)

    @contextmanager
    def timed(self, stage: str, key: str | None = None) -> Iterator[None]:
        """Measures a stage.

        Args:
            stage: Its name.
            key: What decides its outcome, where other runs may share it: what they find done has cost what it cost
                the run that did it.
        """
        with measure() as cost:
            yield
        timing = StageTiming(stage, self.fold, cost.seconds, cost.peak_memory_mib)
        if key is not None and self.accelerator.is_main_process:
            path = self.folder / f"cost-{crc32(f'{stage} {key}'.encode()):08x}.json"
            first = StageTiming.load(path) if path.exists() else timing
            timing = replace(first if first.seconds > timing.seconds else timing, fold=self.fold)
            timing.save(path)
        self.timings.append(timing)

    def checkpoints(self, folder: Path, arguments: JsonConfig, rows: np.ndarray, inputs: tuple) -> Checkpoints:
        """The checkpoints of a stage with these numbers, on these cells and inputs."""
        learned = crc32(rows.astype(np.int64).tobytes())
        key = repr((arguments, self.arguments.seed, self.cells.table.key, learned, inputs))
        every, writes = self.arguments.checkpoint_steps, self.accelerator.is_main_process
        return Checkpoints(folder, key, every=every, writes=writes)
