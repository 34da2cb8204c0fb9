"""The models that visitors use: a few at a time, each loaded once and shared."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from huggingface_hub import HfApi
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import filter_repo_objects

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.refitting import refit
from bc_sam.data.batches import Batch
from bc_sam.errors import BCSamError, ConfigError, HubError
from bc_sam.models.auto import load_model
from bc_sam.models.base import CellModel
from bc_sam.models.card import render_card
from bc_sam.models.folder import CONFIG, MODEL_FILES, load_config
from bc_sam.models.inspection import inspect_batch
from bc_sam.models.observation import InspectedCell, Observation, Parts
from bc_sam.space.server.gpu import ON_ZERO_GPU, device
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.latent_map import LatentMap, draw_map
from bc_sam.utils.hub import HUB_ERRORS, SAM_FILES, download_snapshot, explain, with_retries
from bc_sam.utils.model_source import display_name, is_hub_id
from bc_sam.utils.private_folder import PrivateFolder

T = TypeVar("T")

#: Prefix of the temporary folders of downloaded models.
DOWNLOAD_PREFIX = "bc_sam_model_"


@dataclass
class LoadedModel:
    """A model in use by the page.

    Attributes:
        name: Display name: a Hub id, or the last part of a path.
        model: The model.
        files: Folder of its download, if any; removed with the last reference.
    """

    name: str
    model: CellModel
    files: PrivateFolder | None = None
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def inspect(self, batch: Batch) -> list[InspectedCell]:
        """Runs the model on a batch; see `bc_sam.models.inspection.inspect_batch`."""
        return self._in_turn(inspect_batch, self.model, batch)

    def observe(self, pixels: np.ndarray, parts: Parts, *, classifiers: Collection[str] | None = None) -> Observation:
        """Runs the model on a batch of pixels; see `bc_sam.models.base.CellModel.observe`."""
        return self._in_turn(partial(self.model.observe, pixels, parts, classifiers=classifiers))

    def render(self, embedding: np.ndarray) -> np.ndarray | None:
        """Decodes an embedding to an image; see `bc_sam.models.base.CellModel.render`."""
        return self._in_turn(self.model.render, embedding)

    def refit(
        self, classifier: str, stored: ReferenceLatents, embeddings: np.ndarray, labels: np.ndarray, seed: int
    ) -> LatentClassifier:
        """Fits a classifier, which the model does not use; see `bc_sam.classifiers.refitting.refit`."""
        fit = partial(refit, (classifier,), stored, embeddings, labels, len(self.model.labels), seed)
        fitted = self._in_turn(fit)[classifier]
        self.model.apply_label_settings({classifier: fitted})
        return fitted

    def move_to_gpu(self) -> None:
        """Moves a model in torch to the GPU, if there is one now and the model is not there yet."""
        if self.model.backend == "torch" and self.model.device.type != (there := device()).type:
            self._in_turn(self.model.to, there)

    def _in_turn(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs a computation while others wait: two at once would each take twice as long.

        One thread serves all visitors, since every computing thread has its own worker pool and memory.
        """
        if ON_ZERO_GPU:  # runs in a fork of this process, without the worker thread
            return work(*arguments)
        return self._worker.submit(work, *arguments).result()

    @cached_property
    def map(self) -> LatentMap | None:
        """The map of the reference cells, which takes seconds; ``None`` if the model stores too few."""
        return draw_map(self.model.ood_score) if self.model.ood_score else None

    @cached_property
    def card(self) -> str:
        """The model card in Markdown, rendered from the evaluation; the repository's own text is untrusted."""
        model = self.model
        options: dict[str, Any] = {"repo_id": self.name, "thumbnails": model.n_thumbnails}
        text = render_card(model.config, model.evaluation, model.record, **options)
        return text.split("\n---\n", 1)[-1]


class Models:
    """A bounded cache of models. The page's default model is never evicted.

    A model is loaded in a thread of its own, so that one that takes long, or a Hub that does not answer, keeps only
    those waiting who asked for it.

    Args:
        own: The model that the page was started with.
        settings: Limits of the page.
    """

    def __init__(self, own: LoadedModel, settings: PageSettings) -> None:
        self.own = own
        self.settings = settings
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, Future[LoadedModel]] = {}
        self._lock = threading.Lock()  # of the two dictionaries; never held while a model is loaded

    def get(self, source: str = "") -> LoadedModel:
        """Returns a model, loading it if necessary.

        Args:
            source: Hub id, or folder if the page is not public; empty for the default model.

        Raises:
            ConfigError: If a folder is requested on a public page, or the model is too large for it.
            HubError: If it takes too long, or too many others are being loaded.
            BCSamError: If it cannot be loaded; see `bc_sam.load_model`.
        """
        source = source.strip()
        if source in ("", self.own.name):
            return self.own
        if self.settings.public and not is_hub_id(source):
            raise ConfigError("This is not a Hub id. Give the id of a model on the Hub, such as owner/name.")
        with self._lock:
            if source in self._loaded:
                self._loaded.move_to_end(source)
                return self._loaded[source]
            loading = self._loading.get(source) or self._start(source)
        try:
            return loading.result(self.settings.load_seconds)
        except TimeoutError:
            raise HubError(
                f"{source} is not loaded after {self.settings.load_seconds} seconds. Ask for it again in some minutes."
            ) from None

    def _start(self, source: str) -> Future[LoadedModel]:
        """Starts to load a model; the lock must be held."""
        if len(self._loading) >= self.settings.models:
            raise HubError("Other models are being loaded at the moment. Ask for this one again in a minute.")
        loading: Future[LoadedModel] = Future()
        self._loading[source] = loading
        # Not of a pool, whose threads the interpreter would wait for at exit.
        threading.Thread(target=self._finish, args=(source, loading), daemon=True).start()
        return loading

    def _finish(self, source: str, loading: Future[LoadedModel]) -> None:
        """Loads a model, and keeps it in place of the least recently used ones."""
        try:
            loaded = self._load(source)
        except BaseException as error:
            with self._lock:
                del self._loading[source]
            loading.set_exception(error)
            return
        with self._lock:
            del self._loading[source]
            self._loaded[source] = loaded
            while len(self._loaded) > self.settings.models - 1:
                self._loaded.popitem(last=False)
        loading.set_result(loaded)

    def _load(self, source: str) -> LoadedModel:
        if not self.settings.public:
            model = load_model(source, device="cpu")
            model.require_classifiers()
            return LoadedModel(display_name(source), model)
        files = PrivateFolder(DOWNLOAD_PREFIX)
        # Visitors may only load public models: the token of the Space's owner is not used for them.
        options: dict[str, Any] = {"token": False, "cache_dir": files.path}
        try:
            revision = self._check_size(source, options)
            model = load_model(source, device="cpu", revision=revision, **options)
            model.require_classifiers()
        except BCSamError as error:
            server_path = re.escape(str(files.path)) + r"[\w.-]*(/[\w.-]+/snapshots/\w+)?"
            raise type(error)(re.sub(server_path, source, str(error))) from None  # server paths stay private
        return LoadedModel(source, model, files)

    def _check_size(self, repo_id: str, options: dict[str, Any]) -> str | None:
        """Rejects a model that is too large, with all its files and its base SAM, before downloading it.

        Returns:
            The commit that was checked.
        """
        info = _look_up(repo_id)
        total = self._add_size(0, repo_id, info, MODEL_FILES)
        config = load_config(download_snapshot(repo_id, [CONFIG], revision=info.sha, **options))
        if config.base and not config.base_inside:
            self._add_size(total, repo_id, _look_up(config.base, config.base_revision), SAM_FILES)
        return info.sha

    def _add_size(self, total: int, repo_id: str, info: ModelInfo, patterns: Sequence[str]) -> int:
        """Returns a total size in bytes plus that of the files that would be downloaded.

        Raises:
            ConfigError: If it exceeds the limit, or the Hub does not state the size of a file.
        """
        files = {file.rfilename: file.size for file in info.siblings or ()}
        sizes = [files[name] for name in filter_repo_objects(files, allow_patterns=list(patterns))]
        total += sum(size or 0 for size in sizes)
        if None in sizes or total > self.settings.max_model_bytes:
            limit = self.settings.max_model_bytes / 2**30
            stated = "an unknown number of" if None in sizes else f"{total / 2**30:.1f}"
            raise ConfigError(
                f"{repo_id} has {stated} GB of files, with its base; this page loads up to {limit:.0f} GB. "
                "Choose a smaller one."
            )
        return total


def _look_up(repo_id: str, revision: str | None = None) -> ModelInfo:
    """Returns the files of a public repository and their sizes."""
    try:
        return with_retries(lambda: HfApi(token=False).model_info(repo_id, revision=revision, files_metadata=True))
    except HUB_ERRORS as error:
        raise HubError(explain(error, repo_id)) from error
