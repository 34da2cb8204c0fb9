"""What ``predict``, ``embed`` and ``count`` do with ``--engine``: a job whose results are Parquet files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bc_sam.cli.exit_status import exit_by
from bc_sam.cli.options import read_layout, use_token
from bc_sam.errors import ConfigError
from bc_sam.utils.display import printable

if TYPE_CHECKING:
    from bc_sam.models.batch.output import Manifest


@dataclass(frozen=True)
class EngineOptions:
    """The options of the panel "Engine", as given; ``None`` where not."""

    engine: Literal["local", "ray", "accelerate"] | None
    workers: int | None
    cpus_per_worker: float | None
    gpus_per_worker: float | None
    ray_address: str | None
    block_size: int | None

    def is_asked_for(self, out: Path | None = None) -> bool:
        """Whether there is an ``--engine``.

        Args:
            out: The folder of results, for a command that has none without an engine.

        Raises:
            ConfigError: If there is none, but an option that has no effect without it.
        """
        if self.engine is not None:
            return True
        given = {"out": out} | {name: value for name, value in vars(self).items() if name != "engine"}
        for name, value in given.items():
            if value is not None:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} has no effect without --engine. Add --engine local, ray or accelerate.")
        return False

    def run(
        self,
        sources: list[str],
        out: Path | None,
        settings: Mapping[str, Any],
        *,
        columns: list[str] | None,
        token: str | None,
        machine: Mapping[str, Any],
        refused: Mapping[str, Any],
    ) -> None:
        """Runs a job, says what it has written, and ends the command with its status.

        Args:
            sources: The sources.
            out: Folder of the results.
            settings: Fields of `bc_sam.models.batch.settings.BatchSettings`; ``None`` for their defaults.
            columns: The ``ROLE=NAME`` pairs of ``--column``.
            token: Access token of the Hub, for model and data.
            machine: Options of loading the model that are this machine's, such as its device.
            refused: Values of options that have no effect on a job.

        Raises:
            ConfigError: If ``--out`` is missing, or an option has no effect.
        """
        if out is None:
            raise ConfigError("--engine writes a folder of Parquet files. Name it with --out.")
        for option, value in refused.items():
            if value:
                raise ConfigError(f"{option} has no effect with --engine, which writes Parquet. Omit one of them.")
        use_token(token)
        columns_by_role = read_layout(None, None, None, columns).columns

        from bc_sam.models.batch.engines.base import Resources
        from bc_sam.models.batch.run import run_batch
        from bc_sam.models.batch.settings import BatchSettings

        fields = {**settings, "columns": columns_by_role, "block_size": self.block_size}
        asked = BatchSettings().updated(_given(fields), where="The command line")
        spread = {"workers": self.workers, "cpus": self.cpus_per_worker, "gpus": self.gpus_per_worker}
        resources = Resources(
            address=self.ray_address,
            machine={name: value for name, value in machine.items() if value},
            **_given(spread),
        )
        manifest = run_batch(sources, out, asked, engine=self.engine or "local", resources=resources, quiet=False)
        if manifest.state == "complete":
            self._finish(manifest, out)

    def _finish(self, manifest: "Manifest", out: Path) -> None:
        counts = manifest.counts
        n_files = f"{counts.blocks} file{'s' * (counts.blocks != 1)}"
        if manifest.job.settings.task == "count":
            found = f"{counts.cells} white cells in {counts.fields} fields"
            without = f"{counts.errors} of them without a result, {counts.incomplete} read in part only"
        else:
            found, without = f"{counts.cells} cells in {n_files}", f"{counts.errors} of them without a result"
        print(printable(f"Written: {out}: {found}, {without}."))
        if others := sum(manifest.other_files.values()):
            suffixes = ", ".join(f"{suffix} {count}" for suffix, count in sorted(manifest.other_files.items()))
            print(printable(f"Passed over as no images: {others} file{'s' * (others > 1)} ({suffixes})."))
        if self.engine != "accelerate" or counts.errors == counts.images:  # its launcher takes 3 for a failure
            exit_by(counts.errors, counts.images, counts.incomplete)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
