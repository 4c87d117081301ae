"""Whether annealing knows its own error where it is hard: in many dimensions, and with two modes."""

import numpy as np
import pytest
from linear_gaussian import LinearGaussian
from marked_cases import cases
from two_modes import TwoModes

from probvae.inference.annealing import ais

pytestmark = pytest.mark.slow


def covered(result, exact):
    """Whether the 95% interval holds the exact value, [N]."""
    low, high = result.interval()
    return (low <= exact) & (exact <= high)


@pytest.mark.parametrize(
    ("latent", "num_populations"),
    cases(
        [(10, 1), (20, 1), (30, 1), (10, 4), (30, 4)],
        long={
            (30, 4): "test_one_mode_in_many_dimensions[10-4]",
            (20, 1): "test_one_mode_in_many_dimensions[30-1]",
        },
    ),
)
def test_one_mode_in_many_dimensions(latent, num_populations):
    """Default budget; q(z|x) is shifted by one deviation in each dimension and 30% too narrow."""
    model = LinearGaussian(observed=2 * latent, latent=latent, noise=0.1)
    shift = np.linalg.cholesky(model.covariance).sum(axis=1)
    x = model.sample(200, seed=6)
    vae, exact = model._build(shift, 0.7), model.marginal.logpdf(x)
    result = ais(vae, x, batch_size=100, seed=5, num_populations=num_populations)
    error = result.log_marginal - exact
    assert abs(error.mean()) < 0.2 and np.sqrt(np.mean(error**2)) < 0.5
    assert result.reliable.mean() > 0.8
    assert 0.90 < covered(result, exact)[result.reliable].mean() < 0.99


@pytest.mark.parametrize("latent", [1, 2])
def test_two_modes_are_both_found(latent):
    model = TwoModes(latent)
    x = model.sample(300, seed=6)
    result, exact = ais(model, x, batch_size=300, seed=5), model.logpdf(x)
    assert result.reliable.mean() > 0.4
    assert 0.90 < covered(result, exact)[result.reliable].mean() < 0.995
    one_mode = ais(model, x, batch_size=300, seed=5, initial="posterior", num_steps=20)
    assert np.median(one_mode.log_marginal - exact) < -0.6  # half of the mass, log 2, is missed


def test_two_modes_in_ten_dimensions_are_confessed():
    """The second mode is found, and its mass is not, or it died out: nine of ten say so."""
    model = TwoModes(10)
    x = model.sample(64, seed=6)
    result = ais(model, x, batch_size=64, seed=5)
    resampled = ais(model, x, batch_size=64, seed=5, num_populations=4)
    assert resampled.reliable.mean() < 0.1
    assert result.reliable.mean() < 0.1 and "NOT to be trusted" in result.verdict()
