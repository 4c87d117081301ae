"""DataFrames of pandas as tables, and tables as DataFrames."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from probvae.data.coding import Column
from probvae.data.dataset import Options
from probvae.data.schema import Schema
from probvae.data.tables.table import Source, Table, refuse_duplicates, refuse_many, rows_at_once
from probvae.data.value_types import DTYPE, TYPES, since_1970, split_missing
from probvae.errors import InputError

NAME = "DataFrame"
OBJECTS = {  # what pandas infers of a column of objects, and the form of its cells
    "string": "text",
    "empty": "number",
    "integer": "integer",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "date",
    "datetime64": "date",
}


def is_frame(source: Any) -> bool:
    """Return whether data are a DataFrame, without loading pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def open_frame(frame: Any, options: Options) -> Table:
    """Return a DataFrame as a table; its index is no column of it."""
    if options.schema is None:
        options.refuse(f"a {NAME}", ".csv and .tsv files", "delimiter", "decimal", "na")
    refuse_many(f"The {NAME}", frame.shape[1])
    names = tuple(frame.columns)
    if odd := [name for name in names if not isinstance(name, str)]:
        raise InputError(
            f"The columns of a {NAME} must be named by strings; got {odd[0]!r}: rename them, as by "
            "frame.columns = frame.columns.map(str)."
        )
    refuse_duplicates(f"The {NAME}", names)
    sources = {name: _source(frame[name]) for name in names}

    def batches() -> Iterator[list[np.ndarray]]:
        size = rows_at_once(len(names))
        for start in range(0, len(frame), size):
            rows = frame.iloc[start : start + size]
            yield [_cells(source, rows[name]) for name, source in sources.items()]

    return Table(NAME, sources, batches, in_memory=True)


# ---- from DataFrames -----------------------------------------------------------------------------


def _source(series: Any) -> Source:
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        levels = np.asarray(dtype.categories, object).tolist()
        form = _form(pd.Series(dtype.categories))
        if form in ("text", "integer", "number", "boolean"):
            return Source(form, categories=tuple(levels), ordered=bool(dtype.ordered), dtype="category")
        return Source("number", unusable=f"categories of {dtype.categories.dtype}")
    form = _form(series)
    if form is None:
        return Source("number", unusable=_unusable(series))
    return Source(form, dtype=str(dtype) if DTYPE.fullmatch(str(dtype)) else "")


def _unusable(series: Any) -> str:
    import pandas as pd

    if not pd.api.types.is_object_dtype(series.dtype):
        return str(series.dtype)
    return f"values of several types ({pd.api.types.infer_dtype(series, skipna=True)})"


def _form(series: Any) -> str | None:
    """Return the form of a column; None if it has none."""
    from pandas.api import types

    dtype = series.dtype
    tests = {
        "boolean": types.is_bool_dtype,
        "integer": types.is_integer_dtype,
        "number": types.is_float_dtype,
        "date": types.is_datetime64_any_dtype,
    }
    if not types.is_object_dtype(dtype):
        for form, test in tests.items():
            if test(dtype):
                return form
    if types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        return OBJECTS.get(types.infer_dtype(series, skipna=True))
    return None


def _cells(source: Source, series: Any) -> np.ndarray:
    """Return cells [n] in their form."""
    if source.unusable:
        return np.full(len(series), np.nan)
    if source.dtype == "category":
        series = series.astype(object)
    if source.form == "date" and getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert(None)
    cells, missing = split_missing(series.to_numpy())
    if source.form == "text":
        texts = np.full(len(cells), None, object)
        texts[~missing] = [str(text) for text in cells[~missing].tolist()]
        return texts
    if cells.dtype.kind == "M":
        return since_1970(cells, "s")
    read = TYPES["date" if source.form == "date" else "number"].read
    if cells.dtype.kind in "biuf":
        return cells.astype(np.float64)
    numbers = np.full(len(cells), np.nan)
    numbers[~missing] = [read(value, "s") for value in cells[~missing].tolist()]
    return numbers


# ---- to DataFrames -------------------------------------------------------------------------------


def to_frame(schema: Schema, x: Any) -> Any:
    """Return examples of a table as a DataFrame in the units of the data.

    Args:
      schema: Schema of the table.
      x: Examples or draws [N, D].

    Returns:
      `pandas.DataFrame` of N rows, with the names, the order and the dtypes of the data: categories with all
      of their levels in their own order, dates, booleans, and whole numbers as Int64 where some are missing.

    Raises:
      InputError: The data are no table, or x has another shape.

    >>> schema = Schema((1,), "table", columns=(Column("n", "normal", "integer", loc=2.0),))
    >>> to_frame(schema, np.array([[0.0], [1.0]]))["n"].tolist()
    [2, 3]
    """
    import pandas as pd

    if not schema.is_table:
        raise InputError(f"Values of the kind {schema.kind} are an array, no table: decode x instead.")
    if np.ndim(x) != 2:
        raise InputError(f"x must be [N, {len(schema.columns)}] for a {NAME}; got {list(np.shape(x))}.")
    decoded = schema.decode(x)
    columns = {column.name: column for column in schema.columns}
    return pd.DataFrame({name: _series(columns[name], values) for name, values in decoded.items()})


def _series(column: Column, values: np.ndarray) -> Any:
    """Return the values of a column with its dtype."""
    import pandas as pd

    _, missing = split_missing(values)
    if column.dtype == "category":
        objects = values.astype(object)
        objects[missing] = None
        return pd.Series(pd.Categorical(objects, categories=list(column.categories), ordered=column.ordered))
    if column.type == "integer" and missing.any():
        series = pd.Series(values).astype("Int64")
    elif column.type == "boolean" and missing.any():
        series = pd.Series(values, dtype="boolean")
    elif column.type == "text":
        objects = values.astype(object)
        objects[missing] = None
        series = pd.Series(objects).infer_objects()
    else:
        series = pd.Series(values)
        if column.unit == "D" and column.dtype == "object":
            series = series.dt.date
    return _as_dtype(series, column.dtype)


def fill_gaps(series: Any, missing: np.ndarray, values: Any) -> Any:
    """Return a Series with values [N] in its missing cells, of its own dtype where this holds them.

    Dates without a time zone are of UTC, and are written in that of the column, if it has one.
    """
    import pandas as pd

    filled = np.asarray(values, object)[missing]
    zone = zone_of(series)
    if zone is not None:
        dates = pd.DatetimeIndex(filled)
        dates = dates.tz_localize("UTC") if dates.tz is None else dates
        filled = np.asarray(dates.tz_convert(zone).astype(object))
    whole = series.astype(object)
    whole[missing] = filled
    if isinstance(series.dtype, pd.CategoricalDtype) and set(filled.tolist()) - set(series.dtype.categories):
        return whole.infer_objects()  # a level that the categories of the frame lack
    try:
        return whole.astype(series.dtype)
    except (ValueError, TypeError):  # such as text in a column that was empty
        return whole.infer_objects()


def zone_of(series: Any) -> Any:
    """Return the time zone of a column of dates, also of one of objects; None without one."""
    if series.dtype != object:
        return getattr(series.dtype, "tz", None)
    zones = (getattr(cell, "tzinfo", None) for cell in series.tolist())
    return next((zone for zone in zones if zone is not None), None)


def has_zone(dtype: str) -> bool:
    """Return whether a dtype is that of dates in a time zone."""
    return dtype.startswith("datetime64") and "," in dtype


def in_zone(dates: Any, dtype: str) -> Any:
    """Return a Series of dates of UTC with a dtype that has a time zone."""
    return dates.dt.tz_localize("UTC").astype(dtype)


def _as_dtype(series: Any, dtype: str) -> Any:
    """Return a column with a dtype, or as it is where its values do not fit, as missing ones in int64."""
    if not dtype or dtype == str(series.dtype):
        return series
    try:
        if has_zone(dtype):
            return in_zone(series, dtype)
        cast = series.astype(dtype)
    except (TypeError, ValueError):
        return series
    if cast.dtype.kind in "iu":
        same = cast.isna() | (cast.astype("float64") == series.astype("float64"))
        return cast if bool(same.all()) else series
    return cast
