"""Checks of arrays, chunk by chunk, and their conversion to the types that the models take.

Each entry of `EVENTS` turns an array [N, ...] into examples [N, *E], or refuses it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from probvae.data.arrays import Array, chunks, gather
from probvae.errors import InputError

FLOAT32_MAX = float(np.finfo(np.float32).max)


class Examples(NamedTuple):
    """An array that passed the checks.

    Attributes:
      x: Examples [N, *E], uint8 or float32. An array of the right type is kept as it is, memory-mapped or
        not; after a split it is `Rows`.
      levels: Value that stands for 1: 255 or 1.
      missing: Whether some values are NaN.
    """

    x: Array
    levels: int
    missing: bool


class _Survey(NamedTuple):
    """The range of the finite values of an array, and whether some values are NaN."""

    low: float
    high: float
    missing: bool


class _BadValues(NamedTuple):
    """The number of bad values and the index of the first."""

    number: int = 0
    first: tuple[int, ...] = ()

    def joined(self, bad: np.ndarray, row: int) -> "_BadValues":
        """Return the count with the bad values of a further chunk, which starts at `row`."""
        count = int(bad.sum())
        if count == 0 or self.number:
            return _BadValues(self.number + count, self.first)
        index = np.argwhere(bad)[0]
        return _BadValues(count, (row + int(index[0]), *(int(i) for i in index[1:])))


def _survey(what: str, x: np.ndarray, *, missing: bool) -> _Survey:
    """Scan all values once; refuse infinite values, and NaN unless missing values are allowed."""
    if x.dtype.kind not in "biuf":
        raise InputError(f"{what} must hold numbers; its type is {x.dtype}.")
    low, high, row = np.inf, -np.inf, 0
    nan, infinite = _BadValues(), _BadValues()
    for chunk in chunks(x):
        first, row = row, row + len(chunk)
        if x.dtype.kind == "f":
            nan = nan.joined(np.isnan(chunk), first)
            infinite = infinite.joined(np.isinf(chunk), first)
            chunk = chunk[np.isfinite(chunk)]
        if chunk.size:
            low, high = min(low, chunk.min()), max(high, chunk.max())
    if infinite.number:
        raise InputError(
            f"{what} has {infinite.number:,} values that are not finite, the first at {infinite.first}: "
            "mend them."
        )
    if nan.number and not missing:
        raise InputError(
            f"{what} has {nan.number:,} NaN, the first at {nan.first}: NaN are missing values; allow them "
            "with --missing (missing=True), or mend them."
        )
    if low > high:
        raise InputError(f"{what} holds no value that is not missing.")
    return _Survey(float(low), float(high), nan.number > 0)


def _as_type(x: np.ndarray, dtype: type) -> np.ndarray:
    """Convert an array to a type; an array of that type is returned unchanged."""
    return x if x.dtype == dtype else gather(chunk.astype(dtype) for chunk in chunks(x))


def as_images(what: str, x: np.ndarray, *, missing: bool = False, levels: int | None = None) -> Examples:
    """Check images [N, H, W] or [N, H, W, C].

    Args:
      what: Name of the array, for messages.
      x: Integers from 0 to 255, floats from 0 to 1, or booleans.
      missing: Whether floats may be NaN.
      levels: Value of integers that stands for 1. None decides: 1 if no integer is above 1, else 255.

    Raises:
      InputError: The shape, type or range is another.
    """
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise InputError(f"{what} must be images [N, H, W] or [N, H, W, C]; its shape is {list(x.shape)}.")
    if x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) > 4:
        raise InputError(
            f"{what} must be images [N, H, W, C]; its shape {list(x.shape)} looks like channels first: swap "
            "its axes by x.transpose(0, 2, 3, 1)."
        )
    series = ", or say --kind series (kind='series') for series [N, T, C]" if x.ndim == 3 else ""
    x = x[..., None] if x.ndim == 3 else x
    survey = _survey(what, x, missing=missing)
    if x.dtype == bool:
        return Examples(_as_type(x, np.uint8), 1, False)
    if x.dtype.kind in "iu" and survey.low >= 0 and survey.high <= 255:
        return Examples(_as_type(x, np.uint8), levels or (255 if survey.high > 1 else 1), False)
    if x.dtype.kind == "f" and survey.low >= 0 and survey.high <= 1:
        return Examples(_as_type(x, np.float32), 1, survey.missing)
    raise InputError(
        f"{what} must hold integers from 0 to 255 or floats from 0 to 1; found {x.dtype} from "
        f"{survey.low:g} to {survey.high:g}. Rescale it{series}."
    )


def as_series(what: str, x: np.ndarray, *, missing: bool = False, levels: int | None = None) -> Examples:
    """Check series [N, T] or [N, T, C]: any finite numbers, or NaN if `missing`.

    Arguments and errors are those of `as_images`; `levels` is ignored.
    """
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise InputError(f"{what} must be series [N, T] or [N, T, C]; its shape is {list(x.shape)}.")
    return _as_floats(what, x[..., None] if x.ndim == 2 else x, missing)


def as_vectors(what: str, x: np.ndarray, *, missing: bool = False, levels: int | None = None) -> Examples:
    """Check vectors [N, D]: any finite numbers, or NaN if `missing`.

    Arguments and errors are those of `as_images`; `levels` is ignored.
    """
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"{what} must be vectors [N, D]; its shape is {list(x.shape)}.")
    return _as_floats(what, x, missing)


def _as_floats(what: str, x: np.ndarray, missing: bool) -> Examples:
    survey = _survey(what, x, missing=missing)
    if max(-survey.low, survey.high) > FLOAT32_MAX:
        raise InputError(
            f"{what} must hold numbers that float32 can hold; found {survey.low:g} to "
            f"{survey.high:g}. Rescale it."
        )
    return Examples(_as_type(x, np.float32), 1, survey.missing)


EVENTS: dict[str, Callable[..., Examples]] = {
    "image": as_images,
    "series": as_series,
    "vector": as_vectors,
}


def as_examples(
    what: str, x: np.ndarray, *, kind: str = "auto", missing: bool = False, levels: int | None = None
) -> Examples:
    """Check an array as `kind`, a key of `EVENTS`; "auto" takes [N, D] as vectors, all else as images."""
    if kind == "auto" and x.ndim == 3 and x.dtype.kind == "f" and x.shape[-1] == 1:
        raise InputError(
            f"{what} of shape {list(x.shape)} may be series [N, T, C] or images [N, H, W]: say --kind series "
            "or --kind image (kind='series' or 'image')."
        )
    kind = ("vector" if x.ndim == 2 else "image") if kind == "auto" else kind
    return EVENTS[kind](what, x, missing=missing, levels=levels)


def as_labels(what: str, y: np.ndarray | None, size: int) -> np.ndarray | None:
    """Check labels: `size` integers, or None."""
    if y is None:
        return None
    if y.shape != (size,) or y.dtype.kind not in "iu":
        raise InputError(
            f"{what} must be {size} integers, one for each example; got {y.dtype} of shape {list(y.shape)}."
        )
    return np.asarray(y)
