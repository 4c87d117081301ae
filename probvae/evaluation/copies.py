"""A check of drawn rows against copies of training rows. No TensorFlow."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from probvae.data.schema import Schema
from probvae.errors import InputError

NEAR, MIDDLE = 0.01, 0.5  # quantiles of the distances of held-out rows
CHANCE = 1e-3  # p-value below which nearness is not chance


class Nearness(NamedTuple):
    """How many drawn rows are nearer to a training row than a quantile of the held-out rows is.

    Attributes:
      expected: Share of drawn rows that would be nearer if they were as held-out rows are.
      share: Share that is nearer.
      low, high: 95% interval of the share (Clopper-Pearson).
      p_value: Probability of this share or a larger one if drawn rows were as held-out rows are, exact.
    """

    expected: float
    share: float
    low: float
    high: float
    p_value: float


class Copies(NamedTuple):
    """Distances to the nearest training row: drawn rows against held-out rows.

    Attributes:
      num_train, num_held_out, num_draws: Numbers of rows.
      draws_median, held_out_median: Medians of the distances.
      draws_equal, held_out_equal: Shares of the rows that equal a training row.
      near: Drawn rows nearer than the nearest 1% of the held-out rows.
      middle: Drawn rows nearer than the nearest half of the held-out rows.
    """

    num_train: int
    num_held_out: int
    num_draws: int
    draws_median: float
    held_out_median: float
    draws_equal: float
    held_out_equal: float
    near: Nearness
    middle: Nearness

    @property
    def found(self) -> bool:
        """True if more drawn rows are very near to training rows than chance explains."""
        return self.near.p_value < CHANCE

    def verdict(self) -> str:
        """Say what the check has found, in one or two sentences."""
        near, middle = self.near, self.middle
        if self.found:
            return (
                f"{near.share:.1%} of the drawn rows (95% interval {near.low:.1%} to {near.high:.1%}) are "
                f"nearer to a training row than {1 - near.expected:.0%} of the held-out rows are, where "
                f"{near.expected:.1%} is expected: some may be copies."
            )
        none = "Drawn rows are not nearer to training rows than held-out rows are: no sign of copies."
        if middle.p_value >= CHANCE:
            return none
        return (
            f"No sign of copies among the nearest drawn rows; but {middle.share:.0%} of all are nearer than "
            f"{middle.expected:.0%} of the held-out rows, as of a model whose rows vary less than the data."
        )


def find_copies(
    schema: Schema, train: np.ndarray, held_out: np.ndarray, draws: np.ndarray, *, seed: int
) -> Copies:
    """Compare the distances of drawn and of held-out rows to their nearest training row.

    A distance is Euclidean over the columns: a number counts by its difference in standard deviations of the
    training rows (of its logarithm where the column has that), a level by 0 or 1. Where a held-out row has
    missing cells, so has the drawn row that is compared with it, and a missing cell counts as the mean.

    Args:
      schema: Schema of the table.
      train: Numbers of training rows, [N, D], as of `cells.numbers_of`.
      held_out: Numbers of held-out rows, [M, D].
      draws: Numbers of drawn rows, [R, D].
      seed: Seed of the order of equal distances.

    Raises:
      InputError: There are fewer than two held-out rows.
    """
    from sklearn.metrics import pairwise_distances_argmin

    if len(held_out) < 2:
        raise InputError(f"The check for copies needs two held-out rows or more; got {len(held_out)}.")
    missing = np.isnan(held_out[np.arange(len(draws)) % len(held_out)])
    sides = [held_out, np.where(missing, np.nan, draws)]
    coordinates = _Coordinates(schema, train)
    rows = coordinates.of(train)

    def distances_of(side: np.ndarray) -> np.ndarray:
        places = coordinates.of(side)
        nearest = rows[pairwise_distances_argmin(places, rows)]
        return np.linalg.norm(places.astype(np.float64) - nearest, axis=1)

    distances = [distances_of(side) for side in sides]
    rng = np.random.default_rng(seed)
    medians, equal = [float(np.median(d)) for d in distances], [float(np.mean(d == 0)) for d in distances]
    near, middle = (nearness(distances[0], distances[1], quantile, rng) for quantile in (NEAR, MIDDLE))
    sizes = (len(train), len(held_out), len(draws))
    return Copies(*sizes, medians[1], medians[0], equal[1], equal[0], near, middle)


def nearness(held_out: np.ndarray, draws: np.ndarray, quantile: float, rng: np.random.Generator) -> Nearness:
    """Compare distances [R] of drawn rows with a quantile of those of held-out rows, [M].

    The quantile is the k-th smallest of the M distances. If both are from one distribution, the number of
    smaller ones among the R is beta-binomial (R, k, M + 1 - k). Equal distances are put into a random order.
    """
    m, r = len(held_out), len(draws)
    k = max(1, int(quantile * (m + 1)))
    order = np.lexsort((rng.random(m + r), np.concatenate([held_out, draws])))
    is_held_out = order < m
    place = np.flatnonzero(is_held_out)[k - 1]
    nearer = int(np.sum(~is_held_out[:place]))
    interval = stats.binomtest(nearer, r).proportion_ci(0.95)
    p_value = float(stats.betabinom.sf(nearer - 1, r, k, m + 1 - k))
    return Nearness(k / (m + 1), nearer / r, float(interval.low), float(interval.high), p_value)


class _Coordinates:
    """The coordinates of rows in which their distances are taken."""

    def __init__(self, schema: Schema, train: np.ndarray) -> None:
        self.columns, self.least, self.moments = schema.columns, [], []
        for i, column in enumerate(self.columns):
            seen = train[:, i][~np.isnan(train[:, i])]
            self.least.append(float(seen.min()) if column.logarithm and len(seen) else 0.0)
            values = self._logarithms(seen, i)
            self.moments.append((values.mean(), values.std()) if len(values) else (0.0, 0.0))

    def _logarithms(self, numbers: np.ndarray, i: int) -> np.ndarray:
        """Return the logarithms of a column that has them, of its least training value for what is below."""
        return np.log(np.maximum(numbers, self.least[i])) if self.columns[i].logarithm else numbers

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """Return the coordinates of numbers [N, D], float32."""
        parts = []
        for i, column in enumerate(self.columns):
            if column.levels:
                levels = numbers[:, i, None] == np.arange(len(column.levels))
                parts.append(levels / np.sqrt(2))  # so that two levels are at a distance of 1
                continue
            mean, deviation = self.moments[i]
            standardized = (self._logarithms(numbers[:, i], i) - mean) / (deviation or 1.0)
            parts.append(np.nan_to_num(np.clip(standardized, -1e6, 1e6))[:, None])
        return np.concatenate(parts, axis=1).astype(np.float32)
