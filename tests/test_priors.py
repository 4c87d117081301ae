import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from probvae.priors import PRIORS


@pytest.mark.parametrize("name", PRIORS)
def test_shapes(name):
    prior = PRIORS[name](3)
    z = prior.sample(7, seed=(0, 1))
    assert prior.event_shape == [3] and prior.batch_shape == [] and z.shape == [7, 3]
    assert prior.log_prob(z).shape == [7]


def test_standard_normal_is_scipys():
    z = np.random.default_rng(0).standard_normal([6, 3]).astype(np.float32)
    expected = stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(PRIORS["standard_normal"](3).log_prob(tf.constant(z)), expected, rtol=1e-5)
