"""Columns of a table: their kinds, and the codes that stand for their values in x.

A kind is a key of `NUMBERS`, "bernoulli" (two levels), "categorical:K" or "ordinal:K" (K levels). A missing
value is NaN.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from probvae.data.kinds import LEVELS, NUMBERS, distribution_of
from probvae.data.value_types import TYPES, Level, since_1970, split_missing
from probvae.errors import InputError

LARGEST = 1e38  # largest number in x, about the range of float32
STEPS = 256  # steps of the location of a column in its scale
SORTED = 200_000  # rows from which quartiles are taken, at most
QUARTILES = 1.3489795  # distance of the quartiles of a standard normal
SHOWN = 8  # levels that a message lists, at most


# ---- columns -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      name: Name of the column.
      kind: Kind, as above: a key of `NUMBERS`, or one of `LEVELS`, with the number of levels if it is sized.
      type: Type of its values, a key of `TYPES`.
      levels: Values that the codes 0, 1, ... stand for; empty for numbers.
      loc, scale: Location and scale: a number v has the code (v - loc) / scale, or (log v - loc) / scale.
      logarithm: Whether the code is that of log v.
      low, high: Range of the numbers in the training set; in the whole source if the former hold one number
        only.
      unit: Unit of dates, a key of `SECONDS`; else empty.
      place: Index of the column in the data as given.
      categories, ordered: Levels of a pandas categorical in their own order, and whether this has a meaning.
      dtype: Dtype of the column of a DataFrame; empty for those of files.
    """

    name: str
    kind: str
    type: str = "number"
    levels: tuple[Level, ...] = ()
    loc: float = 0.0
    scale: float = 1.0
    logarithm: bool = False
    low: float | None = None
    high: float | None = None
    unit: str = ""
    place: int = 0
    categories: tuple[Level, ...] = ()
    ordered: bool = False
    dtype: str = ""

    @property
    def likelihood(self) -> str:
        """Kind of the distribution of the code, an entry of `Architecture.columns`."""
        return distribution_of(self.kind, self.logarithm, self.scale)

    @property
    def is_ordered(self) -> bool:
        """True unless the column has levels without an order."""
        name = self.kind.partition(":")[0]
        return name not in LEVELS or LEVELS[name].ordered

    @property
    def is_size(self) -> bool:
        """True if the column is the size of its rows, see `NumberKind`."""
        return self.kind in NUMBERS and NUMBERS[self.kind].is_size

    @property
    def is_constant(self) -> bool:
        """True if the source holds one number only."""
        return not self.levels and self.low is not None and self.low == self.high

    def fitted(self, summary: "Summary") -> "Column":
        """Return the column with the range, location and scale of its numbers in a training set.

        The scale is the power of two that is nearest to the standard deviation, and the location is the mean
        rounded to 1/256 of it; median and quartiles decide both where the kind is robust and the quartiles
        differ. So the codes of whole numbers up to 2^24 are exact, and data in units that
        differ by a power of two have the same codes.
        """
        if self.levels:
            return self
        column = dataclasses.replace(self, low=summary.low, high=summary.high)
        if not NUMBERS[self.kind].standardized:
            return column
        mean, deviation = summary.mean, summary.deviation
        if NUMBERS[self.kind].robust and summary.spread > 0:
            mean, deviation = summary.median, summary.spread
        if summary.low == summary.high:
            return dataclasses.replace(column, loc=mean)
        if not deviation > 0:  # the squares are below the range of float64
            raise InputError(
                f"Column {self.name!r} has values from {summary.low:g} to {summary.high:g}, too close to be "
                "standardized: multiply them by a number."
            )
        scale = 2.0 ** round(math.log2(deviation))
        return dataclasses.replace(column, loc=round(mean / scale * STEPS) * scale / STEPS, scale=scale)

    # ---- from values to codes ----------------------------------------------------------------------

    def numbers(self, values: Any, source: str = "", start: int = 0) -> np.ndarray:
        """Return the numbers of values, or the indices of their levels, [n] float64, NaN where missing.

        Args:
          values: Values [n]: an array or a pandas Series; texts of numbers and dates are read.
          source: Name of the data that they are from, for messages.
          start: Row of the first value in these data, from 0.

        Raises:
          InputError: A value is of another type, an unknown level, or outside of the support of the kind.
        """
        if np.ndim(values) != 1:
            raise InputError(
                f"{self._what(source)} must hold one value for each row; got an array of shape "
                f"{list(np.shape(values))}, or two columns of this name: give an array [N]."
            )
        cells, missing = split_missing(values)
        out = np.full(len(cells), np.nan)
        present = np.flatnonzero(~missing)
        if self.is_size and missing.any():
            raise InputError(
                f"{self._what(source)} is the size of the rows, and no row may lack it; it is missing in row "
                f"{int(np.argmax(missing)) + start + 1:,}: fill it in, or leave such rows out."
            )
        if not len(present):
            return out
        if not self.levels and self.type in ("number", "integer") and cells.dtype.kind in "biuf":
            out[present] = cells[present]
        elif not self.levels and self.type == "date" and cells.dtype.kind == "M":
            out[present] = since_1970(cells[present], self.unit)
        else:
            exact = cells.astype("M8[us]") if cells.dtype.kind == "M" else cells
            out[present] = self._read(exact[present].tolist(), present + start, source)
        self._refuse_outside(out, source, start)
        return out

    def _what(self, source: str) -> str:
        return f"Column {self.name!r}{f' of {source}' if source else ''}"

    def _read(self, cells: list[Any], rows: np.ndarray, source: str) -> list[float]:
        codes = {level: float(i) for i, level in enumerate(self.levels)}
        read, known = TYPES[self.type].read, {}
        result = []
        for row, cell in zip(rows, cells, strict=True):
            if not isinstance(cell, Hashable) or cell not in known:
                try:
                    value = read(cell, self.unit)
                except (ValueError, TypeError, KeyError, OverflowError):
                    raise InputError(
                        f"{self._what(source)} must hold {self._expected()}; got {_shown(cell)} in "
                        f"row {int(row) + 1:,}."
                    ) from None
                if self.levels and value not in codes:
                    raise InputError(
                        f"{self._what(source)} has the levels {_listed(self.levels)}; got {_shown(cell)} in "
                        f"row {int(row) + 1:,}, which the model does not know."
                    )
                known[cell] = codes[value] if self.levels else value
            result.append(known[cell])
        return result

    def _expected(self) -> str:
        if self.levels:
            return f"one of {_listed(self.levels)}"
        return "dates" if self.type == "date" else NUMBERS[self.kind].support

    def _refuse_outside(self, numbers: np.ndarray, source: str, start: int) -> None:
        if self.levels or self.kind not in NUMBERS:
            return
        kind = NUMBERS[self.kind]
        present = ~np.isnan(numbers)
        bad = np.flatnonzero(present & ~(kind.contains(np.where(present, numbers, 1.0))))
        if len(bad):
            raise InputError(
                f"{self._what(source)} must hold {kind.support} to be {self.kind}; got "
                f"{numbers[bad[0]]:g} in row {int(bad[0]) + start + 1:,}."
            )

    def codes(self, numbers: np.ndarray, source: str = "", start: int = 0) -> np.ndarray:
        """Return the codes of numbers or of indices of levels, [n] float32; arguments are as in `numbers`.

        Raises:
          InputError: A code is beyond the range of float32.
        """
        values = np.log(numbers) if self.logarithm else np.asarray(numbers, np.float64)
        codes = (values - self.loc) / self.scale
        beyond = np.flatnonzero(np.abs(codes) > LARGEST)
        if len(beyond):
            raise InputError(
                f"{self._what(source)} has the value {numbers[beyond[0]]:g} in row "
                f"{int(beyond[0]) + start + 1:,}, which is beyond {LARGEST:g} times its scale: mend it, or "
                "empty its cell."
            )
        return (codes + 0.0).astype(np.float32)

    def encode(self, values: Any) -> np.ndarray:
        """Return the codes of values, [n] float32; errors are those of `numbers` and `codes`."""
        return self.codes(self.numbers(values))

    # ---- from codes to values ----------------------------------------------------------------------

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of codes [...]: levels, whole numbers, dates, or numbers.

        Codes are those of values or of draws: a code between two levels is rounded.
        """
        codes = np.asarray(codes, np.float64)
        missing = np.isnan(codes)
        write = TYPES[self.type].write
        if self.levels:
            index = np.clip(np.rint(np.where(missing, 0, codes)), 0, len(self.levels) - 1).astype(int)
            return write(np.array(self.levels)[index], missing, self.unit)
        if self.is_constant:
            return write(np.where(missing, np.nan, float(self.low or 0)), missing, self.unit)
        numbers = self.unscaled(codes)
        numbers = np.maximum(numbers, 1) if self.is_positive_whole else numbers
        return write(numbers, missing, self.unit)

    @property
    def is_positive_whole(self) -> bool:
        """True if the values are the whole numbers from 1 on, so that a draw of 0.3 is rounded to 1."""
        return self.type == "integer" and self.logarithm

    def unscaled(self, codes: np.ndarray) -> np.ndarray:
        """Return the numbers of codes [...], float64, without rounding."""
        with np.errstate(over="ignore"):
            numbers = np.asarray(codes, np.float64) * self.scale + self.loc
            return np.exp(numbers) if self.logarithm else numbers

    def log_slope(self, codes: np.ndarray) -> np.ndarray:
        """Return log |d code / d value| at codes [n], in nats; 0 for levels and missing values."""
        numbers = np.asarray(codes, np.float64)
        slope = np.full(numbers.shape, -math.log(self.scale))
        if self.logarithm:  # d log v / d v = 1 / v
            slope = slope - (numbers * self.scale + self.loc)
        return np.where(np.isnan(numbers), 0.0, slope)

    def moments(self, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of values, each [...] float64; codes of logarithms are normal.

        Where the kind has no moments, they are the median and nan.

        Args:
          mean: Mean of the code, [...].
          deviation: Standard deviation of the code, [...].
        """
        mean, deviation = np.asarray(mean, np.float64), np.asarray(deviation, np.float64)
        if not self.logarithm:
            return mean * self.scale + self.loc, deviation * self.scale
        if not NUMBERS[self.kind].has_moments:
            median = self.unscaled(mean)
            return median, np.full_like(median, np.nan)
        variance = np.square(deviation * self.scale)  # of log v
        center = np.exp(mean * self.scale + self.loc + variance / 2)
        return center, center * np.sqrt(np.expm1(variance))

    def center(self, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """Return the mean, or median, of values: a number, or a date; arguments are those of `moments`."""
        center = self.moments(mean, deviation)[0]
        return TYPES[self.type].write(center, np.isnan(center), self.unit) if self.unit else center


def encoded(columns: Sequence[Column], table: Any) -> np.ndarray:
    """Return the codes of columns, [n, D] float32.

    Args:
      columns: Columns, D of them.
      table: Their values by name: a mapping to arrays [n], or a pandas DataFrame.

    Raises:
      InputError: A value has no code, or the columns differ in length.
    """
    codes = {column.name: column.encode(table[column.name]) for column in columns}
    first = columns[0].name
    for name, column in codes.items():
        if len(column) != len(codes[first]):
            raise InputError(
                f"The columns must be of one length; {first!r} has {len(codes[first]):,} values and {name!r} "
                f"{len(column):,}."
            )
    return np.stack([*codes.values()], axis=1)


class Summary(NamedTuple):
    """The range of the numbers of a column, and moments of these, or of their logarithms.

    Attributes:
      low, high: Range of the numbers.
      mean, deviation: Mean and standard deviation.
      median: Median, of robust kinds only.
      spread: Distance of the quartiles, in those of a standard normal; 0 for kinds that are not robust.
    """

    low: float
    high: float
    mean: float
    deviation: float
    median: float = 0.0
    spread: float = 0.0


Parts = Callable[[], Iterator[np.ndarray]]


def fit(name: str, columns: Sequence[Column], parts: Parts) -> list[Column]:
    """Fit the location and scale of columns to a training set.

    Args:
      name: Name of the data, for messages.
      columns: Columns, D of them, whose kinds are decided.
      parts: Function that returns an iterator over parts of the training set, each [n, D] float64: numbers
        and indices of levels, NaN where missing.

    Raises:
      InputError: A column has no value.
    """
    summaries = _summarize(name, columns, parts)
    return [column.fitted(summary) for column, summary in zip(columns, summaries, strict=True)]


def fit_as_of_old(name: str, columns: Sequence[Column], parts: Parts) -> list[Column]:
    """Fit columns as in runs of format 2, by mean and standard deviation; arguments are those of `fit`."""
    fitted = []
    for column, summary in zip(columns, _summarize(name, columns, parts), strict=True):
        varies = summary.deviation > 1e-12 * abs(summary.mean)
        loc, scale = (summary.mean, summary.deviation if varies else 1.0)
        loc, scale = (loc, scale) if column.kind == "normal" else (0.0, 1.0)
        ends = (None, None) if column.levels else (summary.low, summary.high)
        fitted.append(dataclasses.replace(column, loc=loc, scale=scale, low=ends[0], high=ends[1]))
    return fitted


def _summarize(name: str, columns: Sequence[Column], parts: Parts) -> list[Summary]:
    """Return the summary of each column, from three passes over the training set; four for robust kinds."""
    logs = np.array([column.logarithm for column in columns])

    def values() -> Iterator[np.ndarray]:
        for part in parts():
            yield np.log(part, out=part.copy(), where=logs & ~np.isnan(part)) if logs.any() else part

    count, total = np.zeros(len(columns)), np.zeros(len(columns))
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    for numbers in parts():
        low, high = np.fmin(low, np.fmin.reduce(numbers)), np.fmax(high, np.fmax.reduce(numbers))
    for part in values():
        count, total = count + np.sum(~np.isnan(part), axis=0), total + np.nansum(part, axis=0)
    for column, seen in zip(columns, count, strict=True):
        if not seen:
            raise InputError(
                f"Column {column.name!r} of {name} has no value among the training rows: leave it out by the "
                "kind 'ignore'."
            )
    mean, squares = total / count, np.zeros(len(columns))
    for part in values():
        squares += np.nansum(np.square(part - mean), axis=0)
    rows = zip(low.tolist(), high.tolist(), mean.tolist(), np.sqrt(squares / count).tolist(), strict=True)
    summaries = [Summary(*row) for row in rows]
    robust = [i for i, c in enumerate(columns) if c.kind in NUMBERS and NUMBERS[c.kind].robust]
    for i, (first, median, third) in zip(robust, _quartiles(values(), robust), strict=True):
        summaries[i] = summaries[i]._replace(median=median, spread=(third - first) / QUARTILES)
    return summaries


def _quartiles(parts: Iterator[np.ndarray], places: Sequence[int]) -> list[list[float]]:
    """Return the quartiles of columns of parts [n, D]: of all rows, or of every 2^k-th of many."""
    kept: list[np.ndarray] = []
    start, step = 0, 1
    for part in parts if places else ():
        kept.append(part[-start % step :: step, places])
        start += len(part)
        while sum(map(len, kept)) > SORTED:
            kept, step = [np.concatenate(kept)[::2]], 2 * step
    columns = np.concatenate(kept).T if kept else ()
    seen = (column[~np.isnan(column)] for column in columns)
    return [np.quantile(values, (0.25, 0.5, 0.75)).tolist() if len(values) else [0.0] * 3 for values in seen]


def _shown(value: Any) -> str:
    text = repr(int(value) if isinstance(value, float) and value.is_integer() else value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _listed(levels: Sequence[Level]) -> str:
    more = f" and {len(levels) - SHOWN:,} more" if len(levels) > SHOWN else ""
    return ", ".join(_shown(level) for level in levels[:SHOWN]) + more
