"""Tables in .csv and .tsv files, read in chunks by pandas."""

import codecs
import csv
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from probvae.data.dataset import Options
from probvae.data.tables import cells
from probvae.data.tables.table import Source, Table, refuse_duplicates, refuse_many, rows_at_once
from probvae.errors import InputError

MAX_LINE = 2**24  # characters of a line, at most
MAX_CELL = 2**17  # characters of a cell, at most
BATCH_CHARACTERS = 2**26  # characters read at a time, about
EXCESS = 4  # batches that one may grow to where its rows are suddenly long
GROWTH = 64  # largest ratio of the rows of a chunk to those of the one before
PEEK = 3  # chunks of 1, 64, 4096 rows that are compared with the first row, at most
QUOTED = re.compile(r'"(?:[^"]|"")*(?:"|$)')
DELIMITERS = ",;\t"
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Layout(NamedTuple):
    """The layout of a text file.

    Attributes:
      delimiter: Character between its cells.
      names: Names of its columns.
      headless: Whether its first row is data.
      missing_cells: Texts that stand for missing cells, besides the empty one.
    """

    delimiter: str
    names: tuple[str, ...]
    headless: bool
    missing_cells: tuple[str, ...]


def layout_of(path: Path, options: Options) -> Layout:
    """Return the layout of a .csv or .tsv file, from its first rows."""
    delimiter = options.delimiter or _guess_delimiter(path, options)
    with _chunks(path, delimiter) as chunks:
        peeked = [*itertools.islice(chunks, PEEK)]
    if not peeked:
        raise InputError(f"{path} is empty: its first row must name the columns.")
    words = _missing_words(options)
    head = [np.concatenate(column) for column in zip(*peeked, strict=True)]
    first = [column[0].strip() for column in head]
    headless = _is_headless(first, head, words, old=options.old_coding)
    names = tuple("" if headless else cell for cell in first)
    names = tuple(name or f"column_{i}" for i, name in enumerate(names, 1))
    refuse_duplicates(path.name, names)
    return Layout(delimiter, names, headless, tuple(words))


def open_text(path: Path, options: Options) -> Table:
    """Open a .csv or .tsv file and read its first rows."""
    return table_of(path, layout_of(path, options))


def table_of(path: Path, layout: Layout) -> Table:
    """Return the table in a text file of a layout."""
    missing = frozenset(("", *(word.strip().lower() for word in layout.missing_cells)))

    def batches() -> Iterator[list[np.ndarray]]:
        for columns in as_written(path, layout):
            yield [cells.clean(column, missing) for column in columns]

    return Table(path.name, dict.fromkeys(layout.names, Source()), batches, layout.missing_cells)


def as_written(path: Path, layout: Layout) -> Iterator[list[np.ndarray]]:
    """Yield the cells of a file as they are written, in batches of columns of texts [n]."""
    checked = False
    with _chunks(path, layout.delimiter) as chunks:
        for i, chunk in enumerate(chunks):
            rows = [column[0 if layout.headless or i else 1 :] for column in chunk]
            if not len(rows[0]):
                continue
            if not checked and len(rows) > 1 and np.any(rows[-1] == ""):
                _refuse_short_rows(path, layout.delimiter, len(layout.names))
                checked = True
            yield rows


def _missing_words(options: Options) -> tuple[str, ...]:
    if options.schema is not None:
        return options.schema.missing_cells
    return cells.OLD_MISSING if options.old_coding else options.na if options.na else cells.MISSING


# ---- the first row -------------------------------------------------------------------------------


def _guess_delimiter(path: Path, options: Options) -> str:
    """Return the delimiter that is most frequent in the first line, outside of quotes."""
    with _opened(path) as file:
        line = file.readline(MAX_LINE)
    plain = line if options.old_coding else QUOTED.sub("", line)
    delimiter = max(DELIMITERS, key=plain.count)
    if path.suffix.lower() == ".tsv" and "\t" in plain:
        delimiter = "\t"
    refuse_many(str(path), plain.count(delimiter) + 1)
    return delimiter


def _is_headless(first: list[str], head: list[np.ndarray], words: tuple[str, ...], *, old: bool) -> bool:
    """Return whether the first row is data.

    It is if each of its cells is a number or empty; or if one is a number, and each of the others stands in
    its column again, as names do not.
    """
    notations = ("old",) if old else (".", ",")
    is_number = np.any([~np.isnan(cells.numbers(first, notation)) for notation in notations], axis=0)
    if not is_number.any():
        return False
    empty = {"", *(word.lower() for word in (() if old else words))}
    others = [i for i, cell in enumerate(first) if not is_number[i] and cell.lower() not in empty]
    if not others or old:
        return not others
    return all(first[i] in {cell.strip() for cell in head[i][1:]} for i in others)


# ---- text ----------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "utf-8")
    try:
        with path.open(newline="", encoding=encoding) as file:
            yield file
    except UnicodeDecodeError as error:
        byte = f"its byte {error.object[error.start]:#04x} is none"
        raise InputError(
            f"{path} must be text in {encoding.upper()[:6].rstrip('-')}; {byte}: save it in UTF-8, as "
            "spreadsheets do under the name CSV UTF-8."
        ) from None


class _Text:
    """The text of an open file for pandas, of which no more may be read than one batch should hold.

    Attributes:
      length: Number of characters read since it was set to 0.
      longest: Number of characters of the longest line so far.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file, self.length, self.longest, self.line = path, file, 0, 0, 0

    def read(self, size: int = -1) -> str:
        """Return the next characters, at most `size`."""
        text = self.file.read(size)
        self.length += len(text)
        if "\0" in text:
            raise InputError(f"{self.path} must be text in UTF-8; it has NUL characters: save it in UTF-8.")
        first, *others = re.split("[\r\n]", text) if text else [""]
        self.line += len(first)
        self.longest = max(self.longest, self.line, *map(len, others))
        self.line = len(others[-1]) if others else self.line
        if self.longest > MAX_LINE or self.length > EXCESS * BATCH_CHARACTERS:
            raise InputError(
                f"{self.path} must have rows of at most {MAX_LINE:,} characters; one has more: end each row "
                "with a line break, and each quoted cell with a quote."
            )
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)


@contextmanager
def _chunks(path: Path, delimiter: str) -> Iterator[Iterator[list[np.ndarray]]]:
    """Open a file; give an iterator over its rows, the first among them, as the columns of texts [n]."""
    import pandas as pd

    with _opened(path) as file:
        text = _Text(path, file)
        options: dict[str, Any] = {"header": None, "dtype": object, "na_filter": False, "iterator": True}
        try:
            with pd.read_csv(text, sep=delimiter, **options) as reader:
                yield _rows(path, text, reader)
        except pd.errors.EmptyDataError:
            yield iter(())
        except pd.errors.ParserError as error:
            raise InputError(_in_words(path, str(error))) from None


def _rows(path: Path, text: _Text, reader: Any) -> Iterator[list[np.ndarray]]:
    size = 1
    while True:
        text.length = 0
        try:
            chunk = reader.get_chunk(size)
        except StopIteration:
            return
        columns = list(chunk.to_numpy().T)
        refuse_many(str(path), len(columns))
        longest = max(max(map(len, column)) for column in columns)
        if longest > MAX_CELL:
            raise InputError(
                f"{path} must have cells of at most {MAX_CELL:,} characters; one has {longest:,}: end each "
                "quoted cell with a quote."
            )
        yield columns
        most = max(1, BATCH_CHARACTERS // max(1, text.longest))
        size = min(rows_at_once(len(columns)), GROWTH * size, most)


def _in_words(path: Path, error: str) -> str:
    match = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error)
    if not match:
        return f"{path} cannot be read as a {path.suffix.lower()} file: {error.strip().rstrip('.')}."
    expected, line, cells_there = map(int, match.groups())
    return f"Line {line:,} of {path.name} has {cells_there:,} cells; its first line has {expected:,}."


def _refuse_short_rows(path: Path, delimiter: str, columns: int) -> None:
    """Refuse rows of too few cells, which pandas fills up as if their last cells were empty."""
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            if len(row) < columns and any(cell.strip() for cell in row):
                raise InputError(
                    f"Line {reader.line_num:,} of {path.name} has {len(row)} cells; its first line has "
                    f"{columns}."
                )
