"""R-hat and effective numbers of draws, against closed forms and ArviZ."""

import numpy as np
import pytest
from scipy.signal import lfilter

from probvae.inference.convergence import bulk_sample_size, rhat, tail_sample_size


def autoregressive(correlation, draws=2000, chains=4, size=5, seed=0):
    """Chains [S, C, size] of z_t = correlation z_{t-1} + noise, scale 1."""
    noise = np.random.default_rng(seed).standard_normal([draws + 200, chains, size])
    z = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], noise, axis=0)
    return z[200:]


@pytest.fixture(scope="module")
def z():
    return autoregressive(0.0)


@pytest.mark.parametrize("draws", [4, 8, 13, 101, 1000])
@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.9])
def test_numbers_are_those_of_arviz(draws, correlation):
    """To rounding; half of the dimensions have chains that lie apart."""
    arviz = pytest.importorskip("arviz_stats.base").array_stats
    z = autoregressive(correlation, draws) + np.arange(4)[:, None] * [0, 0, 0, 0.1, 1]
    first = np.moveaxis(z, -1, 0)  # [size, S, C]
    axes = {"draw_axis": 1, "chain_axis": 2}
    np.testing.assert_allclose(rhat(z), arviz.rhat(first, method="rank", **axes), rtol=1e-9)
    np.testing.assert_allclose(bulk_sample_size(z), arviz.ess(first, method="bulk", **axes), rtol=1e-9)
    tail = arviz.ess(first, method="tail", prob=(0.05, 0.95), **axes)
    np.testing.assert_allclose(tail_sample_size(z), tail, rtol=1e-9)


def test_rhat_is_the_root_of_a_ratio_of_variances(z):
    """Chains that lie apart, by little: normal scores of normal draws are these draws, up to their scale."""
    assert np.all(rhat(z) < 1.005)
    apart = z + 0.3 * np.arange(4)[:, None]
    within = apart.var(axis=0, ddof=1).mean(axis=0)
    between = np.repeat(apart.mean(axis=0), 2, axis=0).var(axis=0, ddof=1)  # of the halves
    np.testing.assert_allclose(rhat(apart), np.sqrt(1 + between / within), rtol=0.01)


def test_rhat_sees_chains_that_drift(z):
    """All alike, so that they disagree with their own halves alone."""
    assert np.all(rhat(z + np.linspace(0, 2, len(z))[:, None, None]) > 1.05)


def test_rhat_sees_scales_that_differ(z):
    """Four chains with the same mean."""
    assert np.all(rhat(z * np.float64([1, 1, 1, 3])[:, None]) > 1.05)


def test_tails_that_are_heavy_change_nothing(z):
    """By ranks, a Cauchy distribution has numbers as a normal one has."""
    cauchy = np.tan(np.pi * (np.argsort(np.argsort(z, axis=None)).reshape(z.shape) + 0.5) / z.size)
    assert np.all(rhat(cauchy) < 1.005)
    assert np.all(rhat(cauchy + 0.5 * np.float64([1, -1, 1, -1])[:, None]) > 1.02)  # no variance hides it
    np.testing.assert_allclose(bulk_sample_size(np.exp(5 * z)), bulk_sample_size(z))
    np.testing.assert_allclose(tail_sample_size(np.exp(5 * z)), tail_sample_size(z))


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.5, 0.9])
def test_sample_size_is_the_autoregressions_own(correlation):
    draws = autoregressive(correlation, draws=4000, size=20)
    exact = draws.shape[0] * draws.shape[1] * (1 - correlation) / (1 + correlation)
    assert abs(bulk_sample_size(draws).mean() / exact - 1) < 0.1
    tail = tail_sample_size(draws).mean()
    assert 0.7 * min(exact, draws[..., 0].size) < tail < 1.6 * draws[..., 0].size


def test_sample_size_has_a_cap_and_no_floor(z):
    """Draws that alternate are worth 39 each by their autocorrelation; a chain at rest, one in all."""
    np.testing.assert_allclose(bulk_sample_size(autoregressive(-0.95)), 8000 * np.log10(8000))
    stuck = z[:1] + 1e-3 * z
    assert np.all(bulk_sample_size(stuck) < 10) and np.all(tail_sample_size(stuck) < 100)
    assert np.all(rhat(stuck) > 2)


def test_sample_size_of_the_tails_sees_both(z):
    """One chain has a longer tail, to the left or to the right."""
    skew = np.where(z < 0, z * np.float64([4, 1, 1, 1])[:, None], z)
    left, right = tail_sample_size(skew), tail_sample_size(-skew)
    assert np.all(left < 0.5 * tail_sample_size(z))
    np.testing.assert_allclose(left, right, rtol=0.1)


def test_what_cannot_be_known_is_nan(z):
    assert np.isnan(rhat(z[:, :1])).all() and np.isnan(rhat(z[:3])).all()
    assert bulk_sample_size(z[:, :1]).shape == (5,) and np.all(bulk_sample_size(z[:, :1]) > 1000)
    constant = np.ones([10, 4, 2])
    for number in (rhat, bulk_sample_size, tail_sample_size):
        assert np.isnan(number(z[:3])).all() and np.isnan(number(constant)).all()
