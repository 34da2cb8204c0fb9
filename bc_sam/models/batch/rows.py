"""The rows of a batch job, and their bytes as Parquet files."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bc_sam.data.blocks.block import BlockCell
from bc_sam.models.batch.settings import Job
from bc_sam.models.observation import InspectedCell
from bc_sam.models.prediction import Prediction
from bc_sam.utils.json_config import JsonConfig

if TYPE_CHECKING:
    import pyarrow

#: Keys of the metadata of a file: the job that wrote it, its block, how many of its rows are errors, how many are
#: fields that were read in part only, and the labels.
JOB, BLOCK, N_ERRORS, N_INCOMPLETE = b"bc_sam.job", b"bc_sam.block", b"bc_sam.errors", b"bc_sam.incomplete"
LABELS = b"bc_sam.labels"

#: The only table of a job on cells, whose files lie in the folder of results itself.
ONLY = ""

#: The tables of a job on fields, each in a folder of its own.
CELLS, FIELDS = "cells", "fields"

#: Rows by table.
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Counts(JsonConfig):
    """Numbers of rows.

    Attributes:
        blocks: Number of blocks.
        cells: Number of cells; of fields, those that were found in them.
        errors: Number of cells without a result, or of fields that could not be read.
        fields: Number of fields; 0 for a job on cells.
        incomplete: Number of fields of which parts could not be read.
    """

    blocks: int = 0
    cells: int = 0
    errors: int = 0
    fields: int = 0
    incomplete: int = 0

    @property
    def images(self) -> int:
        """Number of images that were read: the fields, or the cells of a job on cells."""
        return self.fields or self.cells

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.blocks + other.blocks,
            self.cells + other.cells,
            self.errors + other.errors,
            self.fields + other.fields,
            self.incomplete + other.incomplete,
        )


@dataclass(frozen=True)
class FinishedBlock:
    """The results of a block.

    Attributes:
        index: Number of the block.
        contents: The bytes of a Parquet file for each table.
        counts: What they hold.
    """

    index: int
    contents: Mapping[str, bytes]
    counts: Counts


def table_names(task: str) -> tuple[str, ...]:
    """Returns the names of the tables of a task, in the order in which they are written.

    Example:
        >>> table_names("count"), table_names("predict")
        (('cells', 'fields'), ('',))
    """
    return (CELLS, FIELDS) if task == "count" else (ONLY,)


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


def schema(task: str, table: str = ONLY) -> "pyarrow.Schema":
    """Returns the columns of a table of a task.

    ``probabilities`` is in the order of the labels in the manifest. ``name`` is empty where the model abstains, for
    the given ``reasons``. Where there is an ``error``, everything else but id and source is empty.

    Example:
        >>> schema("embed").names
        ['cell_id', 'source', 'embedding', 'error']
        >>> schema("count", "fields").names[:5]
        ['field', 'source', 'white_cells', 'red_cells', 'platelets']
    """
    import pyarrow as pa

    text, texts, numbers, number = pa.string(), pa.list_(pa.string()), pa.list_(pa.float32()), pa.float64()
    count = pa.int32()
    if table == FIELDS:
        counts = [("white_cells", count), ("red_cells", count), ("platelets", count)]
        size = [("height", count), ("width", count), ("microns_per_pixel", number)]
        state = [("complete", pa.bool_()), ("notes", texts), ("error", text)]
        return pa.schema([("field", text), ("source", text), *counts, *size, *state])
    names, probabilities = [("name", text), ("likeliest", text)], ("probabilities", numbers)
    embedding, judged = ("embedding", numbers), [("ood", number), ("reasons", texts)]
    if table == CELLS:  # a field that cannot be read has no cells, and its error is in the other table
        place = [("cell_id", text), ("field", text), ("source", text), ("box", pa.list_(count)), ("score", number)]
        return pa.schema([*place, *names, ("probability", number), probabilities, embedding, *judged])
    result = [embedding] if task == "embed" else [*names, probabilities, embedding, *judged]
    return pa.schema([("cell_id", text), ("source", text), *result, ("error", text)])


def finish_block(index: int, rows: Rows, job: Job) -> FinishedBlock:
    """Writes the rows of a block as Parquet files in memory.

    The same rows always give the same bytes.

    Args:
        index: Number of the block.
        rows: Its rows by table.
        job: The job.
    """
    counts = {table: _count(table, found) for table, found in rows.items()}
    contents = {table: _parquet(table, found, index, counts[table], job) for table, found in rows.items()}
    return FinishedBlock(index, contents, replace(sum(counts.values(), Counts()), blocks=1))


def counts_of_file(table: str, n_rows: int, facts: Mapping[bytes, bytes]) -> Counts:
    """Returns what a file of results holds.

    Args:
        table: Its table.
        n_rows: Number of its rows.
        facts: Its metadata.
    """
    counts = Counts(errors=int(facts[N_ERRORS]), incomplete=int(facts.get(N_INCOMPLETE, 0)))
    return replace(counts, fields=n_rows) if table == FIELDS else replace(counts, cells=n_rows)


def _count(table: str, rows: Sequence[Mapping[str, Any]]) -> Counts:
    n_errors = sum(row.get("error") is not None for row in rows)
    if table == FIELDS:
        return Counts(fields=len(rows), errors=n_errors, incomplete=sum(row.get("complete") is False for row in rows))
    return Counts(cells=len(rows), errors=n_errors)


def _parquet(table: str, rows: Sequence[Mapping[str, Any]], index: int, counts: Counts, job: Job) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    facts = {JOB: job.digest, BLOCK: str(index), N_ERRORS: str(counts.errors), LABELS: ",".join(job.model.labels)}
    if table == FIELDS:
        facts[N_INCOMPLETE] = str(counts.incomplete)
    columns = schema(job.settings.task, table).with_metadata(facts)
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in columns]
    file = io.BytesIO()
    with parquet.ParquetWriter(file, columns) as writer:
        if rows:  # datasets 5.2 fails at a group without rows, but not at a file without groups
            writer.write_table(pa.Table.from_arrays(arrays, schema=columns))
    return file.getvalue()
