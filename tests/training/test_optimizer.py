"""The optimizer of a run: schedules of the learning rate, and the fused Adam against Keras's."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from probvae.config.training import Training
from probvae.training.optimizer import SCHEDULES, FusedAdam, make_optimizer


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
