"""Random samples of the numbers of a column, drawn batch by batch, and the shape of their distribution."""

from typing import NamedTuple

import numpy as np

SAMPLED = 2000  # numbers of a sample, at most
QUARTILES = 1.3489795  # distance of the quartiles of a standard normal


class Sample:
    """A random sample without replacement: all numbers, or `SAMPLED` of them, whatever the batches."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._parts: list[np.ndarray] = []  # priorities and numbers, [2, n] each
        self._count = 0

    def add(self, numbers: np.ndarray) -> None:
        """Add further numbers [n]."""
        self._parts.append(np.stack([self._rng.random(len(numbers)), numbers]))
        self._count += len(numbers)
        if self._count > 2 * SAMPLED:
            self._prune()

    def _prune(self) -> np.ndarray:
        kept = np.concatenate([np.empty([2, 0]), *self._parts], axis=1)
        if self._count > SAMPLED:
            kept = kept[:, np.argpartition(kept[0], SAMPLED)[:SAMPLED]]
        self._parts, self._count = [kept], kept.shape[1]
        return kept

    @property
    def numbers(self) -> np.ndarray:
        """The sample, [n]."""
        return self._prune()[1]


class Shape(NamedTuple):
    """The shape of the distribution of numbers; nan where it is not defined.

    Attributes:
      size: Number of numbers, n.
      mean, variance, skewness: Moments.
      skew: Distance of the outer octiles from the median, upper less lower one, in the distance of both: from
        -1 to 1, and 0 for symmetric distributions.
      low_tail, high_tail: Numbers further than four standard deviations from the median, as the quartiles of
        a normal distribution give it.
    """

    size: int
    mean: float
    variance: float
    skewness: float
    skew: float
    low_tail: int
    high_tail: int


def shape_of(numbers: np.ndarray) -> Shape:
    """Return the shape of a sample [n]."""
    with np.errstate(all="ignore"):
        mean, deviation = np.mean(numbers), np.std(numbers)
        skewness = np.mean(((numbers - mean) / deviation) ** 3)
        low, first, median, third, high = np.quantile(numbers, (0.125, 0.25, 0.5, 0.75, 0.875))
        skew = (high + low - 2 * median) / (high - low)
        far = 4 * (third - first) / QUARTILES
        tails = [int(np.sum(numbers < median - far)), int(np.sum(numbers > median + far))]
    moments = float(mean), float(deviation**2), float(skewness)
    return Shape(len(numbers), *moments, float(skew), *(tails if far > 0 else (0, 0)))
