"""The rows of a batch job, and their bytes as a Parquet file."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bc_sam.data.blocks.block import BlockCell
from bc_sam.models.observation import InspectedCell
from bc_sam.models.prediction import Prediction

if TYPE_CHECKING:
    import pyarrow

#: Keys of the metadata of a file: the job that wrote it, its block, and how many of its cells have no result.
JOB, BLOCK, N_ERRORS, LABELS = b"bc_sam.job", b"bc_sam.block", b"bc_sam.errors", b"bc_sam.labels"


@dataclass(frozen=True)
class FinishedBlock:
    """The results of a block.

    Attributes:
        index: Number of the block.
        content: The bytes of a Parquet file.
        n_cells: Number of its rows.
        n_errors: Number of rows without a result.
    """

    index: int
    content: bytes
    n_cells: int
    n_errors: int


def result_columns(result: Prediction | InspectedCell) -> dict[str, Any]:
    """Returns the columns of a result; an unreadable image has an error only."""
    if isinstance(result, InspectedCell):
        embedding = None if result.observed is None else result.observed.embedding
        return {"embedding": embedding, "error": None if result.error is None else str(result.error)}
    return {
        "name": result.label,
        "likeliest": result.likeliest,
        "probabilities": result.probabilities,
        "embedding": result.latent,
        "ood": result.ood,
        "reasons": None if result.error is not None else [reason.short for reason in result.reasons],
        "error": None if result.error is None else str(result.error),
    }


def error_row(cell: BlockCell) -> dict[str, Any]:
    """Returns the row of a cell whose file could not be read as bytes."""
    return {"cell_id": cell.cell_id, "source": cell.source, "error": cell.error}


def schema(task: str) -> "pyarrow.Schema":
    """Returns the columns of the results of a task.

    ``probabilities`` is in the order of the labels in the manifest. ``name`` is empty where the model abstains, for
    the given ``reasons``. Where there is an ``error``, everything else but id and source is empty.

    Example:
        >>> schema("embed").names
        ['cell_id', 'source', 'embedding', 'error']
    """
    import pyarrow as pa

    text, numbers = pa.string(), pa.list_(pa.float32())
    columns = {"cell_id": text, "source": text, "name": text, "likeliest": text, "probabilities": numbers}
    columns |= {"embedding": numbers, "ood": pa.float64(), "reasons": pa.list_(text), "error": text}
    if task == "embed":
        columns = {name: columns[name] for name in ("cell_id", "source", "embedding", "error")}
    return pa.schema(list(columns.items()))


def finish_block(
    index: int, rows: Sequence[Mapping[str, Any]], task: str, job: str, labels: Iterable[str]
) -> FinishedBlock:
    """Writes the rows of a block as a Parquet file in memory.

    The same rows always give the same bytes.

    Args:
        index: Number of the block.
        rows: Its rows.
        task: See `schema`.
        job: Digest of the job.
        labels: Labels of the model.
    """
    import pyarrow as pa
    from pyarrow import parquet

    n_errors = sum(row["error"] is not None for row in rows)
    facts = {JOB: job, BLOCK: str(index), N_ERRORS: str(n_errors), LABELS: ",".join(labels)}
    columns = schema(task).with_metadata(facts)
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in columns]
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=columns), file)
    return FinishedBlock(index, file.getvalue(), len(rows), n_errors)
