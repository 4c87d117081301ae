"""The thin convolution equals the plain one: values, gradients, second gradients, weights' names."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from probvae.models.networks.layers import THIN, ThinConv2DTranspose, thin_conv2d_transpose

RNG = np.random.default_rng(0)


def layers(channels, size=3, **options):
    """A fast layer and a plain one with the same weights, and an x."""
    x = tf.constant(RNG.standard_normal([5, 9, 7, 6]), tf.float32)
    fast = ThinConv2DTranspose(channels, size, name="same", **options)
    plain = tf_keras.layers.Conv2DTranspose(channels, size, padding="same", name="same", **options)
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


OPTIONS = (
    {"activation": "relu"},
    {"activation": "tanh", "use_bias": False},
    {"strides": 2},
    {"strides": (1, 2), "activation": "relu"},
    {"dilation_rate": 2},
    {"size": (3, 3), "activation": "elu"},
    {"size": (1, 3)},
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_arguments_of_keras_are_heeded(options):
    fast, plain, x = layers(1, **options)
    np.testing.assert_allclose(fast(x), plain(x), rtol=1e-5, atol=1e-5)


def test_a_flipped_kernel_would_be_noticed():
    """The power of the test above: the convolution that is not transposed."""
    fast, plain, x = layers(1)
    wrong = thin_conv2d_transpose(x, tf.reverse(fast.kernel, [0, 1])) + fast.bias
    assert np.max(np.abs(wrong - plain(x))) > 0.1
