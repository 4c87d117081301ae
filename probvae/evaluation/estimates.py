"""Means over examples with their errors, and paired comparison of two models on the same examples."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from probvae.errors import InputError
from probvae.inference.estimates import estimate

# Conditions that two evaluations must share for their numbers to be comparable.
CONDITIONS = ("fingerprint_sha256", "binarize", "split", "num_images", "method", "num_samples")
WORDS = {"num_images": "number of examples"}  # of conditions, where the name is not enough


class MeanEstimate(NamedTuple):
    """A mean over examples with two kinds of error.

    Attributes:
      mean: Mean over the examples.
      standard_error: Standard error of the mean for a random test set of this size; nan where unknown.
      monte_carlo_error: Standard error of the mean for these examples, from the draws of z; None where it is
        unknown or there were no draws.
      low, high: Ends of the 95% t interval for the mean over the population of examples.
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

    The Monte Carlo errors of different examples are independent, so that of the mean is sqrt(sum of squares)
    / N. The standard error over examples contains it already.

    Args:
      values: Values [N], nats or any other unit.
      errors: Monte Carlo standard errors of the values, [N], or None.

    Raises:
      InputError: There are fewer than two examples.
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
      mean: Mean of the differences over the examples.
      standard_error: Standard error of the mean, over examples.
      low, high: Ends of the interval.
      level: Coverage of the interval, such as 0.95.
      first_better: Fraction of examples on which the first is higher.
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
      first: Log-likelihoods [N] of one model, nats.
      second: Log-likelihoods [N] of the other, for the same examples in the same order.
      level: Coverage of the interval.

    Raises:
      InputError: The numbers of examples differ or are below two.

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
    """Refuse two evaluations that differ in a value of `CONDITIONS`; the message names the first one."""
    for name in CONDITIONS:
        if first.get(name) != second.get(name):
            raise InputError(
                f"The two evaluations are not comparable: {WORDS.get(name, name.replace('_', ' '))} is "
                f"{first.get(name)!r} in the first and {second.get(name)!r} in the second. Evaluate both in "
                "the same way, or add --force."
            )
