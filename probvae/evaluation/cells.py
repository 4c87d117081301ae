"""The numbers of a table's columns, and their bins. No TensorFlow.

Numbers are those of the values in the units of the data: dates since 1970 in the unit of the column, levels
by their index. A missing value is NaN.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probvae.data.coding import Column
from probvae.data.kinds import NUMBERS
from probvae.data.schema import Schema
from probvae.data.value_types import SECONDS, since_1970


def numbers_of(schema: Schema, x: np.ndarray) -> np.ndarray:
    """Return the numbers of examples or draws x [N, D], float64 [N, D], rounded where a column is whole."""
    return np.stack([_numbers(column, x[:, i]) for i, column in enumerate(schema.columns)], axis=1)


def _numbers(column: Column, codes: np.ndarray) -> np.ndarray:
    codes = np.asarray(codes, np.float64)
    if column.levels:
        return np.where(np.isnan(codes), np.nan, np.clip(np.rint(codes), 0, len(column.levels) - 1))
    values = column.decode(codes)
    return since_1970(values, column.unit) if values.dtype.kind == "M" else values.astype(np.float64)


def is_whole(column: Column) -> bool:
    """Return whether the numbers of a column are whole."""
    return column.type in ("integer", "date") or (column.kind in NUMBERS and NUMBERS[column.kind].whole)


class Bins(NamedTuple):
    """Bins of the numbers of a column: single values first, then ranges of all others.

    Attributes:
      singles: Values that have a bin of their own, ascending, [A].
      cuts: Cuts between the ranges of the others, ascending, [R - 1]; for R = 0 there are no others.
      num_ranges: R.
    """

    singles: np.ndarray
    cuts: np.ndarray
    num_ranges: int

    @property
    def number(self) -> int:
        """Number of bins, A + R."""
        return len(self.singles) + self.num_ranges

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """Return the bin of each number [N], int; -1 where it is missing."""
        place = np.searchsorted(self.singles, numbers)
        known = self.singles[np.minimum(place, len(self.singles) - 1)] if len(self.singles) else np.inf
        others = len(self.singles) + np.searchsorted(self.cuts, numbers, side="right")
        bins = np.where(known == numbers, place, others)
        return np.where(np.isnan(numbers), -1, bins)


def bins_of(column: Column, data: np.ndarray, most: int) -> Bins:
    """Return at most some `most` bins of a column, as the numbers of the data demand.

    All values have a bin of their own if they are few, and else those that are frequent. The other levels
    have one bin together, and the other numbers have ranges of equal frequency in the data.

    Args:
      column: Column.
      data: Its numbers in the data, [N].
      most: Number of bins, 4 or more.
    """
    values, counts = np.unique(data[~np.isnan(data)], return_counts=True)
    if column.levels:
        if len(column.levels) <= most:
            return Bins(np.arange(len(column.levels), dtype=float), np.empty(0), 0)
        frequent = np.sort(np.argsort(-counts, kind="stable")[: most - 1])
        return Bins(values[frequent], np.empty(0), 1)
    if len(values) < most:
        return Bins(values, np.empty(0), 1)
    single = counts * most >= counts.sum()
    rest = np.repeat(values[~single], counts[~single])
    ranges = max(1, min(most - int(single.sum()), round(most * len(rest) / counts.sum())))
    cuts = np.quantile(rest, np.linspace(0, 1, ranges + 1)[1:-1]) if ranges > 1 else np.empty(0)
    cuts = np.unique(np.ceil(cuts) if is_whole(column) else cuts)
    return Bins(values[single], cuts, len(cuts) + 1)


def names_of(column: Column, bins: Bins) -> list[str]:
    """Return the names of bins: levels and values as in the data, ranges by their ends."""
    names = texts(column, bins.singles)
    if not bins.num_ranges:
        return names
    if column.levels or not len(bins.cuts):
        return [*names, "other levels" if column.levels else "other values"]
    starts = texts(column, bins.cuts, short=True)
    ends = texts(column, bins.cuts[1:] - is_whole(column), short=True)
    between = [a if a == b else f"{a} to {b}" for a, b in zip(starts, ends, strict=False)]
    others = [f"below {starts[0]}", *between, f"{starts[-1]} or more"]
    return names + [f"others, {name}" if names else name for name in others]


def texts(column: Column, numbers: Sequence[float] | np.ndarray, *, short: bool = False) -> list[str]:
    """Return numbers of a column as texts in units of the data; `short` ones with four digits, or the day.

    >>> texts(Column("a", "bernoulli", "text", levels=("no", "yes")), [1.0])
    ['yes']
    """
    numbers = np.asarray(numbers, np.float64)
    if column.levels:
        return [str(value) for value in column.decode(numbers)]
    if column.unit:
        seconds = numbers * SECONDS[column.unit]
        days = np.abs(seconds) < 1e13
        dates = np.where(days, seconds, 0).astype(np.int64).astype("M8[s]")
        unit = "D" if column.unit == "D" or short else "s"
        return [
            str(date.astype(f"M8[{unit}]")).replace("T", " ") if good else "–"
            for date, good in zip(dates, days, strict=True)
        ]
    return [_rounded(value) if short and not is_whole(column) else f"{value:,.10g}" for value in numbers]


def _rounded(value: float) -> str:
    """Format a number with four digits.

    >>> _rounded(287951.0), _rounded(0.0123456)
    ('288,000', '0.01235')
    """
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{rounded:g}"
