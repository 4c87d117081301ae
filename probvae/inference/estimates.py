"""Means with their standard errors, and the reliability of weighted means. No TensorFlow."""

import math
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """The mean of independent values and its standard error, which is nan for a single value."""

    value: float
    standard_error: float


def estimate(values: np.ndarray) -> Estimate:
    """Take the mean of independent values [N], in float64, and its standard error, in the type of the values.

    >>> estimate(np.array([1.0, 3.0]))
    Estimate(value=2.0, standard_error=1.0)
    """
    return Estimate(float(np.mean(values, dtype=np.float64)), float(error_of_mean(values)))


def error_of_mean(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over the first axis; nan for a single value."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    with np.errstate(invalid="ignore"):  # the mean of infinite values has no error
        return np.std(values, axis=0, ddof=1) / math.sqrt(len(values))


def log_mean_exp(log_w: np.ndarray) -> np.ndarray:
    """Return log of the mean of exp(log_w) over the first axis.

    >>> float(log_mean_exp(np.log([1.0, 3.0])).round(6)) == round(float(np.log(2.0)), 6)
    True
    >>> float(log_mean_exp(np.array([-np.inf, -np.inf])))
    -inf
    """
    top = log_w.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):  # log 0
        return top + np.log(np.mean(np.exp(log_w - top), axis=0))


def pareto_k(log_w: np.ndarray) -> np.ndarray | None:
    """Return the Pareto shape of the largest weights, [N], from log-weights [K, N].

    None if arviz-stats, an optional dependency, is absent; nan for fewer than 25 draws or a tail of equal
    weights.
    """
    try:
        from arviz_stats.base import array_stats
    except ImportError:
        return None

    def shape(column: np.ndarray) -> float:
        try:
            return float(array_stats.psislw(-column, r_eff=1.0)[1])  # it takes minus log-weights
        except ValueError:
            return np.nan

    if len(log_w) < 25:
        return np.full(log_w.shape[1], np.nan)
    with np.errstate(all="ignore"):
        return np.array([shape(column) for column in log_w.T])


def reliable_pareto_k(num_samples: float) -> float:
    """Return the largest Pareto k at which K draws can be trusted (Vehtari et al. 2024).

    >>> round(reliable_pareto_k(100), 3), reliable_pareto_k(5000)
    (0.5, 0.7)
    """
    return min(1 - 1 / math.log10(num_samples), 0.7)
