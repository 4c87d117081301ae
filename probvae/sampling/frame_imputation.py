"""Imputation of the missing cells of a DataFrame, in the units of its columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import norm

from probvae.data.coding import Column
from probvae.data.kinds import NUMBERS, central_levels
from probvae.data.schema import Schema
from probvae.data.tables.frames import fill_gaps, zone_of
from probvae.data.value_types import TYPES, split_missing
from probvae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LOGARITHM_DRAWS = 200  # draws from which the mean of a column with a logarithm is taken, at least


class FrameImputation(NamedTuple):
    """Imputed cells of a DataFrame of N rows, with its index; observed cells are unchanged.

    Attributes:
      values: The frame with its missing cells filled in: numbers by their mean, whole numbers by the whole
        number nearest to it, levels by the most probable one, or the median if they have an order.
      mean: Means of numbers and dates, without rounding; the level as in `values` of others.
      sd: Standard deviations of numbers, and of dates in days or seconds; 0 for observed cells. Columns of
        levels are not in it. A log_student_t column has neither mean nor standard deviation: here its median
        is in `mean`, and half of the width of the central 68% in `sd`.
      draws: Joint draws of the missing cells, with the number of the draw as first level of the index; None
        without them.
      probabilities: Probabilities of the levels by column, each a frame [N, K].
      effective_sample_size: (sum w)^2 / sum w^2 of each row, as in `Imputation`.
      quantiles: Quantiles of the missing cells, with the probability as first level of the index; missing for
        levels without an order. None without them.
    """

    values: "pd.DataFrame"
    mean: "pd.DataFrame"
    sd: "pd.DataFrame"
    draws: "pd.DataFrame | None"
    probabilities: "dict[str, pd.DataFrame]"
    effective_sample_size: "pd.Series"
    quantiles: "pd.DataFrame | None" = None


def schema_of_frame(schema: Schema | None) -> Schema:
    """Return the schema of a model that takes frames.

    Raises:
      InputError: The model has none, or takes no tables.
    """
    if schema is None or not schema.is_table:
        raise InputError(
            "The model takes arrays of x, as it has no schema of a table: train it on one with "
            "probvae.runs.train, or build it with schema=data.load(frame).schema."
        )
    return schema


def rows_with_gaps(schema: Schema, frame: "pd.DataFrame") -> np.ndarray:
    """Return which rows of a frame have a missing cell in a column of a schema, [N]."""
    return np.any([split_missing(frame[name])[1] for name in schema.names], axis=0)


def draws_needed(schema: Schema, num_draws: int) -> int:
    """Return the number of draws that the means of a table need."""
    return max(num_draws, LOGARITHM_DRAWS if any(c.logarithm for c in schema.columns) else 0)


def to_frames(
    schema: Schema, frame: "pd.DataFrame", imputed: Any, num_draws: int, quantiles: Sequence[float] = ()
) -> FrameImputation:
    """Return imputed codes as frames.

    Args:
      schema: Schema of the table.
      frame: Frame with missing cells.
      imputed: `Imputation` of `schema.encode(frame)`, with `draws_needed` draws.
      num_draws: Number of draws to return.
      quantiles: Probabilities of the quantiles of `imputed`.
    """
    import pandas as pd

    mean, sd, probabilities = {}, {}, {}
    values = frame.copy()
    draws = _repeated(frame, "draw", range(num_draws))
    ends = _repeated(frame, "quantile", quantiles)
    for i, column in schema.in_place:
        _, missing = split_missing(frame[column.name])
        center, deviation = _moments(column, imputed, i)
        center = np.where(missing, center, column.numbers(frame[column.name]))
        deviation = np.where(missing, deviation, 0.0)
        if column.levels:
            p = imputed.probabilities[i][:, : len(column.levels)]  # one level if it is constant
            p = p / p.sum(axis=1, keepdims=True)
            probabilities[column.name] = pd.DataFrame(p, frame.index, list(column.levels))
            center = column.decode(central_levels(p, column.kind))
            mean[column.name] = pd.Series(center, frame.index)
        elif column.unit:
            center = _in_zone(column.decode((center - column.loc) / column.scale), frame[column.name])
            mean[column.name] = pd.Series(center, frame.index)
            sd[column.name] = pd.Series(deviation, frame.index)
        else:
            mean[column.name] = pd.Series(center, frame.index)
            sd[column.name] = pd.Series(deviation, frame.index)
            center = np.maximum(center, 1) if column.is_positive_whole else center
            center = TYPES[column.type].write(center, np.isnan(center), "")
        _fill(values, column.name, missing, center)
        if draws is not None:
            _fill_all(draws, column, missing, imputed.draws[:num_draws, :, i])
        if ends is not None:
            _fill_all(ends, column, missing, imputed.quantiles[:, :, i])
            if not column.is_ordered:
                ends[column.name] = ends[column.name].mask(np.tile(missing, len(quantiles)))
    return FrameImputation(
        values,
        pd.DataFrame(mean),
        pd.DataFrame(sd, frame.index),
        draws,
        probabilities,
        pd.Series(imputed.effective_sample_size, frame.index),
        ends,
    )


def _repeated(frame: "pd.DataFrame", name: str, keys: Sequence[Any]) -> "pd.DataFrame | None":
    """Return a copy of the frame for each key, which is the first level of the index; None without keys."""
    import pandas as pd

    return pd.concat([frame] * len(keys), keys=keys, names=[name]) if len(keys) else None


def _fill_all(copies: "pd.DataFrame", column: Column, missing: np.ndarray, x: np.ndarray) -> None:
    """Fill the missing cells of a column in all copies of a frame by codes x [R, N]."""
    _fill(copies, column.name, np.tile(missing, len(x)), column.decode(x).reshape(-1))


def _moments(column: Column, imputed: Any, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the numbers of a column, or what stands for them, [N] each."""
    mean, sd = imputed.mean[:, i].astype(np.float64), imputed.sd[:, i].astype(np.float64)
    if column.logarithm:
        assert imputed.draws is not None
        numbers = column.unscaled(imputed.draws[:, :, i])
        if not NUMBERS[column.kind].has_moments:
            low, median, high = np.quantile(numbers, (norm.cdf(-1), 0.5, norm.cdf(1)), axis=0)
            return median, (high - low) / 2
        return numbers.mean(axis=0), numbers.std(axis=0)
    if column.is_constant:
        return np.full(len(mean), float(column.low or 0)), np.zeros(len(mean))
    return mean * column.scale + column.loc, sd * column.scale


def _in_zone(dates: np.ndarray, series: "pd.Series") -> Any:
    """Return dates, which are of UTC, in the time zone of a column, if it has one."""
    import pandas as pd

    zone = zone_of(series)
    return dates if zone is None else pd.DatetimeIndex(dates).tz_localize("UTC").tz_convert(zone)


def _fill(frame: "pd.DataFrame", name: str, missing: np.ndarray, values: Any) -> None:
    """Fill the missing cells of a column, and keep its type where that holds the values."""
    if missing.any():
        frame[name] = fill_gaps(frame[name], missing, values)
