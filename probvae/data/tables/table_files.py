"""Tables as data sets: their columns, labels and units.

A table is read twice, batch by batch, as it may be larger than memory: once for its schema, and once for its
numbers. Beyond `OF_TABLES` bytes these lie in an unnamed temporary file, from which the rows of each set are
written to a file of its own in the order of the split. So a training sees every permutation of its rows, its
numbers are those of a table in memory, and no more than a few batches are held.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probvae.config.choices import refuse_sizes
from probvae.data.arrays import Array, Stored, chunks, gather, store, take
from probvae.data.coding import Column, fit, fit_as_of_old
from probvae.data.dataset import DataSet, Options
from probvae.data.kinds import IGNORE
from probvae.data.schema import Schema
from probvae.data.splits import held_out, validation_split
from probvae.data.tables.columns import (
    coarse_dates,
    column,
    label_column,
    refuse_misfits,
    remark,
    values,
    varying,
)
from probvae.data.tables.frames import NAME, open_frame
from probvae.data.tables.parquet_files import open_parquet
from probvae.data.tables.readings import MisfitError, Reading, read_as
from probvae.data.tables.surveys import MAX_LEVELS, OLD, Survey
from probvae.data.tables.table import Table
from probvae.data.tables.text_files import open_text
from probvae.errors import InputError
from probvae.files.reading import refusals

EARLY = 100_000  # rows after which a text of too many values is refused without reading the others

Join = Callable[[Iterable[np.ndarray]], np.ndarray | Stored]


def text_file(path: Path, options: Options) -> DataSet:
    """Read a .csv or .tsv file in UTF-8, or in UTF-16 with a byte order mark.

    Args:
      path: Path of the file. Its first row names the columns, unless it is a row of data as the others.
      options: `kinds`, `label`, `missing`, `delimiter`, `decimal` and `na`. A tenth of the rows is held out.

    Raises:
      InputError: The file or a column cannot be used.
    """
    return _read_file(path, options, open_text)


def parquet_file(path: Path, options: Options) -> DataSet:
    """Read a .parquet file of numbers, booleans, dates and texts, as `text_file` does; needs pyarrow."""
    return _read_file(path, options, open_parquet)


def frame(source: Any, options: Options) -> DataSet:
    """Read a DataFrame, whose dtypes decide the types of its columns."""
    _refuse_idle(NAME, options)
    return read_table(open_frame(source, options), options)


def _read_file(path: Path, options: Options, opened: Callable[[Path, Options], Table]) -> DataSet:
    _refuse_idle(path.name, options)
    with refusals(path, f"a {path.suffix.lower()} file"):
        table = opened(path, options)
    return read_table(guarded(path, table), options)


def guarded(path: Path, table: Table) -> Table:
    """Return a table in a file, whose errors of reading are refusals."""

    def batches() -> Iterator[list[np.ndarray]]:
        with refusals(path, f"a {path.suffix.lower()} file"):
            yield from table.batches()

    return table._replace(batches=batches)


def _refuse_idle(name: str, options: Options) -> None:
    options.refuse(name, "images", "image_size", "crop", "color")
    if options.kind not in ("auto", "vector"):
        raise InputError(f"{name} is a table, whose rows are vectors; got kind {options.kind!r}.")


class Plan(NamedTuple):
    """The plan for reading a table.

    Attributes:
      columns: Columns of x, without location and scale where these are to be fitted.
      readings: Readings of the columns by name, that of the label among them.
      label: Column of the labels; None if there is none.
      remarks: Sentences on the columns for the user.
      reasons: Reasons of the kinds of the columns, by name; empty where a schema decides.
    """

    columns: list[Column]
    readings: dict[str, Reading]
    label: Column | None
    remarks: tuple[str, ...] = ()
    reasons: Mapping[str, str] = {}

    @property
    def label_dtype(self) -> type:
        """Smallest signed type that holds the labels; int64 where they are not known."""
        numbers = None if self.label is None else self.readings[self.label.name].numbers
        low, high = (0, MAX_LEVELS) if numbers is None else (numbers.low, numbers.high)
        fits = (t for t in (np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
        return next(fits, np.int64)


def read_table(table: Table, options: Options) -> DataSet:
    """Read a table twice: for the kinds of its columns, and for their values.

    Returns:
      `DataSet` of vectors [N, D], one number for each column: columns of numbers have a location and a scale,
      fitted to the training set, bernoulli and categorical columns hold the numbers of their levels.
    """
    options = dataclasses.replace(options, missing=options.missing or options.missing_in_tables)
    schema = options.schema
    plan = _decide(table, options) if schema is None else _matched(table, schema, options)
    labels: list[np.ndarray] = []
    join = gather if table.in_memory else store
    x: Array = join(_numbers(table, plan, labels))
    y = np.concatenate(labels) if labels else None
    train, test = held_out(table.name, len(x), options.seed)
    train, validation = validation_split(table.name, train, options)
    columns = plan.columns
    if schema is None:
        columns = _fitted(table.name, plan, take(x, train), options)
        schema = _schema_of(table, columns, plan, options)
    x, num_missing = _codes(table.name, columns, x, join)
    if y is not None and not isinstance(x, Stored):
        y = y.astype(np.int64)

    def part(indices: np.ndarray | None) -> tuple[Any, Any]:
        return (None, None) if indices is None else (take(x, indices), None if y is None else y[indices])

    (x_train, y_train), (x_test, y_test), (x_valid, y_valid) = part(train), part(test), part(validation)
    return DataSet(
        table.name,
        x_train,
        x_test,
        y_train,
        y_test,
        1,
        validation=x_valid,
        validation_labels=y_valid,
        missing=any(num_missing),
        schema=schema,
        num_missing=num_missing,
        remarks=(*plan.remarks, *coarse_dates(table.name, columns)),
        reasons=tuple(plan.reasons[column.name] for column in columns) if plan.reasons else (),
    )


def whole_frame(
    source: Any, *, kinds: Mapping[str, str] | None = None, missing: bool = False
) -> tuple[np.ndarray, Schema]:
    """Return x [N, D] of all rows of a DataFrame, and the schema that is fitted to them.

    Args:
      source: DataFrame.
      kinds: Kinds of columns by name, in place of guesses.
      missing: Whether cells may be missing.

    Raises:
      InputError: A column cannot be used.
    """
    options = Options(kinds=kinds or {}, missing=missing)
    table = open_frame(source, options)
    plan = _decide(table, options)
    x = gather(_numbers(table, plan, []))
    columns = fit(table.name, plan.columns, lambda: chunks(x))
    return _codes(table.name, columns, x, gather)[0], _schema_of(table, columns, plan, options)


def _fitted(name: str, plan: Plan, rows: Array, options: Options) -> list[Column]:
    """Return the columns of a plan, fitted to the numbers of the training rows [N, D]."""
    columns = (fit_as_of_old if options.old_coding else fit)(name, plan.columns, lambda: chunks(rows))
    return [varying(column, plan.readings[column.name]) for column in columns]


def codes_of(
    table: Table, schema: Schema, options: Options
) -> tuple[np.ndarray, np.ndarray | None, dict[str, str]]:
    """Return all rows of a table in their order, coded by a schema.

    Returns:
      x [N, D]; the labels [N], or None; and the notation of the numbers of each column, by name.

    Raises:
      InputError: The table does not fit the schema.
    """
    plan, labels = _matched(table, schema, options), []  # type: tuple[Plan, list[np.ndarray]]
    x, _ = _codes(table.name, plan.columns, gather(_numbers(table, plan, labels)), gather)
    notations = {name: reading.notation for name, reading in plan.readings.items()}
    return np.asarray(x), np.concatenate(labels).astype(np.int64) if labels else None, notations


def _numbers(table: Table, plan: Plan, labels: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield batches of numbers and indices of levels [n, D], and append labels [n] to a list."""
    places = {name: i for i, name in enumerate(table.columns)}
    start = 0
    for batch in table.batches():

        def numbers(column: Column, batch: list[np.ndarray] = batch, start: int = start) -> np.ndarray:
            form, cells = table.sources[column.name].form, batch[places[column.name]]
            read = values(cells, form, plan.readings[column.name], column.type)
            return column.numbers(read, table.name, start)

        if plan.label is not None:
            numbers_of_labels = _labels(table.name, plan.label, numbers(plan.label), start)
            labels.append(numbers_of_labels.astype(plan.label_dtype))
        yield np.stack([numbers(column) for column in plan.columns], axis=1)
        start += len(batch[0])


def _labels(name: str, column: Column, numbers: np.ndarray, start: int) -> np.ndarray:
    bad = np.flatnonzero(np.isnan(numbers) | (numbers != np.rint(numbers)))
    if len(bad):
        raise InputError(
            f"Column {column.name!r} of {name} must hold a label in every row; it has none in row "
            f"{start + int(bad[0]) + 1:,}."
        )
    return numbers.astype(np.int64)


def _codes(name: str, columns: list[Column], x: Array, join: Join) -> tuple[Any, tuple[int, ...]]:
    """Return the joined codes of numbers [N, D], and how many are missing in each column."""
    missing = np.zeros(len(columns), np.int64)

    def parts() -> Iterator[np.ndarray]:
        start = 0
        for chunk in chunks(x):
            missing[:] += np.isnan(chunk).sum(axis=0)
            yield np.stack([c.codes(chunk[:, i], name, start) for i, c in enumerate(columns)], axis=1)
            start += len(chunk)

    return join(parts()), tuple(missing.tolist())


def _schema_of(table: Table, columns: list[Column], plan: Plan, options: Options) -> Schema:
    classes = plan.label.levels if plan.label else ()
    return Schema(
        (len(columns),),
        "table",
        columns=tuple(columns),
        missing=options.missing,
        missing_cells=table.missing_cells,
        label=options.label or "",
        classes=tuple(map(str, classes)),
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


def _survey(
    table: Table, names: set[str], options: Options, needed: Collection[str] = ()
) -> dict[str, Survey]:
    """Read a table once; return a summary of each of these columns.

    Args:
      table: The table.
      names: Names of the columns.
      options: Notation of numbers.
      needed: Names of the columns among them that must have few levels if they are texts; where one has too
        many, the reading ends after `EARLY` rows.
    """
    notations = (".", ",") if options.decimal == "auto" else (options.decimal,)
    notations = (OLD,) if options.old_coding else notations
    words = table.missing_cells
    surveys = {n: Survey(s.form, notations, words) for n, s in table.sources.items() if n in names}
    rows = 0
    for batch in table.batches():
        rows += len(batch[0])
        for name, cells in zip(table.columns, batch, strict=True):
            if name in surveys:
                surveys[name].add(cells)
        if rows >= EARLY and any(surveys[name].is_text_of_many for name in needed):
            break
    if not rows:
        least = "two rows" if options.schema is None else "one row"
        raise InputError(f"{table.name} must hold {least} or more; it holds none.")
    return surveys


def _decide(table: Table, options: Options) -> Plan:
    """Decide what each column of a table is taken as, and which one holds the labels."""
    _refuse_unknown(table, [*options.kinds, *([options.label] if options.label else [])])
    names = {name for name in table.columns if options.kinds.get(name) != IGNORE or name == options.label}
    surveys = _survey(table, names, options, names - {options.label})
    columns: list[Column] = []
    readings: dict[str, Reading] = {}
    remarks: list[str] = []
    reasons: dict[str, str] = {}
    misfits: dict[str, MisfitError] = {}
    places = {name: i for i, name in enumerate(table.columns)}
    label = None
    for name, survey in surveys.items():
        what, asked = f"Column {name!r} of {table.name}", options.kinds.get(name)
        if name == options.label:
            label, readings[name] = label_column(what, name, survey)
            continue
        readings[name] = read_as(survey, (asked or "").partition(":")[0])
        try:
            decided, why = column(what, name, table.sources[name], survey, readings[name], asked)
        except MisfitError as misfit:
            misfits[name] = misfit
            continue
        columns.append(dataclasses.replace(decided, place=places[name]))
        reasons[name] = why
        if asked is None or readings[name].type == "date":
            remarks += filter(None, [remark(what, name, readings[name])])
    empty = {c.name: surveys[c.name].missing for c in columns if surveys[c.name].missing}
    advice = (
        "" if options.missing or not empty else "; and allow missing values with --missing (missing=True)"
    )
    refuse_misfits(table.name, misfits, advice)
    if not columns:
        raise InputError(f"{table.name} has no column left to model.")
    if advice:
        worst = max(empty, key=lambda name: empty[name])
        raise InputError(
            f"{table.name} has empty cells in {len(empty):,} of its columns, {empty[worst]:,} in {worst!r}: "
            "allow missing values with --missing (missing=True), or fill them in."
        )
    refuse_sizes({column.name: column.kind for column in columns})
    columns = columns if options.old_coding else sorted(columns, key=lambda column: column.name)
    return Plan(columns, readings, label, tuple(remarks), reasons)


def _refuse_unknown(table: Table, names: list[str]) -> None:
    unknown = [name for name in names if name not in table.columns]
    if unknown:
        raise InputError(
            f"{table.name} has no column {unknown[0]!r}; its columns are {', '.join(table.columns)}."
        )


def _matched(table: Table, schema: Schema, options: Options) -> Plan:
    """Match the columns of a table with those of a schema, by name."""
    if not schema.is_table:
        raise InputError(
            f"The model takes x of shape {list(schema.event_shape)}, of arrays; {table.name} is a table."
        )
    if absent := [name for name in schema.names if name not in table.columns]:
        raise InputError(
            f"{table.name} has no column {', '.join(map(repr, absent[:8]))}, which the model needs; its "
            f"columns are {', '.join(table.columns)}."
        )
    has_label = bool(schema.label) and schema.label in table.columns
    surveys = _survey(table, {*schema.names, *([schema.label] if has_label else [])}, options)
    readings = {name: read_as(survey, "normal") for name, survey in surveys.items()}
    for c in schema.columns:
        survey, reading = surveys[c.name], readings[c.name]
        what = f"Column {c.name!r} of {table.name}"
        if c.type in ("number", "integer") and survey.is_ambiguous:
            raise InputError(
                f"{what} must hold numbers, but {reading.remark}: write decimal points and no separators."
            )
        if survey.missing and not options.missing:
            raise InputError(
                f"{what} has {survey.missing:,} missing values, the first in row {survey.first_missing:,}, "
                "and the model takes none: fill them in, or train with --missing (missing=True)."
            )
    label = None
    if has_label:
        name = schema.label
        own, readings[name] = label_column(f"Column {name!r} of {table.name}", name, surveys[name])
        classes = Column(name, f"categorical:{len(schema.classes)}", "text", schema.classes)
        same = tuple(map(str, own.levels)) == schema.classes
        label = own if same else classes if schema.classes else Column(name, "normal", "integer")
    return Plan(list(schema.columns), readings, label)
