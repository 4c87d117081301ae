"""Columns of a table: their kinds, and the codes that stand for their values in x.

A kind is a key of `NUMBERS`, "bernoulli" (two levels) or "categorical:K" (K levels). A missing value is NaN.
"""

import dataclasses
import datetime
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from probvae.errors import InputError

Level = str | bool | int | float
LARGEST = 1e38  # largest number in x, about the range of float32
STEPS = 256  # steps of the location of a column in its scale
SHOWN = 8  # levels that a message lists, at most


# ---- kinds ---------------------------------------------------------------------------------------


class NumberKind(NamedTuple):
    """A kind of a column of numbers.

    Attributes:
      support: Description of the numbers.
      contains: Function from numbers [n] to a mask of those in the support.
      standardized: Whether x holds them with a location and a scale.
      logarithm: Whether x holds their logarithms, of which p(x|z) is normal.
    """

    support: str
    contains: Callable[[np.ndarray], np.ndarray]
    standardized: bool = False
    logarithm: bool = False


def _whole(values: np.ndarray) -> np.ndarray:
    return (values >= 0) & (values == np.rint(values))


NUMBERS: dict[str, NumberKind] = {
    "normal": NumberKind("numbers", np.isfinite, standardized=True),
    "lognormal": NumberKind("positive numbers", lambda v: v > 0, standardized=True, logarithm=True),
    "continuous_bernoulli": NumberKind("numbers from 0 to 1", lambda v: (v >= 0) & (v <= 1)),
    "poisson": NumberKind("counts 0, 1, 2, ...", _whole),
    "negative_binomial": NumberKind("counts 0, 1, 2, ...", _whole),
}
CODED = ("bernoulli", "categorical")  # kinds whose levels, be they numbers or texts, are numbered from 0


# ---- types of values -----------------------------------------------------------------------------


class ValueType(NamedTuple):
    """A type of the values of a column.

    Attributes:
      read: Function from a value, and the unit of the column, to what stands for it: a number or a level.
      write: Function from numbers or levels [n], a mask of the missing ones and the unit to an array [n].
    """

    read: Callable[[Any, str], Any]
    write: Callable[[np.ndarray, np.ndarray, str], np.ndarray]


def _read_boolean(value: Any, unit: str) -> bool:
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}[value.strip().lower()]
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _read_integer(value: Any, unit: str) -> float:
    number = float(value)
    return int(number) if number == math.floor(number) and abs(number) < 2**62 else number


def _read_date(value: Any, unit: str) -> float:
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    moment = np.datetime64(value)
    if moment != moment:
        raise ValueError
    return float(_since_1970(np.array([moment]), unit)[0])


def _since_1970(dates: np.ndarray, unit: str) -> np.ndarray:
    """Return dates as numbers of a unit since 1970-01-01, float64."""
    step: np.ndarray = np.array(1, f"m8[{unit}]")
    return (dates - np.datetime64("1970-01-01")) / step


def _write_integers(values: np.ndarray, missing: np.ndarray, unit: str) -> np.ndarray:
    whole = np.rint(values.astype(np.float64))
    return whole if missing.any() or np.any(np.abs(whole) >= 2**62) else whole.astype(np.int64)


def _write_booleans(values: np.ndarray, missing: np.ndarray, unit: str) -> np.ndarray:
    filled = np.where(missing, False, values).astype(bool)
    if not missing.any():
        return filled
    objects = filled.astype(object)
    objects[missing] = None
    return objects


def _write_dates(values: np.ndarray, missing: np.ndarray, unit: str) -> np.ndarray:
    dates = np.rint(np.where(missing, 0, values).astype(np.float64)).astype("int64").astype(f"M8[{unit}]")
    dates[missing] = np.datetime64("NaT")
    return dates


TYPES: dict[str, ValueType] = {
    "number": ValueType(lambda value, unit: float(value), lambda values, missing, unit: values),
    "integer": ValueType(_read_integer, _write_integers),
    "boolean": ValueType(_read_boolean, _write_booleans),
    "text": ValueType(lambda value, unit: str(value), lambda v, missing, unit: np.where(missing, "", v)),
    "date": ValueType(_read_date, _write_dates),
}
UNITS = {"D": "days", "s": "seconds"}  # units of dates, since 1970-01-01


def split_missing(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as an array [n], and a mask of its missing cells: None, NaN, NaT and empty texts."""
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        return array, np.zeros(len(array), bool)
    if array.dtype.kind in "fmM":
        return array, np.isnat(array) if array.dtype.kind in "mM" else np.isnan(array)
    return array, np.fromiter(map(_is_missing, array.tolist()), bool, len(array))


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return not value.strip() if isinstance(value, str) else bool(value != value)


# ---- columns -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      name: Name of the column.
      kind: Kind, as above.
      type: Type of its values, a key of `TYPES`.
      levels: Values that the codes 0, 1, ... stand for; empty for numbers.
      loc, scale: Location and scale: a number v has the code (v - loc) / scale, or (log v - loc) / scale.
      logarithm: Whether the code is that of log v.
      low, high: Range of the numbers in the training set.
      unit: Unit of dates, a key of `UNITS`; else empty.
      place: Index of the column in the data as given.
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

    @property
    def likelihood(self) -> str:
        """Kind of the distribution of the code, an entry of `Architecture.columns`."""
        return "normal" if self.logarithm else self.kind

    @property
    def is_constant(self) -> bool:
        """True if the training set holds one number only."""
        return not self.levels and self.low is not None and self.low == self.high

    def fitted(self, summary: "Summary") -> "Column":
        """Return the column with the range, location and scale of its numbers in a training set.

        The scale is the power of two that is nearest to the standard deviation, and the location is the mean
        rounded to 1/256 of it. So the codes of whole numbers up to 2^24 are exact, and data in units that
        differ by a power of two have the same codes.
        """
        if self.levels:
            return self
        column = dataclasses.replace(self, low=summary.low, high=summary.high)
        if not NUMBERS[self.kind].standardized:
            return column
        mean, deviation = summary.mean, summary.deviation
        if not deviation > 1e-12 * abs(mean):  # the rounding of a constant column
            return dataclasses.replace(column, loc=mean)
        scale = 2.0 ** round(math.log2(deviation))
        return dataclasses.replace(column, loc=round(mean / scale * STEPS) * scale / STEPS, scale=scale)

    # ---- from values to codes ----------------------------------------------------------------------

    def numbers(self, values: Any) -> np.ndarray:
        """Return the numbers of values, or the indices of their levels, [n] float64, NaN where missing.

        Args:
          values: Values [n]: an array or a pandas Series; texts of numbers and dates are read.

        Raises:
          InputError: A value is of another type, an unknown level, or outside of the support of the kind.
        """
        cells, missing = split_missing(values)
        out = np.full(len(cells), np.nan)
        present = np.flatnonzero(~missing)
        if not len(present):
            return out
        if not self.levels and self.type in ("number", "integer") and cells.dtype.kind in "biuf":
            out[present] = cells[present]
        elif self.type == "date" and cells.dtype.kind == "M":
            out[present] = _since_1970(cells[present], self.unit)
        else:
            out[present] = self._read(cells[present].tolist(), present)
        self._refuse_outside(out)
        return out

    def _read(self, cells: list[Any], rows: np.ndarray) -> list[float]:
        codes = {level: float(i) for i, level in enumerate(self.levels)}
        read, known = TYPES[self.type].read, {}
        result = []
        for row, cell in zip(rows, cells, strict=True):
            if cell not in known:
                try:
                    value = read(cell, self.unit)
                except (ValueError, TypeError, KeyError, OverflowError):
                    raise InputError(
                        f"Column {self.name!r} must hold {self._expected()}; got {_shown(cell)} in row "
                        f"{int(row) + 1:,}."
                    ) from None
                if self.levels and value not in codes:
                    raise InputError(
                        f"Column {self.name!r} has the levels {_listed(self.levels)}; got {_shown(cell)} in "
                        f"row {int(row) + 1:,}, which the model does not know."
                    )
                known[cell] = codes[value] if self.levels else value
            result.append(known[cell])
        return result

    def _expected(self) -> str:
        if self.levels:
            return f"one of {_listed(self.levels)}"
        return "dates" if self.type == "date" else NUMBERS[self.kind].support

    def _refuse_outside(self, numbers: np.ndarray) -> None:
        if self.levels or self.kind not in NUMBERS:
            return
        kind = NUMBERS[self.kind]
        present = ~np.isnan(numbers)
        bad = np.flatnonzero(present & ~(kind.contains(np.where(present, numbers, 1.0))))
        if len(bad):
            raise InputError(
                f"Column {self.name!r} must hold {kind.support} to be {self.kind}; got "
                f"{numbers[bad[0]]:g} in row {int(bad[0]) + 1:,}."
            )

    def codes(self, numbers: np.ndarray) -> np.ndarray:
        """Return the codes of numbers or of indices of levels, [n] float32.

        Raises:
          InputError: A code is beyond the range of float32.
        """
        values = np.log(numbers) if self.logarithm else np.asarray(numbers, np.float64)
        codes = (values - self.loc) / self.scale
        beyond = np.flatnonzero(np.abs(codes) > LARGEST)
        if len(beyond):
            raise InputError(
                f"Column {self.name!r} has the value {numbers[beyond[0]]:g} in row {int(beyond[0]) + 1:,}, "
                f"which is beyond {LARGEST:g} times its scale: mend it, or empty its cell."
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
        return write(self.unscaled(codes), missing, self.unit)

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
        """Return mean and standard deviation of values whose code is normal, each [...] float64.

        Args:
          mean: Mean of the code, [...].
          deviation: Standard deviation of the code, [...].
        """
        mean, deviation = np.asarray(mean, np.float64), np.asarray(deviation, np.float64)
        if not self.logarithm:
            return mean * self.scale + self.loc, deviation * self.scale
        variance = np.square(deviation * self.scale)  # of log v
        center = np.exp(mean * self.scale + self.loc + variance / 2)
        return center, center * np.sqrt(np.expm1(variance))


class Summary(NamedTuple):
    """The range of the numbers of a column; mean and standard deviation of these, or of their logarithms."""

    low: float
    high: float
    mean: float
    deviation: float


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
    """Return the summary of each column, from three passes over the training set."""
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
    return [Summary(*row) for row in rows]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _listed(levels: Sequence[Level]) -> str:
    more = f" and {len(levels) - SHOWN:,} more" if len(levels) > SHOWN else ""
    return ", ".join(_shown(level) for level in levels[:SHOWN]) + more
