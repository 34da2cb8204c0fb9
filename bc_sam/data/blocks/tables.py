"""Cells of parquet files, read a few rows at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.stores import StoredFile, open_file
from bc_sam.data.tables_of_cells import find_columns
from bc_sam.errors import DataError
from bc_sam.utils.display import as_utf8

# Rows that are decoded at a time, and bytes that are read at a time: a column of images may have gigabytes.
_ROWS = 32
_BUFFER = 2**20


def plan_table(file: StoredFile, size: int, columns: Mapping[str, str]) -> Iterator[Block]:
    """Divides the rows of a parquet file into blocks, numbered 0.

    Args:
        file: The file.
        size: Number of cells of a block.
        columns: Column of ``image`` and ``file``; by default found by name.

    Raises:
        DataError: If it cannot be read as parquet, or has no column of images.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    with open_file(file.url) as opened:
        try:
            table = ParquetFile(opened)
            schema, n_rows = table.schema_arrow, table.metadata.num_rows
        except ArrowException as error:
            raise DataError(f"{file.url} cannot be read as parquet: {error}. Save or download it again.") from error
    image = _image_column(schema, columns, file.url)
    others = [field.name for field in schema if field.name != image and _is_text(field.type)]
    given = {"file": columns["file"]} if "file" in columns else None
    name = find_columns(others, given, where=file.url).get("file")
    for start in range(0, n_rows, size):
        count = min(size, n_rows - start)
        yield Block(0, "parquet", file.url, file.name, start, count, image_column=image, file_column=name)


def read_table(block: Block) -> Iterator[BlockCell]:
    """Reads the cells of a block of a parquet file; the id of a cell is ``FILE[ROW]``."""
    from pyarrow.parquet import ParquetFile

    stop = block.start + (block.count or 0)
    columns = [block.image_column, *([block.file_column] if block.file_column else [])]
    with open_file(block.url) as opened:
        table = ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
        row, groups = 0, []
        for group in range(table.num_row_groups):
            n_rows = table.metadata.row_group(group).num_rows
            if row + n_rows > block.start and row < stop:
                groups.append((group, row))
            row += n_rows
        row = groups[0][1]
        for batch in table.iter_batches(_ROWS, row_groups=[group for group, _ in groups], columns=columns):
            first, last = max(block.start - row, 0), min(stop - row, len(batch))
            for offset, values in enumerate(batch.slice(first, last - first).to_pylist() if last > first else []):
                yield _cell(block, row + first + offset, values)
            row += len(batch)
            if row >= stop:
                return


def _cell(block: Block, row: int, values: Mapping[str, Any]) -> BlockCell:
    cell_id = f"{block.prefix}[{row}]"
    image = values[block.image_column]
    content, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    name = (values[block.file_column] if block.file_column else None) or path
    source = as_utf8(str(name)) if name else f"{block.url}[{row}]"
    if content is None:
        stored = f"only the path {path}, not the image" if path else "no image"
        return BlockCell(cell_id, source, error=f"{block.url}[{row}] holds {stored}. Save the images in the table.")
    return BlockCell(cell_id, source, content)


def _image_column(schema: Any, columns: Mapping[str, str], where: str) -> str:
    found = ", ".join(schema.names)
    if given := columns.get("image"):
        if given not in schema.names:
            raise DataError(f"{where} has no column {given!r}, but {found}. Correct --column image=.")
        return given
    candidates = [field.name for field in schema if field.name != "mask" and _is_image(field.type)]
    if "image" in candidates or len(candidates) == 1:
        return "image" if "image" in candidates else candidates[0]
    several = f"several of images ({', '.join(candidates)})" if candidates else "none of images"
    raise DataError(f"{where} has the columns {found}, {several}. Name it with --column image=NAME.")


def _is_image(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return "bytes" in [kind.field(number).name for number in range(kind.num_fields)]
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))
