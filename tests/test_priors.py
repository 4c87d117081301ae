"""Every prior: its density written out and against its draws, its variables, its traps."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from marked_cases import cases
from plane import Plane
from scipy import special, stats
from statistics_helpers import ALPHA
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS, PriorContext, compatible

FLOWS = ("realnvp", "maf", "spline")
LEARNED = ("mixture", "vamp", *FLOWS)
BENT = {"spline": 0.03}  # by how much the variables are moved; else 0.1
COMPONENTS = 5


def context(latent_dim, seed=0, posterior="diagonal"):
    """A small encoder of x in [0, 1]^4."""
    initializer = tf_keras.initializers.GlorotUniform(seed=seed)
    features = tf_keras.layers.Dense(6, "tanh", kernel_initializer=initializer)
    head = POSTERIORS[posterior](latent_dim, seed=seed)
    encoder = tf_keras.Sequential([tf_keras.layers.InputLayer((4,)), features, *head])
    return PriorContext(encoder, (4,), COMPONENTS, tfb.Sigmoid())


def build(name, latent_dim=3, seed=0, bent=True, **kwargs):
    prior = PRIORS[name](latent_dim, seed=seed, context=context(latent_dim, **kwargs))
    rng = np.random.default_rng(seed)
    for variable in prior.trainable_variables if bent else ():
        variable.assign_add(BENT.get(name, 0.1) * rng.standard_normal(variable.shape))
    return prior


@pytest.mark.parametrize("name", PRIORS)
def test_shapes(name):
    prior = build(name)
    z = prior.sample([7, 2], seed=(0, 1))
    assert isinstance(prior, tfd.Distribution)
    assert prior.event_shape == [3] and prior.batch_shape == [] and z.shape == [7, 2, 3]
    assert prior.log_prob(z).shape == [7, 2] and prior.log_prob(z[0, 0]).shape == []
    assert prior.mean().shape == prior.stddev().shape == [3]
    np.testing.assert_array_equal(z, prior.sample([7, 2], seed=(0, 1)))


# ---- densities -----------------------------------------------------------------------------------


def normal_logpdf(z, loc, scale):
    return stats.norm.logpdf(z, loc, scale).sum(axis=-1)


def mixture_logpdf(prior, z):
    components = prior.components_distribution
    logits = special.log_softmax(prior.mixture_distribution.logits.numpy().astype(np.float64))
    each = normal_logpdf(z[:, None], components.mean().numpy(), components.stddev().numpy())
    return special.logsumexp(each + logits, axis=1)


def vamp_logpdf(prior, z):
    inputs = special.expit(prior.pseudo_inputs.numpy())
    q = context(z.shape[-1]).posterior(tf.constant(inputs))  # q(z|u), batch [K]
    each = normal_logpdf(z[:, None], q.mean().numpy(), q.stddev().numpy())
    return special.logsumexp(each, axis=1) - np.log(COMPONENTS)


def sphere_logpdf(prior, z):
    size = z.shape[-1]
    area = np.log(2) + size / 2 * np.log(np.pi) - special.gammaln(size / 2)
    return np.full(len(z), -area)


def change_of_variables(prior, z):
    """Through the Jacobian of the way from z to the unit normal, by automatic differentiation."""
    z = tf.constant(z)
    bijector = prior.now().bijector
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        x = bijector.inverse(z)
    np.testing.assert_allclose(bijector.forward(tf.identity(x)), z, rtol=1e-3, atol=1e-3)
    slopes = tape.batch_jacobian(x, z, experimental_use_pfor=False).numpy().astype(np.float64)
    return normal_logpdf(x.numpy(), 0, 1) + np.linalg.slogdet(slopes)[1]


DENSITIES = {
    "standard_normal": lambda prior, z: normal_logpdf(z, 0, 1),
    "mixture": mixture_logpdf,
    "vamp": vamp_logpdf,
    **dict.fromkeys(FLOWS, change_of_variables),
    "uniform_sphere": sphere_logpdf,
}


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("name", PRIORS)
def test_log_prob_is_written_out(name, latent_dim):
    if name == "uniform_sphere" and latent_dim == 1:
        return
    prior = build(name, latent_dim)
    z = prior.sample(20, seed=(0, 1)).numpy()
    np.testing.assert_allclose(prior.log_prob(z), DENSITIES[name](prior, z), rtol=5e-4, atol=5e-4)


@functools.cache
def plane(name):
    prior = build(name, 2)
    draws = prior.sample(20_000, seed=(0, 5)).numpy()
    return Plane(prior.log_prob, draws, circle=name == "uniform_sphere")


@pytest.mark.parametrize("name", PRIORS)
def test_density_integrates_to_one(name):
    assert abs(plane(name).probabilities.sum() - 1) < 2e-3


@pytest.mark.parametrize("name", PRIORS)
def test_draws_follow_the_density(name):
    """Chi-square at `ALPHA`; displaced draws are caught (squeezed ones where all directions are alike)."""
    cells = plane(name)
    assert cells.p_value(cells.draws) > ALPHA
    wrong = cells.draws * [1, 0.8] if name == "uniform_sphere" else cells.moved()
    assert cells.p_value(wrong) < ALPHA


@pytest.mark.parametrize("name", PRIORS)
def test_moments_are_those_of_the_draws(name):
    """Within 8 standard errors of 20,000 draws, and of what a flow's own moments are estimated with."""
    prior, draws = build(name, 2), plane(name).draws
    error = draws.std(axis=0) / np.sqrt(4096 if name in FLOWS else len(draws))
    assert np.all(np.abs(prior.mean() - draws.mean(axis=0)) < 8 * error)
    np.testing.assert_allclose(prior.stddev(), draws.std(axis=0), rtol=0.15 if name in FLOWS else 0.05)


# ---- variables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRIORS)
def test_the_density_follows_its_variables(name):
    """Nothing that a bijector has cached at a tensor survives a step of training."""
    prior = build(name)
    assert (len(prior.trainable_variables) > 0) == (name in LEARNED)
    z = tf.constant(prior.sample(6, seed=(0, 1)).numpy())
    before = prior.log_prob(z).numpy()
    for variable in prior.trainable_variables:
        variable.assign_add(
            tf.fill(variable.shape, 0.05) * tf.cast(tf.range(variable.shape[-1]) + 1, tf.float32)
        )
    after = prior.log_prob(z).numpy()
    np.testing.assert_array_equal(after, prior.log_prob(tf.identity(z)))
    assert np.allclose(before, after) == (name not in LEARNED)


@pytest.mark.parametrize("name", PRIORS)
def test_parameters_from_a_seed(name):
    values = [[v.numpy() for v in build(name, seed=s, bent=False).trainable_variables] for s in (1, 1, 2)]
    first, again, other = values
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    if name in LEARNED:
        assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


LONG = dict.fromkeys(("realnvp", "maf", "spline"), "test_it_learns_by_gradients[mixture]")


@pytest.mark.parametrize("name", cases(LEARNED, long=LONG))
def test_it_learns_by_gradients(name):
    """Fitted to two modes it comes within 0.3 nats of the truth, as a unit normal does not."""
    truth = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(2)),
        tfd.MultivariateNormalDiag([[-1.5, 0.0], [1.5, 1.0]], scale_diag=0.4 * tf.ones([2, 2])),
    )
    z = truth.sample(2000, seed=(0, 1))
    surroundings = context(2)
    prior = PRIORS[name](2, seed=0, context=surroundings)
    encoder = list(surroundings.posterior.trainable_variables) if name == "vamp" else []
    variables = [*prior.trainable_variables, *encoder]
    optimizer = tf_keras.optimizers.Adam(5e-3)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def train(steps):
        def step(i):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(prior.log_prob(z))
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return i + 1

        tf.while_loop(lambda i: i < steps, step, (tf.constant(0),))
        return tf.reduce_mean(prior.log_prob(z))

    best = np.mean(truth.log_prob(z))
    assert np.mean(PRIORS["standard_normal"](2).log_prob(z)) < best - 0.3
    assert float(train(tf.constant(500))) > best - 0.3


@pytest.mark.parametrize("size", [0.0, 30.0, 1e3])
@pytest.mark.parametrize("name", PRIORS)
def test_far_away_the_density_and_its_gradients_are_finite(name, size):
    prior = build(name)
    z = tf.constant(size * np.random.default_rng(0).standard_normal([6, 3]), tf.float32)
    if name == "uniform_sphere":
        z = tf.math.l2_normalize(z, axis=-1)
    with tf.GradientTape() as tape:
        tape.watch(z)
        total = tf.reduce_sum(prior.log_prob(z))
    gradients = tape.gradient(total, [z, *prior.trainable_variables], unconnected_gradients="zero")
    assert np.isfinite(total) and all(np.all(np.isfinite(g)) for g in gradients)


# ---- single priors -------------------------------------------------------------------------------


@pytest.mark.parametrize("posterior", ["tril", "iaf", "spline", "von_mises_fisher"])
def test_a_vamp_prior_is_the_mean_of_any_posteriors(posterior):
    prior = build("vamp", posterior=posterior)
    z = prior.sample(5, seed=(0, 1)).numpy()
    q = context(3, posterior=posterior).posterior(tf.sigmoid(prior.pseudo_inputs))  # q(z|u), batch [K]
    each = q.log_prob(tf.constant(z[:, None])).numpy().astype(np.float64)
    np.testing.assert_allclose(
        prior.log_prob(z), special.logsumexp(each, axis=1) - np.log(COMPONENTS), rtol=1e-3, atol=1e-3
    )


def test_a_vamp_prior_owns_its_pseudo_inputs_alone():
    prior = build("vamp")
    assert [v.shape for v in prior.variables] == [(COMPONENTS, 4)]
    with pytest.raises(InputError, match="expected a PriorContext with posterior"):
        PRIORS["vamp"](3)


def test_a_sphere_needs_two_dimensions_and_its_own_posterior():
    with pytest.raises(InputError, match="latent_dim of 2 or more, got 1"):
        PRIORS["uniform_sphere"](1)
    with pytest.raises(InputError, match="expected the posterior von_mises_fisher"):
        compatible("diagonal", "uniform_sphere")
    with pytest.raises(InputError, match="expected a prior among uniform_sphere, vamp"):
        compatible("von_mises_fisher", "maf")
    assert compatible("von_mises_fisher", "vamp") is None


def test_learned_priors_start_where_they_say():
    """A mixture near the unit normal, with equal weights; pseudo-inputs as draws of the unit normal."""
    mixture = PRIORS["mixture"](2, seed=1, context=PriorContext(components=2000))
    np.testing.assert_allclose(mixture.mean(), 0, atol=0.1)
    np.testing.assert_allclose(mixture.stddev(), 1, atol=0.05)
    np.testing.assert_allclose(mixture.components_distribution.stddev() ** 2, 0.5, atol=1e-4)
    np.testing.assert_allclose(mixture.mixture_distribution.probs_parameter(), 1 / 2000, rtol=1e-5)
    context = PriorContext(lambda x: x, (2,), 2000, tfb.Identity())
    vamp = PRIORS["vamp"](2, seed=1, context=context)
    np.testing.assert_allclose(np.mean(vamp.pseudo_inputs, axis=0), 0, atol=0.1)
    np.testing.assert_allclose(np.std(vamp.pseudo_inputs, axis=0), 1, atol=0.1)
