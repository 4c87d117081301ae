"""The optimizer of a run: schedules of the learning rate, and the fused Adam against Keras's."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from probvae.config.training import Training
from probvae.training.optimizer import SCHEDULES, FusedAdam, make_optimizer, orthogonal


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    training = Training(learning_rate=0.5, schedule=name, epochs=2, batch_size=10, warmup_steps=4)
    rate = make_optimizer(training, 95)._learning_rate  # ten steps an epoch, the last one of five examples
    values = np.array([float(rate(tf.constant(step))) for step in range(21)])
    np.testing.assert_allclose(values[0], 0.125, rtol=0.02)
    expected = {
        "constant": 0.5 + 0 * np.arange(21),
        "cosine": 0.25 * (1 + np.cos(np.pi * np.arange(21) / 20)),
        "linear": 0.5 * (1 - np.arange(21) / 20),
        "exponential": 0.5 * 0.01 ** (np.arange(21) / 20),
    }
    np.testing.assert_allclose(values[4:], expected[name][4:], atol=1e-6)


@pytest.mark.parametrize("schedule", [0.01, tf_keras.optimizers.schedules.CosineDecay(0.05, 30)])
def test_the_fused_update_is_adams(schedule):
    """Over 40 steps of gradients that differ, within float32 rounding; the slots too."""
    found = []
    for kind in (FusedAdam, tf_keras.optimizers.Adam):
        rng = np.random.default_rng(1)
        variables = [tf.Variable(np.ones(shape, np.float32)) for shape in ([3, 2], [4], [])]
        optimizer = kind(schedule)
        for _ in range(40):
            grads = [tf.constant(rng.standard_normal(v.shape), tf.float32) for v in variables]
            optimizer.apply_gradients(zip(grads, variables, strict=True))
        found.append([v.numpy() for v in [*variables, *optimizer.variables]])
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    moved = np.abs(found[1][0] - 1).max()
    assert moved > 1e-2  # a hundred times the tolerance and more


def test_sparse_gradients_are_taken_too():
    table = tf.Variable(np.ones([5, 2], np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(table, [1, 3]))
    optimizer = FusedAdam(0.1)
    optimizer.apply_gradients([(tape.gradient(loss, table), table)])
    np.testing.assert_allclose(table[1], 0.9, rtol=1e-3)
    np.testing.assert_array_equal(table[0], 1.0)


@pytest.mark.parametrize("shape", [(30, 30), (40, 9), (9, 40), (7, 1), (1, 7)])
def test_an_orthogonal_step_has_the_singular_vectors_of_the_momentum(shape):
    """And singular values near one, also where those of the momentum differ by a factor of fifty."""
    rng = np.random.default_rng(0)
    u, s, v = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    matrix = (u * np.geomspace(1, 0.02, len(s))) @ v
    found = u.T @ orthogonal(tf.constant(1e-6 * matrix, tf.float32)).numpy() @ v.T
    values = np.diag(found)
    assert np.all((values > 0.6) & (values < 1.25)) and np.abs(found - np.diag(values)).max() < 0.02
    assert np.abs(u.T @ matrix @ v.T - np.eye(len(s))).max() > 0.5 or len(s) == 1


def test_muon_steps_along_the_kernels_momentum_and_as_adam_along_others():
    """By hand over three steps, of the kernels of a dense layer and of a convolution."""
    rng = np.random.default_rng(1)
    shapes = {"dense/kernel": [6, 4], "conv/kernel": [3, 3, 2, 5], "dense/bias": [4], "prior/locs": [6, 4]}
    grads = [[rng.standard_normal(shape) for shape in shapes.values()] for _ in range(3)]
    found = {}
    for name in ("adam", "muon"):
        variables = [tf.Variable(np.ones(shape, np.float32), name=key) for key, shape in shapes.items()]
        training = Training(optimizer=name, learning_rate=0.01)
        optimizer = make_optimizer(training, 100, variables)
        for step in grads:
            step = [tf.constant(g, tf.float32) for g in step]
            optimizer.apply_gradients(zip(step, variables, strict=True))
        found[name] = [v.numpy() for v in variables]
    for ours, adam in zip(found["muon"][2:], found["adam"][2:], strict=True):
        np.testing.assert_array_equal(ours, adam)
    for place, rows in ((0, 6), (1, 18)):
        value, momentum = np.ones(grads[0][place].shape), 0.0
        for step in grads:
            momentum = 0.95 * momentum + step[place]
            ahead = (0.95 * momentum + step[place]).reshape(rows, -1)
            towards = orthogonal(tf.constant(ahead, tf.float32)).numpy()
            value = value - 0.01 * 0.2 * np.sqrt(rows) * towards.reshape(value.shape)
        np.testing.assert_allclose(found["muon"][place], value, atol=1e-5)
        assert np.abs(found["muon"][place] - found["adam"][place]).max() > 1e-3
