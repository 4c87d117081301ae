"""Tables as data sets: their columns, labels and units.

A table is read twice, batch by batch, as it may be larger than memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from probvae.data import coding
from probvae.data.arrays import Array, chunks, gather, take
from probvae.data.coding import fit, fit_as_of_old
from probvae.data.dataset import DataSet, Options
from probvae.data.schema import Schema
from probvae.data.splits import held_out, validation_split
from probvae.data.tables.columns import IGNORE, Cells, Column, Survey, as_numbers, column
from probvae.data.tables.csv_files import Table, open_csv
from probvae.data.tables.parquet_files import open_parquet
from probvae.errors import InputError
from probvae.files.reading import refusals


def csv_file(path: Path, options: Options) -> DataSet:
    """Read a .csv file in UTF-8, with a comma, semicolon or tab between its cells.

    Args:
      path: Path of the file. Its first row names the columns, unless all its cells are numbers. A cell is
        missing if it is empty or one of `csv_files.MISSING`.
      options: `kinds`, `label` and `missing`. A tenth of the rows is held out.

    Raises:
      InputError: The file or a column cannot be used.
    """
    return read_table(path, options, open_csv)


def parquet_file(path: Path, options: Options) -> DataSet:
    """Read a .parquet file of numbers, booleans and texts, as `csv_file` does; needs pyarrow."""
    return read_table(path, options, open_parquet)


def read_table(path: Path, options: Options, opened: Callable[[Path], Table]) -> DataSet:
    """Read a table twice: for the kinds of its columns, and for their values.

    Returns:
      `DataSet` of vectors [N, D], one number for each column: normal columns are standardized by the mean and
      the standard deviation of the training set, bernoulli and categorical columns hold the numbers of their
      levels.
    """
    options.refuse(path.name, "images", "image_size", "crop", "color")
    if options.kind not in ("auto", "vector"):
        raise InputError(f"{path.name} is a table, whose rows are vectors; got kind {options.kind!r}.")
    what = f"a {path.suffix.lower()} file"
    with refusals(path, what):
        opened_table = opened(path)

    def batches() -> Iterator[list[Cells]]:
        with refusals(path, what):
            yield from opened_table.batches()

    table = opened_table._replace(batches=batches)
    schema = options.schema
    if schema is None:
        decided, label = _decide(table, options)
        columns = _columns(table, decided, options)
    else:
        columns, label = list(schema.columns), _label_of(table, schema)
    places = [table.columns.index(column.name) for column in columns]
    labels: list[np.ndarray] = []

    def values() -> Iterator[np.ndarray]:
        for batch in batches():
            if label is not None:
                labels.append(label[1].code(batch[label[0]]).astype(np.int64))
            yield np.stack(
                [c.numbers(_raw(batch[i], c.type)) for i, c in zip(places, columns, strict=True)], axis=1
            )

    x = gather(values())
    train, test = held_out(path.name, len(x), options.seed)
    train, validation = validation_split(path.name, train, options)
    if schema is None:
        rows = take(x, train)
        columns = (fit_as_of_old if options.old_coding else fit)(path.name, columns, lambda: chunks(rows))
        schema = Schema(
            (len(columns),),
            "table",
            columns=tuple(columns),
            missing=options.missing,
            label=options.label or "",
            classes=label[1].levels if label else (),
        )
    missing = any(bool(np.isnan(chunk).any()) for chunk in chunks(x))
    x = gather(np.stack([c.codes(chunk[:, i]) for i, c in enumerate(columns)], axis=1) for chunk in chunks(x))
    y = np.concatenate(labels) if labels else None

    def part(indices: np.ndarray | None) -> tuple[Any, Any]:
        return (None, None) if indices is None else (take(x, indices), None if y is None else y[indices])

    (x_train, y_train), (x_test, y_test), (x_valid, y_valid) = part(train), part(test), part(validation)
    return DataSet(
        path.name,
        x_train,
        x_test,
        y_train,
        y_test,
        1,
        validation=x_valid,
        validation_labels=y_valid,
        missing=missing,
        schema=schema,
    )


def _raw(cells: Cells, kind: str) -> Any:
    """Return cells as an array of numbers, or of texts."""
    if cells.texts is not None and (cells.numbers is None or kind == "text"):
        return np.array(cells.texts(), object)
    return cells.numbers


def _columns(table: Table, decided: list[Any], options: Options) -> list[coding.Column]:
    """Return the columns of x, in the order of their names."""
    columns = []
    for place, (name, one) in enumerate(zip(table.columns, decided, strict=True)):
        if one is not None:
            kind = coding.NUMBERS.get(one.kind)
            log = kind is not None and kind.logarithm and not options.old_coding
            columns.append(coding.Column(name, one.kind, one.type, one.values, logarithm=log, place=place))
    return columns if options.old_coding else sorted(columns, key=lambda column: column.name)


def _label_of(table: Table, schema: Schema) -> tuple[int, Column] | None:
    """Return the column of labels, coded as in a schema; None if the table or the schema has none."""
    if not schema.label or schema.label not in table.columns:
        return None
    if not schema.classes:
        return table.columns.index(schema.label), Column("normal", (), as_numbers)
    classes = coding.Column(schema.label, f"categorical:{len(schema.classes)}", "text", schema.classes)
    return table.columns.index(schema.label), Column(
        "", (), lambda cells: classes.numbers(_raw(cells, "text"))
    )


def in_units(data: DataSet, x: Array) -> dict[str, np.ndarray]:
    """Return examples of a table as its columns, in the units of the file.

    Args:
      data: The table.
      x: Examples [N, D], such as `data.test` or draws.

    Returns:
      Columns [N] by name, in the order of the file, as `data.schema.decode` returns them.

    Raises:
      InputError: The data are no table.
    """
    if not data.schema.is_table:
        raise InputError(f"{data.name} is no table: its values are in their own units already.")
    return data.schema.decode(x)


# ---- columns -------------------------------------------------------------------------------------


def _decide(table: Table, options: Options) -> tuple[list[Column | None], tuple[int, Column] | None]:
    """Read a table once; return what each column is taken as, and which one holds the labels."""
    named = [*options.kinds, *([options.label] if options.label else [])]
    unknown = [name for name in named if name not in table.columns]
    if unknown:
        raise InputError(
            f"{table.name} has no column {unknown[0]!r}; its columns are {', '.join(table.columns)}."
        )
    surveys = [Survey() for _ in table.columns]
    for batch in table.batches():
        for survey, cells in zip(surveys, batch, strict=True):
            survey.add(cells)
    if not surveys[0].rows:
        raise InputError(f"{table.name} must hold two rows or more; it holds none.")
    columns: list[Column | None] = []
    label = None
    for i, (name, survey) in enumerate(zip(table.columns, surveys, strict=True)):
        what = f"Column {name!r} of {table.name}"
        if name == options.label:
            label = i, _label(what, survey)
        ignored = name == options.label or options.kinds.get(name) == IGNORE
        if name in table.unusable and options.kinds.get(name) != IGNORE:
            raise InputError(
                f"{what} holds {table.unusable[name]}; columns hold numbers, booleans or text: leave it out "
                f"by the kind {IGNORE!r}."
            )
        columns.append(None if ignored else column(what, survey, options.kinds.get(name)))
    if not any(columns):
        raise InputError(f"{table.name} has no column left to model.")
    empty = {n: s.missing for n, s, c in zip(table.columns, surveys, columns, strict=True) if c and s.missing}
    if empty and not options.missing:
        worst = max(empty, key=lambda name: empty[name])
        raise InputError(
            f"{table.name} has empty cells in {len(empty):,} of its columns, {empty[worst]:,} in {worst!r}: "
            "allow missing values with --missing (missing=True), or fill them in."
        )
    return columns, label


def _label(what: str, survey: Survey) -> Column:
    if survey.missing:
        raise InputError(f"{what} cannot hold the labels: {survey.missing:,} of its cells are empty.")
    if survey.numeric and not survey.integer:
        raise InputError(f"{what} must hold integers or text to be the labels; it holds other numbers.")
    if survey.numeric:
        return column(what, survey, "normal")  # integers stand for themselves
    return column(what, survey, "categorical")
