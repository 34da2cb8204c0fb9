"""The models that visitors have chosen: a few at a time, each loaded once and shared by all who chose it."""

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

from bc_sam.classifiers.ood import NoveltyScale
from bc_sam.data.batches import Batch
from bc_sam.errors import BCSamError, ConfigError, DataError, HubError
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.card import render_card
from bc_sam.models.folder import CONFIG, load_config
from bc_sam.models.inspection import Inspected, inspect_batch, redraw
from bc_sam.space.server.gpu import ON_ZERO_GPU
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.latent_map import LatentMap, draw_map
from bc_sam.utils.hub import HUB_ERRORS, display_name, download_snapshot, explain, is_hub_id

T = TypeVar("T")

#: What of a repository is downloaded and may be large.
_WEIGHTS = (".safetensors", ".skops")


@dataclass
class LoadedModel:
    """A model with what the page needs to know of it.

    Attributes:
        name: What to call it in public: a Hub id, or the last part of a path.
        model: The model.
        files: The folder of its own in which its download lies, if it has one; removed with the last reference.
    """

    name: str
    model: BCSam
    files: TemporaryDirectory | None = None
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def inspect(self, batch: Batch) -> list[Inspected]:
        """Looks at some images; see `bc_sam.models.inspection.inspect_batch`."""
        return self._in_turn(inspect_batch, self.model, batch)

    def redraw(self, latent: np.ndarray) -> np.ndarray:
        """Draws a cell from its latent; see `bc_sam.models.inspection.redraw`."""
        return self._in_turn(redraw, self.model, latent)

    def move(self, device: torch.device) -> None:
        """Moves the model to where it shall compute, if it is not there."""
        if self.model.device.type != device.type:
            self._in_turn(self._move, device)

    def _move(self, device: torch.device) -> None:
        self.model.sam.to(device)  # type: ignore[arg-type]  # the library types it as taking no argument
        self.model.autoencoder.to(device)

    def _in_turn(self, work: Callable[..., T], *arguments: Any) -> T:
        """Does some work while others wait: two at once would take twice as long each.

        One thread does it for all visitors, since each that computes keeps helpers and memory of its own.
        """
        if ON_ZERO_GPU:  # there it is done in a copy of this process, which has no such thread
            return work(*arguments)
        return self._worker.submit(work, *arguments).result()

    @cached_property
    def scale(self) -> NoveltyScale | None:
        """Tells how unlike a cell is to those that the model stores; ``None`` if it stores too few."""
        try:
            return NoveltyScale(self.model.reference) if self.model.reference else None
        except DataError:
            return None

    @cached_property
    def map(self) -> LatentMap | None:
        """The map of the stored cells, which takes seconds; ``None`` if it stores too few."""
        return draw_map(self.scale) if self.scale else None

    @cached_property
    def card(self) -> str:
        """The card in Markdown, rendered anew from what was measured: a stranger's text is not shown."""
        model = self.model
        known: dict[str, Any] = {"repo_id": self.name, "thumbnails": model.pictured}
        text = render_card(model.config, model.evaluation, model.record, **known)
        return text.split("\n---\n", 1)[-1]


class Models:
    """A bounded cache of models. The page's own is always there.

    Args:
        own: What the page was started with, and what it is called there.
        settings: What is allowed.
    """

    def __init__(self, own: LoadedModel, settings: PageSettings) -> None:
        self.own = own
        self.settings = settings
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading = threading.Lock()

    def get(self, source: str = "") -> LoadedModel:
        """Returns a model, and loads it if need be.

        Args:
            source: Hub id, or folder where the page is not public; empty for the page's own.

        Raises:
            ConfigError: If a folder is asked for on a public page, or the model is too large for it.
            BCSamError: If it cannot be loaded; see `BCSam.from_pretrained`.
        """
        source = source.strip()
        if source in ("", self.own.name):
            return self.own
        if self.settings.public and not is_hub_id(source):
            raise ConfigError("Give the id of a model on the Hub, which reads owner/name.")
        with self._loading:
            if source not in self._loaded:
                self._loaded[source] = self._load(source)
            self._loaded.move_to_end(source)
            while len(self._loaded) > self.settings.models - 1:
                self._loaded.popitem(last=False)
            return self._loaded[source]

    def _load(self, source: str) -> LoadedModel:
        if not self.settings.public:
            return LoadedModel(display_name(source), BCSam.from_pretrained(source, device="cpu"))
        files = TemporaryDirectory(prefix="bc_sam_model_")
        # A visitor sees what everybody may see: the token of the Space's owner opens no private model to him.
        options: dict[str, Any] = {"token": False, "cache_dir": files.name}
        try:
            self._check_size(source, options)
            model = BCSam.from_pretrained(source, device="cpu", **options)
        except BCSamError as error:
            inside = re.escape(files.name) + r"[\w.-]*(/[\w.-]+/snapshots/\w+)?"
            raise type(error)(re.sub(inside, source, str(error))) from None  # where it lies here is nobody's business
        return LoadedModel(source, model, files)

    def _check_size(self, repo_id: str, options: dict[str, Any]) -> None:
        """Refuses a model before it is downloaded, the SAM underneath included."""
        config = load_config(download_snapshot(repo_id, [CONFIG], **options))
        total = _weights_size(repo_id)
        if config.base and not config.base_inside:
            total += _weights_size(config.base, config.base_revision)
        if total > self.settings.max_model_bytes:
            most = self.settings.max_model_bytes / 2**30
            raise ConfigError(f"{repo_id} has {total / 2**30:.1f} GB of weights; this page loads up to {most:.0f} GB.")


def _weights_size(repo_id: str, revision: str | None = None) -> int:
    try:
        found = HfApi(token=False).model_info(repo_id, revision=revision, files_metadata=True)
    except HUB_ERRORS as error:
        raise HubError(explain(error, repo_id)) from error
    return sum(file.size or 0 for file in found.siblings or () if file.rfilename.endswith(_WEIGHTS))
