"""Types of values: how a value of a column is read as a number or a level, and written again. NumPy only."""

import datetime
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probvae.errors import InputError

Level = str | bool | int | float
DTYPE = re.compile(  # dtypes of pandas that a table may have
    r"bool|boolean|object|str|string|category|(?:u?int|U?Int)(?:8|16|32|64)|(?:f|F)loat(?:16|32|64)"
    r"|datetime64\[(?:s|ms|us|ns)(?:, [\w/+:-]{1,40})?\]"
)


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


def _read_number(value: Any, unit: str) -> float:
    if isinstance(value, str) and "_" in value:  # float takes 1_2 as 12
        raise ValueError
    return float(value)


def _read_integer(value: Any, unit: str) -> float:
    number = _read_number(value, unit)
    return int(number) if number == math.floor(number) and abs(number) < 2**62 else number


def _read_date(value: Any, unit: str) -> float:
    if isinstance(value, str):
        return parse_date(value).seconds / SECONDS[unit]
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    moment = np.datetime64(value)
    if moment != moment:
        raise ValueError
    return float(since_1970(np.array([moment]), unit)[0])


def since_1970(dates: np.ndarray, unit: str) -> np.ndarray:
    """Return dates as numbers of a unit since 1970-01-01, float64; NaN where missing."""
    moments = dates.astype("M8[us]")  # of days, or of nanoseconds, whose range is smaller
    seconds = (moments - np.datetime64(0, "us")) / np.timedelta64(1, "s")
    return np.where(np.isnat(dates), np.nan, seconds) / SECONDS[unit]


class Moment(NamedTuple):
    """A date that is written as text.

    Attributes:
      seconds: Seconds since 1970-01-01, UTC.
      zoned: Whether the text names a time zone.
    """

    seconds: float
    zoned: bool


DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?(?: ?(Z|UTC|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)


def parse_date(text: str) -> Moment:
    """Read a date, or a date with a time, in the form of ISO 8601.

    Raises:
      ValueError: The text is none.

    >>> parse_date("1970-01-02"), parse_date("1970-01-01T02:00:00.5+01:00")
    (Moment(seconds=86400.0, zoned=False), Moment(seconds=3600.5, zoned=True))
    """
    match = DATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no date")
    day, time, fraction, zone = match.groups()
    seconds = float(np.datetime64(f"{day}T{time or '00:00'}", "s").astype(np.int64)) + float(
        f"0.{fraction or 0}"
    )
    if zone and zone not in ("Z", "UTC"):
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        seconds -= (3600 * hours + 60 * minutes) * (-1 if zone[0] == "-" else 1)
    return Moment(seconds, bool(zone))


def _write_integers(values: np.ndarray, missing: np.ndarray, unit: str) -> np.ndarray:
    whole = np.where(missing, np.nan, np.rint(values.astype(np.float64)))
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
    "number": ValueType(_read_number, lambda v, missing, unit: np.where(missing, np.nan, v)),
    "integer": ValueType(_read_integer, _write_integers),
    "boolean": ValueType(_read_boolean, _write_booleans),
    "text": ValueType(lambda value, unit: str(value), lambda v, missing, unit: np.where(missing, "", v)),
    "date": ValueType(_read_date, _write_dates),
}
SECONDS = {"D": 86_400, "s": 1}  # seconds in the units of dates, which count from 1970-01-01
UNITS = {"D": "days", "s": "seconds"}  # names of these units


def as_numbers(x: Any) -> np.ndarray:
    """Return x as an array.

    Raises:
      InputError: It holds anything but numbers.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise InputError(f"x must hold numbers, as `encode` returns them; got an array of {array.dtype}.")
    return array


def as_float32(array: np.ndarray) -> np.ndarray:
    """Return numbers as float32.

    Raises:
      InputError: Some are not finite, or beyond the range of float32; NaN, missing values, are allowed.
    """
    with np.errstate(over="ignore"):
        x = array.astype(np.float32)
    if np.isinf(x).any():
        largest = np.nanmax(np.abs(array.astype(np.float64)))
        raise InputError(f"Values must be finite, and within the range of float32; got {largest:g}.")
    return x


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
