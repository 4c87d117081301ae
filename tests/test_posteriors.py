import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.posteriors import POSTERIORS, DiagonalNormal


def head(name, latent_dim=3):
    return POSTERIORS[name](latent_dim, seed=0)[-1]


def params(name, n=6, latent_dim=3):
    size = POSTERIORS[name](latent_dim, seed=0)[0].units
    return tf.constant(np.random.default_rng(0).standard_normal([n, size]), tf.float32)


@pytest.mark.parametrize("name", POSTERIORS)
def test_shapes(name):
    q = head(name)(params(name))
    assert isinstance(q, tfd.Distribution)
    assert q.batch_shape == [6] and q.event_shape == [3]
    z = q.sample(5, seed=(0, 1))
    assert z.shape == [5, 6, 3] and q.log_prob(z).shape == [5, 6]


@pytest.mark.parametrize("name", POSTERIORS)
def test_parameters_from_a_seed(name):
    first, again, other = (POSTERIORS[name](3, seed=s)[0] for s in (1, 1, 2))
    kernels = [layer(tf.eye(4)).numpy() for layer in (first, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])


@pytest.mark.parametrize("name", POSTERIORS)
def test_log_prob_is_scipys(name):
    from scipy import stats

    q = head(name)(params(name))
    z = q.sample(seed=(0, 1)).numpy()
    mean, covariance = q.mean().numpy(), q.covariance().numpy()
    expected = [
        stats.multivariate_normal.logpdf(z[i], mean[i], covariance[i].astype(np.float64)) for i in range(6)
    ]
    np.testing.assert_allclose(q.log_prob(tf.identity(z)), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", POSTERIORS)
@pytest.mark.parametrize("size", [-1e4, -50.0, 50.0, 1e4])
def test_extreme_parameters_stay_finite(name, size):
    p = tf.fill([2, params(name).shape[1]], np.float32(size))
    with tf.GradientTape() as tape:
        tape.watch(p)
        q = head(name)(p)
        z = q.sample(seed=(0, 1))
        log_q = q.log_prob(z)
    assert np.all(np.isfinite(z)) and np.all(np.isfinite(log_q))
    assert np.all(np.isfinite(tape.gradient(log_q, p)))


def test_diagonal_is_mean_and_log_variance():
    q = head("diagonal", 2)(tf.constant([[1.0, 2.0, np.log(4.0), np.log(9.0)]]))
    np.testing.assert_allclose(q.mean(), [[1, 2]])
    np.testing.assert_allclose(q.stddev(), [[2, 3]], rtol=1e-6)


def test_tril_with_a_diagonal_scale_is_the_diagonal_posterior():
    loc, scale = np.float32([[0.3, -1.0, 2.0]]), np.float32([[0.5, 1.0, 2.0]])
    fill = tfb.FillScaleTriL(diag_shift=np.float32(1e-5)).inverse(np.diag(scale[0]))
    tril = head("tril")(tf.concat([loc, fill[None]], axis=1))
    diagonal = head("diagonal")(np.concatenate([loc, 2 * np.log(scale)], axis=1))
    assert isinstance(POSTERIORS["tril"](3, seed=0)[-1], tfpl.MultivariateNormalTriL)
    z = [q.sample(4, seed=(0, 2)).numpy() for q in (tril, diagonal)]
    np.testing.assert_allclose(z[0], z[1], rtol=1e-5)
    np.testing.assert_allclose(tril.log_prob(z[0]), diagonal.log_prob(z[0]), rtol=1e-5)
    prior = tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))
    np.testing.assert_allclose(tril.kl_divergence(prior), diagonal.kl_divergence(prior), rtol=1e-5)
    correlated = head("tril")(tf.concat([loc, fill[None] + 0.5], axis=1))
    assert np.abs(correlated.log_prob(z[0]) - diagonal.log_prob(z[0])).max() > 0.1


def test_diagonal_layer_is_rebuilt_from_its_config():
    layer = DiagonalNormal(3, name="q")
    again = DiagonalNormal.from_config(layer.get_config())
    p = params("diagonal")
    np.testing.assert_array_equal(layer(p).mean(), again(p).mean())
    assert again.name == "q"
