"""`Table`, the columns of a file or a DataFrame, read batch by batch."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from probvae.errors import InputError

BATCH = 10_000  # rows read at a time, at most
BATCH_CELLS = 2_000_000  # cells read at a time, at most
MAX_COLUMNS = 100_000  # columns of a table, at most

WRITTEN = "written"  # form of cells of a text file, which may stand for anything
FORMS = (WRITTEN, "text", "number", "integer", "boolean", "date")


class Source(NamedTuple):
    """A column as its source declares it.

    Attributes:
      form: Form of the cells, one of `FORMS`. Written cells and texts come as arrays of str, None for missing
        cells; the others as float64, NaN for missing cells: booleans as 0 and 1, dates as seconds since 1970.
      unusable: Type of a column that holds none of these; else empty.
      categories, ordered, dtype: As in `probvae.data.coding.Column`.
    """

    form: str = WRITTEN
    unusable: str = ""
    categories: tuple[Any, ...] = ()
    ordered: bool = False
    dtype: str = ""


class Table(NamedTuple):
    """A table that can be read several times.

    Attributes:
      name: Name of the data.
      sources: Columns by name, in their order.
      batches: Function that returns an iterator over batches, each a list of the cells of every column [n].
      missing_cells: Texts that stand for missing cells, besides the empty one.
      in_memory: Whether the source lies in memory, so that its numbers may, too.
    """

    name: str
    sources: Mapping[str, Source]
    batches: Callable[[], Iterator[list[np.ndarray]]]
    missing_cells: tuple[str, ...] = ()
    in_memory: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.sources)


def rows_at_once(columns: int) -> int:
    """Return the number of rows that are read at a time."""
    return max(1, min(BATCH, BATCH_CELLS // max(1, columns)))


def refuse_many(name: str, columns: int) -> None:
    """Refuse a table of more than `MAX_COLUMNS` columns, or of none."""
    if not columns:
        raise InputError(f"{name} has no columns.")
    if columns > MAX_COLUMNS:
        raise InputError(
            f"{name} must have at most {MAX_COLUMNS:,} columns; it has {columns:,}: save numbers as an .npy "
            "file."
        )


def refuse_duplicates(name: str, columns: tuple[str, ...]) -> None:
    """Refuse two columns of one name."""
    twice = [c for c, count in Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"{name} has two columns named {twice[0]!r}: rename one.")
