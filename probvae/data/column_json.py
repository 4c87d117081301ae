"""Columns as schema.json holds them, read strictly."""

from typing import Any

import numpy as np

from probvae.config.choices import COLUMNS, refuse_sizes
from probvae.data.coding import Column
from probvae.data.kinds import LEVELS, NUMBERS
from probvae.data.value_types import DTYPE, SECONDS, TYPES


def as_tuple(value: Any) -> Any:
    """Return a list of JSON as a tuple, and other values as they are."""
    return tuple(value) if isinstance(value, list) else value


def columns_of(contents: list[dict[str, Any]]) -> tuple[Column, ...]:
    """Return the columns of schema.json.

    Raises:
      ValueError: A field has a value that `Schema.to_json` does not write, or there are two sizes.
    """
    columns = tuple(map(column_of, contents))
    refuse_sizes({column.name: column.kind for column in columns})
    return columns


def column_of(content: dict[str, Any]) -> Column:
    """Return a column of schema.json.

    Raises:
      ValueError: A field has a value that `Schema.to_json` does not write.
    """
    column = Column(**{name: as_tuple(value) for name, value in content.items()})
    kind = column.kind.partition(":")[0]
    numbers = (column.loc, column.scale, *(v for v in (column.low, column.high) if v is not None))
    if not all(type(v) in (int, float) and np.isfinite(v) for v in numbers) or not column.scale > 0:
        raise ValueError(f"column {column.name!r} has the location {column.loc} and scale {column.scale}")
    if type(column.name) is not str or column.type not in TYPES or kind not in (*NUMBERS, *LEVELS):
        raise ValueError(f"column {column.name!r} is {column.kind!r} of type {column.type!r}")
    if (kind in LEVELS) != bool(column.levels) or (column.type == "date") != (column.unit in SECONDS):
        raise ValueError(f"column {column.name!r} has the levels {column.levels} and unit {column.unit!r}")
    if type(column.place) is not int or type(column.logarithm) is not bool:
        raise ValueError(f"column {column.name!r} has the place {column.place!r}")
    if type(column.ordered) is not bool or not (column.dtype == "" or DTYPE.fullmatch(column.dtype)):
        raise ValueError(f"column {column.name!r} has the dtype {column.dtype!r}")
    if not all(type(level) in (str, bool, int, float) for level in (*column.levels, *column.categories)):
        raise ValueError(f"column {column.name!r} has the levels {column.levels}")
    if len(set(column.levels)) < len(column.levels):
        raise ValueError(f"column {column.name!r} has the levels {column.levels}")
    logarithms = kind in NUMBERS and bool(NUMBERS[kind].of_logarithms)
    size = column.is_size and not column.logarithm
    if column.likelihood.partition(":")[0] not in COLUMNS or (column.logarithm and not logarithms) or size:
        raise ValueError(f"column {column.name!r} is {column.kind!r} with the logarithm {column.logarithm}")
    if column.kind != (f"{kind}:{len(column.levels)}" if kind in LEVELS and LEVELS[kind].sized else kind):
        raise ValueError(f"column {column.name!r} is {column.kind!r} and has {len(column.levels)} levels")
    return column
