"""Statistics of ranks: tests that they are uniform, and what regions of q(z|x) really cover. No TensorFlow.

A rank counts the draws below the true value. Where the draws and the true value are from one distribution,
it is uniform on 0, 1, ..., S; ties are broken at random.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import special, stats

LEVELS = (0.5, 0.9)  # probabilities of the regions whose coverage is reported
BINS = 20  # bins of the histogram of ranks in its test


class Coverage(NamedTuple):
    """The share of the true z that a region of q(z|x) holds.

    Attributes:
      region: Name of the region.
      nominal: Probability of the region under q(z|x).
      share: Share of the true z in it, which is the nominal one if q(z|x) is the posterior.
      low, high: Ends of the 95% interval of the share (Wilson).
    """

    region: str
    nominal: float
    share: float
    low: float
    high: float


def places(ranks: np.ndarray, num_draws: int) -> np.ndarray:
    """Return ranks among S draws as numbers in (0, 1)."""
    return (ranks + 0.5) / (num_draws + 1)


def normal_scores(ranks: np.ndarray, num_draws: int) -> np.ndarray:
    """Return the normal quantiles of ranks among S draws.

    >>> normal_scores(np.array([0, 1, 2]), 2).round(3).tolist()
    [-0.967, 0.0, 0.967]
    """
    return special.ndtri(places(ranks, num_draws))


def location_p_value(ranks: np.ndarray, num_draws: int) -> float:
    """Return the two-sided p-value of the mean of the normal scores: ranks that are too low or too high."""
    every = normal_scores(np.arange(num_draws + 1), num_draws)
    scores = normal_scores(ranks, num_draws)
    return float(2 * stats.norm.sf(abs(scores.mean()) * np.sqrt(len(ranks)) / every.std()))


def dispersion_p_value(ranks: np.ndarray, num_draws: int) -> float:
    """Return the two-sided p-value of the mean square of the normal scores: q too narrow or too wide.

    The sum of N squares has a gamma distribution, nearly: chi-square for continuous ranks.
    """
    squares = normal_scores(np.arange(num_draws + 1), num_draws) ** 2
    total = float(np.sum(normal_scores(ranks, num_draws) ** 2))
    mean, variance = len(ranks) * squares.mean(), len(ranks) * squares.var()
    gamma = stats.gamma(mean**2 / variance, scale=variance / mean)
    return float(min(1.0, 2 * min(gamma.cdf(total), gamma.sf(total))))


def histogram_p_value(ranks: np.ndarray, num_draws: int) -> float:
    """Return the p-value of the chi-square test that ranks are uniform, in at most `BINS` bins."""
    bins = min(BINS, num_draws + 1)
    of_rank = np.arange(num_draws + 1) * bins // (num_draws + 1)
    expected = len(ranks) * np.bincount(of_rank, minlength=bins) / (num_draws + 1)
    return float(stats.chisquare(np.bincount(of_rank[ranks], minlength=bins), expected).pvalue)


TESTS = {
    "location": location_p_value,
    "dispersion": dispersion_p_value,
    "histogram": histogram_p_value,
}


def combined(p_values: Iterable[float]) -> float:
    """Return one p-value of several tests that may depend on each other, by the Cauchy combination.

    >>> round(combined([0.5, 0.001, 0.2]), 4)
    0.003

    References:
      Liu & Xie 2020, arXiv:1808.09011.
    """
    p = np.clip(list(p_values), 1e-15, 0.99)
    return float(stats.cauchy.sf(np.mean(np.tan((0.5 - p) * np.pi))))


# ---- coverage ------------------------------------------------------------------------------------


def central(name: str, ranks: np.ndarray, num_draws: int) -> list[Coverage]:
    """Return what the central intervals of q cover, from the ranks of a coordinate."""
    away = np.abs(places(ranks, num_draws) - 0.5)
    return [_coverage(name, level, away < level / 2) for level in LEVELS]


def lowest(name: str, ranks: np.ndarray, num_draws: int) -> list[Coverage]:
    """Return what the regions of the lowest values of a statistic cover, such as balls round a point."""
    place = places(ranks, num_draws)
    return [_coverage(name, level, place < level) for level in LEVELS]


def highest(name: str, ranks: np.ndarray, num_draws: int) -> list[Coverage]:
    """Return what the regions of the highest values of a statistic cover, such as a density."""
    return lowest(name, num_draws - ranks, num_draws)


def curve(place: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the share of places in (0, 1) below each level, [J]."""
    return np.mean(place[:, np.newaxis] < levels, axis=0)


def _coverage(name: str, level: float, inside: np.ndarray) -> Coverage:
    interval = stats.binomtest(int(inside.sum()), len(inside)).proportion_ci(method="wilson")
    return Coverage(name, level, float(inside.mean()), float(interval.low), float(interval.high))


# ---- size ----------------------------------------------------------------------------------------


class Size(NamedTuple):
    """By how much q(z|x) differs from the posterior in each coordinate, [L] each.

    Attributes:
      width: Standard deviation of (z - E_q[z]) / sd_q[z]: above 1, q is too narrow by this factor (or its
        mean is wrong by amounts that depend on x).
      width_low, width_high: Ends of its 95% interval.
      shift: Mean of (z - E_q[z]) / sd_q[z]: how far q lies too low, in its standard deviations.
      shift_error: Standard error of the shift.
    """

    width: np.ndarray
    width_low: np.ndarray
    width_high: np.ndarray
    shift: np.ndarray
    shift_error: np.ndarray


def size_of(z: np.ndarray, mean: np.ndarray, variance: np.ndarray, num_draws: int) -> Size:
    """Measure the difference of q(z|x) from the posterior.

    Args:
      z: Draws from the posterior, [N, L], one for each x.
      mean: Means of S draws from q(z|x), [N, L].
      variance: Variances of these draws, with S - 1, [N, L].
      num_draws: S.
    """
    # With q exact and normal, the residual is Student's t with S - 1 degrees of freedom.
    residual = (z - mean) / np.sqrt(np.maximum(variance, 1e-300) * (1 + 1 / num_draws))
    residual *= np.sqrt((num_draws - 3) / (num_draws - 1))
    n = len(z)
    shift, square = residual.mean(axis=0), residual.var(axis=0, ddof=1)
    error = np.std((residual - shift) ** 2, axis=0, ddof=1) / np.sqrt(n)  # of the variance
    half = 1.96 * error / square  # on the scale of log variance
    width = np.sqrt(square)
    return Size(
        width,
        width * np.exp(-half / 2),
        width * np.exp(half / 2),
        shift,
        residual.std(axis=0, ddof=1) / n**0.5,
    )
