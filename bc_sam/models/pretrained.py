"""Loading, saving and sharing: what all models have in common as folders."""

import logging
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.model import FORMAT_VERSION, BCSamConfig
from bc_sam.config.network import Method
from bc_sam.errors import BCSamError, ConfigError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models import folder as model_folder
from bc_sam.models.classifier_files import installed_versions
from bc_sam.models.onnx_backend.files import Export, exported_names, fingerprint
from bc_sam.models.stored_model import LoadOptions, StoredModel
from bc_sam.models.training_record import TrainingRecord
from bc_sam.utils.atomic import WRITE_ERRORS
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.model_source import EMBEDDED_MODEL
from bc_sam.utils.private_folder import PrivateFolder, remove_abandoned

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

logger = logging.getLogger(__name__)

# Name of the temporary folders from which models are pushed.
_PUSHED_PREFIX = "bc_sam_push_"


class PretrainedModel(ABC):
    """A model that is loaded from a folder or the Hub, saved and shared.

    A subclass reads its own parts in `load` and writes them in `_write_weights` and `_write_classifiers`.

    Args:
        config: The config of the model.
        classifiers: Classifiers on its embeddings, by name.
        reference: A sample of the embeddings of training cells.
        evaluation: Evaluation of the model.
        record: How it was trained.
    """

    #: The methods, see `BCSamConfig.method`, whose models the class can load.
    methods: ClassVar[tuple[Method, ...]] = ()

    def __init__(
        self,
        config: BCSamConfig,
        classifiers: Mapping[str, LatentClassifier],
        *,
        reference: ReferenceLatents | None,
        evaluation: Evaluation | None,
        record: TrainingRecord | None,
    ) -> None:
        self.config = config
        self.classifiers = dict(classifiers)
        self.reference = reference
        self.evaluation = evaluation
        self.record = record
        self._stored_half = False
        self._export: tuple[Export, str] | None = None

    @classmethod
    @extras_explained()
    def from_pretrained(cls, source: str | Path = EMBEDDED_MODEL, **options: Unpack[LoadOptions]) -> Self:
        """Loads a model from a folder or from the Hub, every part from one revision.

        Args:
            source: Model folder, run folder of ``bc-sam train``, or Hub id; by default the small bundled model.
            **options: ``revision``, ``token``, ``device``, ``dtype``, ``classifiers``, ``backend`` and others; see
                `bc_sam.models.stored_model.LoadOptions`.

        Raises:
            HubError: If the Hub has no such repository or revision, or cannot be reached.
            WeightsError: If a part is missing, misshapen, changed, of a newer format, or was written by another
                version of a library and no longer gives the same probabilities.
            UntrustedFileError: If a file contains types that its part does not need.
            ConfigError: If the model is of a method that this class does not implement.
        """
        stored = StoredModel.open(source, **options)
        if stored.config.method not in cls.methods:
            raise ConfigError(
                f"{source} is a model of the method {stored.config.method}, which {cls.__name__} does not implement. "
                "Load it with bc_sam.load_model."
            )
        return cls.opened(stored)

    @classmethod
    def opened(cls, stored: StoredModel) -> Self:
        """Loads a model and notes how its weights are stored, to save them alike, and its export to ONNX, if any."""
        model = cls.load(stored)
        model._stored_half = stored.is_half
        if names := exported_names(stored.config):
            model._export = Export(stored.folder / model_folder.ONNX, names), fingerprint(stored.config)
        return model

    @classmethod
    @abstractmethod
    def load(cls, stored: StoredModel) -> Self:
        """Builds a model of one of the class's `methods` from its checked files; see `from_pretrained`."""

    @extras_explained()
    def save_pretrained(self, folder: str | Path, *, include_base: bool = False, half: bool | None = None) -> Path:
        """Writes a model folder atomically, replacing an older one in its place.

        Manual edits of the older ``README.md`` are kept.

        Args:
            folder: The folder to write; parents are created.
            include_base: Include the base SAM even if it is on the Hub, for offline use.
            half: Write the weights of SAM and the autoencoder in float16, which halves their size. They are read back
                as float32; the rounding changes embeddings by about a thousandth. By default as they were stored, in
                float32 for a model that was not loaded.

        Returns:
            The folder.

        Raises:
            BCSamError: If the folder exists and is no model folder, or the disk is full.
        """
        folder = Path(folder)
        card = folder / model_folder.CARD
        existing = card.read_text("utf-8") if card.exists() else None
        with model_folder.replaced_folder(folder) as part:
            self._write(part, include_base=include_base, existing_card=existing, half=half)
        return folder

    @extras_explained()
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload BC-SAM",
        token: str | bool | None = None,
        include_base: bool = False,
    ) -> "CommitInfo":
        """Pushes the model to a repository on the Hub, in one commit.

        Obsolete files of an older model are removed. Other files and manual edits of the card are kept.

        Args:
            repo_id: ``owner/name``, or only a name for your own; created if it does not exist.
            private: Whether a new repository is private; by default the owner's setting.
            revision: Branch; created if it does not exist.
            create_pr: Propose the commit as a pull request.
            commit_message: Title of the commit.
            token: Token with the right to write; by default the one that ``hf auth login`` stored.
            include_base: Include the base SAM even if it is on the Hub.

        Returns:
            The commit, with its URL and that of the pull request, if any.

        Raises:
            HubError: If the push fails; no commit is made then.
        """
        from bc_sam.models.upload import Repository

        repository = Repository.open(repo_id, private=private, revision=revision, create_pr=create_pr, token=token)
        card = repository.read_text(model_folder.CARD)
        remove_abandoned(_PUSHED_PREFIX)  # by pushes that were killed
        try:
            with PrivateFolder(_PUSHED_PREFIX) as folder:
                self._write(folder, include_base=include_base, existing_card=card, repo_id=repository.repo_id)
                return repository.commit(folder, model_folder.MODEL_FILES, commit_message)
        except WRITE_ERRORS as error:
            raise BCSamError(
                f"The model could not be written to {tempfile.gettempdir()} to be pushed: {error}. Nothing was pushed."
            ) from error

    def _write(
        self,
        folder: Path,
        *,
        include_base: bool,
        existing_card: str | None,
        repo_id: str | None = None,
        half: bool | None = None,
    ) -> None:
        from bc_sam.models.card import write_card

        inside = self.config.base_inside or include_base
        self._write_weights(folder, with_base=inside, half=self._stored_half if half is None else half)
        classifiers = self._write_classifiers(folder)
        model_folder.write_preprocessor(self.config, folder / model_folder.PREPROCESSOR)
        for part, name in ((self.evaluation, model_folder.EVALUATION), (self.record, model_folder.RECORD)):
            if part is not None:
                part.save(folder / name)
        config = replace(
            self.config,
            format_version=FORMAT_VERSION,
            base_inside=inside,
            classifiers=classifiers,
            versions=installed_versions(),
            files=model_folder.hash_files(folder),
        )
        config = self._with_export(folder, config)
        model_folder.write_config(config, folder / model_folder.CONFIG)
        options: dict[str, Any] = {"existing": existing_card, "repo_id": repo_id, "thumbnails": self.n_thumbnails}
        write_card(folder, config, self.evaluation, self.record, **options)

    def _with_export(self, folder: Path, config: BCSamConfig) -> BCSamConfig:
        """Copies the export to ONNX with which the model was loaded, if it is one of what has just been written."""
        if self._export is None:
            return config
        export, exported = self._export
        if exported != fingerprint(config):
            logger.warning(
                "The export to ONNX is of other weights or classifiers and is left out. Export again: bc-sam export."
            )
            return config
        (folder / model_folder.ONNX).mkdir()
        for name in export.names:
            shutil.copyfile(export.folder / name, folder / model_folder.ONNX / name)
        return replace(config, files=model_folder.hash_files(folder))

    @abstractmethod
    def _write_weights(self, folder: Path, *, with_base: bool, half: bool) -> None:
        """Writes the networks into a model folder.

        Args:
            folder: The folder, without any other weights.
            with_base: Whether to include the base SAM, if there is one.
            half: Whether to write them in float16.
        """

    @abstractmethod
    def _write_classifiers(self, folder: Path) -> dict[str, tuple[int, ...]]:
        """Writes the classifiers that are not part of a network; returns the label indices of each."""

    @property
    def n_thumbnails(self) -> dict[str, int]:
        """Number of stored thumbnails of training cells by laboratory; anyone with the model can view them."""
        return self.reference.n_thumbnails(self.config.domains) if self.reference else {}
