"""Conformal p-values: how a score compares with scores of rows that its models have not seen."""

import dataclasses
import math

import numpy as np
from scipy.special import logsumexp

WHOLE = 500  # rows from which on a part of them is held out by all models
PART, MOST = 0.2, 1_000  # the part, and its rows at most
NONE, ALL = -1, -2  # marks of rows that no member leaves out, and of those that all leave out


def folds_of(size: int, number: int, random: np.random.RandomState) -> np.ndarray:
    """Return the number of the member that leaves out each row, `NONE` or `ALL`, [size].

    Below `WHOLE` rows all members together leave out each row once; from there on all leave out the same.
    """
    order = random.permutation(size)
    folds = np.full(size, NONE)
    if size >= WHOLE:
        folds[order[: min(MOST, math.floor(PART * size))]] = ALL
    else:
        folds[order] = np.arange(size) % number
    return folds


@dataclasses.dataclass(frozen=True)
class Conformal:
    """Scores of held-out rows, and the members that have not seen them.

    Attributes:
      held_out: Scores of the rows, [n], in nats, higher for the more usual ones.
      folds: Number of the member that gave each score, [n]; all `ALL` where the score is that of the mean
        density of all members.
    """

    held_out: np.ndarray
    folds: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, folds: np.ndarray) -> "Conformal":
        """Return the held-out scores among the scores of all rows by each member, [M, n]."""
        rows = np.flatnonzero(folds != NONE)
        folds = folds[rows]
        whole = mean_density(scores[:, rows])
        own = scores[np.maximum(folds, 0), rows]
        return cls(np.where(folds == ALL, whole, own), folds)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return (1 + held-out scores at least as unusual) / (n + 1) of rows with scores [M, m], [m]."""
        count = np.zeros(scores.shape[1])
        for fold in np.unique(self.folds):
            held_out = np.sort(self.held_out[self.folds == fold])
            own = mean_density(scores) if fold == ALL else scores[fold]
            count += np.searchsorted(held_out, own, side="right")
        return (1 + count) / (len(self.held_out) + 1)


def mean_density(log_densities: np.ndarray) -> np.ndarray:
    """Return the logarithm of the mean over members of densities, [n], from their logarithms [M, n]."""
    return np.asarray(logsumexp(log_densities, axis=0) - math.log(len(log_densities)))


def lower_fence(scores: np.ndarray) -> float:
    """Return the first quartile of scores less 1.5 times the distance of the quartiles (Tukey).

    >>> float(lower_fence(np.array([0.0, 1.0, 2.0, 3.0, 4.0])))
    -2.0
    """
    low, high = np.quantile(scores, [0.25, 0.75])
    return float(low - 1.5 * (high - low))
