"""Fast forms equal the plain ones: values, gradients, second gradients, weights' names."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from probvae.models.networks.layers import THIN, ThinConv2DTranspose, thin_conv2d_transpose
from probvae.training.optimizer import FusedAdam

RNG = np.random.default_rng(0)


def layers(channels, size=3):
    """A fast layer and a plain one with the same weights, and an x."""
    x = tf.constant(RNG.standard_normal([5, 9, 7, 6]), tf.float32)
    fast = ThinConv2DTranspose(channels, size, name="same")
    plain = tf_keras.layers.Conv2DTranspose(channels, size, padding="same", name="same")
    for layer in (fast, plain):
        layer(x)
    weights = [RNG.standard_normal(w.shape) for w in plain.get_weights()]
    fast.set_weights(weights)
    plain.set_weights(weights)
    return fast, plain, x


def gradients(layer, x):
    """Of a sum of cubes, and of the square of its gradient: by x and by the weights."""
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = tf.reduce_sum(layer(x) ** 3)
        first = inner.gradient(value, [x, *layer.trainable_variables])
        square = tf.add_n([tf.reduce_sum(g**2) for g in first])
    return [*first, *outer.gradient(square, [x, *layer.trainable_variables])]


@pytest.mark.parametrize(("channels", "size"), [(1, 3), (2, 3), (1, 5), (THIN + 1, 3), (1, 4)])
def test_a_thin_convolution_is_the_plain_one(channels, size):
    fast, plain, x = layers(channels, size)
    assert fast.thin == (channels <= THIN and size % 2 == 1 and not tf.config.list_physical_devices("GPU"))
    np.testing.assert_allclose(fast(x), plain(x), rtol=1e-5, atol=1e-4)
    for a, b in zip(gradients(fast, x), gradients(plain, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.max(np.abs(b)))
    assert [w.name for w in fast.weights] == [w.name for w in plain.weights]


def test_a_flipped_kernel_would_be_noticed():
    """The power of the test above: the convolution that is not transposed."""
    fast, plain, x = layers(1)
    wrong = thin_conv2d_transpose(x, tf.reverse(fast.kernel, [0, 1])) + fast.bias
    assert np.max(np.abs(wrong - plain(x))) > 0.1


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
