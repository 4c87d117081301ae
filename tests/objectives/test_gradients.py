"""The gradients of stl, dreg and chi: by hand, against closed forms, and against other estimators.

Every statistical test here has a false-positive rate of at most 1e-6 (`ALPHA`).
"""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from linear_gaussian import LinearGaussian
from marked_cases import cases
from statistics_helpers import ALPHA, mean_p_value, same_mean_p_value
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
from probvae.objectives.bound import elbo, log_terms, stl
from probvae.objectives.gradients import path_log_prob, scale_path
from probvae.objectives.importance_weighted import chi, dreg, iwae
from probvae.objectives.registry import OBJECTIVES
from probvae.posteriors import POSTERIORS

MODEL = LinearGaussian(noise=2.0)  # so much noise that q and p(z|x) overlap in the tests below
VAE = MODEL.vae(shift=0.2, stretch=1.3)
X = MODEL.bias[None].astype(np.float32)  # one example, whose p(z|x) is centred at 0


def flow_head(latent_dim=2):
    """A posterior with variables of its own, whose log_prob at its own draw comes from a cache."""
    skew = tf.Variable([0.4, -0.3], name="skew")
    tails = tf.Variable([1.2, 0.8], name="tails")

    def head(params):
        normal = tfd.MultivariateNormalDiag(params[..., :2], tf.exp(params[..., 2:4]))
        return tfd.TransformedDistribution(normal, tfb.SinhArcsinh(skew, tails))

    return head, 4, [skew, tails]


def head_of(name):
    """A distribution layer, the size of its parameters, and its own variables."""
    if name == "flow":
        return flow_head()
    dense, layer = POSTERIORS[name](2, seed=0)
    return layer, dense.units, list(layer.trainable_variables)


def posterior_of(name, n):
    head, size, variables = head_of(name)
    params = tf.tile(0.3 * np.random.default_rng(1).standard_normal([1, size]).astype(np.float32), [n, 1])
    return head, params, variables


def model(q, likelihood=VAE.likelihood, prior=VAE.prior):
    """What an objective asks of a model, with a q(z|x) that is given."""
    return SimpleNamespace(posterior=lambda x: q, likelihood=likelihood, prior=prior)


def gradient(objective, head, params, *, num_samples, seed):
    """Gradient of the objective at `X` with respect to q's parameters, [n, P]."""
    with tf.GradientTape() as tape:
        tape.watch(params)
        x = tf.tile(X, [len(params), 1])
        value = objective(model(head(params)), x, num_samples=num_samples, seed=seed)
    return tape.gradient(value, params).numpy()


NAMES = [*POSTERIORS, "flow"]


# ---- the two tools -------------------------------------------------------------------------------


LONG = dict.fromkeys(("iaf", "spline"), "test_path_log_prob_is_log_prob_with_the_gradient_of_z_alone[flow]")


@pytest.mark.parametrize("name", cases(NAMES, long=LONG))
def test_path_log_prob_is_log_prob_with_the_gradient_of_z_alone(name):
    head, params, variables = posterior_of(name, 3)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(params)
        q = head(params)
        z = q.sample(2, seed=(0, 1))
        tape.watch(z)
        ours = path_log_prob(q, z)
        z_copy = z + 0.0  # not the tensor that the cache knows
        plain = q.log_prob(z_copy)
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
    through_params = tape.gradient(plain, params, output_gradients=tf.ones_like(plain))
    np.testing.assert_allclose(tape.gradient(ours, z), tape.gradient(plain, z_copy), rtol=1e-4, atol=1e-4)
    # What is left with respect to the parameters is the path, (d log q / d z) (d z / d parameters).
    path = tape.gradient(z, params, output_gradients=tape.gradient(plain, z_copy))
    np.testing.assert_allclose(tape.gradient(ours, params), path, rtol=1e-4, atol=1e-4)
    assert np.abs(through_params - path).max() > 0.1  # the score, which is left out
    for variable in variables:
        expected = tape.gradient(z, variable, output_gradients=tape.gradient(plain, z_copy))
        ours_to_it = tape.gradient(ours, variable)
        np.testing.assert_allclose(ours_to_it, expected, rtol=1e-3, atol=1e-4)


def test_path_log_prob_is_not_silent_about_draws_without_gradient():
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros([1, 2])), tfd.MultivariateNormalDiag(tf.zeros([1, 2, 2]))
    )
    with pytest.raises(InputError, match="whose draws are reparameterized"):
        stl(model(mixture), tf.zeros([1, 5]), seed=0)


def test_path_log_prob_of_a_flat_density_has_gradient_zero():
    q = tfd.Independent(tfd.Uniform(tf.zeros([1, 2]), 2.0), 1)
    z = tf.constant([[0.5, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(z)
        log_q = path_log_prob(q, z)
    np.testing.assert_array_equal(tape.gradient(log_q, z), np.zeros([1, 2]))


def test_scale_path_reads_the_scale_when_the_gradient_is_taken():
    z = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    scales = []
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = scale_path(lambda: scales[0])(z)
        loss = tf.reduce_sum(y**2)
    scales.append(tf.constant([10.0, -1.0]))
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(tape.gradient(loss, z), [[20, 40], [-6, -8]])


COMPILED = [("flow", stl), ("flow", dreg), ("flow", chi), ("iaf", dreg)]
FLOW = "test_the_same_gradient_eager_compiled_and_in_a_compiled_loop[flow-dreg]"


@pytest.mark.parametrize(
    ("name", "objective"), cases(COMPILED, slow=COMPILED[::2], long={("iaf", dreg): FLOW})
)
def test_the_same_gradient_eager_compiled_and_in_a_compiled_loop(name, objective):
    """As the training step takes it: tape and objective in the body of a `tf.while_loop`."""
    head, params, variables = posterior_of(name, 3)
    x = tf.constant(MODEL.sample(3, seed=1))

    def step(params, seed):
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = tf.reduce_mean(objective(model(head(params)), x, num_samples=4, seed=seed))
        return tape.gradient(value, [params, *variables])

    @tf.function(autograph=False)
    def looped(params):
        zeros = [tf.zeros_like(v) for v in [params, *variables]]
        return tf.while_loop(
            lambda i, _: i < 2,
            lambda i, total: (i + 1, [a + b for a, b in zip(total, step(params, i), strict=True)]),
            (tf.constant(0), zeros),
        )[1]

    @tf.function(autograph=False)
    def value(params):  # the tape outside of the compiled function
        return tf.reduce_mean(objective(model(head(params)), x, num_samples=4, seed=0))

    eager = [step(params, tf.constant(i)) for i in range(2)]
    with tf.GradientTape() as tape:
        tape.watch(params)
        outside = value(params)
    for a, b in zip(tape.gradient(outside, [params, *variables]), eager[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    for total, *parts in zip(looped(params), *eager, strict=True):
        np.testing.assert_allclose(total, sum(parts), rtol=1e-3, atol=1e-5)
        assert np.abs(parts[0] - parts[1]).max() > 1e-4


# ---- values and the generative side --------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs"), [(stl, elbo), (dreg, iwae), (chi, iwae)])
@pytest.mark.parametrize("name", ["diagonal", "flow"])
def test_value_and_generative_gradient_are_the_plain_ones(ours, theirs, name):
    """Decoder and a learned prior see no difference: no randomness, as the draws are the same."""
    head, params, _ = posterior_of(name, 5)
    x = tf.constant(MODEL.sample(5, seed=1))
    prior = tfd.MultivariateNormalDiag(tf.Variable([0.3, -0.2]), tf.Variable([1.2, 0.7]))
    variables = [*VAE.decoder.trainable_variables, *prior.trainable_variables]
    found = []
    for objective in (ours, theirs):
        with tf.GradientTape() as tape:
            value = objective(model(head(params), prior=prior), x, num_samples=4, seed=2)
        found.append([value, *tape.gradient(value, variables)])
    assert len(variables) == 4
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_stl_weighs_the_rate_by_beta():
    x = MODEL.sample(5, seed=1)
    np.testing.assert_allclose(stl(VAE, x, seed=2, beta=0.3), elbo(VAE, x, seed=2, beta=0.3), rtol=1e-5)
    assert np.all(np.abs(stl(VAE, x, seed=2, beta=0.3) - stl(VAE, x, seed=2)) > 1e-3)


# ---- the encoder's gradient by hand --------------------------------------------------------------


def by_hand(params, k, seed):
    """w normalized [K], and the path gradient of log w with respect to q's mean, [K, 2], in float64.

    For q = N(m, diag(s^2)): d log w / d z = W'(x - W z - b) / noise^2 - z + (z - m) / s^2, and d z / d m = I.
    """
    mean, scale = params[0, :2].numpy().astype(float), np.exp(params[0, 2:4].numpy() / 2).astype(float)
    z = POSTERIORS["diagonal"](2, seed=0)[-1](params).sample(k, seed=seed).numpy()[:, 0].astype(float)
    residual = X[0] - z @ MODEL.weights.T - MODEL.bias
    slope = residual @ MODEL.weights / MODEL.noise**2 - z + (z - mean) / scale**2
    log_w = -0.5 * np.sum(residual**2, 1) / MODEL.noise**2 - 0.5 * np.sum(z**2, 1)
    log_w += 0.5 * np.sum(((z - mean) / scale) ** 2, 1)
    return np.exp(log_w - log_w.max()), slope


@pytest.mark.parametrize(
    ("objective", "weights"),
    [
        (stl, lambda w: np.full_like(w, 1 / len(w))),
        (dreg, lambda w: (w / w.sum()) ** 2),
        (chi, lambda w: w**2 / np.sum(w**2)),
        (functools.partial(chi, order=3), lambda w: 2 * w**3 / np.sum(w**3)),
    ],
)
def test_encoder_gradient_is_the_formula(objective, weights):
    """At the same draws, so without randomness; DReG with w in place of w^2, say, is caught."""
    head, params, _ = posterior_of("diagonal", 1)
    w, slope = by_hand(params, 6, seed=(0, 3))
    found = gradient(objective, head, params, num_samples=6, seed=3)
    np.testing.assert_allclose(found[0, :2], weights(w) @ slope, rtol=2e-4, atol=1e-5)
    for wrong in (w / w.sum(), np.full_like(w, 1 / 6), (w / w.sum()) ** 2, w**2 / np.sum(w**2)):
        if not np.allclose(wrong, weights(w)):
            assert np.abs((wrong - weights(w)) @ slope).max() > 0.01


def test_stl_gradient_is_zero_at_the_exact_posterior():
    """The ELBO's own gradient there has mean zero and a variance."""
    vae, x = MODEL.vae(), tf.constant(MODEL.sample(20, seed=1))
    sizes = {}
    for objective in (stl, elbo, dreg, iwae):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(objective(vae, x, num_samples=3, seed=0))
        sizes[objective] = float(tf.linalg.global_norm(tape.gradient(value, vae.encoder.trainable_variables)))
    assert sizes[stl] < 1e-4 and sizes[dreg] < 1e-4
    assert sizes[elbo] > 0.1 and sizes[iwae] > 0.1


@pytest.mark.parametrize("order", [1.5, 2.0])
def test_chi_with_one_draw_is_stl(order):
    head, params, _ = posterior_of("tril", 4)
    ours = gradient(functools.partial(chi, order=order), head, params, num_samples=1, seed=3)
    theirs = gradient(stl, head, params, num_samples=1, seed=3)
    np.testing.assert_allclose(ours, (order - 1) * theirs, rtol=1e-4, atol=1e-5)


def test_chi_needs_an_order_above_one():
    with pytest.raises(InputError, match=r"order must be a finite number above 1; got 1\.0"):
        chi(VAE, MODEL.sample(2, seed=1), seed=0, order=1.0)


# ---- the encoder's gradient in the mean ----------------------------------------------------------


COSTLY = ("mixture", "iaf", "spline", "von_mises_fisher")  # dreg and stl take the same path through these
STL_LONG = {
    (stl, elbo, 1, name): f"test_gradient_has_the_plain_estimators_mean[dreg-iwae-3-{name}]"
    for name in COSTLY
}
ESTIMATORS = [(*pair, name) for pair in ((stl, elbo, 1), (dreg, iwae, 3)) for name in NAMES]


@pytest.mark.parametrize(
    ("ours", "theirs", "k", "name"),
    cases(ESTIMATORS, slow=[(dreg, iwae, 3, name) for name in COSTLY], long=STL_LONG),
)
def test_gradient_has_the_plain_estimators_mean(name, ours, theirs, k):
    """Two unbiased estimates with independent draws: z-test over all parameters of q at `ALPHA`.

    DReG with w in place of w^2 is caught.
    """
    n = 10_000 if name in ("diagonal", "tril", "flow") else 2000
    head, params, _ = posterior_of(name, n)
    plain = gradient(theirs, head, params, num_samples=k, seed=1)
    found = gradient(ours, head, params, num_samples=k, seed=2)
    assert same_mean_p_value(found, plain) > ALPHA

    def wrong(vae, x, *, num_samples, seed):
        log_w = log_terms(vae, x, num_samples=num_samples, seed=seed, path=tf.identity).log_weights
        return tf.reduce_logsumexp(log_w, axis=0)

    if ours is dreg:
        wrong_gradient = gradient(wrong, head, params, num_samples=k, seed=2)
        assert same_mean_p_value(wrong_gradient, plain) < ALPHA


def test_dreg_is_unbiased_where_the_prior_depends_on_the_encoder():
    """As a VampPrior does: that part has the gradient of iwae. z-test at `ALPHA`; with w^2 there, caught."""
    n = 10_000
    params = tf.tile([[0.3, -0.4, -0.5, 0.2]], [n, 1])
    head = POSTERIORS["diagonal"](2, seed=0)[-1]

    def found(objective, seed, squared=False):
        with tf.GradientTape() as tape:
            tape.watch(params)
            prior = tfd.MultivariateNormalDiag(2 * params[:, :2], tf.ones(2))  # p(z) from q's parameters
            vae = model(head(params), prior=prior)
            value = objective(vae, tf.tile(X, [n, 1]), num_samples=3, seed=seed)
            if squared:
                terms = log_terms(vae, tf.tile(X, [n, 1]), num_samples=3, seed=seed, path=tf.identity)
                w = tf.stop_gradient(tf.nn.softmax(terms.log_weights, axis=0))
                value = tf.reduce_sum(w**2 * terms.log_weights, axis=0)
        return tape.gradient(value, params).numpy()

    assert same_mean_p_value(found(dreg, 1), found(iwae, 2)) > ALPHA
    assert same_mean_p_value(found(dreg, 1, squared=True), found(iwae, 2)) < ALPHA


def test_chi_descends_the_chi_upper_bound():
    """Its mean gradient is the closed form's, z-test at `ALPHA`; those of stl and dreg are not.

    For normal p(z|x) = N(a, P) and q = N(a + d, c P), the gradient of CUBO_2 with respect to q's mean is
    ((2 c - 1) P)^-1 d. The estimate's bias, of order 1 / K, is far below the test's resolution.
    """
    n, k, shift, stretch = 300, 500, 0.2, 1.3
    split = VAE.encoder_parts
    params = split.network(tf.tile(X, [n, 1]))
    expected = -np.linalg.solve((2 * stretch**2 - 1) * MODEL.covariance, np.full(2, shift))

    def p_value(objective):
        found = gradient(objective, split.head, params, num_samples=k, seed=4)
        return mean_p_value(found[:, :2], expected)

    assert p_value(chi) > ALPHA
    assert p_value(stl) < ALPHA
    assert p_value(dreg) < ALPHA


def test_stl_has_less_variance_than_elbo_near_the_exact_posterior():
    split = MODEL.vae(shift=0.02, stretch=1.02).encoder_parts
    params = split.network(tf.tile(X, [1000, 1]))
    spread = {}
    for objective in (stl, elbo):
        found = gradient(objective, split.head, params, num_samples=1, seed=5)
        spread[objective] = found.std(axis=0).max()
    assert spread[stl] < 0.2 * spread[elbo]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_of_every_objective_reaches_encoder_decoder_and_prior(name):
    """With a prior that has variables and a live dependence on one; no gradient is None or infinite."""
    vae = MODEL.vae(shift=0.2, stretch=1.3)
    scale = tf.Variable([0.1, -0.2])
    prior = tfd.MultivariateNormalDiag(
        tf.Variable([0.3, -0.2]), tfp.util.DeferredTensor(scale, tf.exp, shape=[2])
    )
    x = tf.constant(MODEL.sample(4, seed=1))
    variables = [*vae.trainable_variables, *prior.trainable_variables]
    assert len(variables) == 6
    with tf.GradientTape() as tape:
        value = OBJECTIVES[name](model(vae.posterior(x), vae.likelihood, prior), x, num_samples=3, seed=1)
    for found in tape.gradient(value, variables):
        assert np.all(np.isfinite(found)) and np.abs(found).max() > 1e-4
