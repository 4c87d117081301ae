"""Convergence of Markov chains: R-hat and effective numbers of draws, by ranks.

Each chain is cut into halves, so that a chain which drifts disagrees with itself. Draws are replaced by the
normal scores of their ranks, so that the numbers exist for every density.

References:
  Vehtari, Gelman, Simpson, Carpenter & Buerkner 2021, Rank-normalization, folding, and localization: an
  improved R-hat for assessing convergence of MCMC, arXiv:1903.08008.
"""

import logging

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

LEAST_DRAWS = 4  # smallest number of draws of a chain whose halves have a variance
TAILS = (0.05, 0.95)  # the quantiles whose draws are counted as the tails'


def rhat(z: np.ndarray) -> np.ndarray:
    """Return R-hat, the potential scale reduction, [...], of S draws of C chains, z [S, C, ...].

    It is the larger one of two: that of the draws, which sees means that differ, and that of their distances
    from the median, which sees scales that differ. NaN for one chain, for fewer than 4 draws, and where all
    draws are equal.
    """
    if len(z) < LEAST_DRAWS or z.shape[1] < 2:
        return np.full(z.shape[2:], np.nan)
    parts = _halves(z)
    folded = np.abs(parts - np.median(parts, axis=(0, 1)))
    return np.maximum(_variance_ratio(_normal_scores(parts)), _variance_ratio(_normal_scores(folded)))


def bulk_sample_size(z: np.ndarray) -> np.ndarray:
    """Return the number of independent draws that would give the mean as well, [...], for z [S, C, ...].

    NaN for fewer than 4 draws, and where all draws are equal.
    """
    if len(z) < LEAST_DRAWS:
        return np.full(z.shape[2:], np.nan)
    return _sample_size(_normal_scores(_halves(z)))


def tail_sample_size(z: np.ndarray) -> np.ndarray:
    """Return the same for the quantiles at 5% and 95%, the smaller one of both."""
    if len(z) < LEAST_DRAWS:
        return np.full(z.shape[2:], np.nan)
    return np.min([_sample_size(_halves(z <= np.quantile(z, p, axis=(0, 1)))) for p in TAILS], axis=0)


def _halves(z: np.ndarray) -> np.ndarray:
    """Cut chains z [S, C, ...] into halves, [S // 2, 2 C, ...] float64, without a draw in the middle."""
    half = len(z) // 2
    return np.concatenate([z[:half], z[-half:]], axis=1).astype(np.float64)


def _normal_scores(z: np.ndarray) -> np.ndarray:
    """Replace draws [S, C, ...] by the normal quantiles of their ranks among the S * C."""
    flat = z.reshape(z.shape[0] * z.shape[1], -1)
    ranks = stats.rankdata(flat, axis=0)
    return stats.norm.ppf((ranks - 3 / 8) / (len(flat) + 1 / 4)).reshape(z.shape)


def _variance_ratio(z: np.ndarray) -> np.ndarray:
    """Return the root of the variance of all draws over that within chains, [...], for z [S, C, ...]."""
    draws, chains = z.shape[:2]
    # TFP's has the factor (C + 1) / C of Gelman and Rubin 1992, and no root.
    factor = tfp.mcmc.potential_scale_reduction(z).numpy()
    return np.sqrt((factor + (draws - 1) / (chains * draws)) * chains / (chains + 1))


def _sample_size(z: np.ndarray) -> np.ndarray:
    """Return the effective number of draws, [...], of z [S, C, ...]; C is 2 or more.

    The autocorrelations are added up in pairs while a pair's sum is positive, each sum at most the one before
    it (Geyer 1992), and half of the first value that follows unless it is negative there.
    """
    correlation = _autocorrelation(z)  # [S, ...]
    pairs = correlation[0::2] + correlation[1::2]
    kept = np.cumprod(pairs[:-1] > 0, axis=0)  # 1 before the first negative sum, 0 after it
    number = np.sum(kept, axis=0, keepdims=True)
    value, pair = (np.take_along_axis(of, number, axis=0)[0] for of in (correlation[0::2], pairs))
    time = -1 + 2 * np.sum(kept * np.minimum.accumulate(pairs[:-1], axis=0), axis=0)
    time += np.where((value < 0) & (pair <= 0), 0, value)
    # In short chains the sum may be near zero or negative; the bound is that of Stan.
    draws = z.shape[0] * z.shape[1]
    return draws / np.maximum(time, 1 / np.log10(draws))


def _autocorrelation(z: np.ndarray) -> np.ndarray:
    """Return the autocorrelation of chains z [S, C, ...] at an even number of lags 0, 1, ..., [<= S, ...]."""
    draws = len(z)
    logger = tf.get_logger()
    logger.addFilter(_no_complex_cast)
    try:
        covariance = tfp.stats.auto_correlation(z, axis=0, normalize=False).numpy().mean(axis=1)
    finally:
        logger.removeFilter(_no_complex_cast)
    covariance *= (1 - np.arange(draws) / draws).reshape(-1, *[1] * (z.ndim - 2))  # divided by S at every lag
    within = covariance[0] * draws / (draws - 1)
    total = covariance[0] + np.var(z.mean(axis=0), axis=0, ddof=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where all draws are equal
        correlation = 1 - (within - covariance) / total
        correlation[0] = total / total
    return correlation[: 2 * max(1, (draws - 1) // 2)]


def _no_complex_cast(record: logging.LogRecord) -> bool:
    """Filter out the warning that TFP takes the real part of a Fourier transform, which is intended."""
    return "casting an input of type complex" not in record.getMessage()
