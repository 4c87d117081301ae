import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from linear_gaussian import LinearGaussian
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae import InputError
from probvae.distributions.missing import encoder_inputs
from probvae.likelihoods import LIKELIHOODS
from probvae.sampling import imputation
from probvae.sampling.imputation import Imputer, impute, weighted_quantiles


def posterior_layers(latent_dim):
    """A dense layer to means and logarithms of scales, and q(z|x)."""

    def new(params):
        loc, log_scale = tf.split(params, 2, axis=-1)
        return tfd.MultivariateNormalDiag(loc, scale_diag=tf.exp(log_scale))

    dense = tf_keras.layers.Dense(
        2 * latent_dim, kernel_initializer=tf_keras.initializers.GlorotUniform(seed=0)
    )
    return [dense, tfpl.DistributionLambda(new, convert_to_tensor_fn=tfd.Distribution.mean)]


class Model(LinearGaussian):
    """A linear-Gaussian model of four values and two latents whose values may be missing."""

    def __init__(self):
        super().__init__(observed=4, latent=2, noise=0.8)

    def vae(self, missing=True, stretch=1.3):
        """The exact decoder, and q(z|x) = N(0, stretch^2) whatever x: the weights have to do all the work."""
        likelihood = LIKELIHOODS["normal"]((4,), missing=missing)
        params, posterior = posterior_layers(2)
        encoder = tf_keras.Sequential(
            [tf_keras.layers.InputLayer((4,)), tf_keras.layers.Lambda(encoder_inputs), params, posterior]
        )
        params.set_weights([np.zeros([8, 4]), np.repeat([0, np.log(stretch)], 2)])
        dense = tf_keras.layers.Dense(8)
        decoder = tf_keras.Sequential([tf_keras.layers.InputLayer((2,)), dense, likelihood.head()])
        raw = np.log(np.expm1(self.noise - 1e-3))
        kernel, bias = np.zeros([2, 4, 2]), np.full([4, 2], raw)
        kernel[:, :, 0], bias[:, 0] = self.weights.T, self.bias
        dense.set_weights([kernel.reshape(2, 8), bias.ravel()])
        prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
        return probvae.VAE(prior, encoder, decoder)

    def conditional(self, x):
        """Mean and covariance of the missing values given the seen ones, of one x with nan."""
        gone, cov, mean = np.isnan(x), self.marginal.cov, self.marginal.mean
        gain = cov[np.ix_(gone, ~gone)] @ np.linalg.inv(cov[np.ix_(~gone, ~gone)])
        return mean[gone] + gain @ (x - mean)[~gone], cov[np.ix_(gone, gone)] - gain @ cov[
            np.ix_(~gone, gone)
        ]


@pytest.fixture(scope="module")
def imputed():
    """200 examples with two of four values missing: truth, exact conditional, imputation."""
    model, n = Model(), 200
    truth = model.sample(n, seed=5)
    gone = np.argsort(np.random.default_rng(0).random([n, 4]), axis=1) < 2
    x = np.where(gone, np.nan, truth).astype(np.float32)
    exact = [model.conditional(row) for row in x]
    mean, cov = np.stack([e[0] for e in exact]), np.stack([e[1] for e in exact])
    found = impute(model.vae(), x, num_samples=2000, num_draws=40, quantiles=(0.05, 0.5, 0.95), seed=1)
    return model, x, gone, truth[gone].reshape(n, 2), mean, cov, found


def missing_of(values, gone):
    return values[gone].reshape(len(gone), 2)


def whitened(draws, mean, cov):
    """Draws [N, 2] on the scale on which they are independent standard normals."""
    return np.linalg.solve(np.linalg.cholesky(cov), (draws - mean)[..., None])[..., 0]


def test_what_was_seen_stands(imputed):
    _, x, gone, _, _, _, found = imputed
    assert found.draws.shape == (40, *x.shape) and found.mean.shape == found.sd.shape == x.shape
    for values in (found.mean, *found.draws):
        np.testing.assert_array_equal(values[~gone], x[~gone])
    assert np.all(found.sd[~gone] == 0) and np.all(found.sd[gone] > 0)
    assert found.effective_sample_size.shape == (200,)
    assert np.all((found.effective_sample_size > 1) & (found.effective_sample_size < 2000))


def test_mean_and_sd_are_those_of_the_conditional(imputed):
    """z-tests over 200 examples: of the error; of its product with the distance to the marginal mean."""
    model, x, gone, _, mean, cov, found = imputed
    error = missing_of(found.mean, gone) - mean
    assert mean_p_value(error) > ALPHA
    distance = mean - missing_of(np.broadcast_to(model.marginal.mean, x.shape), gone)
    assert mean_p_value(error * distance) > ALPHA
    variance = np.diagonal(cov, axis1=1, axis2=2)
    assert mean_p_value(missing_of(found.sd, gone).astype(np.float64) ** 2 / variance, 1.0) > ALPHA
    assert np.sqrt(np.mean(error**2 / variance)) < 0.1


def test_draws_are_those_of_the_conditional(imputed):
    """Kolmogorov-Smirnov test of one draw an example, whitened: its mean, spread and correlation at once.

    And a z-test of the mean over draws, against how far the conditional mean is from the marginal's.
    """
    model, x, gone, _, mean, cov, found = imputed
    distance = mean - missing_of(np.broadcast_to(model.marginal.mean, x.shape), gone)
    assert mean_p_value((missing_of(found.draws.mean(axis=0), gone) - mean) * distance) > ALPHA
    white = whitened(missing_of(found.draws[0], gone), mean, cov)
    assert stats.kstest(white.ravel(), "norm").pvalue > ALPHA
    assert mean_p_value(white[:, 0] * white[:, 1]) > ALPHA
    apart = whitened(missing_of(found.draws[0], gone), mean, cov * 4)
    assert stats.kstest(apart.ravel(), "norm").pvalue < ALPHA


def test_intervals_cover_the_truth(imputed):
    """The 2nd and the 39th of 40 draws have a new one between them with probability 37/41: binomial test."""
    _, _, gone, truth, _, _, found = imputed
    draws = np.sort(np.stack([missing_of(d, gone) for d in found.draws]), axis=0)
    inside = ((draws[1] < truth) & (truth < draws[38]))[:, 0]  # one value an example: these are independent
    assert stats.binomtest(int(inside.sum()), len(inside), 37 / 41).pvalue > ALPHA
    narrow = ((draws[14] < truth) & (truth < draws[25]))[:, 0]
    assert stats.binomtest(int(narrow.sum()), len(narrow), 37 / 41).pvalue < ALPHA


def test_quantiles_are_those_of_the_conditional(imputed):
    """Deterministic given the seed: the exact probabilities below the quantiles are 5%, 50% and 95%."""
    _, x, gone, _, mean, cov, found = imputed
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    ends = np.stack([missing_of(end, gone) for end in found.quantiles])
    below = stats.norm.cdf((ends - mean) / sd).mean(axis=(1, 2))
    np.testing.assert_allclose(below, [0.05, 0.5, 0.95], atol=0.01)
    assert np.abs(stats.norm.cdf((ends - found.mean[gone].mean()) / sd).mean(axis=(1, 2)) - 0.05)[0] > 0.01
    np.testing.assert_array_equal(found.quantiles[:, ~gone], np.tile(x[~gone], [3, 1]))


def test_weighted_quantiles_by_hand():
    draws = np.array([[3.0, 1], [1, 2], [2, 3]])[:, :, None]  # [S, N, D]
    log_w = np.log([[0.5, 1], [0.2, 1], [0.3, 2]])
    found = weighted_quantiles(draws, log_w, (0.1, 0.2, 0.3, 0.5, 0.9))[..., 0]
    np.testing.assert_array_equal(found, [[1, 1], [1, 1], [2, 2], [2, 2], [3, 3]])


def test_other_examples_do_not_matter(imputed):
    """An example is imputed from its values and the seed, bit for bit, whatever stands beside it."""
    model, x, *_ = imputed
    vae, options = model.vae(), {"num_samples": 300, "num_draws": 3, "quantiles": (0.2,)}
    impute = Imputer(vae).impute
    x = x[:6]
    every = impute(x, seed=5, **options)
    for order in ([3], [5, 2, 0, 3, 1, 4], [0, 0, 1]):
        some = impute(x[order], seed=5, **options)
        for name, axis in (
            ("mean", 0),
            ("sd", 0),
            ("draws", 1),
            ("effective_sample_size", 0),
            ("quantiles", 1),
        ):
            expected = np.take(getattr(every, name), order, axis=axis)
            np.testing.assert_array_equal(getattr(some, name), expected, err_msg=name)
    other = x[:2].copy()
    other[1, np.flatnonzero(~np.isnan(x[1]))[0]] += 1e-4  # another value, so other draws, of nearly the same
    changed = impute(other, seed=5, **options)
    np.testing.assert_array_equal(changed.draws[:, 0], every.draws[:, 0])
    shift = np.abs(changed.draws - every.draws[:, :2])[:, 1, np.isnan(other[1])]
    assert np.median(shift) > 0.1 * np.median(every.sd[1, np.isnan(other[1])])
    assert not np.array_equal(impute(x, seed=6, **options).draws, every.draws)


def test_without_the_weights_all_of_this_fails(imputed, monkeypatch):
    model, x, gone, _, mean, _, _ = imputed
    plain = imputation.log_terms

    def equal_weights(*args, **options):
        terms = plain(*args, **options)
        zeros = tf.zeros_like(terms.log_prior)
        return terms._replace(log_likelihood=zeros, log_prior=zeros, log_posterior=zeros)

    monkeypatch.setattr(imputation, "log_terms", equal_weights)
    found = impute(model.vae(), x, num_samples=200, num_draws=20, seed=1)
    error = missing_of(found.mean, gone) - mean
    distance = mean - missing_of(np.broadcast_to(model.marginal.mean, x.shape), gone)
    assert mean_p_value(error * distance) < ALPHA
    assert mean_p_value((missing_of(found.draws.mean(axis=0), gone) - mean) * distance) < ALPHA
    np.testing.assert_allclose(found.effective_sample_size, 200, rtol=1e-5)


def test_blocks_and_seeds(imputed, monkeypatch):
    model, x, gone, _, mean, _, _ = imputed
    vae = model.vae()
    first, again = (impute(vae, x[:4], num_samples=300, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.mean, again.mean)
    np.testing.assert_array_equal(first.sd, again.sd)
    assert first.draws is None
    monkeypatch.setattr(imputation, "BLOCK", 600)  # two examples at a time, seventy-five draws
    blocks = impute(vae, x[:5], num_samples=300, num_draws=2, seed=2)
    assert np.abs(blocks.mean[:4] - first.mean).max() > 1e-4
    assert blocks.mean.shape == (5, 4) and blocks.draws.shape == (2, 5, 4)
    assert np.abs(missing_of(blocks.mean, gone[:5]) - mean[:5]).max() < 0.6


def test_moments_of_chunks_are_those_of_all():
    """Weights that vary over chunks, so that the largest so far changes; by hand from all draws at once."""
    rng = np.random.default_rng(0)
    log_w, (mean, draw) = 3 * rng.standard_normal([12, 5]), rng.standard_normal([2, 12, 5, 3])
    draw[..., 2] = rng.integers(0, 3, [12, 5])
    moments = imputation._Moments((5, 3), {2: 3})
    for part in (slice(0, 2), slice(2, 7), slice(7, 12)):
        moments.add(log_w[part], mean[part], draw[part])
    w = np.exp(log_w) / np.exp(log_w).sum(axis=0)
    first, second, expected = (np.einsum("sn,sne->ne", w, v) for v in (draw, draw**2, mean))
    result, sd, effective = moments.result()
    np.testing.assert_allclose(result, expected)
    np.testing.assert_allclose(sd, np.sqrt(second - first**2))
    np.testing.assert_allclose(effective, 1 / np.sum(w**2, axis=0))
    shares = np.stack([np.sum(w * (draw[..., 2] == k), axis=0) for k in range(3)], axis=1)
    np.testing.assert_allclose(moments.probabilities()[2], shares)


def test_nothing_seen_gives_the_marginal():
    model = Model()
    found = impute(model.vae(), np.full([1, 4], np.nan, np.float32), num_samples=4000, seed=1)
    np.testing.assert_allclose(found.mean[0], model.marginal.mean, atol=0.25)
    np.testing.assert_allclose(found.sd[0], np.sqrt(np.diag(model.marginal.cov)), rtol=0.15)


def test_mistakes_are_named():
    model = Model()
    x = np.array([[1.0, np.nan, 0, 0]], np.float32)
    with pytest.raises(InputError, match=r"the shape \[N, 4\]; got \[1, 3\]"):
        impute(model.vae(), x[:, :3])
    with pytest.raises(InputError, match="x has missing values"):
        impute(model.vae(missing=False), x, num_samples=10)
    with pytest.raises(InputError, match="quantiles must lie between 0 and 1; got 1"):
        impute(model.vae(), x, num_samples=10, quantiles=(0.5, 1.0))


@pytest.mark.slow
def test_training_with_missing_values():
    """A linear model trained on the IWAE bound, three in ten values missing, imputes as well as the true one.

    To a tenth, in root mean square error; and better than the columns' means.
    """
    model = LinearGaussian(observed=6, latent=1, noise=0.5)
    truth = model.sample(600, seed=5)
    gone = np.random.default_rng(2).random(truth.shape) < 0.3
    x = np.where(gone, np.nan, truth).astype(np.float32)
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((6,)),
            tf_keras.layers.Lambda(encoder_inputs),
            tf_keras.layers.Dense(16, "tanh", kernel_initializer=tf_keras.initializers.GlorotUniform(1)),
            *posterior_layers(1),
        ]
    )
    decoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((1,)),
            tf_keras.layers.Dense(6, kernel_initializer=tf_keras.initializers.GlorotUniform(2)),
            LIKELIHOODS["normal_shared"]((6,), missing=True).head(),
        ]
    )
    vae = probvae.VAE(tfd.MultivariateNormalDiag(tf.zeros(1), tf.ones(1)), encoder, decoder)
    vae.compile(
        tf_keras.optimizers.Adam(0.03), lambda *args, seed: probvae.iwae(*args, num_samples=5, seed=seed)
    )
    # fit shuffles by the global seed. Some orders leave a few of the 600 examples with an effective sample
    # size of 3, of which impute rightly warns; with this one the smallest is near 180.
    tf_keras.utils.set_random_seed(3)
    vae.fit(x, epochs=60, batch_size=100, verbose=0)
    found = impute(vae, x, num_samples=1000, seed=1)

    def error(values):
        return np.sqrt(np.mean((values - truth)[gone] ** 2))

    cov, mean = model.marginal.cov, model.marginal.mean
    best = np.array(truth)
    for row, hole, value in zip(best, gone, x, strict=True):
        gain = cov[np.ix_(hole, ~hole)] @ np.linalg.inv(cov[np.ix_(~hole, ~hole)])
        row[hole] = mean[hole] + gain @ (value - mean)[~hole]
    assert error(found.mean) < 1.1 * error(best)
    assert error(np.where(gone, np.nanmean(x, axis=0), x)) > 1.5 * error(best)
