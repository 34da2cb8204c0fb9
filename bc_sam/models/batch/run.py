"""Runs a batch job from its source to a complete folder of results, and continues one that was interrupted."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.blocks.block import Block
from bc_sam.data.blocks.plan import Plan, plan_blocks, sample_cells
from bc_sam.data.blocks.reading import Reader, read_block, read_fields
from bc_sam.data.preparation import PROFILE_SAMPLE, profile_sources, require_pixel_size
from bc_sam.errors import BCSamError, ConfigError
from bc_sam.models.batch.engines.accelerate_ranks import AccelerateEngine
from bc_sam.models.batch.engines.base import Engine, EngineName, Resources
from bc_sam.models.batch.engines.local import LocalEngine
from bc_sam.models.batch.output import Manifest, OutputFolder, read_finished, total_of, write_block
from bc_sam.models.batch.progress import Progress
from bc_sam.models.batch.rows import Counts
from bc_sam.models.batch.settings import BatchSettings, Job, ModelIdentity, open_model
from bc_sam.models.classifier_files import installed_versions
from bc_sam.models.fields.profile import FIELD_SAMPLE, profile_fields
from bc_sam.models.stored_model import StoredModel
from bc_sam.utils.extras import extras_explained

logger = logging.getLogger(__name__)

_DEFAULT = BatchSettings()


def run_batch(
    sources: Sequence[str] | str,
    out: str | Path,
    settings: BatchSettings = _DEFAULT,
    *,
    engine: EngineName = "local",
    resources: Resources | None = None,
    quiet: bool = True,
) -> Manifest:
    """Predicts or embeds cells of sources of any size, or counts fields, into a folder of Parquet files.

    Started again after an interruption, it keeps the finished blocks and computes the others. Whatever the engine, and
    however often it was interrupted, every cell or field has one row.

    Args:
        sources: Folders, zips, tars, parquet, ids of data sets on the Hub, or addresses of stores; see
            `bc_sam.data.blocks.plan.plan_blocks`.
        out: Folder of the results.
        settings: What is computed.
        engine: What spreads the blocks: ``"local"`` for this process, ``"ray"`` for a cluster, ``"accelerate"`` for
            the processes of ``accelerate launch``, each of which calls this function.
        resources: Workers, cluster, device and token.
        quiet: Show no progress.

    Returns:
        The manifest, which is also in the folder as ``_manifest.json``.

    Raises:
        DataError: If a source does not exist, cannot be read, or holds no cell.
        ConfigError: If a setting is invalid, or the folder holds another job.
        BCSamError: If another job writes to the folder, a worker has another version of the model, or Ray or the
            model cannot be had.

    Example:
        >>> run_batch("archive/", "results", engine="ray").counts  # doctest: +SKIP
        Counts(blocks=10000, cells=10000000, errors=31)
    """
    with extras_explained():
        import pyarrow  # noqa: F401  before anything is read
    resources = resources or Resources()
    given = (sources,) if isinstance(sources, str) else tuple(sources)
    require_pixel_size(settings.microns_per_pixel)
    chosen = _engine(engine, resources)
    settings = replace(settings, block_size=settings.images_of_block)
    plan = plan_blocks(
        given,
        block_size=settings.images_of_block,
        split=settings.split,
        columns=settings.columns,
        slides=settings.task == "count",
    )
    stored = open_model(settings, **resources.machine)
    task = _Task(Path(out), given, replace(settings, backend=stored.backend), plan, stored)
    try:
        return task.run_ranks(chosen, quiet) if isinstance(chosen, AccelerateEngine) else task.run(chosen, quiet)
    finally:
        chosen.stop()


def _engine(name: str, resources: Resources) -> Engine | AccelerateEngine:
    if name == "local":
        return LocalEngine(resources)
    if name == "ray":
        from bc_sam.models.batch.engines.ray_data import RayEngine

        return RayEngine(resources)
    if name == "accelerate":
        return AccelerateEngine(resources)
    raise ConfigError(f"There is no engine {name!r}. Choose one of {', '.join(get_args(EngineName))}.")


@dataclass(frozen=True)
class _Task:
    """A job that is about to run: where to, of what, with what."""

    out: Path
    sources: tuple[str, ...]
    settings: BatchSettings
    plan: Plan
    stored: StoredModel

    def run(self, engine: Engine, quiet: bool) -> Manifest:
        """Runs the job with an engine whose results all come to this process, which alone writes."""
        with OutputFolder(self.out) as folder:
            manifest = folder.begin(self._manifest(folder))
            finished = read_finished(self.out, manifest)
            todo = [block for block in self.plan.blocks if block.index not in finished]
            if todo:
                manifest = folder.note_engine(manifest, engine.start(manifest.job))
                logger.info("%s", _describe(manifest, len(finished)))
                finished |= self._compute(engine, manifest, todo, finished, quiet)
            return folder.finish(manifest, finished)

    def run_ranks(self, engine: AccelerateEngine, quiet: bool) -> Manifest:
        """Runs the job in several processes, each of which writes what it computes.

        The first process holds the folder, and decides which blocks there are to do: the others might see files that
        were written in the meantime.
        """
        with OutputFolder(self.out) if engine.is_main else nullcontext() as folder:
            begun: tuple[Manifest, dict[int, Counts]] | None = None
            if folder is not None:
                manifest = folder.note_engine(folder.begin(self._manifest(folder)), engine.start())
                begun = manifest, read_finished(self.out, manifest)
                logger.info("%s", _describe(manifest, len(begun[1])))
            manifest, finished = engine.share(begun)
            if manifest.job.source != self.plan.fingerprint:
                raise BCSamError(
                    "The processes see different sources. Give a source and a folder that all of them see."
                )
            todo = engine.share_of([block for block in self.plan.blocks if block.index not in finished])
            self._compute(engine, manifest, todo, finished, quiet or not engine.is_main)
            engine.wait()
            if folder is None:
                return manifest
            return folder.finish(manifest, read_finished(self.out, manifest))

    def _compute(
        self, engine: Engine, manifest: Manifest, todo: Sequence[Block], finished: Mapping[int, Counts], quiet: bool
    ) -> dict[int, Counts]:
        """Computes and writes blocks; returns what they hold."""
        computed: dict[int, Counts] = {}
        known = None if self.plan.n_cells is None else sum(block.count or 0 for block in todo)
        done = total_of(finished.values())
        image = self.settings.images.removesuffix("s")
        with Progress(len(todo), known, done, image=image, quiet=quiet) as progress:
            for block in engine.run(manifest.job, todo) if todo else ():
                computed[block.index] = write_block(self.out, block, manifest.n_blocks)
                progress.add(computed[block.index])
        return computed

    def _manifest(self, folder: OutputFolder) -> Manifest:
        """Returns the manifest of the job; the profile of one that was begun is kept."""
        begun = folder.manifest
        profile = self._measured() if begun is None else begun.job.profile
        return Manifest(
            job=Job(self.settings, ModelIdentity.of(self.stored), profile, self.plan.fingerprint),
            sources=self.sources,
            n_files=self.plan.n_files,
            n_blocks=len(self.plan.blocks),
            n_images=self.plan.n_cells,
            other_files=dict(self.plan.other_files),
            versions=_versions(),
        )

    def _measured(self) -> AppearanceProfile | None:
        """Measures the scale and stain that the images share, once for all workers."""
        microns_per_pixel = self.settings.microns_per_pixel
        if self.settings.task == "count":  # for which the scale is needed whatever the model
            profile = profile_fields(self._sample(FIELD_SAMPLE, read_fields), microns_per_pixel)
        elif self.stored.config.normalization is None:
            return None
        else:
            profile = profile_sources(self._sample(PROFILE_SAMPLE), microns_per_pixel=microns_per_pixel)
        if profile is not None:
            logger.info("scale: %s", profile)
        return profile

    def _sample(self, most: int, read: Reader = read_block) -> list[Any]:
        """Returns evenly spaced images of the source that can be had."""
        return [cell.image for cell in sample_cells(self.plan, most, read) if cell.error is None]


def _versions() -> dict[str, str]:
    """Returns the versions of what computes the results."""
    found = installed_versions()
    for name in ("bc_sam", "torch", "onnxruntime", "numpy", "pillow", "ray"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _describe(manifest: Manifest, n_finished: int) -> str:
    """Returns what is about to run, in one line."""
    engine = manifest.engine
    images = "" if manifest.n_images is None else f" of {manifest.n_images} {manifest.job.settings.images}"
    kept = f", {n_finished} of them finished before" if n_finished else ""
    dashboard = f" Dashboard: {engine['dashboard']}" if engine.get("dashboard") else ""
    workers = engine["workers"]
    blocks = "1 block" if manifest.n_blocks == 1 else f"{manifest.n_blocks} blocks"
    return f"{blocks}{images}{kept}; engine {engine['name']}, workers: {workers}.{dashboard}"
