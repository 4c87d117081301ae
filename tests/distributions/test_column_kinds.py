"""Kinds of columns: distributions in the tails of float32, and parameters that do not depend on z."""

import numpy as np
import pytest
import tensorflow as tf
from likelihood_cases import LOG_PROB

from probvae import Architecture, elbo, load, save
from probvae.distributions import values
from probvae.distributions.columns import columns_of, inputs, kind_of, params_size
from probvae.distributions.rows import Rows, decoded_size
from probvae.distributions.support import support_of
from probvae.models.building import build

# Values in the middle and in the tails, and parameters that are moderate, large, and far beyond.
VALUES = {
    "student_t": (-3e4, -2.0, 0.0, 0.1, 5.0, 1e9),
    "zero_inflated_negative_binomial": (0.0, 1.0, 7.0, 400.0, 20_000.0),
    "ordinal:2": (0.0, 1.0),
    "ordinal:5": (0.0, 1.0, 2.0, 3.0, 4.0),
    "ordinal:90": (0.0, 1.0, 40.0, 89.0),
}
ROW = ("ordinal:4", "normal", "student_t", "ordinal:3", "zero_inflated_negative_binomial", "student_t")


def params_of(name, scale, n=40):
    return scale * np.random.default_rng(1).standard_normal([n, kind_of(name).n])


@pytest.mark.parametrize("name", VALUES)
def test_log_prob_is_that_of_scipy(name):
    """Errors of float32, also where the probability is below 1e-40; shifted parameters are caught."""
    by_hand = LOG_PROB[name.split(":")[0]]
    for scale in (1.0, 8.0):
        params = params_of(name, scale).clip(-9, 9).astype(np.float32)
        for x in VALUES[name]:
            found = kind_of(name).make(tf.constant(params)).log_prob(x).numpy()
            expected = by_hand(params.astype(np.float64), x)
            seen = np.isfinite(expected) & (np.abs(expected) < 1e5)  # float64 differences end before float32
            assert seen.sum() > 5
            np.testing.assert_allclose(found[seen], expected[seen], rtol=3e-4, atol=1e-5)
            other = by_hand(params.astype(np.float64) + 0.1 * np.arange(1, params.shape[1] + 1), x)
            assert np.abs(other - expected)[seen].max() > 1e-2


@pytest.mark.parametrize("name", VALUES)
def test_tails_are_finite_with_their_gradients(name):
    for scale in (1e2, 1e4, 1e15):
        params = tf.constant(params_of(name, scale), tf.float32)
        for x in (*VALUES[name], *([1e15] if name == "student_t" else [])):
            with tf.GradientTape() as tape:
                tape.watch(params)
                p = kind_of(name).make(params)
                log_prob = p.log_prob(x)
            assert np.all(np.isfinite(log_prob)) and np.all(np.isfinite(tape.gradient(log_prob, params)))
        for moment in (p.mean(), p.stddev(), p.mode(), p.sample(seed=(0, 1))):
            assert np.all(np.isfinite(moment)), (scale, moment)


def test_levels_are_equally_probable_at_first():
    for levels in (2, 3, 20, 500):
        start = tf.constant([0.0, *kind_of(f"ordinal:{levels}").trained])
        probabilities = kind_of(f"ordinal:{levels}").make(start).prob(np.arange(float(levels))[:, None])
        np.testing.assert_allclose(probabilities, np.full([levels, 1], 1 / levels), rtol=1e-4)
    [freedom] = kind_of("student_t").trained
    df = values.student_t(tf.constant([0.0, 0.0, freedom])).df
    np.testing.assert_allclose(df, values.FREEDOM, rtol=1e-6)


def test_a_higher_location_is_a_higher_level():
    """Proportional odds: the log-odds of x <= k fall by the location, the same for every k."""
    params = np.tile(params_of("ordinal:5", 1.0, 1), [2, 1])
    params[1, 0] += 0.7
    p = kind_of("ordinal:5").make(tf.constant(params, tf.float32))
    below = np.cumsum(p.prob(np.arange(5.0)[:, None]).numpy().astype(np.float64), axis=0)[:4]
    odds = np.log(below / (1 - below))
    np.testing.assert_allclose(odds[:, 1] - odds[:, 0], -0.7, rtol=1e-4)
    assert np.all(np.diff(p.mean()) > 0)


def test_the_mode_with_further_zeros():
    """The mode of the counts, or 0 where this is more probable."""
    params = np.array([[3.0, 8.0, -3.0], [3.0, 8.0, 1.0], [-1.0, 0.0, -9.0]])
    p = values.zero_inflated_negative_binomial(tf.constant(params, tf.float32))
    grid = np.arange(60.0, dtype=np.float32)[:, None]
    best = np.argmax(p.log_prob(grid), axis=0)
    assert p.mode().numpy().tolist() == best.tolist() and best[0] > 0 == best[1]
    chance = 1 / (1 + np.exp(-params[:, 2]))
    np.testing.assert_allclose(p.prob(0.0) - (1 - chance) * p.distribution.prob(0.0), chance, atol=1e-6)
    assert support_of(p).contains(np.array([0.0, 2.0, 0.5, -1.0])).tolist() == [True, True, False, False]


def test_ordered_levels_enter_by_steps():
    x = tf.constant([[0.0], [1.0], [2.25], [3.0], [np.nan]])
    expected = [[0, 0, 0], [1, 0, 0], [1, 1, 0.25], [1, 1, 1], [np.nan] * 3]
    np.testing.assert_allclose(inputs(x, ("ordinal:4",)), expected)


# ---- trained parameters --------------------------------------------------------------------------


def test_trained_parameters_stand_behind_those_of_z():
    """Column by column, against the distribution of all parameters; another order is caught."""
    assert (params_size(ROW), decoded_size(ROW)) == (4 + 2 + 3 + 3 + 3 + 3, 1 + 2 + 2 + 1 + 3 + 2)
    layer = Rows(ROW)
    rng = np.random.default_rng(2)
    of_z = rng.standard_normal([3, 5, 11]).astype(np.float32)
    layer.of_columns.assign(rng.standard_normal(7))
    own, whole, start, first = layer.of_columns.numpy(), [], 0, 0
    for kind in map(kind_of, ROW):
        trained = own[first : first + len(kind.trained)]
        end = start + kind.n - len(trained)
        whole += [of_z[..., start:end], np.broadcast_to(trained, [3, 5, len(trained)])]
        start, first = end, first + len(trained)
    expected = columns_of(tf.constant(np.concatenate(whole, axis=-1)), ROW)
    p = layer(tf.constant(of_z))
    x = expected.sample(seed=(0, 1))
    np.testing.assert_allclose(p.log_prob(x), tf.reduce_sum(expected.log_prob(x), axis=-1), rtol=1e-5)
    np.testing.assert_allclose(p.mean(), expected.mean(), rtol=1e-5)
    layer.of_columns.assign(tf.reverse(layer.of_columns, [0]))
    assert np.abs(p.log_prob(x) - layer(tf.constant(of_z)).log_prob(x)).min() > 1e-3
    assert Rows(("normal", "categorical:3")).of_columns is None


def test_they_are_trained_saved_and_loaded(tmp_path):
    architecture = Architecture(
        (len(ROW),), likelihood="mixed", network="mlp", units=(4,), columns=ROW, missing=True
    )
    vae = build(architecture)
    [variable] = [v for v in vae.trainable_weights if "of_columns" in v.name]
    x = np.float32([[3, 0.5, -2, 1, 0, np.nan], [0, 1.5, 40, np.nan, 7, 1]] * 4)
    before = variable.numpy()
    vae.compile(optimizer="adam")
    vae.fit(x, epochs=2, batch_size=4, verbose=0)
    assert np.all(variable.numpy() != before)
    save(vae, tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(elbo(again, x, seed=1), elbo(vae, x, seed=1))
    [loaded] = [v for v in again.trainable_weights if "of_columns" in v.name]
    np.testing.assert_array_equal(loaded, variable)
