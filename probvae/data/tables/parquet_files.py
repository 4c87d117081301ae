"""Tables in .parquet files, read by pyarrow in record batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from probvae.data.dataset import Options
from probvae.data.tables.table import Source, Table, refuse_duplicates, refuse_many, rows_at_once
from probvae.data.value_types import since_1970
from probvae.errors import InputError
from probvae.files.reading import refuse_bomb

BUFFER = 2**18  # bytes of a column read at a time, as the groups of rows of a file may be large
FORMS = {  # tests of a type of pyarrow, and the form of its cells
    "is_string": "text",
    "is_large_string": "text",
    "is_boolean": "boolean",
    "is_integer": "integer",
    "is_floating": "number",
    "is_decimal": "number",
    "is_date": "date",
    "is_timestamp": "date",
}


def open_parquet(path: Path, options: Options) -> Table:
    """Open a .parquet file and read its schema."""
    if not path.is_file():
        raise FileNotFoundError(path)
    if options.schema is None:
        options.refuse(path.name, ".csv and .tsv files", "delimiter", "decimal", "na")
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            f"Reading {path.name} needs pyarrow: pip install 'probvae[parquet]', or save the table as .csv."
        ) from None
    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    pages = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    names = tuple(schema.names)
    refuse_many(str(path), len(names))
    refuse_duplicates(path.name, names)
    refuse_bomb(path, max(pages, 8 * metadata.num_rows * len(names)), "save it as a .csv file, or in parts")
    sources = {field.name: _source(field.type, old=options.old_coding) for field in schema}
    texts = [name for name, source in sources.items() if source.form == "text"]

    def batches() -> Iterator[list[np.ndarray]]:
        size = rows_at_once(len(names))
        with pq.ParquetFile(path, read_dictionary=texts, buffer_size=BUFFER, pre_buffer=False) as file:
            for group in range(file.num_row_groups):  # the reader of one forgets what it has read of others
                for batch in file.iter_batches(size, row_groups=[group]):
                    pairs = zip(sources.values(), batch.columns, strict=True)
                    yield [_cells(source, column) for source, column in pairs]

    return Table(path.name, sources, batches)


def _source(kind: Any, *, old: bool) -> Source:
    from pyarrow import types

    plain = kind.value_type if types.is_dictionary(kind) else kind
    form = next((form for test, form in FORMS.items() if getattr(types, test)(plain)), None)
    if form is None or (old and form == "date"):
        return Source("number", unusable=str(plain))
    return Source("integer" if old and form == "boolean" else form)


def _cells(source: Source, column: Any) -> np.ndarray:
    """Return cells [n] in their form."""
    import pyarrow as pa

    if source.unusable:
        return np.full(len(column), np.nan)
    if pa.types.is_dictionary(column.type):
        if source.form == "text":
            return _shared_texts(column)
        column = column.dictionary_decode()
    if source.form == "date":
        return since_1970(np.asarray(column.cast(pa.timestamp("us"), safe=False)), "s")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64)


def _shared_texts(column: Any) -> np.ndarray:
    """Return the texts of a dictionary column, with one copy of each text, however many rows hold it."""
    used = column.indices.unique().drop_null()
    texts = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
    texts = {index: text or None for index, text in texts.items()}
    return np.array([texts.get(index) for index in column.indices.to_pylist()], object)
