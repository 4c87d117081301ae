import likelihood_cases as cases
import numpy as np
import pytest
import tensorflow as tf
from likelihood_cases import LOG_PROB
from tensorflow_probability import distributions as tfd

from probvae import InputError
from probvae.distributions.columns import columns_of
from probvae.distributions.missing import SeenValues, encoder_inputs
from probvae.likelihoods import LIKELIHOODS

NAMES = list(LIKELIHOODS)


def params_of(name, leading=(5,)):
    shape = cases.likelihood(name).params_shape
    return np.random.default_rng(1).standard_normal([*leading, int(np.prod(shape))]).astype(np.float32)


def head(name, **options):
    return cases.likelihood(name, **options).head()


def by_value(name, params, x):
    """Log-probability of every value, [B, *E]."""
    if name == "mixed":
        return columns_of(tf.constant(params), cases.COLUMNS).log_prob(x).numpy()
    n = params.shape[1] // x[0].size
    return LOG_PROB[name](params.reshape(*x.shape, n).astype(np.float64), x.astype(np.float64))


def holes(x, seed=2, rate=0.4):
    return np.random.default_rng(seed).random(x.shape) < rate


@pytest.mark.parametrize("name", NAMES)
def test_sums_over_what_was_seen(name):
    params = params_of(name)
    full, p = head(name)(tf.constant(params)), head(name, missing=True)(tf.constant(params))
    x = full.sample(seed=(0, 1)).numpy()
    gone = holes(x)
    with_holes = np.where(gone, np.nan, x).astype(np.float32)
    expected = np.where(gone, 0, by_value(name, params, x)).reshape(5, -1).sum(axis=1)
    np.testing.assert_allclose(p.log_prob(with_holes), expected, rtol=2e-5, atol=1e-5)
    zeros = np.where(gone, 0, x).astype(np.float32)
    assert np.abs(full.log_prob(zeros) - expected).max() > 0.1  # zeros are not missing
    np.testing.assert_allclose(p.log_prob(x), full.log_prob(x), rtol=1e-6)
    assert np.all(np.isnan(full.log_prob(with_holes))) or name == "categorical"


@pytest.mark.parametrize("name", NAMES)
def test_the_rest_is_unchanged(name):
    params = tf.constant(params_of(name, (3, 5)))
    full, p = head(name)(params), head(name, missing=True)(params)
    assert p.batch_shape == full.batch_shape and p.event_shape == full.event_shape
    np.testing.assert_array_equal(p.batch_shape_tensor(), [3, 5])
    np.testing.assert_array_equal(p.sample(2, seed=(0, 1)), full.sample(2, seed=(0, 1)))
    np.testing.assert_array_equal(p.mean(), full.mean())
    np.testing.assert_array_equal(tf.convert_to_tensor(p), full.mean())
    x = np.where(holes(full.mean()[0]), np.nan, full.sample(seed=(0, 2))[0]).astype(np.float32)
    assert p.log_prob(x).shape == [3, 5]  # x [B, *E] against a batch [S, B]
    np.testing.assert_allclose(
        p.log_prob(x)[1], head(name, missing=True)(params[1]).log_prob(x), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_gradients_are_finite_and_zero_where_nothing_was_seen(name, value):
    params = tf.fill(params_of(name, (2,)).shape, value)
    x = np.ones([2, *cases.event(name)], np.float32)
    x[0, ..., ::2] = np.nan
    x[1] = np.nan
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = head(name, missing=True)(params).log_prob(x)
    gradient = tape.gradient(log_prob, params).numpy()
    assert np.all(np.isfinite(log_prob)) and np.all(np.isfinite(gradient))
    assert log_prob[1] == 0 and not gradient[1].any()


def test_colour_pixels_are_missing_as_a_whole():
    params = tf.random.stateless_normal([4, 600], seed=(0, 1))
    full, p = (
        cases.likelihood("logistic_mixture", (3, 2, 3), missing=missing).head()(params)
        for missing in (False, True)
    )
    x = full.sample(seed=(0, 2)).numpy()
    gone = np.random.default_rng(0).random([4, 3, 2, 1]) < 0.5
    with_holes = np.where(gone, np.nan, x)
    pixels = full.tensor_distribution.distribution.log_prob(x)  # [4, 3, 2]
    expected = np.where(gone[..., 0], 0, pixels).sum(axis=(1, 2))
    np.testing.assert_allclose(p.log_prob(with_holes), expected, rtol=1e-5)
    with_holes[0, 0, 0] = [0, np.nan, 1]
    assert np.isnan(p.log_prob(with_holes)).tolist() == [True, False, False, False]


def test_only_products_can_miss_values():
    with pytest.raises(InputError, match=r"expected a tfd.Independent, got MultivariateNormalDiag"):
        SeenValues(tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3)))


def test_encoder_sees_zeros_and_the_mask():
    x = tf.constant([[[1.0, np.nan], [np.nan, 0.0]]])
    expected = [[[1, 0, 1, 0], [0, 0, 0, 1]]]
    np.testing.assert_array_equal(encoder_inputs(x), expected)
