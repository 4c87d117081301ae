"""Diagnostics against closed forms: normals, a linear-Gaussian VAE, posteriors that tell all or nothing.

Every statistical test here has a false-positive rate of at most 1e-6 (`ALPHA`) and shows its power on
deliberately wrong variants.
"""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae.evaluation import aggregation, latents
from probvae.evaluation import checks as evaluation_checks
from probvae.inference.estimates import Estimate, estimate
from probvae.objectives import bound

MODEL = LinearGaussian()
N = 1203  # two whole blocks and a remainder


@pytest.fixture(scope="module")
def data():
    return MODEL.sample(N, seed=5)


def vae_of(make_posterior, *, dim=2, prior=None):
    """A VAE on x [N, dim] whose q(z|x) is `make_posterior(x)`, with L = dim."""
    encoder = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((dim,)), tfpl.DistributionLambda(make_posterior, tfd.Distribution.sample)]
    )
    decoder = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((dim,)), tfpl.DistributionLambda(lambda z: tfd.MultivariateNormalDiag(z))]
    )
    return probvae.VAE(prior or tfd.MultivariateNormalDiag(tf.zeros(dim), tf.ones(dim)), encoder, decoder)


def normal(x, scale):
    return tfd.MultivariateNormalDiag(x, scale * tf.ones_like(x))


def p_value(ours: Estimate, truth: float) -> float:
    """Two-sided, from the standard error that the library itself states."""
    return 2 * stats.norm.sf(abs(ours.value - truth) / ours.standard_error)


def kl_from_unit_normal(mean, scale):
    return 0.5 * (mean**2 + scale**2 - 1 - 2 * np.log(scale))


def points(n=N, dim=2, seed=0):
    return np.random.default_rng(seed).standard_normal([n, dim]).astype(np.float32)


# ---- rate and distortion -------------------------------------------------------------------------


def exact_rate(x):
    mean = (x.astype(np.float64) - MODEL.bias) @ MODEL.weights @ MODEL.covariance / MODEL.noise**2
    _, log_det = np.linalg.slogdet(MODEL.covariance)
    return 0.5 * ((mean**2).sum(1) + np.trace(MODEL.covariance) - MODEL.latent - log_det)


def test_rate_is_exact_and_the_parts_add_up_to_the_marginal(data):
    """At the exact posterior rate + distortion is -log p(x): z-test of the distortion at `ALPHA`."""
    parts = latents.rate_distortion(MODEL.vae(), data, num_samples=3, seed=0)
    assert all(part.shape == (N,) and part.dtype == np.float64 for part in parts)
    np.testing.assert_allclose(parts.rate, exact_rate(data), rtol=1e-4, atol=1e-4)
    gap = parts.rate + parts.distortion + MODEL.marginal.logpdf(data)
    assert mean_p_value(gap) > ALPHA
    assert mean_p_value(gap + parts.rate) < ALPHA  # KL twice
    assert mean_p_value(gap - 0.8 * parts.distortion) < ALPHA  # mean over the 5 dimensions for sum
    assert np.all(parts.rate_error == 0)
    # The stated Monte Carlo error is that of the spread seen here.
    assert 0.9 < np.sqrt(np.mean(parts.distortion_error**2)) / gap.std() < 1.1


def test_rate_by_monte_carlo_where_there_is_no_closed_form():
    """z-test at `ALPHA`; without log q it fails."""

    def laplace(x):
        return tfd.Independent(tfd.Laplace(x, 0.5 * tf.ones_like(x)), 1)

    vae, x = vae_of(laplace), points()
    parts = latents.rate_distortion(vae, x, num_samples=20, seed=1)
    # E log q = -1 - log(2 b), E log p = -(mean^2 + 2 b^2 + log 2 pi) / 2, in each dimension.
    cross = 0.5 * (x.astype(np.float64) ** 2 + 2 * 0.5**2 + np.log(2 * np.pi))
    truth = (cross - 1 - np.log(2 * 0.5)).sum(axis=1)
    assert mean_p_value(parts.rate - truth) > ALPHA
    assert mean_p_value(parts.rate - cross.sum(axis=1)) < ALPHA
    assert np.all(parts.rate_error > 0)


def test_one_draw_states_no_monte_carlo_error(data):
    parts = latents.rate_distortion(MODEL.vae(), data[:7], seed=0)
    assert np.all(np.isnan(parts.distortion_error)) and np.all(np.isfinite(parts.distortion))


def test_images_of_any_number_and_type(x):
    vae = tiny_vae("tril")
    images = np.tile(x.numpy(), [101, 1, 1, 1])
    parts = latents.rate_distortion(vae, images.astype(np.uint8), seed=0)
    kl = tfd.kl_divergence(vae.posterior(x), vae.prior)
    np.testing.assert_allclose(parts.rate, np.tile(kl, 101), rtol=1e-5)
    again = latents.rate_distortion(vae, images, seed=0)
    np.testing.assert_array_equal(again.distortion, parts.distortion)
    log_likelihood = bound.log_terms(vae, x, num_samples=500, seed=1).log_likelihood.numpy()
    assert mean_p_value(parts.distortion.reshape(101, 5) + log_likelihood.mean(0)) > ALPHA


def test_compiled_once(monkeypatch, data):
    vae, calls = MODEL.vae(), []
    posterior = vae.posterior
    monkeypatch.setattr(vae, "posterior", lambda x: calls.append(1) or posterior(x))
    latents.rate_distortion(vae, data, num_samples=5, seed=0)
    assert len(calls) == 2  # one trace of each function, for three blocks of two sizes


@pytest.mark.parametrize("shape", [(3, 4), (3,), (0, 5)])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"shape \[N, 5\]; got|one example or more; its shape is"):
        latents.rate_distortion(MODEL.vae(), np.zeros(shape), seed=0)


def test_bits_per_dimension():
    """28 x 28 pixels at 1 bit are 784 log 2 nats."""
    bits = latents.bits_per_dimension(np.array([-784 * np.log(2), -392 * np.log(2)]), (28, 28, 1))
    np.testing.assert_allclose(bits, [1.0, 0.5], rtol=1e-15)


def test_estimate_covers_the_truth():
    """95% intervals over 2,000 simulations: binomial test at `ALPHA`, half the error is caught."""
    samples = np.random.default_rng(0).exponential(size=[2000, 400])
    means = np.array([estimate(row) for row in samples])
    z = (means[:, 0] - 1) / means[:, 1]

    def covered(factor):
        return stats.binomtest(int(np.sum(np.abs(z) < 1.96 * factor)), len(z), 0.945).pvalue

    assert covered(1.0) > ALPHA
    assert covered(0.5) < ALPHA
    assert np.isnan(estimate(np.ones(1)).standard_error)


# ---- latent dimensions ---------------------------------------------------------------------------


def test_kl_per_dimension_of_a_diagonal_posterior():
    scale, x = np.array([0.3, 2.0], np.float32), points()
    vae = vae_of(lambda x: normal(x, scale))
    kl = latents.kl_per_dimension(vae, x)
    truth = kl_from_unit_normal(x.astype(np.float64), scale.astype(np.float64))
    np.testing.assert_allclose(kl.mean, truth.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(kl.standard_error, truth.std(axis=0, ddof=1) / np.sqrt(N), rtol=1e-5)
    assert kl.exact
    np.testing.assert_allclose(kl.mean.sum(), latents.rate_distortion(vae, x, seed=0).rate.mean(), rtol=1e-5)


def test_kl_per_dimension_of_a_correlated_posterior_leaves_out_the_total_correlation(data):
    vae = MODEL.vae()
    kl = latents.kl_per_dimension(vae, data)
    _, log_det = np.linalg.slogdet(MODEL.covariance)
    total_correlation = 0.5 * (np.log(np.diag(MODEL.covariance)).sum() - log_det)
    assert kl.exact and total_correlation > 0.01
    np.testing.assert_allclose(kl.mean.sum(), exact_rate(data).mean() - total_correlation, rtol=1e-4)


@pytest.mark.parametrize(
    "prior",
    [
        tfd.Independent(tfd.Normal(tf.zeros(2), tf.ones(2)), 1),
        tfd.Sample(tfd.Normal(0.0, 1.0), 2),
        tfd.MultivariateNormalTriL(tf.zeros(2), tf.eye(2)),
    ],
    ids=lambda prior: prior.name,
)
def test_kl_per_dimension_takes_every_normal(prior):
    vae = vae_of(lambda x: tfd.Independent(tfd.Normal(x, 0.5 * tf.ones_like(x)), 1), prior=prior)
    kl = latents.kl_per_dimension(vae, points())
    assert kl.exact
    np.testing.assert_allclose(kl.mean, kl_from_unit_normal(points(), 0.5).mean(axis=0), rtol=1e-5)


def flow(x):
    """exp of a normal, whose moments TFP does not know."""
    return tfd.TransformedDistribution(normal(x, 0.5), tfb.Exp())


def test_kl_per_dimension_from_samples_is_a_lower_bound():
    """The normal with the log-normal's moments, by z-test over examples at `ALPHA`; see the power below."""
    vae, x = vae_of(flow), 0.1 * points()
    with pytest.raises(NotImplementedError):
        vae.posterior(x).mean()
    kl = latents.kl_per_dimension(vae, x, num_samples=2000, seed=0)
    assert not kl.exact
    location = x.astype(np.float64)
    mean, variance = np.exp(location + 0.125), np.exp(2 * location + 0.25) * np.expm1(0.25)
    matched = kl_from_unit_normal(mean, np.sqrt(variance)).mean(axis=0)
    entropy = location + 0.5 * np.log(2 * np.pi * np.e * 0.25)
    exact = (0.5 * (mean**2 + variance + np.log(2 * np.pi)) - entropy).mean(axis=0)
    np.testing.assert_allclose(kl.mean, matched, rtol=0.01)
    assert np.all(kl.mean < 0.99 * exact)


def test_kl_per_dimension_refuses_a_prior_that_is_not_normal():
    prior = tfd.Independent(tfd.Laplace(tf.zeros(2), tf.ones(2)), 1)
    with pytest.raises(NotImplementedError, match=r"needs a normal prior; got .*Laplace"):
        latents.kl_per_dimension(vae_of(lambda x: normal(x, 1.0), prior=prior), points())


def test_active_units_finds_the_dimension_that_ignores_x():
    vae = vae_of(lambda x: normal(x * [1.0, 0.09, 0.2, 0.0], 0.5), dim=4)
    x = points(dim=4)
    units = latents.active_units(vae, x)
    assert units.mask.tolist() == [True, False, True, False] and units.number == 2
    np.testing.assert_allclose(
        units.variances, (x * [1.0, 0.09, 0.2, 0.0]).var(axis=0, ddof=1), rtol=1e-5, atol=1e-12
    )
    assert abs(units.standard_errors[0] / np.sqrt(2 / N) - 1) < 0.2  # of a normal's variance
    assert latents.active_units(vae, x, threshold=0.005).number == 3
    with pytest.raises(ValueError, match="x must hold 2 examples or more; got 1"):
        latents.active_units(vae, x[:1])


def test_active_units_from_samples_are_not_active_by_their_noise(eager):
    """Four draws of variance s^2 add s^2 / 4, far above the threshold, to a posterior that ignores x."""
    vae, x = vae_of(lambda x: flow(x * [0.0, 1.0])), points()
    units = latents.active_units(vae, x, num_samples=4, threshold=0.02, seed=0)
    noise = latents.posterior_moments(vae, x, num_samples=4, seed=0).mean.var(axis=0)
    assert units.mask.tolist() == [False, True] and noise[0] > 0.05


def test_deviations_from_few_samples_are_those_from_many(eager):
    """Of two draws, the variance would be half as large if it were divided by two."""
    vae, x = vae_of(flow), points()
    few, many = (latents.posterior_moments(vae, x, num_samples=n, seed=0).stddev ** 2 for n in (2, 100))
    ratio = few / many
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(ratio.size) < 0.45


# ---- the aggregate posterior ---------------------------------------------------------------------


def aggregate_by_hand(mean, scale, z):
    """The mean over all j, and over j != i, of q(z_i|x_j) for equal normals, in logs, by scipy."""
    log_q = stats.norm.logpdf(z[:, None], mean[None], scale).sum(axis=2)
    everyone = np.logaddexp.reduce(log_q, axis=1) - np.log(len(z))
    np.fill_diagonal(log_q, -np.inf)
    return everyone, np.logaddexp.reduce(log_q, axis=1) - np.log(len(z) - 1)


def brackets(low: Estimate, high: Estimate, truth: float) -> bool:
    """Whether low <= truth <= high in expectation, by two one-sided z-tests at `ALPHA` / 2 each."""
    excess = (low.value - truth) / low.standard_error, (truth - high.value) / high.standard_error
    return bool(stats.norm.sf(max(excess)) > ALPHA / 2)


@pytest.fixture(scope="module")
def unshifted(data):
    """The aggregate of the exact posterior, from two draws for each example."""
    return aggregation.aggregate_posterior(MODEL.vae(), data, num_samples=2, seed=0)


def test_aggregate_posterior_of_the_exact_posterior_is_the_prior(data, unshifted):
    """I(x; z) = -log det P / 2; the marginal KL is 0, and L shift^2 / 2 for a shifted posterior."""
    _, log_det = np.linalg.slogdet(MODEL.covariance)
    information = -0.5 * log_det
    shifted = aggregation.aggregate_posterior(MODEL.vae(shift=1.0), data, num_samples=2, seed=0)
    for shift, (_, low, high, kl_low, kl_high) in ((0.0, unshifted), (1.0, shifted)):
        assert brackets(low, high, information)
        assert not brackets(low, high, 0.5 * information)
        assert not brackets(low, high, information + 0.5 * 2 * np.log(2 * np.pi * np.e))  # missing log q
        assert brackets(kl_low, kl_high, shift**2)
        assert not brackets(kl_low, kl_high, 1 - shift**2)
        assert not brackets(kl_low, kl_high, information)  # the rate for the marginal KL
        assert high.value - low.value < 0.15
    assert p_value(unshifted.rate, exact_rate(data).mean()) > ALPHA
    assert p_value(unshifted.rate, 0.5 * exact_rate(data).mean()) < ALPHA


def test_aggregate_posterior_adds_up_and_its_bounds_are_in_order(unshifted):
    low, high = unshifted.mutual_information_lower.value, unshifted.mutual_information_upper.value
    assert low < high and unshifted.marginal_kl_lower.value < unshifted.marginal_kl_upper.value
    np.testing.assert_allclose(low + unshifted.marginal_kl_upper.value, unshifted.rate.value, rtol=1e-9)
    np.testing.assert_allclose(high + unshifted.marginal_kl_lower.value, unshifted.rate.value, rtol=1e-9)


def test_aggregate_posterior_is_the_one_by_hand():
    """Other draws of the same two estimators at N = 1203, remainder block and all: z-test at `ALPHA`."""
    x, rng = points(), np.random.default_rng(1)
    result = aggregation.aggregate_posterior(vae_of(lambda x: normal(x, 0.05)), x, num_samples=4, seed=0)
    z = x + 0.05 * rng.standard_normal(x.shape)
    own = stats.norm.logpdf(z, x, 0.05).sum(axis=1)
    everyone, others = aggregate_by_hand(x, 0.05, z)
    hand = {"lower": estimate(own - everyone), "upper": estimate(own - others)}
    ours = {"lower": result.mutual_information_lower, "upper": result.mutual_information_upper}
    for a in ours:
        for b in hand:
            error = np.hypot(ours[a].standard_error, hand[b].standard_error)
            p = 2 * stats.norm.sf(abs(ours[a].value - hand[b].value) / error)
            assert p > ALPHA if a == b else p < ALPHA


def test_mutual_information_of_a_posterior_that_ignores_x_is_zero():
    """Exactly, whatever N: the mean is over N in the one and over N - 1 in the other."""
    vae = vae_of(lambda x: normal(0 * x, 2.0))
    for n in (2, 501):
        result = aggregation.aggregate_posterior(vae, points(n), seed=0)
        np.testing.assert_allclose(result.mutual_information_lower.value, 0, atol=1e-5)
        np.testing.assert_allclose(result.mutual_information_upper.value, 0, atol=1e-5)
    with pytest.raises(ValueError, match="x must hold 2 examples or more; got 1"):
        aggregation.aggregate_posterior(vae, points(1), seed=0)


def test_mutual_information_cannot_pass_log_n():
    """Posteriors that lie apart tell x from x': the lower bound is log N, the truth and the upper more."""
    vae = vae_of(lambda x: normal(x, 1e-4))
    x = 10 * np.arange(501, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    result = aggregation.aggregate_posterior(vae, x, seed=0)
    np.testing.assert_allclose(result.mutual_information_lower.value, np.log(501), rtol=1e-12)
    assert result.mutual_information_upper.value > 1e6


# ---- draws against data, and labels --------------------------------------------------------------


def test_predictive_check_passes_the_models_own_data_and_catches_other_data(data):
    """Four Kolmogorov-Smirnov tests, at `ALPHA` / 4 each; a shift by one unit, or twice the noise, fails."""
    vae = MODEL.vae()

    def p_values(x, **options):
        checks = evaluation_checks.predictive_check(vae, x, num_draws=1101, seed=0, **options)
        return {name: check.p_value for name, check in checks.items()}

    assert list(p_values(data)) == list(evaluation_checks.STATISTICS)
    assert min(p_values(data).values()) > ALPHA / 4
    assert p_values(data + 1)["mean"] < ALPHA
    noisy = data + 2 * np.random.default_rng(0).standard_normal(data.shape)
    assert p_values(noisy)["roughness"] < ALPHA and p_values(noisy)["spread"] < ALPHA
    own = {"first": lambda x: x[:, 0]}
    assert p_values(data, statistics=own)["first"] > ALPHA
    assert p_values(data - [1.5, 0, 0, 0, 0], statistics=own)["first"] < ALPHA


def test_predictive_check_reports_both_means_and_uniform_quantiles(data):
    """The model's mean and the quantiles' uniformity, each at `ALPHA`."""
    check = evaluation_checks.predictive_check(MODEL.vae(), data, num_draws=2000, seed=1)["mean"]
    np.testing.assert_allclose(check.data.value, data.mean(), rtol=1e-5)
    assert p_value(check.model, MODEL.bias.mean()) > ALPHA
    assert p_value(check.model, MODEL.bias.sum()) < ALPHA
    assert check.quantiles.shape == (N,)
    assert stats.ks_2samp(check.quantiles, np.linspace(0, 1, 2000), method="asymp").pvalue > ALPHA
    far = evaluation_checks.predictive_check(MODEL.vae(), data + 50, num_draws=2000, seed=1)["mean"]
    assert far.quantiles.min() == 1 and far.distance == 1


def test_statistics_of_images_by_hand():
    image = np.zeros([2, 2, 2, 1])
    image[0, 0] = 1  # a row on, the other off
    values = {name: statistic(image).tolist() for name, statistic in evaluation_checks.STATISTICS.items()}
    assert values == {"mean": [0.5, 0], "number_on": [2, 0], "spread": [0.5, 0], "roughness": [0.5, 0]}


def test_ties_count_half():
    check = evaluation_checks._compare(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(check.quantiles, [0.125, 0.625, 1.0])
    np.testing.assert_allclose(check.distance, 1 / 3)


def test_labels_of_blobs_are_guessed_and_random_labels_are_not():
    """Chance, by binomial tests at `ALPHA` / 2 each."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 1200)
    codes = rng.standard_normal([1200, 3]) + 20 * np.eye(4, 3)[labels]
    half = slice(0, 600), slice(600, 1200)

    def accuracy(labels):
        (train, test) = ((codes[part], labels[part]) for part in half)
        return evaluation_checks.label_accuracy(*train, *test)

    good = accuracy(labels)
    assert good.nearest_neighbours.value == good.linear_probe.value == 1 and good.majority.value < 0.35
    bad = accuracy(rng.permutation(labels))
    for share, error in bad[:2]:
        assert stats.binomtest(round(600 * share), 600, 0.25).pvalue > ALPHA / 2
        np.testing.assert_allclose(error, np.sqrt(share * (1 - share) / 600))
    assert stats.binomtest(600, 600, 0.25).pvalue < ALPHA / 2


def test_the_two_guessers_differ_where_they_should():
    """A ring around a disc: neighbours know, a straight line cannot (false-positive rate zero: no draws)."""
    angle = np.linspace(0, 40 * np.pi, 400)
    radius = np.where(np.arange(400) % 2, 5.0, 1.0)
    codes = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    labels = np.arange(400) % 2
    result = evaluation_checks.label_accuracy(codes[:300], labels[:300], codes[300:], labels[300:])
    assert result.nearest_neighbours.value == 1 and result.linear_probe.value < 0.7
