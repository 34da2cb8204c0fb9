"""Adaptation of a trained model to a new laboratory, with or without labels and annotated masks."""

import copy
import logging
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self
from zlib import crc32

import numpy as np
from datasets import Dataset
from peft import PeftModel

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.arguments import AdaptationArguments
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.cells import require_labels
from bc_sam.data.mask_quality import mask_limits, mask_problem
from bc_sam.data.reading_options import Layout
from bc_sam.data.splits import assign_folds
from bc_sam.errors import BCSamError, DataError
from bc_sam.evaluation.bootstrap import Comparison
from bc_sam.models.auto import load_model
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.folder import model_digest
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.precision import dtype_of
from bc_sam.networks.sam.lora import make_trainable
from bc_sam.training.adapted_classifiers import AdaptedClassifiers, NewLatents
from bc_sam.training.engine.checkpoints import remove_checkpoints
from bc_sam.training.environment import environment
from bc_sam.training.pipeline import TrainingPipeline
from bc_sam.training.run import DataSources, Run, lock_run_folder
from bc_sam.training.steps.train_autoencoder import Anchor
from bc_sam.utils.atomic import load_array, save_array
from bc_sam.utils.guarded_csv import GuardedCsv, open_csv
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.model_source import display_name

logger = logging.getLogger(__name__)

#: Fewest annotated masks from which the adapter is fine-tuned further.
ENOUGH_MASKS = 10

#: File of an adaptation that lists the images whose predicted mask looks wrong.
MASK_PROBLEMS = "mask_problems.csv"

_CONFIG, _RESULT = "adaptation.json", "result.json"


@dataclass(frozen=True)
class AdaptationConfig(JsonConfig):
    """The config of an adaptation; the file ``adaptation.json``.

    Attributes:
        model: The model to start from: a folder or a Hub id.
        data: The new laboratory as ``NAME=SOURCE``; see `bc_sam.data.sources.load_cells`.
        revision: Branch, tag or commit of the model on the Hub.
        subfolder: Folder of the model in its repository.
        masks: CSV file that pairs images with annotated masks.
        label_map: Canonical class of each of a folder's own class names; ``None`` skips the folder.
        group_pattern: Regular expression whose first group on a file name is the slide.
        microns_per_pixel: Known pixel size of the data sets' images, µm, by name; the others are measured.
        layout: Where slides, splits and columns of the data are.
        log_with: Trackers for Accelerate to log to.
        arguments: Settings of the adaptation.
    """

    model: str
    data: str
    revision: str | None = None
    subfolder: str | None = None
    masks: str | None = None
    label_map: dict[str, str | None] = field(default_factory=dict)
    group_pattern: str | None = None
    microns_per_pixel: dict[str, float] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    log_with: tuple[str, ...] = ()
    arguments: AdaptationArguments = field(default_factory=AdaptationArguments)


@dataclass(frozen=True)
class AdaptationResult(JsonConfig):
    """The outcome of an adaptation; the file ``result.json``.

    Attributes:
        learned: Number of training cells.
        labelled: Number of training cells whose label was used.
        held_out: Number of test cells.
        masks: Number of annotated masks of training cells; the adapter is unchanged if there are too few.
        mask_problems: Number of images whose predicted mask looks wrong; they are listed in ``mask_problems.csv``.
        comparisons: Each classifier before and after; empty if no held-out cell is labelled.
        cells: `CellStore.content_key` of the cells; 0 in files of earlier versions.
        model: `model_digest` of the model that was adapted; empty in files of earlier versions.
    """

    renamed_keys: ClassVar = {"doubtful": "mask_problems"}

    learned: int
    labelled: int
    held_out: int
    masks: int
    mask_problems: int
    comparisons: list[Comparison]
    cells: int = 0
    model: str = ""


class Adaptation(Run):
    """A run folder of one adaptation, which can be interrupted at any time and resumed.

    ::

        adaptation.json     the config
        model/              the adapted model
        result.json         before and after
        report.html         before and after, confusion, and pictures of errors; written by the command line
        mask_problems.csv   images whose predicted mask looks wrong
        work/               decoded cells, features, checkpoints

    Args:
        folder: The run folder.
        config: Model, data and settings.

    Raises:
        BCSamError: If the model stores no embeddings or has no classifiers, or is not a BC-SAM model.

    Example:
        ::

            adaptation = Adaptation.create("runs/ours", AdaptationConfig("runs/mine", "ours=cells/"))
            for comparison in adaptation.run().comparisons:
                print(comparison.verdict)
    """

    def __init__(self, folder: Path, config: AdaptationConfig) -> None:
        sources = DataSources(
            (config.data,),
            config.masks,
            config.label_map,
            config.group_pattern,
            config.microns_per_pixel,
            config.layout,
        )
        super().__init__(folder, config.arguments.training, sources, log_with=config.log_with)
        self.config = config
        device = self.accelerator.device
        dtype = dtype_of(self.precision, device)
        model = load_model(
            config.model, revision=config.revision, subfolder=config.subfolder, device=device, dtype=dtype
        )
        if not isinstance(model, BCSam):
            raise BCSamError(f"{config.model} is no BC-SAM model, but {model.config.method}, so it cannot be adapted.")
        if model.reference is None or not model.classifiers:
            raise BCSamError(
                f"{config.model} has no classifiers or stores no embeddings, so it cannot be adapted. Fit classifiers "
                f"on labelled cells first: bc-sam fit {config.model} --data NAME=SOURCE --out NEW."
            )
        self.model = model
        self.model_digest = model_digest(model.config)
        self.reference: ReferenceLatents = model.reference
        if config.arguments.allowed_labels:
            self.model.restrict_labels(config.arguments.allowed_labels)

    @classmethod
    def create(cls, folder: str | Path, config: AdaptationConfig) -> Self:
        """Starts an adaptation, or resumes one with the same config.

        Raises:
            BCSamError: If the folder holds another run, is not a run folder, or is in use by another process.
        """
        folder = Path(folder)
        with lock_run_folder(folder, _CONFIG, config) or nullcontext():
            return cls(folder, config)

    # ---- data ----

    @property
    def image_size(self) -> int:
        """Side at which cells are stored, pixels: the model's input size."""
        return self.model.config.image_size

    @property
    def normalization(self) -> NormalizationConfig | None:
        """Normalization of the cells: the model's."""
        return self.model.config.normalization

    def load_datasets(self) -> list[Dataset]:
        """Loads the new laboratory, without decoding its images.

        Raises:
            DataError: If its classes differ from the model's, or labels outside the allowed ones occur.
        """
        datasets = super().load_datasets()
        for dataset in datasets:
            require_labels(dataset, self.model.labels)
            self._require_allowed(dataset["label"])
        return datasets

    def _require_allowed(self, indices: Iterable[int | None]) -> None:
        allowed, labels = self.model.config.allowed_labels, self.model.labels
        present = {labels[label] for label in indices if label is not None}
        if allowed and (others := sorted(present.difference(allowed))):
            raise DataError(
                f"{self.config.data} holds cells labelled {', '.join(others)}, but the model is restricted to "
                f"{', '.join(allowed)}. Add the others to --labels, or skip their folders with --map FOLDER= ."
            )

    @cached_property
    def held_out(self) -> np.ndarray:
        """Whether each cell is held out for testing, (n,) bool: whole slides, about a fraction of 1 / `folds`."""
        table, training = self.cells.table, self.training
        labels = self.cells.labels.tolist()
        folds = assign_folds(labels, table.groups, table.fingerprints, training.folds, training.seed)
        return folds == self.config.arguments.fold

    @property
    def advice(self) -> str | None:
        """A hint to restrict the labels if some classes do not occur in the new laboratory's labels."""
        labels = self.model.labels
        present = [labels[label] for label in np.unique(self.cells.labels) if label >= 0]
        restricted = self.model.config.allowed_labels or self.config.arguments.learn_from == "new"
        if restricted or len(present) == len(labels):
            return None
        names = ",".join(present) if present else "NAME,NAME,..."
        return (
            f"The model may predict any of {len(labels)} labels; your cells carry {len(present)} of them. If you "
            "know which can occur on your slides, restrict it to these for fewer errors: "
            f"--labels {names} (another --out)."
        )

    # ---- stages ----

    def run(self) -> AdaptationResult:
        """Adapts the model and compares it with the original on the held-out cells, unless already done.

        Raises:
            DataError: If there are too few slides to hold one out.
        """
        if not self._is_finished():
            pipeline = self._pipeline()
            self._require_classes()
            pipeline.check_resources(self.model.sam, self.model.config)
            before = self._latents_before(pipeline)
            adapter = self._fine_tune_sam(pipeline)
            features = pipeline.extract_features(adapter, self.model.config)
            problems = self._list_mask_problems(features)
            pipeline.rows = pipeline.rows[~problems[pipeline.rows]]
            autoencoder = self._train_autoencoder(pipeline, features)
            if self.is_main_process:
                after = pipeline.embed(adapter, autoencoder, self.model.config, features)
                save_array(after, self._latents_path("after"))
                self._finish(adapter, autoencoder, self._new_latents(before, after), int(problems.sum()))
            self.accelerator.wait_for_everyone()
        if self.is_main_process:
            self._remove_checkpoints()
        return AdaptationResult.load(self.folder / _RESULT)

    def _require_classes(self) -> None:
        """Checks before stage 1 that classifiers can be fitted on the new cells alone, if they are to be."""
        labels = self.cells.labels[~self.held_out]
        found = [self.labels[label] for label in np.unique(labels[labels >= 0])]
        if self.config.arguments.learn_from == "new" and len(found) == 1:
            raise DataError(
                f"--learn-from new fits the classifiers on the new cells alone, but all labelled ones are {found[0]}. "
                "Label cells of another class, or use --learn-from both."
            )

    def compare(self, arguments: AdaptationArguments) -> list[Comparison]:
        """Refits the classifiers of a finished adaptation with other settings and compares them with the original.

        Args:
            arguments: New settings of the classifiers; the torch stages are not rerun.
        """
        latents = self._new_latents(self.latents("before"), self.latents("after"))
        return self._classifiers(latents, arguments).comparisons()

    def latents(self, name: Literal["before", "after"]) -> np.ndarray:
        """Returns the embeddings of all cells by the original or the adapted model, (n, d) float32.

        Raises:
            BCSamError: If they are missing, because the adaptation is not finished or its folder ``work`` was deleted.
        """
        remedy = f"Delete {self.folder / _RESULT} and run the adaptation again."
        return load_array(self._latents_path(name), remedy)

    def _is_finished(self) -> bool:
        """Whether there is a result of the cells and model as they are now; one of others is reported."""
        result = AdaptationResult.load_intact(self.folder / _RESULT)
        if result is None:
            return False
        same_cells = result.cells in (0, self.cells.content_key)
        same_model = result.model in ("", self.model_digest)
        if not (same_cells and same_model):
            changed = "model has" if same_cells else "cells have"
            logger.warning("The %s changed since this adaptation was finished. It is run again.", changed)
        return same_cells and same_model

    def _latents_path(self, name: str) -> Path:
        """Path of the latents ``"before"`` or ``"after"``, which belong to the cells and model as they are now."""
        key = crc32(self.model_digest.encode(), self.cells.content_key)
        return self.work / f"{name}-{key:08x}.npy"

    def _pipeline(self) -> TrainingPipeline:
        rows = np.flatnonzero(~self.held_out)
        return TrainingPipeline(self.cells, rows, rows[:0], self.work, self.training, self.accelerator, self.precision)

    def _latents_before(self, pipeline: TrainingPipeline) -> np.ndarray:
        """Returns the latents of the new cells by the original model."""
        path = self._latents_path("before")
        try:
            if path.exists():
                return load_array(path, "It is computed again.")
        except BCSamError as error:
            logger.warning("%s", error)
        self.accelerator.wait_for_everyone()  # no process may write before every process has tried to read
        features = pipeline.extract_features(self.model.adapter, self.model.config)
        if self.is_main_process:
            before = pipeline.embed(self.model.adapter, self.model.autoencoder, self.model.config, features)
            save_array(before, path)
        self.accelerator.wait_for_everyone()
        return load_array(path, "Run the adaptation again.")

    def _fine_tune_sam(self, pipeline: TrainingPipeline) -> PeftModel:
        """Runs stage 1 on a copy of the adapter if there are enough annotated masks."""
        adapter, config = copy.deepcopy(self.model.adapter), self.model.config
        masks = int(self.cells.has_mask[pipeline.rows].sum())
        if masks < ENOUGH_MASKS:
            logger.info("%d annotated masks, fewer than %d: the adapter stays unchanged.", masks, ENOUGH_MASKS)
            return adapter
        make_trainable(adapter, mask_tokens=config.mask_tokens)
        pipeline.fine_tune_sam(adapter, config)
        return adapter

    def _train_autoencoder(self, pipeline: TrainingPipeline, features: FeatureStore) -> CrossDomainAutoencoder:
        """Runs stage 2 on a copy of the autoencoder: aligns the new latents with the stored ones, without labels."""
        autoencoder = copy.deepcopy(self.model.autoencoder)
        if len(pipeline.rows) > 1 and self.training.autoencoder.epochs:
            anchor = Anchor(self.reference.latents, self.reference.domains + 1)
            pipeline.train_autoencoder(autoencoder, features, n_labels=len(self.labels), anchor=anchor)
        return autoencoder

    def _list_mask_problems(self, features: FeatureStore) -> np.ndarray:
        """Returns whether the predicted mask of each cell looks wrong, (n,) bool, and writes the list of them."""
        limits = mask_limits(normalized=self.normalization is not None)
        problems = [mask_problem(features.masks[row], limits) for row in range(len(self.cells))]
        if self.is_main_process:
            with open_csv(self.folder / MASK_PROBLEMS) as file:
                table = GuardedCsv(file)
                table.write(["file", "problem"])
                for name, problem in zip(self.cells.table.files, problems, strict=True):
                    if problem:
                        table.write([name, problem])
        return np.array([problem is not None for problem in problems])

    # ---- outcome ----

    def _new_latents(self, before: np.ndarray, after: np.ndarray) -> NewLatents:
        return NewLatents(before, after, self.cells.labels, self.held_out, self.cells.table)

    def _classifiers(self, latents: NewLatents, arguments: AdaptationArguments) -> AdaptedClassifiers:
        return AdaptedClassifiers.fit(self.model, self.reference, latents, arguments)

    def _finish(
        self, adapter: PeftModel, autoencoder: CrossDomainAutoencoder, latents: NewLatents, n_problems: int
    ) -> None:
        """Runs stage 3, saves the adapted model, and last the comparison, which marks the end."""
        classifiers = self._classifiers(latents, self.config.arguments)
        image = (lambda row: self.cells.pixels[row]) if self.training.keep_pictures else None
        origin = {"base": display_name(self.config.model)}
        adapted = BCSam(
            classifiers.config(),
            adapter,
            autoencoder,
            dict(classifiers.classifiers),
            reference=classifiers.joined_reference(image),
            evaluation=classifiers.evaluation(environment(self.training, self.precision) | origin),
            record=classifiers.record(self.data_records(), self.config.model),
            device=self.accelerator.device,
            precision=self.precision,
        )
        adapted.save_pretrained(self.folder / "model")
        learned = ~self.held_out
        AdaptationResult(
            learned=int(learned.sum()),
            labelled=int((classifiers.training_labels >= 0).sum()),
            held_out=int(self.held_out.sum()),
            masks=int(self.cells.has_mask[learned].sum()),
            mask_problems=n_problems,
            comparisons=classifiers.comparisons(),
            cells=self.cells.content_key,
            model=self.model_digest,
        ).save(self.folder / _RESULT)

    def _remove_checkpoints(self) -> None:
        """Removes the checkpoints of the finished adaptation."""
        for stage in self.work.glob("stage-*"):
            remove_checkpoints(stage)
