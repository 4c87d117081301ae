"""Means over examples with their errors, and paired comparison of two models on the same examples."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from probvae.errors import InputError
from probvae.inference.estimates import estimate

# What two evaluations must share for their numbers to be comparable.
CONDITIONS = ("fingerprint_sha256", "binarize", "split", "num_images", "method", "num_samples")


class MeanEstimate(NamedTuple):
    """A mean over examples with its two errors apart.

    Attributes:
      mean: over examples.
      standard_error: over examples: how far another test set of this size might lie; nan where unknown.
      monte_carlo_error: of the mean for these very examples, from the draws of z; None where nothing
        was drawn, or too little to tell.
      low, high: t interval for the mean over the population of examples, at 95%.
      num_examples: N.
    """

    mean: float
    standard_error: float
    monte_carlo_error: float | None
    low: float
    high: float
    num_examples: int


def mean_estimate(values: np.ndarray, errors: np.ndarray | None = None) -> MeanEstimate:
    """Average per-example values.

    The Monte Carlo errors of different examples are independent, so that of the mean is
    sqrt(sum of squares) / N. The standard error over examples holds it already.

    Args:
      values: [N], nats or any other unit.
      errors: [N], Monte Carlo standard error of each, or None.

    Raises:
      InputError: fewer than two examples.
    """
    n = len(values)
    if n < 2:
        raise InputError(f"A mean with a standard error needs two or more examples; got {n}.")
    mean, error = estimate(np.asarray(values, np.float64))
    drawn = None if errors is None else float(np.sqrt(np.sum(np.square(errors, dtype=np.float64))) / n)
    drawn = None if drawn is None or np.isnan(drawn) else drawn
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return MeanEstimate(mean, error, drawn, mean - half, mean + half, n)


class Difference(NamedTuple):
    """Mean over examples of first minus second, in nats, with a t interval for it.

    Attributes:
      mean: of the per-example differences.
      standard_error: of that mean, over examples.
      low, high: ends of the interval.
      level: its coverage, such as 0.95.
      first_better: the fraction of examples on which the first is higher.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    level: float
    first_better: float


def paired_difference(first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> Difference:
    """Compare two models example by example.

    Args:
      first: log-likelihoods [N] of one model, nats.
      second: of the other, for the same examples in the same order.
      level: coverage of the interval.

    Raises:
      InputError: not the same number of examples, or fewer than two.

    >>> paired_difference(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0])).mean
    1.0
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise InputError(
            "A paired comparison needs the same two or more examples; got arrays of shape "
            f"{list(first.shape)} and {list(second.shape)}."
        )
    difference = np.asarray(first, np.float64) - second
    mean, error = estimate(difference)
    half = float(stats.t.ppf((1 + level) / 2, len(difference) - 1)) * error
    return Difference(mean, error, mean - half, mean + half, level, float(np.mean(difference > 0)))


def refuse_unless_comparable(first: dict[str, object], second: dict[str, object]) -> None:
    """Refuse two evaluations made under different conditions.

    Args:
      first: from each of `CONDITIONS` to its value.
      second: likewise.

    Raises:
      InputError: some condition differs; the message names the first one and both values.
    """
    for name in CONDITIONS:
        if first.get(name) != second.get(name):
            raise InputError(
                f"The two evaluations are not comparable: {name.replace('_', ' ')} is "
                f"{first.get(name)!r} in the first and {second.get(name)!r} in the second. Evaluate both in "
                "the same way, or add --force."
            )
