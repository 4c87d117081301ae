"""Tests of hypotheses with a stated false-positive rate."""

import numpy as np
from scipy import stats

ALPHA = 1e-6  # false-positive rate of every statistical test, over all the numbers it compares


def mean_p_value(samples: np.ndarray, expected: np.ndarray | float = 0.0) -> float:
    """Two-sided p-value that the samples [N, ...] have the expected mean, Bonferroni over [...].

    By Student's t; callers use hundreds of light-tailed samples, or thousands.
    """
    samples = np.asarray(samples, np.float64).reshape(len(samples), -1)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    z = np.abs(samples.mean(axis=0) - np.ravel(expected)) / np.maximum(error, 1e-300)
    return float(min(1.0, samples.shape[1] * 2 * stats.t.sf(z.max(), len(samples) - 1)))


def same_mean_p_value(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value that two independent sets of samples have the same mean, Bonferroni."""
    a, b = (np.asarray(s, np.float64).reshape(len(s), -1) for s in (a, b))
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    z = np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.maximum(error, 1e-300)
    return float(min(1.0, a.shape[1] * 2 * stats.t.sf(z.max(), min(len(a), len(b)) - 1)))
