import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from plane import Plane
from scipy import special, stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.distributions.sphere import VonMisesFisher, angle_slope
from probvae.errors import InputError
from probvae.posteriors import LOW_RANK, MIXTURE_COMPONENTS, POSTERIORS, SPHERE_CONCENTRATION, DiagonalNormal

FLOWS = ("iaf", "spline")
BENT = {"iaf": 0.1, "spline": 0.03}  # by how much; more makes densities too rough for the grids below


def layers(name, latent_dim=3, seed=0):
    """The Dense and the distribution layer, a flow's networks bent by noise."""
    dense, head = POSTERIORS[name](latent_dim, seed=seed)
    rng = np.random.default_rng(seed)
    for variable in head.trainable_variables:
        variable.assign_add(BENT[name] * rng.standard_normal(variable.shape))
    return dense, head


def head(name, latent_dim=3):
    return layers(name, latent_dim)[-1]


def params(name, *batch, latent_dim=3, scale=1.0, seed=0):
    size = POSTERIORS[name](latent_dim, seed=0)[0].units
    draws = np.random.default_rng(seed).standard_normal([*(batch or [6]), size])
    return tf.constant(scale * draws, tf.float32)


# ---- every posterior: shapes and keeping ---------------------------------------------------------


@pytest.mark.parametrize("name", POSTERIORS)
def test_shapes(name):
    layer = head(name)
    q = layer(params(name))
    assert isinstance(q, tfd.Distribution)
    assert q.batch_shape == [6] and q.event_shape == [3]
    z = q.sample(5, seed=(0, 1))
    assert z.shape == [5, 6, 3] and q.log_prob(z).shape == [5, 6]
    assert q.mean().shape == q.stddev().shape == [6, 3] and q.covariance().shape == [6, 3, 3]
    np.testing.assert_allclose(tf.linalg.diag_part(q.covariance()), q.stddev() ** 2, rtol=1e-3, atol=1e-5)
    assert tf.convert_to_tensor(q).shape == [6, 3]


@pytest.mark.parametrize("name", POSTERIORS)
def test_two_batch_axes_and_broadcasting(name):
    layer, p = head(name), params(name, 2, 4)
    q = layer(p)
    assert q.batch_shape == [2, 4]
    z = q.sample(seed=(0, 1)).numpy()
    each = [layer(p[i]).log_prob(z[i]) for i in range(2)]
    np.testing.assert_allclose(q.log_prob(tf.constant(z)), each, rtol=1e-3, atol=1e-3)
    points = tf.constant(z[:, :1])  # [2, 1, L] against the batch [4]
    every = layer(p[0]).log_prob(tf.broadcast_to(points, [2, 4, 3]))
    np.testing.assert_allclose(layer(p[0]).log_prob(points), every, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", POSTERIORS)
def test_batch_known_only_at_run_time(name):
    layer, p = head(name), params(name)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, p.shape[1]])])
    def draw(p):
        q = layer(p)
        assert q.batch_shape == [None]
        z = q.sample(2, seed=(0, 1))
        return z, q.log_prob(z), q.mean()

    q = layer(p)
    z = q.sample(2, seed=(0, 1))
    for compiled, expected in zip(draw(p), (z, q.log_prob(z), q.mean()), strict=True):
        np.testing.assert_allclose(compiled, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", POSTERIORS)
def test_parameters_from_a_seed(name):
    first, again, other = (POSTERIORS[name](3, seed=s) for s in (1, 1, 2))
    kernels = [dense(tf.eye(4)).numpy() for dense, _ in (first, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])
    p = params(name)
    z = [list(pair)[1](p).sample(seed=(0, 1)).numpy() for pair in (first, again, other)]
    np.testing.assert_array_equal(z[0], z[1])
    assert np.allclose(z[0], z[2]) == (name not in FLOWS)


@pytest.mark.parametrize("name", POSTERIORS)
def test_keras_owns_the_variables(name):
    _, layer = POSTERIORS[name](3, seed=0)
    before = [id(v) for v in layer.trainable_variables]
    assert (len(before) > 0) == (name in FLOWS)
    x = tf.ones([2, 5])
    models = [
        tf_keras.Sequential([tf_keras.layers.InputLayer((5,)), *POSTERIORS[name](3, seed=s)]) for s in (0, 1)
    ]
    names = [[v.name.rsplit("/")[-1] for v in m.variables] for m in models]
    assert names[0] == names[1] and len(names[0]) == 2 + len(before)
    layer(params(name))
    assert [id(v) for v in layer.trainable_variables] == before
    z = models[0](x).sample(seed=(0, 1))
    for to, value in zip(models[1].variables, models[0].variables, strict=True):
        to.assign(value)
    np.testing.assert_allclose(models[1](x).log_prob(tf.identity(z)), models[0](x).log_prob(z), rtol=1e-3)


@pytest.mark.parametrize("name", POSTERIORS)
def test_extreme_parameters_stay_finite(name):
    p = tf.concat([tf.fill([2, params(name).shape[1]], size) for size in (-1e4, -50.0, 50.0, 1e4)], 0)
    p = tf.concat([p, *(params(name, 2, scale=size, seed=int(size)) for size in (50.0, 1e4))], 0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(p)
        q = head(name)(p)
        z = q.sample(seed=(0, 1))
        log_q = q.log_prob(z)
    assert np.all(np.isfinite(z)) and np.all(np.isfinite(log_q)) and np.all(np.isfinite(q.mean()))
    assert np.all(np.isfinite(tape.gradient(log_q, p))) and np.all(np.isfinite(tape.gradient(z, p)))


# ---- every posterior: the density ----------------------------------------------------------------


def normal_logpdf(z, loc, scale):
    return stats.norm.logpdf(z, loc, scale).sum(axis=-1)


def by_covariance(q, p, z):
    mean, covariance = q.mean().numpy(), q.covariance().numpy().astype(np.float64)
    return [stats.multivariate_normal.logpdf(z[i], mean[i], covariance[i]) for i in range(len(z))]


def low_rank_logpdf(q, p, z):
    size = z.shape[-1]
    found = []
    for row, point in zip(p, z, strict=True):
        factor = 10 * np.tanh(row[2 * size :].reshape(size, min(LOW_RANK, size)) / 10)
        scale = np.diag(np.exp(row[size : 2 * size] / 2))
        covariance = scale @ (np.eye(size) + factor @ factor.T) @ scale
        found.append(stats.multivariate_normal.logpdf(point, row[:size], covariance))
    return found


def mixture_logpdf(q, p, z):
    size, k = z.shape[-1], MIXTURE_COMPONENTS
    parts = p[:, k:].reshape(-1, k, 2 * size)
    log_probs = normal_logpdf(z[:, None], parts[..., :size], np.exp(parts[..., size:] / 2))
    return special.logsumexp(log_probs + special.log_softmax(p[:, :k], axis=1), axis=1)


def von_mises_fisher_logpdf(q, p, z):
    size = z.shape[-1]
    direction = p[:, :size] / np.linalg.norm(p[:, :size], axis=1, keepdims=True)
    concentration = np.minimum(1 + np.logaddexp(0, p[:, size]), SPHERE_CONCENTRATION)
    order = size / 2 - 1
    log_bessel = np.log(special.ive(order, concentration)) + concentration
    log_constant = order * np.log(concentration) - size / 2 * np.log(2 * np.pi) - log_bessel
    return log_constant + concentration * (direction * z).sum(axis=1)


def change_of_variables(q, p, z):
    """Through the Jacobian of the way that draws take, at the point that leads to z."""
    x = tf.identity(q.bijector.inverse(z))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = q.bijector.forward(x)
    np.testing.assert_allclose(y, z, rtol=1e-3, atol=1e-3)
    slopes = tape.batch_jacobian(y, x, experimental_use_pfor=False).numpy().astype(np.float64)
    base = normal_logpdf(x.numpy(), q.distribution.mean().numpy(), q.distribution.stddev().numpy())
    return base - np.linalg.slogdet(slopes)[1]


DENSITIES = {
    "diagonal": by_covariance,
    "tril": by_covariance,
    "low_rank": low_rank_logpdf,
    "mixture": mixture_logpdf,
    "iaf": change_of_variables,
    "spline": change_of_variables,
    "von_mises_fisher": von_mises_fisher_logpdf,
}


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("name", POSTERIORS)
def test_log_prob_is_written_out(name, latent_dim):
    if name == "von_mises_fisher" and latent_dim == 1:
        return
    p = params(name, latent_dim=latent_dim)
    q = head(name, latent_dim)(p)
    z = tf.identity(q.sample(seed=(0, 1)))
    expected = DENSITIES[name](q, p.numpy().astype(np.float64), z.numpy())
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=5e-4, atol=5e-4)


@functools.cache
def plane(name):
    """The layer and the parameters of q(z|x) for one x, and its density and draws."""
    layer, p = head(name, 2), params(name, 1, latent_dim=2, scale=0.5, seed=4)
    draws = layer(p).sample(20_000, seed=(0, 5)).numpy()[:, 0]
    return layer, p, Plane(lambda z: layer(p).log_prob(z), draws, circle=name == "von_mises_fisher")


@pytest.mark.parametrize("name", POSTERIORS)
def test_density_integrates_to_one(name):
    assert abs(plane(name)[-1].probabilities.sum() - 1) < 2e-3


@pytest.mark.parametrize("name", POSTERIORS)
def test_draws_follow_the_density(name):
    cells = plane(name)[-1]
    assert cells.p_value(cells.draws) > ALPHA
    assert cells.p_value(cells.moved()) < ALPHA


# ---- every posterior: the gradient of the ELBO ---------------------------------------------------


def log_joint(z):
    """Some log p(x, z) with bends."""
    return -0.5 * tf.reduce_sum((z - [1.0, -0.5]) ** 2, axis=-1) + tf.sin(2 * z[..., 0]) * z[..., 1]


ESTIMATORS = ("ours", "elsewhere", "unscored", "unmoved")


def elbo_gradients(layer, p, n, seed, names=ESTIMATORS):
    """Gradients of n draws of the ELBO, [n, P]: that of z and the density, and three variants of it."""
    rows = tf.repeat(p, n, axis=0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rows)
        q = layer(rows)
        z = q.sample(seed=(0, seed))
        variants = {
            "ours": lambda: log_joint(z) - q.log_prob(z),
            "elsewhere": lambda: log_joint(z) - q.log_prob(tf.identity(z)),
            "unscored": lambda: log_joint(z) - q.log_prob(tf.stop_gradient(z)),
            "unmoved": lambda: log_joint(tf.stop_gradient(z)) - q.log_prob(tf.stop_gradient(z)),
        }
        values = {name: variants[name]() for name in names}
    return {name: tape.gradient(value, rows).numpy() for name, value in values.items()}


@pytest.mark.parametrize("name", POSTERIORS)
def test_gradient_of_the_elbo(name):
    layer, p, cells = plane(name)
    points = tf.constant(cells.points)
    with tf.GradientTape() as tape:  # the ELBO by quadrature
        tape.watch(p)
        log_q = layer(p).log_prob(points)
        elbo = tf.reduce_sum(tf.exp(log_q) * (log_joint(points) - log_q)) * cells.volume
    exact = tape.gradient(elbo, p)[0].numpy()
    draws, elsewhere, *wrong = elbo_gradients(layer, p, 2000, 6).values()
    more = elbo_gradients(layer, p, 2000, 7, ["ours"])["ours"]  # in parts to spare memory
    assert mean_p_value(np.concatenate([draws, more]), exact) > ALPHA
    for gradients in wrong:  # caught with half of the draws
        assert mean_p_value(gradients, exact) < ALPHA
    scale = np.abs(draws).max()
    np.testing.assert_allclose(elsewhere / scale, draws / scale, atol=2e-3)


@pytest.mark.parametrize("name", FLOWS)
def test_gradient_of_the_networks_by_finite_differences(name):
    layer, p = head(name, 2), params(name, 50, latent_dim=2)
    variables = layer.trainable_variables

    def elbo():
        q = layer(p)
        z = q.sample(20, seed=(0, 3))
        return tf.reduce_mean(log_joint(z) - q.log_prob(z))

    with tf.GradientTape() as tape:
        value = elbo()
    gradient = tape.gradient(value, variables)
    length = float(tf.linalg.global_norm(gradient))
    values = []
    for step in (0.003, -0.006):  # there and back again, along the gradient
        for variable, slope in zip(variables, gradient, strict=True):
            variable.assign_add(step * slope / length)
        values.append(float(elbo()))
    np.testing.assert_allclose((values[0] - values[1]) / 0.006, length, rtol=0.01)


@pytest.mark.parametrize(("name", "passes"), [("iaf", 3), ("spline", 1)])
def test_a_flow_says_what_its_density_costs(name, passes):
    assert head(name)(params(name)).tensor_distribution.density_passes == passes


# ---- single posteriors ---------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["low_rank", *FLOWS])
def test_reduces_to_the_diagonal_posterior(name):
    """Without factors, or with networks that say nothing, the richer posterior is a diagonal normal."""
    layer = head(name)
    for variable in layer.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    p = params("diagonal")
    rest = tf.zeros([6, params(name).shape[1] - 6])
    z = params("diagonal", 6, seed=1)[:, :3]
    scale, shift = (0.5**4, -4 * 3 * np.log(0.5)) if name == "iaf" else (1.0, 0.0)  # sigmoid(0) is 1/2
    expected = head("diagonal")(p).log_prob(z / scale) + shift
    np.testing.assert_allclose(layer(tf.concat([p, rest], 1)).log_prob(z), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [1, 101])
def test_sphere_has_from_two_to_a_hundred_dimensions(size):
    with pytest.raises(InputError, match=f"from 2 to 100, got {size}"):
        POSTERIORS["von_mises_fisher"](size, seed=0)


@pytest.mark.parametrize("size", [3, 10, 100])
def test_von_mises_fisher_log_prob_is_scipys(size):
    p = params("von_mises_fisher", 20, latent_dim=size)
    p = tf.concat([p[:, :size], 1000 * p[:, size:] ** 4], axis=1)
    q = head("von_mises_fisher", size)(p)
    z = q.sample(seed=(0, 1))
    expected = von_mises_fisher_logpdf(q, p.numpy().astype(np.float64), z.numpy().astype(np.float64))
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-4, atol=5e-3)
    np.testing.assert_allclose(tf.norm(z, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 4, 10])
def test_draws_on_the_sphere_have_the_right_gradient(size):
    """E[cos] is a ratio of Bessel functions, and so is its derivative; TFP's own draws fail but for L = 3."""
    concentration = 4.0

    def ratio(k):
        return special.ive(size / 2, k) / special.ive(size / 2 - 1, k)

    exact = (ratio(concentration + 1e-4) - ratio(concentration - 1e-4)) / 2e-4
    pole = tf.one_hot(0, size)
    found = {}
    for distribution in (VonMisesFisher, tfd.VonMisesFisher):
        k = tf.fill([4000], concentration)
        with tf.GradientTape() as tape:
            tape.watch(k)
            cosine = distribution(tf.broadcast_to(pole, [4000, size]), k).sample(seed=(0, 2))[:, 0]
        assert mean_p_value(cosine, ratio(concentration)) > ALPHA
        found[distribution] = mean_p_value(tape.gradient(cosine, k), exact)
    assert found[VonMisesFisher] > ALPHA
    assert (found[tfd.VonMisesFisher] < ALPHA) == (size != 3)


@pytest.mark.parametrize("size", [2, 5, 50])
@pytest.mark.parametrize("concentration", [1.0, 30.0, 2000.0])
def test_angle_slope_keeps_the_level_of_the_distribution_function(size, concentration):
    grid = np.linspace(0, np.pi, 400_001)

    def distribution_function(k):
        with np.errstate(divide="ignore"):
            density = np.exp(
                k * (np.cos(grid) - 1) + (size - 2) * np.log(np.sin(grid))
                if size > 2
                else k * (np.cos(grid) - 1)
            )
        total = np.cumsum((density[1:] + density[:-1]) / 2)
        return np.append(0, total / total[-1])

    levels = np.array([0.01, 0.2, 0.5, 0.9, 0.999])
    step = 1e-3 * concentration
    low, middle, high = (
        np.interp(levels, distribution_function(k), grid)
        for k in (concentration - step, concentration, concentration + step)
    )
    slope = angle_slope(tf.constant(middle, tf.float32), tf.constant(concentration), size)
    np.testing.assert_allclose(slope, (high - low) / (2 * step), rtol=2e-3)


@pytest.mark.parametrize("offset", [0.0, 1e-8, 1e-7, 1e-6, 1e-4])
def test_draws_stay_on_the_sphere_where_the_mean_direction_is_the_pole(offset):
    direction = tf.constant([np.cos(offset), np.sin(offset), 0.0], tf.float32)
    z = VonMisesFisher(direction, 5.0).sample(100, seed=(0, 1))
    np.testing.assert_allclose(tf.norm(z, axis=-1), 1, atol=1e-5)
    assert z[:, 0].numpy().mean() > 0.6
