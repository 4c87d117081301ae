"""Tables as data sets: their columns, labels and units.

A table is read twice, batch by batch, as it may be larger than memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from probvae.data.arrays import Array, chunks, gather, take
from probvae.data.dataset import DataSet, Options
from probvae.data.splits import held_out, validation_split
from probvae.data.tables.columns import IGNORE, Cells, Column, Survey, column
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
        table = opened(path)

    def batches() -> Iterator[list[Cells]]:
        with refusals(path, what):
            yield from table.batches()

    columns, label = _decide(table._replace(batches=batches), options)
    kept = [i for i, decided in enumerate(columns) if decided is not None]
    chosen = [decided for decided in columns if decided is not None]
    labels: list[np.ndarray] = []

    def values() -> Iterator[np.ndarray]:
        for batch in batches():
            if label is not None:
                labels.append(label[1].code(batch[label[0]]).astype(np.int64))
            yield np.stack([c.code(batch[i]) for i, c in zip(kept, chosen, strict=True)], axis=1)

    x = gather(values())
    train, test = held_out(path.name, len(x), options.seed)
    train, validation = validation_split(path.name, train, options)
    names = tuple(table.columns[i] for i in kept)
    kinds = tuple(decided.kind for decided in chosen)
    loc, scale = _standard(path.name, names, kinds, take(x, train))
    missing = any(bool(np.isnan(chunk).any()) for chunk in chunks(x))
    x = gather(((chunk - loc) / scale).astype(np.float32) for chunk in chunks(x))
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
        label_names=label[1].levels if label else (),
        missing=missing,
        columns=names,
        kinds=kinds,
        levels_of={name: c.levels for name, c in zip(names, chosen, strict=True) if c.levels},
        loc=loc,
        scale=scale,
    )


def in_units(data: DataSet, x: Array) -> dict[str, np.ndarray]:
    """Return examples of a table as its columns, in the units of the file.

    Args:
      data: The table.
      x: Examples [N, D], such as `data.test`, draws or means.

    Returns:
      Columns [N] by name: numbers in the units of the file, or the names of the levels, "" if missing. Values
      of a column whose levels have names are rounded to the nearest level.

    Raises:
      InputError: The data are no table.
    """
    if data.loc is None or data.scale is None:
        raise InputError(f"{data.name} is no table: its values are in their own units already.")
    values = np.asarray(x, np.float64) * data.scale + data.loc
    columns: dict[str, np.ndarray] = {}
    for i, name in enumerate(data.columns):
        columns[name] = values[:, i]
        levels = data.levels_of.get(name)
        if levels is not None:
            nearest = np.clip(np.rint(np.nan_to_num(values[:, i])), 0, len(levels) - 1).astype(int)
            columns[name] = np.where(np.isnan(values[:, i]), "", np.array(levels)[nearest])
    return columns


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


def _standard(
    name: str, columns: tuple[str, ...], kinds: tuple[str, ...], train: Array
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the normal columns, 0 and 1 for the others; [D] float64."""
    normal = np.array([kind == "normal" for kind in kinds])
    seen, total = np.zeros(len(kinds)), np.zeros(len(kinds))
    for chunk in chunks(train):
        seen, total = seen + np.sum(~np.isnan(chunk), axis=0), total + np.nansum(chunk, axis=0)
    for column_name, count in zip(columns, seen, strict=True):
        if not count:
            raise InputError(
                f"Column {column_name!r} of {name} has no value among the training rows: leave it out by the "
                f"kind {IGNORE!r}."
            )
    loc = np.where(normal, total / seen, 0.0)
    squares = np.zeros(len(kinds))
    for chunk in chunks(train):
        squares += np.nansum(np.square(chunk - loc), axis=0)
    deviation = np.sqrt(squares / seen)
    varies = deviation > 1e-12 * np.abs(loc)  # more than the rounding of a constant column
    return loc, np.where(normal & varies, deviation, 1.0)
