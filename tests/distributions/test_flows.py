import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.distributions.flows.flow import Flow
from probvae.distributions.flows.networks import Network, made
from probvae.distributions.flows.steps import AutoregressiveStep, CouplingStep, halves
from probvae.distributions.flows.transforms import SPLINE_BINS, SPLINE_BOUND, affine, gated, spline

TRANSFORMS = {"gated": (gated, 2), "affine": (affine, 2), "spline": (spline, 3 * SPLINE_BINS - 1)}


def normal(*shape, seed=0, scale=1.0):
    return tf.constant(scale * np.random.default_rng(seed).standard_normal(shape), tf.float32)


def disturb(network, scale=0.3, seed=0):
    """Add noise to every variable, those behind a mask too."""
    rng = np.random.default_rng(seed)
    for variable in network.variables:
        variable.assign_add(scale * rng.standard_normal(variable.shape))
    return network


def jacobian(f, x):
    """Values and Jacobians [N, L, L] of a map of points [N, L]."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = f(x)
    return y, tape.batch_jacobian(y, x, experimental_use_pfor=False)


def steps(latent_dim, context=None, seed=0):
    """One step of each kind and order, with weights large enough to bend."""
    size = 0 if context is None else context.shape[-1]
    found = {}
    for reverse in (False, True):
        network, order = made(latent_dim, hidden=(7, 9), context_size=size, reverse=reverse, seed=seed)
        disturb(network)
        found[f"autoregressive {reverse}"] = AutoregressiveStep(network, order, context=context)
    for i, (start, stop) in enumerate(halves(latent_dim, 2)):
        for name, (transform, outputs) in TRANSFORMS.items():
            sizes = [latent_dim - (stop - start), 7, outputs * (stop - start)]
            network = disturb(Network(sizes, context_size=size, seed=seed))
            found[f"coupling {i} {name}"] = CouplingStep(
                network, (start, stop), context=context, transform=transform
            )
    return found


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_made_sees_the_coordinates_before(latent_dim, reverse):
    network, order = made(latent_dim, hidden=(8, 6), context_size=3, reverse=reverse, seed=0)
    disturb(network)
    context = normal(4, 3, seed=1)
    x = normal(4, latent_dim)
    _, both = jacobian(lambda x: network(x, context), x)
    place = np.argsort(order)
    allowed = place[None, :] < place[:, None]  # [output, input]
    for slopes in (both[:, :latent_dim], both[:, latent_dim:]):
        np.testing.assert_array_equal(slopes.numpy()[:, ~allowed], 0)
        assert np.all(np.abs(slopes.numpy()[:, allowed]) > 0)
    assert np.abs(network(x, context) - network(x, context + 1)).min() > 0


def test_network_starts_from_its_bias_and_its_seed():
    first, again, other = (Network([3, 5, 4], bias=[0, 1, 2, 3], seed=seed) for seed in (1, 1, 2))
    x = normal(6, 3)
    np.testing.assert_array_equal(first(x), again(x))
    assert np.abs(first(x) - other(x)).max() > 1e-3
    np.testing.assert_allclose(first(x), np.tile([0, 1, 2, 3], (6, 1)), atol=0.3)
    np.testing.assert_allclose(first(x[:, tf.newaxis])[:, 0], first(x), rtol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    transform, size = TRANSFORMS[name]
    moves = transform(normal(50, 3 * size, scale=2.0))
    x = normal(50, 3, seed=1, scale=3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_slope = moves.forward(x)
    np.testing.assert_allclose(tf.exp(log_slope), tape.gradient(y, x), rtol=2e-4)
    back, back_slope = moves.forward(moves.inverse(y))
    np.testing.assert_allclose(back, y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(back_slope, log_slope, rtol=1e-2, atol=1e-2)
    for far in (1e4, -1e4):
        edge = tf.fill([50, 3], far)
        assert np.all(np.isfinite(moves.forward(edge)[0])) and np.all(np.isfinite(moves.inverse(edge)))


def test_gated_is_the_formula():
    outputs, x = normal(20, 6, scale=2.0), normal(20, 3, seed=1)
    m, r = np.split(outputs.numpy(), 2, axis=-1)
    s = 1 / (1 + np.exp(-8 * np.tanh(r / 8)))
    np.testing.assert_allclose(gated(outputs).forward(x)[0], s * x + (1 - s) * m, rtol=1e-4, atol=1e-5)


def test_spline_is_tfps():
    outputs = normal(40, 2 * (3 * SPLINE_BINS - 1), scale=2.0)
    raw = np.split(outputs.numpy().reshape(40, 2, -1), [SPLINE_BINS, 2 * SPLINE_BINS], axis=-1)
    widths, heights = (10 * tf.nn.softmax(2 * np.tanh(t / 2)) for t in raw[:2])
    slopes = np.exp(3 * np.tanh(raw[2] / 3))
    expected = tfb.RationalQuadraticSpline(widths, heights, slopes, range_min=-SPLINE_BOUND)
    ours = spline(outputs)
    x = normal(40, 2, seed=1, scale=3.0)
    y, log_slope = ours.forward(x)
    np.testing.assert_allclose(y, expected.forward(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        log_slope, expected.forward_log_det_jacobian(x, event_ndims=0), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(ours.inverse(x), expected.inverse(tf.identity(x)), rtol=1e-3, atol=1e-3)
    still = spline(tf.zeros_like(outputs))
    np.testing.assert_allclose(still.forward(x)[0], x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [-1e4, 1e4])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_extreme_outputs_stay_finite(name, size):
    transform, outputs = TRANSFORMS[name]
    x = tf.constant([[-1e4, -5.0, -1.0, 0.0, 5.0, 1e4]])
    p = tf.fill([1, 6 * outputs], size)
    with tf.GradientTape() as tape:
        tape.watch([p, x])
        moves = transform(p)
        total = [*moves.forward(x), moves.inverse(x)]
    gradients = tape.gradient(total, [p, x])
    assert all(np.all(np.isfinite(t)) for t in (*total, *gradients))


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_steps_are_invertible_and_know_their_determinant(latent_dim):
    context = normal(6, 4, seed=3)
    x = normal(6, latent_dim, seed=4)
    for name, step in steps(latent_dim, context).items():
        y, slopes = jacobian(step.forward, x)
        expected = np.linalg.slogdet(slopes.numpy().astype(np.float64))[1]
        log_det = step.forward_log_det_jacobian(x, event_ndims=1)
        np.testing.assert_allclose(log_det, expected, rtol=1e-3, atol=1e-4, err_msg=name)
        y = tf.identity(y)  # which no cache knows
        np.testing.assert_allclose(step.forward(step.inverse(y) + 0), y, rtol=1e-4, atol=1e-4, err_msg=name)
        log_det = step.inverse_log_det_jacobian(y, event_ndims=1)
        np.testing.assert_allclose(-log_det, expected, rtol=1e-3, atol=1e-3, err_msg=name)


def test_steps_broadcast_against_the_context():
    context = normal(6, 4, seed=3)
    z = normal(5, 1, 3, seed=4)
    for name, step in steps(3, context).items():
        for f in (step.forward, step.inverse):
            whole = f(tf.broadcast_to(z, [5, 6, 3]))
            np.testing.assert_allclose(f(z), whole, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_value_and_its_determinant_share_one_pass():
    for kind in range(2):
        calls = []

        def counted(network, *arguments, calls=calls):
            calls.append(1)
            return network(*arguments)

        if kind:
            network, order = made(4, hidden=(5,), seed=0)
            step = AutoregressiveStep(functools.partial(counted, network), order)
        else:
            step = CouplingStep(functools.partial(counted, Network([2, 5, 4], seed=0)), (2, 4))
        x = normal(3, 4)
        y = step.forward(x)
        step.forward_log_det_jacobian(x, event_ndims=1)
        step.inverse_log_det_jacobian(y, event_ndims=1)
        assert len(calls) == 1
        step.inverse(tf.identity(y))
        assert len(calls) == (1 + 4 if kind else 2)  # one pass for each coordinate, or one


def flow(steps=3, latent_dim=2, batch=4, **kwargs):
    context = normal(batch, 5, seed=2)
    nets = [made(latent_dim, hidden=(8,), context_size=5, reverse=i % 2 == 1, seed=i) for i in range(steps)]
    parts = [
        AutoregressiveStep(disturb(net, seed=i), order, context=context)
        for i, (net, order) in enumerate(nets)
    ]
    base = tfd.MultivariateNormalDiag(normal(batch, latent_dim, seed=5), tf.ones([batch, latent_dim]))
    return Flow(base, tfb.Chain(parts[::-1]), **kwargs)


def test_log_prob_of_a_draw_solves_nothing():
    def loops(f):
        graph = tf.function(f, autograph=False).get_concrete_function().graph
        return sum("While" in op.type for op in graph.get_operations())

    q = flow()
    z = q.sample(3, seed=(0, 1))
    np.testing.assert_allclose(q.log_prob(tf.identity(z)), q.log_prob(z), rtol=1e-4, atol=1e-4)
    assert loops(lambda: q.log_prob(q.sample(3, seed=(0, 1)))) == 0
    assert loops(lambda: q.log_prob(tf.identity(q.sample(3, seed=(0, 1))))) == 3


def test_moments_of_a_flow():
    q = flow(moment_draws=2048)
    z = q.sample(20_000, seed=(0, 7)).numpy()
    error = z.std(axis=0) / np.sqrt(2048)
    assert np.all(np.abs(q.mean() - z.mean(axis=0)) < 6 * error)
    np.testing.assert_allclose(q.stddev(), z.std(axis=0), rtol=0.1)
    np.testing.assert_array_equal(q.mean(), q.mean())
    for i in range(4):
        np.testing.assert_allclose(q.covariance()[i], np.cov(z[:, i].T), rtol=0.2, atol=0.05)
    np.testing.assert_allclose(tf.linalg.diag_part(q.covariance()), q.variance(), rtol=1e-4)
    base = tfd.MultivariateNormalDiag([[1.0, 2.0]], [[1.0, 3.0]])
    line = Flow(base, tfb.Shift([[1.0, 1.0]])(tfb.Scale([[2.0, 0.5]])))
    np.testing.assert_allclose(line.mean(), [[3, 2]], rtol=1e-5)


def test_halves_take_turns():
    assert halves(5, 3) == [(2, 5), (0, 2), (2, 5)]
    assert halves(1, 2) == [(0, 1), (0, 1)]
