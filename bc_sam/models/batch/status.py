"""What is known of a batch job from its folder alone, on any machine that sees it."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bc_sam.models.batch.output import Manifest, part_name, read_finished, read_manifest, total_of
from bc_sam.models.batch.rows import Counts, table_names
from bc_sam.utils.durations import rough_duration
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.folder_lock import is_locked


@dataclass(frozen=True)
class Status:
    """The state of a job.

    Attributes:
        manifest: Its manifest.
        counts: What its finished blocks hold.
        is_running: Whether a process holds the folder.
        rate: Cells, or fields, per second since the engine started; ``None`` if fewer than two blocks were finished.
    """

    manifest: Manifest
    counts: Counts
    is_running: bool
    rate: float | None

    @classmethod
    def of(cls, folder: Path) -> "Status":
        """Reads the state of the job in a folder of results.

        Raises:
            ConfigError: If the folder holds none.
        """
        manifest = read_manifest(folder)
        with extras_explained():
            finished = read_finished(folder, manifest)
        rate = _rate(folder, manifest, finished)
        return cls(manifest, total_of(finished.values()), is_locked(folder), rate)

    @property
    def is_complete(self) -> bool:
        """Whether every block is there."""
        return self.counts.blocks == self.manifest.n_blocks

    def lines(self) -> list[str]:
        """Returns the state for people, a fact in each line."""
        manifest, counts = self.manifest, self.counts
        settings, engine = manifest.job.settings, manifest.engine
        state = "complete" if self.is_complete else "running" if self.is_running else "interrupted"
        images = settings.images
        lines = [
            f"{state}: {settings.task} of {', '.join(manifest.sources)} with {manifest.job.model.source} "
            f"({manifest.job.model.commit or manifest.job.model.digest[:12]})",
            f"blocks: {counts.blocks} of {manifest.n_blocks}",
            f"{images}: {counts.images}" + (f" of {manifest.n_images}" if manifest.n_images is not None else ""),
        ]
        lines.append(f"without a result: {counts.errors}")
        if settings.task == "count":
            lines += [f"read in part only: {counts.incomplete}", f"white cells: {counts.cells}"]
        if state == "running" and engine:
            lines.append(f"engine: {engine.get('name')}, workers: {engine.get('workers')}")
            if engine.get("dashboard"):
                lines.append(f"dashboard: {engine['dashboard']}")
        if state == "running" and self.rate:
            rest = (manifest.n_blocks - counts.blocks) * counts.images / max(counts.blocks, 1)
            lines.append(f"rate: {self.rate:.1f} {images}/s, {rough_duration(rest / self.rate)} left")
        if state == "interrupted":
            lines.append("Run the same command again to continue: finished blocks are kept.")
        return lines


def _rate(folder: Path, manifest: Manifest, finished: dict[int, Counts]) -> float | None:
    """Returns the rate between the first and the last block that were written since the engine started."""
    written: list[tuple[float, int]] = []
    last_table = folder / table_names(manifest.job.settings.task)[-1]
    for index, counts in finished.items():
        with suppress(OSError):
            at = (last_table / part_name(index, manifest.n_blocks)).stat().st_mtime
            if at >= manifest.started:
                written.append((at, counts.images))
    written.sort()
    seconds = written[-1][0] - written[0][0] if written else 0
    return sum(images for _, images in written[1:]) / seconds if seconds > 0 else None
