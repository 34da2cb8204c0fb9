"""Counts the cells of any number of fields."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bc_sam.models.batch.engines.base import EngineName, Resources
from bc_sam.models.batch.output import Manifest
from bc_sam.models.batch.run import run_batch
from bc_sam.models.batch.settings import BatchSettings


def count(
    sources: Sequence[str] | str,
    out: str | Path,
    *,
    engine: EngineName = "local",
    resources: Resources | None = None,
    quiet: bool = True,
    **settings: Any,
) -> Manifest:
    """Finds, names and counts the cells of fields of one microscope, into two tables of Parquet files.

    The folder ``cells`` has a row for each white cell, and ``fields`` one for each field, with its counts of white
    cells, red cells and platelets, or why it could not be read. Started again after an interruption, it keeps what is
    finished.

    Args:
        sources: Folders of fields, scanned slides, zips, tars, parquet, ids of data sets on the Hub, or addresses of
            stores.
        out: Folder of the results.
        engine: What spreads the fields; see `run_batch`.
        resources: Workers, cluster, device and token.
        quiet: Show no progress.
        **settings: Fields of `BatchSettings`, such as ``model``, ``platelets`` or ``microns_per_pixel``.

    Returns:
        The manifest.

    Raises:
        BCSamError: See `run_batch`.
        ConfigError: If a setting is unknown or invalid.

    Example:
        >>> count("smears/", "results", platelets=True).counts  # doctest: +SKIP
        Counts(blocks=50, cells=48211, errors=2, fields=1000)
    """
    asked = BatchSettings(task="count").updated(settings, where="The settings")
    return run_batch(sources, out, asked, engine=engine, resources=resources, quiet=quiet)
