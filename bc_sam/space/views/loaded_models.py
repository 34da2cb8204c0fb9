"""The models that visitors use: a few at a time, each loaded once and shared."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from huggingface_hub import HfApi

from bc_sam.data.batches import Batch
from bc_sam.errors import BCSamError, ConfigError, HubError
from bc_sam.models.auto import load_model
from bc_sam.models.base import CellModel
from bc_sam.models.card import render_card
from bc_sam.models.folder import CONFIG, load_config
from bc_sam.models.inspection import inspect_batch
from bc_sam.models.observation import InspectedCell
from bc_sam.space.server.gpu import ON_ZERO_GPU
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.latent_map import LatentMap, draw_map
from bc_sam.utils.hub import HUB_ERRORS, display_name, download_snapshot, explain, is_hub_id

T = TypeVar("T")

#: Suffixes of the large files that are downloaded.
_WEIGHTS = (".safetensors", ".skops")


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
    files: TemporaryDirectory | None = None
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def inspect(self, batch: Batch) -> list[InspectedCell]:
        """Runs the model on a batch; see `bc_sam.models.inspection.inspect_batch`."""
        return self._in_turn(inspect_batch, self.model, batch)

    def render(self, embedding: np.ndarray) -> np.ndarray | None:
        """Decodes an embedding to an image; see `bc_sam.models.base.CellModel.render`."""
        return self._in_turn(self.model.render, embedding)

    def move(self, device: torch.device) -> None:
        """Moves the model to a device, if it is on another one."""
        if self.model.device.type != device.type:
            self._in_turn(self.model.to, device)

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

    Args:
        own: The model that the page was started with.
        settings: Limits of the page.
    """

    def __init__(self, own: LoadedModel, settings: PageSettings) -> None:
        self.own = own
        self.settings = settings
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading = threading.Lock()

    def get(self, source: str = "") -> LoadedModel:
        """Returns a model, loading it if necessary.

        Args:
            source: Hub id, or folder if the page is not public; empty for the default model.

        Raises:
            ConfigError: If a folder is requested on a public page, or the model is too large for it.
            BCSamError: If it cannot be loaded; see `bc_sam.load_model`.
        """
        source = source.strip()
        if source in ("", self.own.name):
            return self.own
        if self.settings.public and not is_hub_id(source):
            raise ConfigError("This is not a Hub id. Give the id of a model on the Hub, such as owner/name.")
        with self._loading:
            if source not in self._loaded:
                self._loaded[source] = self._load(source)
            self._loaded.move_to_end(source)
            while len(self._loaded) > self.settings.models - 1:
                self._loaded.popitem(last=False)
            return self._loaded[source]

    def _load(self, source: str) -> LoadedModel:
        if not self.settings.public:
            return LoadedModel(display_name(source), load_model(source, device="cpu"))
        files = TemporaryDirectory(prefix="bc_sam_model_")
        # Visitors may only load public models: the token of the Space's owner is not used for them.
        options: dict[str, Any] = {"token": False, "cache_dir": files.name}
        try:
            self._check_size(source, options)
            model = load_model(source, device="cpu", **options)
        except BCSamError as error:
            server_path = re.escape(files.name) + r"[\w.-]*(/[\w.-]+/snapshots/\w+)?"
            raise type(error)(re.sub(server_path, source, str(error))) from None  # server paths stay private
        return LoadedModel(source, model, files)

    def _check_size(self, repo_id: str, options: dict[str, Any]) -> None:
        """Rejects a model that is too large, including its base SAM, before downloading it."""
        config = load_config(download_snapshot(repo_id, [CONFIG], **options))
        total = _weights_size(repo_id)
        if config.base and not config.base_inside:
            total += _weights_size(config.base, config.base_revision)
        if total > self.settings.max_model_bytes:
            limit = self.settings.max_model_bytes / 2**30
            raise ConfigError(
                f"{repo_id} has {total / 2**30:.1f} GB of weights; this page loads up to {limit:.0f} GB. "
                "Choose a smaller one."
            )


def _weights_size(repo_id: str, revision: str | None = None) -> int:
    try:
        found = HfApi(token=False).model_info(repo_id, revision=revision, files_metadata=True)
    except HUB_ERRORS as error:
        raise HubError(explain(error, repo_id)) from error
    return sum(file.size or 0 for file in found.siblings or () if file.rfilename.endswith(_WEIGHTS))
