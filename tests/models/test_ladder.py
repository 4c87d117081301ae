import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import probvae
from probvae import objectives
from probvae.distributions.base import unwrap
from probvae.distributions.chain import Chain
from probvae.errors import InputError
from probvae.evaluation.latents import active_units, rate_distortion
from probvae.inference.amortization import optimize_posteriors
from probvae.inference.annealing import ais
from probvae.inference.quadrature import exact
from probvae.models.building import build
from probvae.models.ladder import FLOOR, LadderPosterior, TopDown, build_ladder, combine, normal
from probvae.models.vae import VAE
from probvae.seeds import as_seed

SIZES = (2, 3, 1)


def ladder_vae(latent_layers=SIZES, *, seed=0, gain=1.5):
    """A tiny ladder on 8x8 images, whose weights are large enough for every term to matter."""
    vae = build(
        probvae.Architecture(
            event_shape=(8, 8, 1),
            latent_dim=sum(latent_layers),
            latent_layers=latent_layers,
            network="mlp",
            units=(7, 5),
            activation="tanh",
        ),
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    for variable in vae.trainable_variables:
        variable.assign(gain * variable + 0.4 * rng.standard_normal(variable.shape))
    return vae


@pytest.fixture(scope="module")
def vae():
    return ladder_vae()


def draws(shape, seed=1):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def head(vae):
    return vae.encoder_parts.head


def bare(q):
    return getattr(q, "tensor_distribution", q)


# ---- by hand, in NumPy ---------------------------------------------------------------------------


def softplus_scale(raw):
    return FLOOR + (1 - FLOOR) * np.logaddexp(0, raw + np.log(np.e - 1))


def conditionals_by_hand(prior, z, params=None):
    """Slice, loc and scale of each layer at z [..., L]: of p(z), or of q(z|x) with parameters [B, 2 L]."""
    weights = [v.numpy().astype(np.float64) for v in prior.trainable_variables]
    start, used = 0, 0
    for k, size in enumerate(prior.latent_layers):
        above = z[..., :start]
        loc, scale = np.zeros(size), np.ones(size)
        if k:
            kernel_1, bias_1, kernel_2, bias_2 = weights[4 * (k - 1) : 4 * k]
            out = np.tanh(above @ kernel_1 + bias_1) @ kernel_2 + bias_2
            loc, scale = out[..., :size], softplus_scale(out[..., size:])
        if params is not None:
            data = params[..., used : used + 2 * size]
            data_loc, data_scale = data[..., :size], softplus_scale(data[..., size:])
            if k:
                precision = scale**-2.0 + data_scale**-2.0
                loc = (loc * scale**-2.0 + data_loc * data_scale**-2.0) / precision
                scale = precision**-0.5
            else:
                loc, scale = data_loc, data_scale
        yield slice(start, start + size), loc, scale
        start, used = start + size, used + 2 * size


def terms_by_hand(prior, z, params=None):
    z, params = np.asarray(z, np.float64), None if params is None else np.asarray(params, np.float64)
    found = conditionals_by_hand(prior, z, params)
    return np.stack([stats.norm.logpdf(z[..., part], loc, scale).sum(axis=-1) for part, loc, scale in found])


def test_log_prob_is_the_sum_of_normal_densities(vae):
    z, params = draws([7, 5, 6]), draws([5, 12], 2)
    prior, q = vae.prior, bare(head(vae)(params))
    assert [v.shape[0] for v in prior.trainable_variables[::4]] == [2, 5], "z_<k goes into each network"
    for p, given in ((prior, None), (q, params)):
        expected = terms_by_hand(prior, z, given)
        assert expected.shape == (3, 7, 5) and np.all(np.abs(expected).max(axis=(1, 2)) > 0.5)
        np.testing.assert_allclose(p.log_prob_terms(z), expected, rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(p.log_prob(z), expected.sum(axis=0), rtol=2e-4, atol=2e-4)
        assert np.abs(expected[:2].sum(axis=0) - p.log_prob(z)).min() > 1e-3, (
            "without a layer it is another number"
        )


def test_the_same_as_a_joint_distribution_of_tfp(vae):
    q, z = bare(head(vae)(draws([5, 12], 2))), draws([7, 5, 6])

    def model():
        z_1 = yield tfd.JointDistributionCoroutine.Root(q.top)
        z_2 = yield q.conditionals[0](z_1)
        yield q.conditionals[1](tf.concat([z_1, z_2], axis=-1))

    joint = tfd.JointDistributionCoroutine(model, batch_ndims=1)
    tfp_chain = tfd.TransformedDistribution(joint, tfb.Invert(tfb.Split(SIZES)))
    np.testing.assert_allclose(q.log_prob(z), tfp_chain.log_prob(z), rtol=1e-5)


def test_combination_is_the_product_of_two_normals():
    p, d = normal(draws([4, 6])), normal(draws([4, 6], 2))
    both, z = combine(p, d), draws([50, 1, 3], 3)
    rest = (p.log_prob(z) + d.log_prob(z) - both.log_prob(z)).numpy()  # constant in z
    np.testing.assert_allclose(rest, np.broadcast_to(rest[:1], rest.shape), atol=2e-4)
    precision = p.stddev() ** -2 + d.stddev() ** -2
    np.testing.assert_allclose(both.stddev(), precision**-0.5, rtol=1e-5)
    loc = (p.mean() * p.stddev() ** -2 + d.mean() * d.stddev() ** -2) / precision
    np.testing.assert_allclose(both.mean(), loc, rtol=1e-4, atol=1e-5)
    assert np.all(both.stddev() < np.minimum(p.stddev(), d.stddev()))


def test_without_top_down_weights_the_layers_are_independent():
    vae = ladder_vae()
    z, params = draws([9, 5, 6]), draws([5, 12], 2)
    coupled = vae.prior.log_prob(z)
    for variable in vae.prior.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    unit = tfd.MultivariateNormalDiag(tf.zeros(6), tf.ones(6))
    np.testing.assert_allclose(vae.prior.log_prob(z), unit.log_prob(z), rtol=1e-5)
    assert np.abs(coupled - unit.log_prob(z)).min() > 1e-3
    q = head(vae)(params)
    locs, scales = zip(
        *[(n.mean(), n.stddev()) for n in map(normal, tf.split(params, [4, 6, 2], axis=-1))], strict=True
    )
    loc, data_scale = tf.concat(locs, -1).numpy(), tf.concat(scales, -1).numpy()
    precision = data_scale**-2
    weight = precision / (precision + 1)
    weight[:, :2], scale = 1, (precision + 1) ** -0.5  # q(z_1|x) is the encoder's alone
    scale[:, :2] = data_scale[:, :2]
    diagonal = tfd.MultivariateNormalDiag(weight * loc, scale)
    np.testing.assert_allclose(q.log_prob(z), diagonal.log_prob(z), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(q.mean(), diagonal.mean(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(q.stddev(), diagonal.stddev(), rtol=1e-4)


# ---- shapes, moments, gradients ------------------------------------------------------------------


def test_shapes_and_broadcasting(vae):
    q = head(vae)(draws([5, 12]))
    assert q.batch_shape == [5] and q.event_shape == [6]
    assert q.sample(seed=(0, 1)).shape == [5, 6] and q.sample([2, 3], seed=(0, 1)).shape == [2, 3, 5, 6]
    z = draws([4, 1, 6])
    np.testing.assert_allclose(q.log_prob(z), q.log_prob(tf.repeat(z, 5, axis=1)), rtol=1e-5)
    assert bare(q).log_prob_terms(z).shape == [3, 4, 5]
    folded = head(vae)(draws([2, 5, 12]))
    assert folded.batch_shape == [2, 5] and folded.sample(3, seed=(0, 1)).shape == [3, 2, 5, 6]
    assert folded.log_prob(z[0, 0]).shape == [2, 5] and folded.mean().shape == [2, 5, 6]
    single = vae.prior.sample(seed=(0, 1))
    assert single.shape == [6] and vae.prior.log_prob(single).shape == [] and vae.prior.mean().shape == [6]
    both = vae.prior.log_prob(tf.stack([single, single]))
    np.testing.assert_allclose(both, tf.repeat(vae.prior.log_prob(single), 2), rtol=1e-6)
    broadcast = tfd.BatchBroadcast(vae.prior, [5])
    assert broadcast.sample(3, seed=(0, 1)).shape == [3, 5, 6] and broadcast.log_prob(z).shape == [4, 5]


def test_batch_known_only_at_run_time(vae):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1])], autograph=False)
    def terms(x):
        q = vae.posterior(x)
        z = q.sample(2, seed=(0, 1))
        return z, q.log_prob(z), vae.prior.log_prob(z), q.mean(), q.stddev()

    for n in (1, 4):
        shapes = [t.shape.as_list() for t in terms(tf.zeros([n, 8, 8, 1]))]
        assert shapes == [[2, n, 6], [2, n], [2, n], [n, 6], [n, 6]]


def test_mean_and_stddev(vae):
    q = head(vae)(tf.repeat(draws([3, 12]), [2, 1, 1], axis=0))
    z = q.sample(20_000, seed=(0, 1)).numpy()
    np.testing.assert_array_equal(q.mean()[0], q.mean()[1])  # the same draws for all of the batch
    assert np.abs(q.mean() - z.mean(axis=0)).max() < 0.1  # of stddev about 1, times 1/8
    np.testing.assert_allclose(q.stddev(), z.std(axis=0), rtol=0.2)
    np.testing.assert_allclose(q.mean()[:, :2], bare(q).top.mean(), rtol=1e-5)
    assert np.abs(bare(q).centre() - q.mean()).max() > 1e-3, "the path of means is not the mean"


def test_mean_is_exact_where_the_conditional_means_are_linear():
    kernel = draws([2, 3])

    def below(z):
        return tfd.Independent(tfd.Normal(1 + z @ kernel, tf.ones(3)), 1)

    top = tfd.Independent(tfd.Normal(draws([4, 2], 2), 0.5), 1)
    chain = Chain(top, [below], (2, 3))
    np.testing.assert_allclose(chain.mean()[:, 2:], 1 + top.mean() @ kernel, rtol=1e-5, atol=1e-5)
    variance = 1 + 0.25 * (kernel.numpy() ** 2).sum(axis=0)
    np.testing.assert_allclose(chain.variance()[:, 2:], np.tile(variance, [4, 1]), rtol=0.6)


def test_gradients_reach_every_variable(vae, x):
    assert len(vae.trainable_variables) == len({id(v) for v in vae.trainable_variables})
    shared = {id(v) for v in vae.prior.trainable_variables} & {id(v) for v in vae.encoder.trainable_variables}
    assert len(shared) == len(vae.prior.trainable_variables) == 8
    with tf.GradientTape() as tape:
        bound = tf.reduce_mean(objectives.elbo(vae, x, seed=0))
    for variable, gradient in zip(
        vae.trainable_variables, tape.gradient(bound, vae.trainable_variables), strict=True
    ):
        assert gradient is not None and np.all(np.isfinite(gradient)) and np.any(gradient != 0), variable.name


def test_log_prob_has_its_gradient_at_its_own_draw(vae):
    q = head(vae)(draws([5, 12]))
    z = q.sample(seed=(0, 1))
    gradients = []
    for point in (z, tf.constant(z.numpy())):
        with tf.GradientTape() as tape:
            tape.watch(point)
            log_q = q.log_prob(point)
        gradients.append(tape.gradient(log_q, point).numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-5)


@pytest.mark.parametrize("size", [-1e4, -50.0, 50.0, 1e4])
def test_extreme_parameters_stay_finite(vae, size):
    for params, z in ((tf.fill([2, 12], size), None), (tf.zeros([2, 12]), tf.fill([2, 6], size))):
        with tf.GradientTape() as tape:
            tape.watch(params)
            q = head(vae)(params)
            at = q.sample(seed=(0, 1)) if z is None else z
            difference = q.log_prob(at) - vae.prior.log_prob(at)
        gradients = tape.gradient(difference, [params, *vae.prior.trainable_variables])
        assert all(np.all(np.isfinite(t)) for t in (at, difference, *gradients))


# ---- statistics ----------------------------------------------------------------------------------


def test_samples_follow_log_prob(vae):
    """E_q[r(z) / q(z)] = 1 for a narrower density r, so that the weights are bounded."""
    q = bare(head(vae)(draws([1, 12])))
    for p in (q, vae.prior):
        z = p.sample(30_000, seed=(0, 1))
        assert p.log_prob(z).shape[0] == 30_000
        parts = [
            part.stddev()
            for part in (
                p.top,
                *(c(p.centre()[..., :n]) for c, n in zip(p.conditionals, (2, 5), strict=True)),
            )
        ]
        r = tfd.MultivariateNormalDiag(p.centre(), 0.6 * tf.concat(parts, axis=-1))
        weights = tf.exp(r.log_prob(z) - p.log_prob(z)).numpy()
        assert mean_p_value(weights, 1.0) > ALPHA
        for dropped in range(3):
            terms = tf.unstack(p.log_prob_terms(z))
            del terms[dropped]
            assert mean_p_value(tf.exp(r.log_prob(z) - tf.add_n(terms)).numpy(), 1.0) < ALPHA


@pytest.fixture(scope="module")
def tiny():
    """Layers (1, 1), with q(z|x) wider than p(z|x) so that the weights are bounded; x and log p(x)."""
    vae = ladder_vae((1, 1), gain=0.8)
    for variable in vae.encoder.trainable_variables:
        if variable.name.startswith("params_"):
            wide = tf.constant([0.0, 1.5]) if "bias" in variable.name else 0.3 * variable
            variable.assign(wide)
    x = vae.sample(3, seed=5)
    found = exact(vae, x, tolerance=1e-3)
    assert found.converged.all()
    return vae, x, found.log_marginal


def test_importance_sampling_agrees_with_quadrature(tiny):
    """The mean of the weights is p(x); quadrature is good to 1e-3 nats, far below the Monte Carlo error."""
    vae, x, log_p = tiny
    terms = objectives.log_terms(vae, x, num_samples=10_000, seed=0)
    ratio = np.exp(terms.log_weights.numpy() - log_p)  # of mean 1
    assert ratio.max() < 100, "the weights are bounded"
    assert mean_p_value(ratio, 1.0) > ALPHA
    iwae = objectives.iwae(vae, x, num_samples=10_000, seed=0).numpy()
    assert np.abs(iwae - log_p).max() < 0.05
    z = vae.posterior(x).sample(10_000, seed=as_seed(0))  # the same draws
    without = terms.log_weights - vae.prior.log_prob_terms(z)[1]
    assert mean_p_value(np.exp(without.numpy() - log_p), 1.0) < ALPHA


@pytest.mark.slow
def test_evaluation_runs_unchanged(tiny):
    vae, x, log_p = tiny
    found = ais(vae, x, num_chains=16, num_steps=60, num_pilot_chains=2, seed=0)
    assert np.abs(found.log_marginal - log_p).max() < 0.2
    x = x.numpy()
    rate = rate_distortion(vae, x, num_samples=1000, seed=0).rate
    terms = objectives.log_terms(vae, x, num_samples=1000, seed=1)
    np.testing.assert_allclose(rate, np.mean(terms.log_posterior - terms.log_prior, axis=0), atol=0.5)
    assert active_units(vae, x).variances.shape == (2,)
    optimized = optimize_posteriors(vae, x, num_steps=30, num_evaluation_samples=20)
    assert np.all(optimized.elbo > optimized.amortized_elbo) and np.all(optimized.elbo < log_p + 0.2)


# ---- the pieces ----------------------------------------------------------------------------------


def test_terms_of_the_layers_sum_to_the_rate(vae, x):
    whole = objectives.log_terms(vae, x, num_samples=4, seed=3)
    q = unwrap(vae.posterior(x))
    terms = q.log_prob_terms(whole.z) - vae.prior.log_prob_terms(whole.z)
    assert terms.shape == [3, 4, 5]
    np.testing.assert_allclose(
        tf.reduce_sum(terms, axis=0), whole.log_posterior - whole.log_prior, rtol=1e-4, atol=1e-4
    )


def test_parameters_from_a_seed():
    def weights(seed):
        features = [tf_keras.layers.InputLayer((4,)), tf_keras.layers.Dense(3, kernel_initializer="ones")]
        prior, encoder = build_ladder(features, (1, 2), units=5, activation="relu", seed=seed)
        return [v.numpy() for v in (*prior.trainable_variables, *encoder.trainable_variables)]

    first, again, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(
        np.array_equal(a, b) for a, b in zip(first, other, strict=True) if a.ndim == 2 and a.std() > 0
    )


def test_a_hierarchy_starts_near_the_unit_normal():
    """The layers below hardly follow those above: by a tenth of what Glorot's weights would give."""
    features = [tf_keras.layers.InputLayer((4,)), tf_keras.layers.Dense(3)]
    prior, _ = build_ladder(features, (3, 30), units=50, activation="tanh", seed=0)
    below = prior.conditionals[0](tf.constant(np.random.default_rng(0).standard_normal([200, 3]), tf.float32))
    assert 0 < np.std(below.mean()) < 0.15
    np.testing.assert_allclose(below.stddev(), 1, atol=0.3)


@pytest.mark.parametrize("latent_layers", [(3,), (2, 0), ()])
def test_too_few_layers_are_refused(latent_layers):
    with pytest.raises(InputError, match="two or more"):
        build_ladder([tf_keras.layers.InputLayer((4,))], latent_layers, activation="relu", seed=0)


def test_save_and_load(vae, x, tmp_path):
    probvae.save(vae, tmp_path)
    again = probvae.load(tmp_path)
    assert isinstance(again, VAE) and isinstance(head(again), LadderPosterior)
    assert isinstance(again.prior.conditionals[0], TopDown)
    np.testing.assert_array_equal(objectives.elbo(vae, x, seed=1), objectives.elbo(again, x, seed=1))


@pytest.mark.slow
def test_training_raises_the_bound(x):
    vae = ladder_vae((2, 2), gain=1.0)
    before = vae.prior.trainable_variables[0].numpy()
    vae.compile(tf_keras.optimizers.Adam(0.01))
    start = np.mean(objectives.elbo(vae, x, num_samples=50, seed=1))
    vae.fit(x, epochs=40, verbose=0)
    assert np.mean(objectives.elbo(vae, x, num_samples=50, seed=1)) > start + 5
    assert not np.array_equal(before, vae.prior.trainable_variables[0])
