"""Tests of ranks and sizes of q(z|x), by hand where draws are few."""

import numpy as np
import pytest
from scipy import stats

from probvae.inference import ranks


def test_p_values_of_few_draws_by_hand():
    """Two draws have three ranks, whose normal scores vary less than a normal variable."""
    score = stats.norm.ppf(5 / 6)  # of the highest rank; the others' are 0 and -score
    variance = 2 / 3 * score**2
    expected = 2 * stats.norm.sf(score * np.sqrt(5) / np.sqrt(variance))
    assert ranks.location_p_value(np.full(5, 2), 2) == pytest.approx(expected)
    mean, spread = 5 * variance, 5 * np.var([score**2, 0, score**2])
    gamma = stats.gamma(mean**2 / spread, scale=spread / mean)
    expected = 2 * gamma.sf(5 * score**2)
    assert ranks.dispersion_p_value(np.full(5, 2), 2) == pytest.approx(expected)


def test_the_width_of_an_exact_posterior_is_one_though_draws_are_few():
    """Ten draws; and the interval of a width is in proportion to it."""
    rng = np.random.default_rng(0)
    z, draws = rng.standard_normal([20000, 1]), rng.standard_normal([10, 20000, 1])
    mean, variance = draws.mean(axis=0), draws.var(axis=0, ddof=1)
    size, narrow = (ranks.size_of(z, mean, variance / k**2, 10) for k in (1, 3))
    assert abs(size.width[0] - 1) < 0.04
    np.testing.assert_allclose(narrow.width / size.width, 3)
    np.testing.assert_allclose(narrow.width_high / narrow.width_low, size.width_high / size.width_low)
