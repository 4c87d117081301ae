"""The signal-to-noise ratio of gradients, against gradients whose ratio is known."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_noise import noise_figure, reproduce, signal_to_noise
from scipy import stats
from statistics_helpers import ALPHA

from probvae.seeds import as_seed


def shifted(mean):
    """An objective whose gradient for each of the variables is N(mean, 1 / K)."""

    def objective(vae, x, *, num_samples, seed):
        noise = tf.random.stateless_normal(vae.shape, as_seed(seed)) / np.sqrt(num_samples)
        return tf.reduce_sum(vae * (mean + noise))[tf.newaxis]

    return objective


@pytest.mark.parametrize("mean", [0.2, 3.0])
def test_ratio_of_a_known_gradient(mean):
    """|mean| sqrt(K), within 5.5 of its own errors (`ALPHA` is 4.9 of a normal); twice it is caught."""
    variable = tf.Variable(tf.zeros(10))
    found = signal_to_noise(
        variable,
        np.zeros([1, 1], np.float32),
        shifted(mean),
        {"all": [variable]},
        num_samples=(1, 4, 16),
        repeats=2000,
    )["all"]
    expected = mean * np.sqrt([1, 4, 16])
    assert stats.norm.sf(5.5) * 6 < ALPHA
    assert np.all(np.abs(found.ratio - expected) < 5.5 * found.standard_error)
    assert np.all(np.abs(found.ratio - 2 * expected) > 5.5 * found.standard_error)
    slope, error = found.slope()
    assert abs(slope - 0.5) < 5.5 * error < 0.5


@pytest.mark.slow
def test_slopes_of_the_papers():
    """Rainforth et al. 2018: 1/2 for the generative model, -1/2 for the encoder; Tucker et al. 2019: 1/2."""
    curves = reproduce((4, 16, 64), repeats=300, batch_size=128)
    slopes = {name: curve.slope() for name, curve in curves.items()}
    for name, sign in {"iwae, generative model": 1, "iwae, encoder": -1, "dreg, encoder": 1}.items():
        slope, error = slopes[name]
        assert 0.2 < sign * slope < 0.8 and abs(slope) > 5.5 * error, (name, slope, error)
    assert noise_figure(curves).axes[0].get_xscale() == "log"
