"""Total correlation and maximum mean discrepancy of the aggregate posterior, and the objectives made of them.

Every statistical test here has a false-positive rate of at most 1e-6 (`ALPHA`).
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from linear_gaussian import LinearGaussian
from scipy import stats
from scipy.special import logsumexp
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
from probvae.objectives.aggregate import marginals, squared_mmd, total_correlation
from probvae.objectives.bound import elbo, log_terms
from probvae.objectives.rate import beta_tc, mmd

MODEL = LinearGaussian()
VAE = MODEL.vae(shift=0.2, stretch=1.3)
X = tf.constant(MODEL.sample(6, seed=1))


def normals(n, seed=0):
    """q(z|x) with independent coordinates, batch [n]."""
    rng = np.random.default_rng(seed)
    loc, scale = rng.standard_normal([n, 2]), np.exp(0.5 * rng.standard_normal([n, 2]))
    return tfd.MultivariateNormalDiag(loc.astype(np.float32), scale.astype(np.float32)), loc, scale


# ---- marginals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "independent"),
    [
        (tfd.MultivariateNormalDiag([1.0, 2.0], [3.0, 4.0]), True),
        (tfd.MultivariateNormalTriL([1.0, 2.0], [[3.0, 0.0], [2.4, 3.2]]), False),
        (tfd.Independent(tfd.Normal([1.0, 2.0], [3.0, 4.0]), 1), True),
    ],
)
def test_marginals_are_scipys(distribution, independent):
    found = marginals(distribution)
    z = np.float32([0.5, -1.0])
    np.testing.assert_allclose(
        found.distribution.log_prob(z), stats.norm.logpdf(z, [1, 2], [3, 4]), rtol=1e-5
    )
    assert found.independent == independent
    joint = distribution.log_prob(z) - tf.reduce_sum(found.distribution.log_prob(z))
    assert (abs(float(joint)) < 1e-5) == independent


def test_marginals_of_repeats_of_a_layers_output_and_of_the_unknown():
    repeats = marginals(tfd.Sample(tfd.Logistic(0.0, 2.0), 3))
    np.testing.assert_allclose(repeats.distribution.log_prob(1.0), tfd.Logistic(0.0, 2.0).log_prob(1.0))
    assert repeats.independent
    assert marginals(VAE.posterior(X)).distribution.batch_shape == [6, 2]
    assert marginals(tfd.VonMisesFisher([1.0, 0.0], 2.0)) is None
    assert marginals(tfd.Sample(tfd.MultivariateNormalDiag(tf.zeros(2)), 3)) is None


# ---- total correlation ---------------------------------------------------------------------------


def by_hand(loc, scale, z, weights):
    """log q(z) - sum_l log q(z_l) for z [B, L] and weights [B, B], by loops."""
    values = []
    for i, point in enumerate(z):
        log_each = stats.norm.logpdf(point, loc, scale)  # [B, L]
        log_w = np.log(weights[i])
        values.append(logsumexp(log_w + log_each.sum(1)) - logsumexp(log_w[:, None] + log_each, axis=0).sum())
    return np.array(values)


@pytest.mark.parametrize("n", [None, 4, 6, 100])
def test_total_correlation_is_the_hand_written_one(n):
    q, loc, scale = normals(6)
    z = q.sample(3, seed=(0, 1))
    size = max(n or 6, 6)
    own, other = 1 / size, (1 - 1 / size) / 5
    weights = np.full([6, 6], other) + (own - other) * np.eye(6)
    expected = np.array([by_hand(loc, scale, row, weights) for row in z.numpy()])
    np.testing.assert_allclose(total_correlation(q, z, num_examples=n), expected, rtol=1e-4, atol=1e-4)
    if size > 6:  # minibatch weighted sampling, whose densities are too small by nearly N / B
        wrong = [by_hand(loc, scale, row, np.full([6, 6], 1 / (6 * size))) for row in z.numpy()]
        assert np.abs(np.array(wrong) - expected).min() > 0.1


def test_density_from_a_batch_is_unbiased():
    """The mean over all batches of 3 out of 7 that hold x_0 is q(z) itself: no randomness."""
    _, loc, scale = normals(7)
    z = np.float32([0.3, -0.5])
    exact = np.exp(stats.norm.logpdf(z, loc, scale).sum(axis=1)).mean()
    batches = np.array([(0, *others) for others in itertools.combinations(range(1, 7), 2)])
    own, other = 1 / 7, (1 - 1 / 7) / 2
    weights = np.array([own, other, other])

    def density(batch):
        """q(z) at z, from the total correlation and the densities of the coordinates."""
        part = tfd.MultivariateNormalDiag(*(tf.constant(a[batch], tf.float32) for a in (loc, scale)))
        correlation = total_correlation(part, tf.tile(z[None, None], [1, 3, 1]), num_examples=7)[0, 0]
        return np.exp(correlation) * np.prod(weights @ stats.norm.pdf(z, loc[batch], scale[batch]))

    assert np.mean([density(batch) for batch in batches]) == pytest.approx(exact, rel=1e-4)


def test_total_correlation_of_a_correlated_posterior():
    """q(z) = N(0, I) at the exact posterior: near 0 with many examples. A biased log, so a tolerance."""
    model = LinearGaussian(noise=2.0)
    vae, x = model.vae(), model.sample(500, seed=1)
    q = vae.posterior(x)
    z = q.sample(1, seed=(0, 3))
    assert abs(float(tf.reduce_mean(total_correlation(q, z)))) < 0.05
    tril = tf.tile([[[1.0, 0.0], [0.8, 0.6]]], [2, 1, 1])
    alike = tfd.MultivariateNormalTriL(tf.zeros([2, 2]), tril)  # both the same: no bias
    found = total_correlation(alike, alike.sample(4000, seed=(0, 4))).numpy()[:, 0]
    assert mean_p_value(found, -0.5 * np.log(1 - 0.8**2)) > ALPHA
    assert mean_p_value(found, 0.0) < ALPHA


def test_every_normal_posterior_has_its_marginals():
    """A low-rank normal has those of the same normal by its covariance."""
    rng = np.random.default_rng(0)
    loc, scale, factor = (np.float32(rng.standard_normal(shape)) for shape in ([5, 3], [5, 3], [5, 3, 2]))
    low_rank = tfd.MultivariateNormalDiagPlusLowRankCovariance(loc, np.exp(scale), factor)
    same = tfd.MultivariateNormalTriL(loc, tf.linalg.cholesky(low_rank.covariance()))
    z = same.sample(2, seed=(0, 1))
    found, expected = total_correlation(low_rank, z), total_correlation(same, z)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert not marginals(low_rank).independent and np.abs(expected).max() > 0.1


def test_total_correlation_needs_marginals():
    q = tfd.VonMisesFisher([[1.0, 0.0]], 2.0)
    with pytest.raises(InputError, match="Use the posterior diagonal, tril"):
        total_correlation(q, tf.constant([[[1.0, 0.0]]]))


# ---- beta-TCVAE ----------------------------------------------------------------------------------


def test_beta_tc_with_beta_one_is_the_elbo():
    np.testing.assert_allclose(
        beta_tc(VAE, X, num_samples=3, seed=2, beta=1.0), elbo(VAE, X, num_samples=3, seed=2), rtol=1e-6
    )


def test_beta_tc_is_the_decomposition():
    """Mutual information, total correlation and dimension-wise KL, each by hand from the same draws."""
    beta, n = 5.0, 50
    terms = log_terms(VAE, X, seed=2)
    q, z = VAE.posterior(X), terms.z.numpy()[0].astype(np.float64)
    mean, covariance = q.mean().numpy(), q.covariance().numpy()
    weights = np.full([6, 6], (1 - 1 / n) / 5) + (1 / n - (1 - 1 / n) / 5) * np.eye(6)
    expected = []
    for i in range(6):
        log_q = [stats.multivariate_normal.logpdf(z[i], mean[j], covariance[j]) for j in range(6)]
        log_q_each = stats.norm.logpdf(z[i], mean, np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)))
        joint = logsumexp(np.log(weights[i]) + log_q)
        each = logsumexp(np.log(weights[i])[:, None] + log_q_each, axis=0)
        information, correlation = log_q[i] - joint, joint - each.sum()
        dimensions = (each - stats.norm.logpdf(z[i])).sum()
        log_likelihood = terms.log_likelihood.numpy()[0, i]
        expected.append(log_likelihood - information - beta * correlation - dimensions)
    ours = beta_tc(VAE, X, seed=2, beta=beta, num_examples=n)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    for other in (beta_tc(VAE, X, seed=2, beta=beta), beta_tc(VAE, X, seed=2, beta=1.0)):
        assert np.abs(other - expected).max() > 0.05


# ---- MMD -----------------------------------------------------------------------------------------


def mmd_by_hand(z, y):
    """Each example's part by loops, for z and y [B, L]."""

    def k(a, b):
        return 1 / (1 + np.sum((a - b) ** 2) / (2 * z.shape[1]))

    n = len(z)
    parts = []
    for i in range(n):
        own = np.mean([k(z[i], z[j]) for j in range(n) if j != i])
        prior = np.mean([k(y[i], y[j]) for j in range(n) if j != i])
        parts.append(own + prior - 2 * np.mean([k(z[i], y[j]) for j in range(n)]))
    return np.array(parts)


def test_squared_mmd_is_the_hand_written_one():
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal([2, 3, 7, 4]).astype(np.float32)
    expected = [mmd_by_hand(*pair) for pair in zip(z.astype(float), y.astype(float), strict=True)]
    np.testing.assert_allclose(squared_mmd(tf.constant(z), tf.constant(y)), expected, rtol=1e-4, atol=1e-6)


def test_squared_mmd_is_unbiased():
    """Zero for equal distributions, z-test over 4000 batches at `ALPHA`; others are caught."""
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal([2, 4000, 5, 2]).astype(np.float32)
    found = tf.reduce_mean(squared_mmd(z, y), axis=1).numpy()
    assert mean_p_value(found) > ALPHA
    assert mean_p_value(found + 2 / 5 - 2 * found / 5) < ALPHA  # what k(z_i, z_i) = 1 would add
    assert mean_p_value(tf.reduce_mean(squared_mmd(1.5 * z, y), axis=1).numpy()) < ALPHA


def test_a_single_example_has_no_discrepancy_and_no_correlation():
    """The last batch of an epoch may hold one example: both terms vanish, value and gradient."""
    q, _, _ = normals(1)
    z = q.sample(2, seed=(0, 1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        discrepancy, correlation = squared_mmd(z, 2 * z), total_correlation(q, z, num_examples=50)
    np.testing.assert_allclose(discrepancy, np.zeros([2, 1]), atol=1e-6)
    np.testing.assert_allclose(correlation, np.zeros([2, 1]), atol=1e-6)
    np.testing.assert_allclose(tape.gradient(discrepancy, z), np.zeros([2, 1, 2]), atol=1e-6)
    np.testing.assert_allclose(tape.gradient(correlation, z), np.zeros([2, 1, 2]), atol=1e-6)


def test_mmd_adds_to_the_elbo():
    np.testing.assert_array_equal(mmd(VAE, X, seed=2, mmd_weight=0.0), elbo(VAE, X, seed=2))
    base, beta = elbo(VAE, X, seed=2), elbo(VAE, X, seed=2, beta=0.2)
    one, two = (mmd(VAE, X, seed=2, mmd_weight=w) - base for w in (1.0, 2.0))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        mmd(VAE, X, seed=2, mmd_weight=1.0, beta=0.2) - beta, one, rtol=1e-3, atol=1e-5
    )


def test_mmd_is_zero_in_the_mean_at_the_exact_posterior():
    """There q(z) = p(z): z-test at `ALPHA` over fresh batches; with a shifted posterior, caught."""

    def penalties(vae):
        @tf.function(autograph=False)
        def penalty(x, seed):
            options = {"num_samples": 3, "seed": seed}
            return tf.reduce_mean(elbo(vae, x, **options) - mmd(vae, x, **options))

        x = tf.constant(MODEL.sample(1600, seed=3).reshape(200, 8, -1))
        return np.array([penalty(x[i], tf.constant(i)) for i in range(200)])

    assert mean_p_value(penalties(MODEL.vae())) > ALPHA
    assert mean_p_value(penalties(MODEL.vae(shift=1.0))) < ALPHA


def test_a_sample_of_a_batch_has_no_axis_for_its_coordinates():
    assert marginals(tfd.Sample(tfd.Normal(tf.zeros(3), 1.0), 3)) is None
    each = marginals(tfd.Sample(tfd.Normal(0.0, 1.0), 3))
    assert each is not None and each.independent
    assert marginals(tfd.Independent(tfd.Normal(tf.zeros([2, 3]), 1.0), 2)) is None
