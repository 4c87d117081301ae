"""The bound against a hand-written one, closed forms, and other estimators of the same gradient.

Every statistical test here has a false-positive rate of at most 1e-6 (`ALPHA`) and shows its power on
deliberately wrong variants.
"""

import dataclasses
import functools
import inspect

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import shared_vae
from linear_gaussian import LinearGaussian
from scipy import stats
from scipy.special import logsumexp
from statistics_helpers import ALPHA, mean_p_value, same_mean_p_value
from tensorflow_probability import distributions as tfd

from probvae import Training, elbo, iwae, log_weights, objectives
from probvae.config.choices import OBJECTIVES
from probvae.errors import InputError

LOG_2PI = np.log(2 * np.pi)
NORMALS = ("diagonal", "tril")  # the posteriors whose KL from the prior has a closed form


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
    vae = shared_vae()
    hand = HandWritten(vae, x)
    z = vae.posterior(x).sample(1, seed=(0, 5)).numpy()[0].astype(np.float64)
    ours = elbo(vae, x, seed=5).numpy()
    np.testing.assert_allclose(ours, hand.elbo(z), rtol=2e-6)
    for name, wrong in hand.wrong(z).items():
        assert np.abs(wrong / ours - 1).min() > 1e-3, name


def test_elbo_has_the_hand_written_ones_distribution(x):
    """Means by z-test and whole distributions by Kolmogorov-Smirnov, each at `ALPHA` / 2."""
    n, vae, rng = 4000, shared_vae(), np.random.default_rng(0)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vae", "name"),
    [("diagonal", name) for name in objectives.OBJECTIVES] + [("tril", "elbo"), ("tril", "beta_tc")],
    indirect=["vae"],
)
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


@pytest.mark.parametrize("posterior", NORMALS)
def test_reparameterized_gradient_is_the_score_functions(posterior):
    """Two unbiased estimators of one gradient; z-test over all parameters of q at `ALPHA`."""
    vae, n = shared_vae(posterior), 20_000
    x = tf.ones([1, 8, 8, 1])
    score = per_sample_gradients(vae, x, posterior, n, seed=1, how="score function")
    ours = per_sample_gradients(vae, x, posterior, n, seed=2, how="reparameterized")
    assert same_mean_p_value(ours, score) > ALPHA
    for how in ("half the KL", "z not reparameterized"):
        wrong = per_sample_gradients(vae, x, posterior, n, seed=2, how=how)
        assert same_mean_p_value(wrong, score) < ALPHA, how


@pytest.mark.parametrize("posterior", NORMALS)
def test_monte_carlo_kl_is_the_analytic_one(posterior, x):
    """Value and gradient by z-test at `ALPHA` each."""
    vae, n = shared_vae(posterior), 20_000
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
    wrong = per_sample_gradients(vae, one, posterior, n // 4, seed=3, how="KL without log q")
    assert mean_p_value(ours, gradient) > ALPHA
    assert mean_p_value(wrong, gradient) < ALPHA


PRIORS = {
    "diagonal": lambda: tfd.MultivariateNormalDiag(np.float32([0.3, -1, 2]), np.float32([0.5, 2, 1])),
    "triangular": lambda: tfd.MultivariateNormalTriL(
        np.float32([0.3, -1, 2]), np.float32([[0.5, 0, 0], [1, 2, 0], [-1, 0.3, 1]])
    ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_the_kl_of_a_low_rank_normal_is_that_of_the_same_normal_by_its_covariance(name):
    """Against `tfd`'s KL of triangular normals, value and gradient."""
    rng, p = np.random.default_rng(0), PRIORS[name]()
    loc, scale, factor = (
        tf.constant(rng.standard_normal(s), tf.float32) for s in ([5, 3], [5, 3], [5, 3, 2])
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([loc, scale, factor])
        q = tfd.MultivariateNormalDiagPlusLowRankCovariance(loc, tf.exp(scale), factor)
        same = tfd.MultivariateNormalTriL(loc, tf.linalg.cholesky(q.covariance()))
        found, expected = tfd.kl_divergence(q, p), tfd.kl_divergence(same, p)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for variable in (loc, scale, factor):
        np.testing.assert_allclose(
            tape.gradient(found, variable), tape.gradient(expected, variable), atol=1e-3
        )


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


# ---- options of the objectives -------------------------------------------------------------------


def test_options_are_what_the_functions_take():
    for name, objective in objectives.OBJECTIVES.items():
        entry = OBJECTIVES[name]
        keywords = set(inspect.signature(objective).parameters) - {"vae", "x", "num_samples", "seed", "order"}
        known = set(entry.options) - {"beta_warmup"} | ({"num_examples"} if entry.num_examples else set())
        assert keywords == known, name
        warms_up = "beta" in entry.options and not entry.mixes_elbo
        assert warms_up == ("beta_warmup" in entry.options)
        assert set(entry.options) <= {field.name for field in dataclasses.fields(Training)}


@pytest.mark.parametrize("name", [name for name, entry in OBJECTIVES.items() if entry.one_draw])
def test_with_one_draw_an_objective_is_another_one(name, vae, x):
    """In value, but for rounding; `Training` refuses it and names that one."""
    other = objectives.OBJECTIVES[OBJECTIVES[name].one_draw]
    found = objectives.OBJECTIVES[name](vae, x, num_samples=1, seed=3)
    np.testing.assert_allclose(found, other(vae, x, num_samples=1, seed=3), rtol=1e-5)


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_whole_batch_objectives_are_those_that_mix_examples(name, vae, x):
    """The value of an example changes with its neighbours, at the same draws, or it does not."""
    objective = tf.function(  # in a graph, where the values of x are not checked
        lambda x: objectives.OBJECTIVES[name](vae, x, num_samples=2, seed=5)[:2], autograph=False
    )
    values = [objective(tf.stack([x[0], x[1], last * x[2]])) for last in (1, 30, 300)]
    alone = all(np.allclose(value, values[0], rtol=1e-5) for value in values)
    assert alone != OBJECTIVES[name].whole_batch


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_extreme_posteriors_have_finite_values_and_gradients(name, x):
    vae = shared_vae()
    bias = vae.encoder.layers[-2].bias  # of mean and log-variance
    before = bias.numpy()
    for size, batch in ((-60, 3), (60, 3), (60, 1)):
        bias.assign(size * np.float32([1, -1, 1, 1]))
        with tf.GradientTape() as tape:
            value = objectives.OBJECTIVES[name](vae, x[:batch], num_samples=2, seed=1)
        gradients = tape.gradient(value, vae.trainable_variables)
        assert np.all(np.isfinite(value))
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    bias.assign(before)


def test_beta_weighs_the_rate_alone(x):
    """Against the hand-written terms at the same z; a beta on the other terms is caught."""
    vae, beta = shared_vae(), 0.3
    log_likelihood, log_prior, log_posterior = HandWritten(vae, x).terms(
        vae.posterior(x).sample(1, seed=(0, 5)).numpy()[0].astype(np.float64)
    )
    ours = elbo(vae, x, seed=5, beta=beta).numpy()
    np.testing.assert_allclose(ours, log_likelihood + beta * (log_prior - log_posterior), rtol=1e-5)
    for wrong in (
        beta * log_likelihood + log_prior - log_posterior,
        log_likelihood + beta * log_prior - log_posterior,
    ):
        assert np.abs(wrong - ours).min() > 1e-3
    kl = tfd.kl_divergence(vae.posterior(x), vae.prior)
    analytic = elbo(vae, x, seed=5, beta=beta, analytic_kl=True)
    np.testing.assert_allclose(analytic, log_likelihood - beta * kl.numpy(), rtol=1e-5)


def test_beta_of_one_changes_no_bit_and_a_tensor_will_do(vae, x):
    np.testing.assert_array_equal(elbo(vae, x, seed=5), elbo(vae, x, seed=5, beta=1.0))
    np.testing.assert_array_equal(elbo(vae, x, seed=5), log_weights(vae, x, seed=5)[0])
    by_tensor = tf.function(lambda b: elbo(vae, x, seed=5, beta=b))
    for beta in (0.0, 0.3, 1.0):
        found = by_tensor(tf.constant(beta))
        np.testing.assert_allclose(found, elbo(vae, x, seed=5, beta=beta), rtol=1e-5)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.25, 0.5, 2.0])
def test_renyi_is_the_hand_written_one(vae, x, alpha):
    log_w = log_weights(vae, x, num_samples=7, seed=3).numpy().astype(np.float64)
    by_hand = (logsumexp((1 - alpha) * log_w, axis=0) - np.log(7)) / (1 - alpha)
    ours = objectives.renyi(vae, x, num_samples=7, seed=3, alpha=alpha)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-5)
    if alpha not in (0.0, 0.5):
        swapped = (logsumexp(alpha * log_w, axis=0) - np.log(7)) / alpha
        assert np.abs(swapped - ours).max() > 1e-2


def test_renyi_has_iwae_and_elbo_as_limits_and_falls_with_alpha(vae, x):
    bounds = [objectives.renyi(vae, x, num_samples=7, seed=3, alpha=a) for a in (-2.0, 0, 0.5, 0.99, 1, 3)]
    np.testing.assert_allclose(bounds[1], iwae(vae, x, num_samples=7, seed=3))
    np.testing.assert_allclose(bounds[4], elbo(vae, x, num_samples=7, seed=3))
    np.testing.assert_allclose(bounds[3], bounds[4], rtol=0.01)
    assert np.all(np.diff(bounds, axis=0) < 0)


@pytest.mark.parametrize("alpha", [0.5, -0.5])
def test_renyi_is_log_p_x_less_the_closed_form_of_its_divergence(alpha):
    """At large K, whose bias is far below the test's resolution: z-test at `ALPHA`; the wrong sign is caught.

    For normal p(z|x) = N(a, P) and q = N(a + d, c P) in L dimensions, with m = 1 - alpha and
    s = alpha + m c (the variance of q's tilted product, over P):
    log E_q[(p(z|x) / q)^m] = -m alpha d' P^-1 d / (2 s) + L / 2 (m log c - log s).
    """
    model, shift, stretch = LinearGaussian(noise=2.0), 0.2, 1.2
    vae, x = model.vae(shift=shift, stretch=stretch), model.sample(400, seed=1)
    ours = objectives.renyi(vae, x, num_samples=500, seed=3, alpha=alpha) - model.marginal.logpdf(x)
    m, c = 1 - alpha, stretch**2
    s, d = alpha + m * c, np.full(2, shift)
    distance = d @ np.linalg.solve(model.covariance, d)
    expected = (-m * alpha * distance / (2 * s) + m * np.log(c) - np.log(s)) / m
    assert mean_p_value(ours.numpy(), expected) > ALPHA
    assert mean_p_value(ours.numpy(), -expected) < ALPHA


# ---- free bits -----------------------------------------------------------------------------------


def free_bits_by_hand(kl, log_likelihood, free):
    """Sum over dimensions of the larger of `free` and the batch's mean; kl [B, L]."""
    return log_likelihood.mean() - np.maximum(kl.mean(axis=0), free).sum()


def test_free_bits_is_the_hand_written_one(x):
    """In the batch's mean, one dimension below and one above; per-example and total maxima are caught."""
    vae = shared_vae()
    hand = HandWritten(vae, x)
    kl = 0.5 * (hand.mean**2 + np.exp(hand.logvar) - hand.logvar - 1)
    log_likelihood = objectives.log_terms(vae, x, num_samples=3, seed=2).log_likelihood.numpy().mean(axis=0)
    free = float(np.sort(kl.mean(axis=0)).mean())
    ours = objectives.free_bits(vae, x, num_samples=3, seed=2, free_bits=free, analytic_kl=True)
    expected = free_bits_by_hand(kl, log_likelihood, free)
    assert np.mean(ours) == pytest.approx(expected, rel=1e-5)
    below, above = np.argsort(kl.mean(axis=0))
    np.testing.assert_allclose(ours, log_likelihood - free - kl[:, above], rtol=1e-5)
    for wrong in (np.maximum(kl, free).sum(axis=1).mean(), max(kl.sum(axis=1).mean(), free * 2)):
        assert abs(log_likelihood.mean() - wrong - expected) > 1e-3
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(objectives.free_bits(vae, x, seed=2, free_bits=free, analytic_kl=True))
        loss -= tf.reduce_mean(objectives.log_terms(vae, x, seed=2).log_likelihood)
    bias = tape.gradient(loss, vae.encoder.layers[-2].bias).numpy().reshape(2, 2)  # mean and log-variance
    np.testing.assert_allclose(bias[:, below], 0, atol=1e-6)
    assert np.abs(bias[:, above]).min() > 1e-3


@pytest.mark.parametrize("posterior", NORMALS)
@pytest.mark.parametrize("analytic_kl", [False, True])
def test_free_bits_of_nothing_is_the_elbo_and_of_much_is_free(posterior, analytic_kl, x):
    vae = shared_vae(posterior)
    options = {"num_samples": 4, "seed": 2, "analytic_kl": analytic_kl}
    for beta in (1.0, 0.3):
        np.testing.assert_allclose(
            objectives.free_bits(vae, x, free_bits=0.0, beta=beta, **options),
            elbo(vae, x, beta=beta, **options),
            rtol=1e-5,
        )
    log_likelihood = tf.reduce_mean(objectives.log_terms(vae, x, num_samples=4, seed=2).log_likelihood, 0)
    np.testing.assert_allclose(
        objectives.free_bits(vae, x, free_bits=50.0, **options), log_likelihood - 100, rtol=1e-5
    )


def test_free_bits_of_dependent_coordinates_are_shared(x):
    """With `tril` the total rate is held to L times `free_bits`."""
    vae = shared_vae("tril")
    rate = tfd.kl_divergence(vae.posterior(x), vae.prior).numpy()
    log_likelihood = objectives.log_terms(vae, x, seed=2).log_likelihood[0]
    for free, expected in ((0.45 * rate.mean(), rate), (0.55 * rate.mean(), 1.1 * rate.mean())):
        ours = objectives.free_bits(vae, x, seed=2, free_bits=float(free), analytic_kl=True)
        np.testing.assert_allclose(ours, log_likelihood - expected, rtol=1e-5)


# ---- warm-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0, 0.25, 0.5, 0.75, 1, 1, 1]),
        ("cosine", [0, 0.5 - 0.5**1.5, 0.5, 0.5 + 0.5**1.5, 1, 1, 1]),
        ("cyclic", [0, 0.5, 1, 1, 0, 0.5, 1]),
    ],
)
def test_warmup(name, expected):
    warmup = functools.partial(objectives.WARMUPS[name], steps=1000)
    steps = tf.range(0, 1501, 250, tf.int64)
    found = [warmup(step) for step in steps]
    assert all(f.shape == [] and f.dtype == tf.float32 for f in found)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    compiled = tf.function(warmup)(tf.Variable(250, dtype=tf.int64))
    np.testing.assert_allclose(compiled, expected[1], atol=1e-6)


def test_warmup_at_many_steps_is_exact_and_of_no_steps_refused():
    assert float(objectives.WARMUPS["cyclic"](tf.constant(10**9 + 1, tf.int64), steps=4)) == 0.5
    for name in set(objectives.WARMUPS) - {"none"}:
        with pytest.raises(InputError, match="1 step or more; got 0"):
            objectives.WARMUPS[name](tf.constant(3), steps=0)
