"""CSV files as tables: batches of cells, column by column."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from probvae.data.tables.columns import Cells
from probvae.errors import InputError

BATCH = 10_000  # rows read at a time, at most
BATCH_CELLS = 2_000_000  # cells read at a time, at most
MAX_COLUMNS = 100_000  # columns of a table, at most
MAX_ROW = 2**24  # characters of a row, at most
BATCH_CHARACTERS = 2**26  # characters read at a time, about
MISSING = ("", "na", "n/a", "nan", "null")  # texts of empty cells, in lower case


class Table(NamedTuple):
    """A table that can be read several times.

    Attributes:
      name: Name of the data.
      columns: Names of the columns.
      batches: Function that returns an iterator over batches, each a list of the cells of every column.
      unusable: Columns that hold neither numbers nor text, with their types.
    """

    name: str
    columns: tuple[str, ...]
    batches: Callable[[], Iterator[list[Cells]]]
    unusable: Mapping[str, str] = {}


def open_csv(path: Path) -> Table:
    """Open a .csv file and read its first row."""
    with _text(path) as file:
        line = file.readline(MAX_ROW)
        delimiter = max(",;\t", key=line.count)
        _refuse_many(path, line.count(delimiter) + 1)
        file.seek(0)
        first = next(csv.reader(_Lines(path, file), delimiter=delimiter, strict=True), [])
    if not first:
        raise InputError(f"{path} is empty: its first row must name the columns.")
    _refuse_many(path, len(first))
    headless = all(_is_number(cell) or not cell.strip() for cell in first) and any(map(_is_number, first))
    given = [cell.strip() for cell in first]
    names = tuple("" if headless else cell for cell in given)
    names = tuple(name or f"column_{i}" for i, name in enumerate(names, 1))
    _refuse_duplicates(path.name, names)

    def batches() -> Iterator[list[Cells]]:
        with _text(path) as file:
            lines = _Lines(path, file)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            if not headless:
                next(reader)
            rows, size = [], 0
            for row in reader:
                lines.length, size = 0, size + lines.length
                if not row:
                    continue
                if len(row) != len(names):
                    raise InputError(
                        f"Line {reader.line_num:,} of {path.name} has {len(row)} cells; its first line has "
                        f"{len(names)}."
                    )
                rows.append(row)
                if len(rows) == _batch(names) or size > BATCH_CHARACTERS:
                    yield [_cells(cells) for cells in zip(*rows, strict=True)]
                    rows, size = [], 0
            if rows:
                yield [_cells(cells) for cells in zip(*rows, strict=True)]

    return Table(path.name, names, batches)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be text in UTF-8; its byte {error.object[error.start]:#04x} is none: save "
            "it in UTF-8, as spreadsheets do under the name CSV UTF-8."
        ) from None


class _Lines:
    """Lines of a file, of which those since `length` was set to 0 may have at most `MAX_ROW` characters."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file, self.length = path, file, 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.file.readline(MAX_ROW + 1)
        self.length += len(line)
        if not line:
            raise StopIteration
        if "\0" in line:
            raise InputError(f"{self.path} must be text in UTF-8; it has NUL characters: save it in UTF-8.")
        if self.length > MAX_ROW:
            raise InputError(
                f"{self.path} must have rows of at most {MAX_ROW:,} characters; one has more: end each row "
                "with a line break."
            )
        return line


def _batch(names: tuple[str, ...]) -> int:
    """Return the number of rows that are read at a time."""
    return max(1, min(BATCH, BATCH_CELLS // len(names)))


def _refuse_many(path: Path, columns: int) -> None:
    if columns > MAX_COLUMNS:
        raise InputError(
            f"{path} must have at most {MAX_COLUMNS:,} columns; it has {columns:,}: save numbers as an .npy "
            "file."
        )


def _cell(text: str) -> str | None:
    text = text.strip()
    return None if text.lower() in MISSING else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cells(raw: tuple[str, ...]) -> Cells:
    """Read cells as numbers if possible; empty cells are looked for only if some cell is no number."""

    def texts() -> list[str | None]:
        clean = {text: _cell(text) for text in set(raw)}
        return [clean[text] for text in raw]

    def numbers(cells: Iterable[Any]) -> np.ndarray | None:
        try:
            return np.fromiter(map(float, cells), np.float64, len(raw))
        except ValueError:
            return None

    values = numbers(raw)
    if values is None:
        values = numbers("nan" if text is None else text for text in texts())
    return Cells(values, texts)


def _refuse_duplicates(name: str, columns: tuple[str, ...]) -> None:
    twice = [c for c, count in Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"{name} has two columns named {twice[0]!r}: rename one.")
