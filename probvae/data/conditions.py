"""Conditions on the columns of a table: a value, a range, or several values. NumPy only."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probvae.data.coding import Column
from probvae.data.kinds import NUMBERS
from probvae.data.schema import Schema
from probvae.errors import InputError

MOST_VALUES = 10_000  # whole numbers of a range, at most
BEYOND = 4  # an open range of counts goes up to this many times the largest count of the data; with a size,
# also times the size that is given, relative to the largest one of the data
RANGE, OR = "..", "|"


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition on one column, in the codes of x: one of several codes, or a range of real codes.

    Attributes:
      index: Index of the column in x.
      codes: Codes, of which the column has one; None for a range.
      low, high: Ends of a range, may be infinite.
    """

    index: int
    codes: tuple[float, ...] | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def is_value(self) -> bool:
        """True for a single code."""
        return self.codes is not None and len(self.codes) == 1


def conditions_of(schema: Schema, given: Mapping[str, Any]) -> list[Condition]:
    """Return conditions on the columns of a table.

    Args:
      schema: Schema of the table.
      given: Conditions by the name of the column, in the units of the data: a value; a pair (low, high) for
        a range with both ends in it, None for an open end; or a list or set of values.

    Raises:
      InputError: A column is unknown, a value is none of the column, or a range has no value.
    """
    if not schema.is_table:
        raise InputError("Conditions are for tables, whose columns have names; the model is of other data.")
    if not isinstance(given, Mapping):
        raise InputError(f"given must be a mapping from names of columns to conditions; got {given!r}.")
    if not given:
        raise InputError("given must hold a condition on a column or more; it is empty.")
    places = {name: i for i, name in enumerate(schema.names)}
    for name in given:
        if name not in places:
            raise InputError(f"given names the column {name!r}; the columns are {', '.join(schema.names)}.")
    beyond = float(BEYOND)
    for name, value in given.items():
        if schema.columns[places[name]].is_size:
            beyond *= _relative_size(schema.columns[places[name]], value)
    conditions = [
        _condition(schema.columns[places[k]], places[k], value, beyond) for k, value in given.items()
    ]
    return sorted(conditions, key=lambda condition: condition.index)


def _relative_size(column: Column, value: Any) -> float:
    """Return how often the largest size of the data is in the largest one of a condition, at least 1."""
    condition = _condition(column, 0, value)
    codes = [code for code in condition.codes or (condition.low, condition.high) if math.isfinite(code)]
    return max([1.0, *(column.unscaled(np.array(codes)) / (column.high or 1.0))])


def parse(schema: Schema, texts: Sequence[str]) -> dict[str, Any]:
    """Return the conditions that texts give, as `conditions_of` takes them.

    A text is NAME=VALUE, NAME=LOW..HIGH (an end may be left out) or NAME=VALUE|VALUE; the name ends at the
    first "=" that gives the name of a column.

    Raises:
      InputError: A text names no column, or a column is named twice.
    """
    given: dict[str, Any] = {}
    for text in texts:
        ends = [i for i, sign in enumerate(text) if sign == "="]
        name = next((text[:i] for i in ends if text[:i] in schema.names), None)
        if name is None:
            raise InputError(
                f"--given takes NAME=VALUE with the name of a column ({', '.join(schema.names)}); got "
                f"{text!r}."
            )
        if name in given:
            raise InputError(f"--given names the column {name!r} twice: give it one condition.")
        column, value = schema.columns[schema.names.index(name)], text[len(name) + 1 :]
        given[name] = _parsed(column, value)
    return given


def _parsed(column: Column, text: str) -> Any:
    if text in map(str, column.levels):
        return text
    if OR in text:
        return text.split(OR)
    if RANGE in text and (column.is_ordered or _has_numbers(column)):
        low, high = text.split(RANGE, 1)
        return (low or None, high or None)
    return text


def _condition(column: Column, index: int, value: Any, beyond: float = BEYOND) -> Condition:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise InputError(f"A range of column {column.name!r} must be a pair (low, high); got {value!r}.")
        return _range(column, index, *value, beyond)
    values = value
    if isinstance(value, set | frozenset):
        values = sorted(value, key=str)
    elif isinstance(value, Mapping) or np.ndim(value) != 1:
        values = [value]
    if not len(values):
        raise InputError(f"The condition on column {column.name!r} has no value.")
    numbers = np.unique(_numbers(column, values))
    _refuse_parts(column, numbers)
    if len(numbers) > 1 and not column.levels and not NUMBERS[column.kind].whole:
        raise InputError(
            f"Column {column.name!r} holds {NUMBERS[column.kind].support}: give a value or a range, not "
            "several values."
        )
    return Condition(index, tuple(column.codes(numbers).tolist()))


def _range(column: Column, index: int, low: Any, high: Any, beyond: float) -> Condition:
    if column.levels and not column.is_ordered and not _has_numbers(column):
        raise InputError(f"The levels of column {column.name!r} have no order: list them instead of a range.")
    ends = [math.nan if end is None else _end(column, end) for end in (low, high)]
    if ends[0] > ends[1]:
        raise InputError(f"The range of column {column.name!r} must rise; got {low!r} to {high!r}.")
    first, last = np.nan_to_num(ends[0], nan=-math.inf), np.nan_to_num(ends[1], nan=math.inf)
    if column.levels or NUMBERS[column.kind].whole:
        numbers = _between(column, first, last, beyond)
        if not len(numbers) or len(numbers) > MOST_VALUES:
            raise InputError(
                f"The range of column {column.name!r} must hold from 1 to {MOST_VALUES:,} values; it holds "
                f"{len(numbers):,}."
            )
        return Condition(index, tuple(column.codes(numbers).tolist()))
    if _is_rounded(column):  # when they are decoded
        first, last = np.ceil(first) - 0.5, np.floor(last) + 0.5
        if first >= last:
            raise InputError(
                f"The range of column {column.name!r} holds no whole number; got {low!r} to {high!r}."
            )
    if first == last:
        return _condition(column, index, low)
    smallest = 0.0 if column.logarithm else -math.inf
    if last <= smallest:
        raise InputError(f"Column {column.name!r} holds positive numbers; got a range up to {high!r}.")
    return Condition(
        index,
        None,
        float(column.codes(np.array([first]))[0]) if first > smallest else -math.inf,
        float(column.codes(np.array([last]))[0]) if last < math.inf else math.inf,
    )


def _end(column: Column, end: Any) -> float:
    """Return the number of an end of a range, or the index of its level; 0 and -1 end ranges of positives."""
    kind = None if column.levels else NUMBERS[column.kind]
    if column.is_ordered and not (kind and (kind.whole or column.logarithm)):
        return float(_numbers(column, [end])[0])
    unlimited = dataclasses.replace(column, kind="normal", levels=(), logarithm=False)
    return float(_numbers(unlimited, [end])[0])


def _between(column: Column, first: float, last: float, beyond: float) -> np.ndarray:
    """Return the counts, or the indices of the levels, in a range with infinite or finite ends."""
    if column.levels and not column.is_ordered:
        levels = np.array(column.levels, np.float64)
        return np.flatnonzero((first <= levels) & (levels <= last)).astype(np.float64)
    if column.levels:
        largest = len(column.levels) - 1.0
    else:
        largest = beyond * max(float(column.high or 0), max(first, 0), 25)
    last = largest if math.isinf(last) else last
    return np.arange(np.ceil(max(first, 0)), np.floor(last) + 1)


def _has_numbers(column: Column) -> bool:
    """Return whether the values of a column are numbers, also as levels."""
    return column.type in ("number", "integer")


def _is_rounded(column: Column) -> bool:
    """Return whether draws of a column of real codes are rounded: whole numbers, and dates."""
    return not column.levels and not NUMBERS[column.kind].whole and column.type in ("integer", "date")


def _refuse_parts(column: Column, numbers: np.ndarray) -> None:
    if _is_rounded(column) and np.any(numbers != np.rint(numbers)):
        what = "days" if column.unit == "D" else "seconds" if column.unit else "numbers"
        raise InputError(f"Column {column.name!r} holds whole {what}: give one of them, or a range.")


def _numbers(column: Column, values: list[Any]) -> np.ndarray:
    """Return the numbers or levels of values; texts stand for numbers too."""
    numbers = column.numbers(np.array([_plain(column, value) for value in values], object))
    if np.isnan(numbers).any():
        raise InputError(f"A condition on column {column.name!r} must be a value; got a missing one.")
    return numbers


def _plain(column: Column, value: Any) -> Any:
    if not isinstance(value, str) or column.levels or column.type == "date":
        return value
    try:
        return float(value)
    except ValueError:
        return value
