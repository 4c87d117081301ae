"""Tables in files whose missing cells are filled in, with all other cells as the files hold them."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probvae.data.coding import Column
from probvae.data.dataset import Options
from probvae.data.schema import Schema
from probvae.data.tables.frames import fill_gaps, to_frame
from probvae.data.tables.parquet_files import open_parquet
from probvae.data.tables.table_files import codes_of, guarded
from probvae.data.tables.text_files import Layout, as_written, layout_of, table_of
from probvae.data.value_types import parse_date
from probvae.errors import InputError
from probvae.files.reading import refusals

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 7  # significant digits of numbers that are written, those of float32
FORMS = {".csv": ("text", ","), ".tsv": ("text", "\t"), ".parquet": ("parquet", "")}


class WholeTable(NamedTuple):
    """All rows of a table in a file.

    Attributes:
      name: Name of the file.
      schema: Schema of a model.
      frame: Cells as they are in the file: texts, or the types of a .parquet file.
      typed: Columns of the schema in their types, in the units of the data; NaN or None where missing.
      x: Codes of the rows, [N, D]; NaN where missing.
      labels: Classes of the rows, [N]; None without a label.
      layout: Layout of a text file; None for others.
      notations: Notations of the numbers of a text file, by column.
    """

    name: str
    schema: Schema
    frame: "pd.DataFrame"
    typed: "pd.DataFrame"
    x: np.ndarray
    labels: np.ndarray | None
    layout: Layout | None
    notations: dict[str, str]

    @property
    def missing(self) -> "pd.DataFrame":
        """The cells of the columns of the schema that are missing, in the order of the file."""
        import pandas as pd

        places = {column.name: i for i, column in self.schema.in_place}
        names = [name for name in self.frame.columns if name in places]
        return pd.DataFrame({name: np.isnan(self.x[:, places[name]]) for name in names})

    def filled(self, values: "pd.DataFrame") -> "pd.DataFrame":
        """Return the table of the file with its missing cells filled in.

        Args:
          values: Columns of the schema without missing cells, of the types of `typed`, one row for each.
        """
        frame, missing = self.frame.copy(), self.missing
        for _, column in self.schema.in_place:
            gaps = missing[column.name].to_numpy()
            if gaps.any():
                cells = values[column.name].reset_index(drop=True)
                frame[column.name] = self._with(column, gaps, cells)
        return frame

    def _with(self, column: Column, gaps: np.ndarray, values: "pd.Series") -> "pd.Series":
        """Return a column of the file with values in its gaps [N], texts in a column of texts."""
        whole, seen = self.frame[column.name], ~gaps
        if self.layout is None and not _holds_texts(whole[seen]):
            return fill_gaps(whole, gaps, values)
        texts = self._texts(column, seen)
        marks = _marks_of_dates(whole[seen]) if column.unit else ("", "")
        written = whole.copy()
        written[gaps] = [
            texts.get(v) or self._text(column, v, [*texts.values()], marks) for v in values[gaps].tolist()
        ]
        return written

    def _texts(self, column: Column, seen: np.ndarray) -> dict[Any, str]:
        """Return the texts of the levels in the cells that are seen, as the file writes them first."""
        if not column.levels:
            return {}
        levels, first = np.unique(self.typed[column.name][seen].to_numpy(object), return_index=True)
        texts = self.frame[column.name][seen].to_numpy(object)[first]
        return {level: text.strip() for level, text in zip(levels.tolist(), texts.tolist(), strict=True)}

    def _text(self, column: Column, value: Any, texts: list[str], marks: tuple[str, str]) -> str:
        """Return the text of a value, as the texts of its column and its marks of dates are written."""
        if column.unit:
            between, zone = marks
            return str(value)[:10] if column.unit == "D" else value.isoformat(sep=between) + zone
        if isinstance(value, bool):
            return _text_of_boolean(value, texts)
        if isinstance(value, float) and not column.levels:
            text = f"{value:.0f}" if column.type == "integer" else f"{value:.{DIGITS}g}"
            return text.replace(".", ",") if self.notations.get(column.name) == "," else text
        return str(value)

    def to_bytes(self, frame: "pd.DataFrame", path: Path, *, named: bool = False) -> bytes:
        """Return the content of a file with rows of the table, in the form of the table.

        Args:
          frame: Rows, with the columns of the table or others.
          path: Path of the file to write, whose ending may decide the delimiter.
          named: Whether the first row names the columns in any case.
        """
        buffer = io.BytesIO()
        if self.layout is None:
            frame.to_parquet(buffer, index=False)
            return buffer.getvalue()
        same = path.suffix.lower() == Path(self.name).suffix.lower()
        delimiter = self.layout.delimiter if same else FORMS[path.suffix.lower()][1]
        header = named or not self.layout.headless
        text = frame.to_csv(sep=delimiter, index=False, header=header, lineterminator="\n")
        return text.encode()


def read_whole(path: Path, schema: Schema, options: Options) -> WholeTable:
    """Read all rows of a table in a file by the schema of a model.

    Raises:
      InputError: It is no table, cannot be read, or does not fit the schema.
    """
    import pandas as pd

    refuse_other_form(path, "The table")
    what = f"a {path.suffix.lower()} file"
    if FORMS[path.suffix.lower()][0] == "text":
        with refusals(path, what):
            layout = layout_of(path, options)
            table = guarded(path, table_of(path, layout))
        x, labels, notations = codes_of(table, schema, options)
        with refusals(path, what):
            columns = zip(*as_written(path, layout), strict=True)
            cells = {name: np.concatenate(c) for name, c in zip(layout.names, columns, strict=True)}
        frame = pd.DataFrame(cells, dtype=object)
        return WholeTable(path.name, schema, frame, to_frame(schema, x), x, labels, layout, notations)
    with refusals(path, what):
        table = guarded(path, open_parquet(path, options))
    x, labels, _ = codes_of(table, schema, options)
    with refusals(path, what):
        frame = pd.read_parquet(path)
    return WholeTable(path.name, schema, frame, to_frame(schema, x), x, labels, None, {})


def _holds_texts(cells: "pd.Series") -> bool:
    """Return whether cells are texts, and no levels of a categorical."""
    from pandas.api.types import is_string_dtype

    return len(cells) > 0 and not hasattr(cells, "cat") and bool(is_string_dtype(cells))


def _marks_of_dates(texts: "pd.Series") -> tuple[str, str]:
    """Return the mark between a date and its time, and that of UTC where the texts of a column name zones."""
    between = "T" if texts.str.contains("T", regex=False).any() else " "
    zoned = [text.strip() for text in texts.tolist() if parse_date(text).zoned]
    return between, "" if not zoned else "Z" if zoned[0].endswith("Z") else "+00:00"


def _text_of_boolean(value: bool, texts: list[str]) -> str:
    """Return true or false as the texts of a column write them: true, True, TRUE or 1."""
    like = texts[0] if texts else "true"
    if like in ("0", "1"):
        return str(int(value))
    text = str(value)
    return text.upper() if like.isupper() else text if like.istitle() else text.lower()


def refuse_other_form(path: Path, what: str, like: Path | None = None) -> None:
    """Refuse a path that is no .csv, .tsv or .parquet file, or not of the same form as another.

    Args:
      path: Path of the file.
      what: Name of the file in the message.
      like: Path of a table whose form it must have.
    """
    allowed = [s for s in FORMS if like is None or FORMS[s][0] == FORMS[like.suffix.lower()][0]]
    if path.suffix.lower() not in allowed:
        as_table = f", as {like.name} does" if like is not None else ""
        raise InputError(f"{what} must end in {' or '.join(allowed)}{as_table}; got {str(path)!r}.")
