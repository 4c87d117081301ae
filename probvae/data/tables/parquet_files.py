"""Tables in Parquet files, read in batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from probvae.data.tables.columns import Cells
from probvae.data.tables.csv_files import Table, _batch, _refuse_duplicates, _refuse_many
from probvae.errors import InputError
from probvae.files.reading import refuse_bomb


def open_parquet(path: Path) -> Table:
    """Open a .parquet file and read its schema."""
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            f"Reading {path.name} needs pyarrow: pip install 'probvae[parquet]', or save the table as .csv."
        ) from None
    types = pa.types

    def is_text(kind: Any) -> bool:
        return types.is_string(kind) or types.is_large_string(kind)

    def is_number(kind: Any) -> bool:
        tests = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal)
        return any(test(kind) for test in tests)

    def as_cells(name: str, cells: Any) -> Cells:
        if name in unusable:
            return Cells(np.full(len(cells), np.nan), None)
        if types.is_dictionary(cells.type) and is_text(cells.type.value_type):
            texts = _shared_texts(cells)
            return Cells(None, lambda: texts)
        if types.is_dictionary(cells.type):
            cells = cells.dictionary_decode()
        if types.is_boolean(cells.type):
            cells = cells.cast(pa.int8())
        numbers = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return Cells(np.asarray(numbers, np.float64), None)

    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    pages = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    names = tuple(schema.names)
    if not names:
        raise InputError(f"{path} has no columns.")
    _refuse_many(path, len(names))
    _refuse_duplicates(path.name, names)
    refuse_bomb(path, max(pages, 8 * metadata.num_rows * len(names)), "save it as a .csv file, or in parts")
    kinds = {f.name: f.type.value_type if types.is_dictionary(f.type) else f.type for f in schema}
    text_columns = [name for name, kind in kinds.items() if is_text(kind)]
    unusable = {name: str(kind) for name, kind in kinds.items() if not (is_text(kind) or is_number(kind))}

    def batches() -> Iterator[list[Cells]]:
        with pq.ParquetFile(path, read_dictionary=text_columns) as file:
            for batch in file.iter_batches(batch_size=_batch(names)):
                yield [as_cells(name, cells) for name, cells in zip(names, batch.columns, strict=True)]

    return Table(path.name, names, batches, unusable)


def _shared_texts(cells: Any) -> list[str | None]:
    """Return the texts of a dictionary column, with one copy of each text, however many rows hold it."""
    used = cells.indices.unique().drop_null()
    texts = dict(zip(used.to_pylist(), cells.dictionary.take(used).to_pylist(), strict=True))
    return [texts.get(index) for index in cells.indices.to_pylist()]
