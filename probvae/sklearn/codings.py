"""Codings of rows: from X to the x of the model and back.

`ArrayCoding` is that of arrays of numbers, `SchemaCoding` that of DataFrames by their schema.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from probvae.data.schema import Schema
from probvae.data.tables.frames import has_zone, in_zone, to_frame
from probvae.errors import InputError


class Moments(NamedTuple):
    """Mean, standard deviation and mode of p(x|z), each [n, D]; the last two None where there are none."""

    mean: np.ndarray
    stddev: np.ndarray | None
    mode: np.ndarray | None


class Coding(Protocol):
    """A coding of rows."""

    @property
    def central(self) -> bool:
        """True if `center` needs the standard deviations and modes."""

    def encode(self, rows: Any) -> np.ndarray:
        """Return x [n, D], float32, of rows X."""

    def center(self, moments: Moments) -> Any:
        """Return the means of rows, in the units of X."""

    def decode(self, x: np.ndarray) -> Any:
        """Return the rows of draws x [n, D], in the units of X."""

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """Return log |d x / d X| of each row, [n], in nats."""

    def log_slopes(self, x: np.ndarray) -> np.ndarray:
        """Return the part of each column in `log_slope`, [n, D]."""


@dataclasses.dataclass(frozen=True)
class ArrayCoding:
    """Coding of arrays: x = (X - loc) / scale, of the logarithm of X in some columns.

    Attributes:
      loc, scale: Location and scale of each column, [D].
      logarithms: Mask of the columns of which x holds the logarithm, [D].
      names: Names of the columns, if the rows were a DataFrame.
    """

    loc: np.ndarray
    scale: np.ndarray
    logarithms: np.ndarray
    names: Sequence[str] | None = None

    @property
    def central(self) -> bool:
        """True if a column has a logarithm, whose mean depends on the deviation."""
        return bool(self.logarithms.any())

    @classmethod
    def fitted(
        cls, values: np.ndarray, scaled: np.ndarray, logarithms: np.ndarray, names: Sequence[str] | None
    ) -> "ArrayCoding":
        """Fit the coding to rows.

        Args:
          values: Rows [n, D], NaN where missing.
          scaled: Mask of the columns that are standardized, [D].
          logarithms: Mask of the columns of which x holds the logarithm, [D].
          names: Names of the columns, or None.

        Raises:
          InputError: A column has no value, too large ones, or ones without a logarithm.
        """
        size = values.shape[1]
        loc, scale = np.zeros(size), np.ones(size)
        coding = cls(loc, scale, logarithms, names)
        if not scaled.any():
            return coding
        numbers = coding._logged(values)[:, scaled]
        empty = np.flatnonzero(np.all(np.isnan(numbers), axis=0))
        if len(empty):
            raise InputError(
                f"Column {np.flatnonzero(scaled)[empty[0]]} of X has no value: leave the column out."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            loc[scaled], deviation = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
        if not np.all(np.isfinite(deviation)):
            raise InputError("The values of X are too large to be standardized: divide them by a number.")
        if np.any((deviation == 0) & (np.nanmin(numbers, axis=0) < np.nanmax(numbers, axis=0))):
            raise InputError("The values of X are too close to be standardized: multiply them by a number.")
        varies = deviation > 1e-12 * np.abs(loc[scaled])  # the rounding error of a constant column
        scale[scaled] = np.where(varies, deviation, 1.0)
        return coding

    def _logged(self, values: np.ndarray) -> np.ndarray:
        numbers = values.astype(np.float64)
        if not self.logarithms.any():
            return numbers
        low = np.nanmin(np.where(self.logarithms, numbers, 1.0), initial=1.0)
        if low <= 0:
            raise InputError(f"X must be positive in its lognormal columns; got {low:g}.")
        return np.log(numbers, out=numbers, where=self.logarithms & ~np.isnan(numbers))

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Return x as float32, without negative zeros and with NaN of one bit pattern."""
        with np.errstate(over="ignore"):
            x = ((self._logged(rows) - self.loc) / self.scale).astype(np.float32) + np.float32(0)
        if np.any(np.isinf(x)):
            raise InputError("X has values beyond the range of float32: divide its columns by numbers.")
        return np.where(np.isnan(x), np.float32(np.nan), x)

    def center(self, moments: Moments) -> Any:
        """Return the means of rows, an array; a DataFrame if the rows were one."""
        numbers = moments.mean * self.scale + self.loc
        if self.central and moments.stddev is not None:
            variance = np.where(self.logarithms, np.square(moments.stddev * self.scale), 0.0)
            numbers = self._raised(numbers + variance / 2)
        return self._named(numbers)

    def decode(self, x: np.ndarray) -> Any:
        """Return the rows of draws, an array; a DataFrame if the rows were one."""
        return self._named(self._raised(x * self.scale + self.loc))

    def _raised(self, numbers: np.ndarray) -> np.ndarray:
        return np.where(self.logarithms, np.exp(np.where(self.logarithms, numbers, 0.0)), numbers)

    def _named(self, numbers: np.ndarray) -> Any:
        if self.names is None:
            return numbers
        import pandas as pd

        return pd.DataFrame(numbers, columns=list(self.names))

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """Return log |d x / d X| of each row, without the values that are missing."""
        return self.log_slopes(x).sum(axis=1)

    def log_slopes(self, x: np.ndarray) -> np.ndarray:
        """Return the part of each column in `log_slope`."""
        slope = -np.log(self.scale) - np.where(self.logarithms, x * self.scale + self.loc, 0.0)
        return np.where(np.isnan(x), 0.0, slope)


@dataclasses.dataclass(frozen=True)
class SchemaCoding:
    """Coding of DataFrames by a schema, with the types of their columns."""

    schema: Schema

    @property
    def central(self) -> bool:
        """True: levels have modes."""
        return True

    def encode(self, rows: Any) -> np.ndarray:
        """Return x of a DataFrame; columns are matched by name."""
        return self.schema.encode(rows)

    def center(self, moments: Moments) -> Any:
        """Return a DataFrame of the means of numbers and the most probable levels."""
        import pandas as pd

        rows = pd.DataFrame(self.schema.centers(*moments))
        for column in self.schema.columns:
            if has_zone(column.dtype):
                rows[column.name] = in_zone(rows[column.name], column.dtype)
        return rows

    def decode(self, x: np.ndarray) -> Any:
        """Return the rows of draws as a DataFrame."""
        return to_frame(self.schema, x)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """Return log |d x / d X| of each row."""
        return self.schema.log_slope(x)

    def log_slopes(self, x: np.ndarray) -> np.ndarray:
        """Return the part of each column in `log_slope`."""
        slopes = [column.log_slope(x[:, i]) for i, column in enumerate(self.schema.columns)]
        return np.stack(slopes, axis=1)
