"""The bound against a hand-written one, closed forms, and other estimators of the same gradient.

Every statistical test here has a false-positive rate of at most 1e-6 (`ALPHA`) and shows its power on
deliberately wrong variants.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value, same_mean_p_value
from tensorflow_probability import distributions as tfd

from probvae import elbo, iwae, log_weights, objectives
from probvae.posteriors import POSTERIORS

LOG_2PI = np.log(2 * np.pi)


def networks(vae):
    """The networks below the distribution layers, as plain functions to arrays in float64."""
    encode = tf_keras.Model(vae.encoder.inputs, vae.encoder.layers[-1].input)
    decode = tf_keras.Model(vae.decoder.inputs, vae.decoder.layers[-1].input)
    return lambda x: encode(x).numpy().astype(np.float64), lambda z: decode(z).numpy().astype(np.float64)


class HandWritten:
    """The tutorial's estimator for a diagonal posterior, in NumPy: logits, mean, log-variance."""

    def __init__(self, vae, x):
        encode, self.decode = networks(vae)
        self.mean, self.logvar = np.split(encode(x), 2, axis=1)
        self.x = x.numpy().astype(np.float64).reshape(len(x), -1)

    def draw(self, rng):
        return self.mean + np.exp(self.logvar / 2) * rng.standard_normal(self.mean.shape)

    @staticmethod
    def log_normal(z, mean, logvar):
        return np.sum(-0.5 * ((z - mean) ** 2 * np.exp(-logvar) + logvar + LOG_2PI), axis=1)

    def terms(self, z):
        logits = self.decode(z.astype(np.float32))
        cross_entropy = np.maximum(logits, 0) - logits * self.x + np.log1p(np.exp(-np.abs(logits)))
        log_likelihood = -cross_entropy.sum(axis=1)
        return log_likelihood, self.log_normal(z, 0.0, 0.0), self.log_normal(z, self.mean, self.logvar)

    def elbo(self, z):
        log_likelihood, log_prior, log_posterior = self.terms(z)
        return log_likelihood + log_prior - log_posterior

    def wrong(self, z):
        """Bugs that real implementations have had, each with what it would report."""
        log_likelihood, log_prior, log_posterior = self.terms(z)
        return {
            "KL twice": log_likelihood + 2 * (log_prior - log_posterior),
            "missing log q": log_likelihood + log_prior,
            "wrong sign": -log_likelihood + log_prior - log_posterior,
            "mean for sum": log_likelihood / self.x.shape[1] + log_prior - log_posterior,
            "prior and posterior swapped": log_likelihood - log_prior + log_posterior,
        }


def test_elbo_is_the_hand_written_one_at_the_same_z(x):
    """No randomness is compared, so the false-positive rate is zero."""
    vae = tiny_vae()
    hand = HandWritten(vae, x)
    z = vae.posterior(x).sample(1, seed=(0, 5)).numpy()[0].astype(np.float64)
    ours = elbo(vae, x, seed=5).numpy()
    np.testing.assert_allclose(ours, hand.elbo(z), rtol=2e-6)
    for name, wrong in hand.wrong(z).items():
        assert np.abs(wrong / ours - 1).min() > 1e-3, name


def test_elbo_has_the_hand_written_ones_distribution(x):
    """Means by z-test and whole distributions by Kolmogorov-Smirnov, each at `ALPHA` / 2."""
    n, vae, rng = 4000, tiny_vae(), np.random.default_rng(0)
    one = x[:1]
    hand = HandWritten(vae, tf.repeat(one, n, axis=0))
    ours = log_weights(vae, one, num_samples=n, seed=11).numpy()[:, 0]
    z = hand.draw(rng)

    def p_value(theirs):
        return 2 * min(same_mean_p_value(ours, theirs), stats.ks_2samp(ours, theirs).pvalue)

    assert p_value(hand.elbo(z)) > ALPHA
    for name, wrong in hand.wrong(z).items():
        assert p_value(wrong) < ALPHA, name


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_every_objective_is_per_example_and_repeatable(vae, x, name):
    objective = functools.partial(objectives.OBJECTIVES[name], vae, x, num_samples=3)
    first = objective(seed=4)
    assert first.shape == (5,)
    np.testing.assert_array_equal(first, objective(seed=4))
    assert np.all(first != objective(seed=5))


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_eager_equals_compiled(vae, x, name):
    objective = functools.partial(objectives.OBJECTIVES[name], vae, num_samples=3, seed=4)
    np.testing.assert_allclose(objective(x), tf.function(objective)(x), rtol=1e-5)


def test_iwae_with_one_sample_is_elbo(vae, x):
    np.testing.assert_allclose(
        iwae(vae, x, num_samples=1, seed=3), elbo(vae, x, num_samples=1, seed=3), rtol=1e-6
    )


def test_more_samples_average(vae, x):
    log_w = log_weights(vae, x, num_samples=7, seed=3).numpy().astype(np.float64)
    np.testing.assert_allclose(elbo(vae, x, num_samples=7, seed=3), log_w.mean(0), rtol=1e-5)
    by_hand = np.log(np.exp(log_w - log_w.max(0)).mean(0)) + log_w.max(0)
    np.testing.assert_allclose(iwae(vae, x, num_samples=7, seed=3), by_hand, rtol=1e-5)


# ---- gradients -----------------------------------------------------------------------------------


def test_gradient_is_the_finite_difference(vae, x):
    """Along the gradient itself, with the draws of z held fixed by the seed: no randomness."""
    variables = vae.trainable_variables

    def bound():
        return tf.reduce_mean(elbo(vae, x, num_samples=4, seed=2))

    with tf.GradientTape() as tape:
        value = bound()
    gradient = tape.gradient(value, variables)
    norm = tf.linalg.global_norm(gradient)
    before, step, values = [v.numpy() for v in variables], 1e-3, []
    for sign in (1, -1):
        for variable, start, g in zip(variables, before, gradient, strict=True):
            variable.assign(start + sign * step * g / norm)
        values.append(bound().numpy())
    slope = (values[0] - values[1]) / (2 * step)
    assert abs(slope / norm.numpy() - 1) < 0.02
    assert abs(slope / (0.9 * norm.numpy()) - 1) > 0.02  # a gradient off by a tenth is caught


def per_sample_gradients(vae, x, posterior, n, *, seed, how):
    """Gradients of the bound with respect to q's parameters, one estimate a sample, [n, P]."""
    head = vae.encoder.layers[-1]
    params = vae.encoder.layers[-2].output
    encode = tf_keras.Model(vae.encoder.inputs, params)
    params = tf.repeat(encode(x), n, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(params)
        q = head(params)
        z = q.sample(seed=(0, seed))

        def log_w(z, q):
            return vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z) - q.log_prob(z)

        if how == "reparameterized":
            target = log_w(z, q)
        elif how == "score function":
            z = tf.stop_gradient(z)
            weight = tf.stop_gradient(log_w(z, q))
            baseline = tf.reduce_mean(weight)
            target = (weight - baseline) * q.log_prob(z) * n / (n - 1)
        elif how == "half the KL":
            target = vae.likelihood(z).log_prob(x) + 0.5 * (vae.prior.log_prob(z) - q.log_prob(z))
        elif how == "z not reparameterized":
            target = log_w(tf.stop_gradient(z), q)
        elif how == "KL by Monte Carlo":
            target = q.log_prob(z) - vae.prior.log_prob(z)
        elif how == "KL without log q":
            target = -vae.prior.log_prob(z)
        total = tf.reduce_sum(target)
    return tape.gradient(total, params).numpy()


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_reparameterized_gradient_is_the_score_functions(posterior):
    """Two unbiased estimators of one gradient; z-test over all parameters of q at `ALPHA`."""
    vae, n = tiny_vae(posterior), 20_000
    x = tf.ones([1, 8, 8, 1])
    score = per_sample_gradients(vae, x, posterior, n, seed=1, how="score function")
    ours = per_sample_gradients(vae, x, posterior, n, seed=2, how="reparameterized")
    assert same_mean_p_value(ours, score) > ALPHA
    for how in ("half the KL", "z not reparameterized"):
        wrong = per_sample_gradients(vae, x, posterior, n, seed=2, how=how)
        assert same_mean_p_value(wrong, score) < ALPHA, how


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_monte_carlo_kl_is_the_analytic_one(posterior, x):
    """Value and gradient by z-test at `ALPHA` each."""
    vae, n = tiny_vae(posterior), 20_000
    one = x[:1]
    terms = objectives.log_terms(vae, one, num_samples=n, seed=6)
    with tf.GradientTape() as tape:
        params = tf_keras.Model(vae.encoder.inputs, vae.encoder.layers[-2].output)(one)
        tape.watch(params)
        kl = tfd.kl_divergence(vae.encoder.layers[-1](params), vae.prior)
    rate = (terms.log_posterior - terms.log_prior).numpy()
    assert mean_p_value(rate, kl.numpy()) > ALPHA
    assert mean_p_value(2 * rate, kl.numpy()) < ALPHA
    assert mean_p_value(-terms.log_prior.numpy(), kl.numpy()) < ALPHA
    gradient = tape.gradient(kl, params).numpy()
    ours = per_sample_gradients(vae, one, posterior, n, seed=3, how="KL by Monte Carlo")
    wrong = per_sample_gradients(vae, one, posterior, n, seed=3, how="KL without log q")
    assert mean_p_value(ours, gradient) > ALPHA
    assert mean_p_value(wrong, gradient) < ALPHA


def test_analytic_kl_option_changes_the_estimator_and_not_the_mean(vae, x):
    """z-test of the paired difference over five images at `ALPHA`."""
    many = tf.tile(x, [300, 1, 1, 1])
    analytic = elbo(vae, many, num_samples=20, seed=0, analytic_kl=True)
    plain = elbo(vae, many, num_samples=20, seed=0)
    difference = tf.reshape(analytic - plain, [300, 5]).numpy()
    assert difference.std() > 1e-3
    assert mean_p_value(difference) > ALPHA
    kl = tfd.kl_divergence(vae.posterior(x), vae.prior).numpy()
    assert mean_p_value(difference - kl) < ALPHA  # KL counted twice


# ---- a model whose likelihood is known -----------------------------------------------------------


def test_bound_is_exact_with_no_variance_at_the_exact_posterior():
    model = LinearGaussian()
    vae, x = model.vae(), model.sample(50, seed=1)
    log_w = log_weights(vae, x, num_samples=20, seed=0).numpy()
    np.testing.assert_allclose(log_w, np.tile(model.marginal.logpdf(x), (20, 1)), atol=1e-4)


@pytest.mark.parametrize(("shift", "stretch"), [(0.3, 1.0), (0.0, 1.5), (-0.2, 0.6)])
def test_bounds_lie_below_the_marginal_in_order(shift, stretch):
    """ELBO < IWAE(10) < log p(x) in expectation, by one-sided z-tests whose power is shown by swapping."""
    model = LinearGaussian()
    vae, x = model.vae(shift=shift, stretch=stretch), model.sample(4000, seed=1)
    exact = model.marginal.logpdf(x)
    low = elbo(vae, x, num_samples=10, seed=0).numpy()
    high = iwae(vae, x, num_samples=10, seed=0).numpy()

    def below(a, b):  # p-value that b - a has mean zero or less
        difference = b.astype(np.float64) - a
        return stats.norm.sf(difference.mean() / (difference.std(ddof=1) / np.sqrt(len(difference))))

    assert below(low, high) < ALPHA
    assert below(high, exact) < ALPHA
    assert below(exact, high) > 0.5
    # The ELBO's gap is KL(q || p(z|x)), the same for every x here, in closed form.
    posterior = tfd.MultivariateNormalTriL(np.zeros(2), scale_tril=np.linalg.cholesky(model.covariance))
    q = tfd.MultivariateNormalTriL(
        np.full(2, shift), scale_tril=stretch * np.linalg.cholesky(model.covariance)
    )
    assert mean_p_value(exact - low, tfd.kl_divergence(q, posterior).numpy()) > ALPHA
    assert mean_p_value(exact - high, tfd.kl_divergence(q, posterior).numpy()) < ALPHA


def test_importance_weights_are_unbiased():
    """E[w] = p(x): z-test at `ALPHA`; log w, or weights upside down, are caught."""
    model = LinearGaussian()
    vae, x = model.vae(stretch=1.2), model.sample(2, seed=2)[:1]
    log_w = log_weights(vae, x, num_samples=20_000, seed=1).numpy()[:, 0] - model.marginal.logpdf(x)
    assert mean_p_value(np.exp(log_w), 1.0) > ALPHA
    assert mean_p_value(1 + log_w, 1.0) < ALPHA
    assert mean_p_value(np.exp(-log_w), 1.0) < ALPHA
