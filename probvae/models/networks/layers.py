"""Keras layers of the networks, and their options."""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

THIN = 2  # largest number of channels for which `ThinConv2DTranspose` is worth it


@contextlib.contextmanager
def float32_layers() -> Iterator[None]:
    """Give layers that are made meanwhile the type float32, whatever the global policy of Keras.

    Layers of another precision are given theirs by name.
    """
    policy = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        is_default = policy.name == tf_keras.backend.floatx()  # follows floatx, if it is not set
        tf_keras.mixed_precision.set_global_policy(None if is_default else policy)


@tf.custom_gradient
def thin_conv2d_transpose(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Compute a transposed convolution of stride 1 (same) to few channels by one matrix product and shifts.

    x is [B, H, W, C], the kernel [k, k, D, C] with k odd, and the result [B, H, W, D]. A convolution to one
    channel uses a small part of a processor's vector units. Here one product multiplies the channels of every
    pixel by all weights of the kernel, and the resulting k * k maps are shifted and added. Both gradients are
    matrix products with the neighbourhoods of the upstream gradient's pixels.
    """
    height, width, channels = x.shape[1:]
    k, _, depth, _ = kernel.shape
    half = k // 2
    weights = tf.reshape(kernel, [k * k * depth, channels])
    maps = tf.matmul(tf.reshape(x, [-1, channels]), weights, transpose_b=True)
    maps = tf.reshape(maps, [-1, height, width, k * k * depth])
    maps = tf.pad(maps, [[0, 0], [half, half], [half, half], [0, 0]])
    shifted = [
        maps[:, k - 1 - i : k - 1 - i + height, k - 1 - j : k - 1 - j + width, n : n + depth]
        for i in range(k)
        for j in range(k)
        for n in [(k * i + j) * depth]
    ]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        padded = tf.pad(upstream, [[0, 0], [half, half], [half, half], [0, 0]])
        neighbours = [
            padded[:, i : i + height, j : j + width, n]
            for i in range(k)
            for j in range(k)
            for n in range(depth)
        ]
        patches = tf.reshape(tf.stack(neighbours), [k * k * depth, -1])
        x_gradient = tf.matmul(patches, weights, transpose_a=True)
        kernel_gradient = tf.matmul(patches, tf.reshape(x, [-1, channels]))
        return tf.reshape(x_gradient, tf.shape(x)), tf.reshape(kernel_gradient, kernel.shape)

    return tf.add_n(shifted), gradient


class ThinConv2DTranspose(tf_keras.layers.Conv2DTranspose):
    """A transposed convolution (same) that is fast for few output channels and stride 1.

    With more than `THIN` channels, with strides, or where there is a GPU, it is Keras's own.
    """

    def __init__(self, filters: int, kernel_size: Any, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding="same", **kwargs)
        height, width = self.kernel_size
        plain = self.strides == self.dilation_rate == (1, 1) and self.data_format == "channels_last"
        square = height == width and height % 2 == 1
        self.thin = filters <= THIN and plain and square and not tf.config.list_physical_devices("GPU")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return [B, H, W, filters]."""
        if not self.thin:
            return super().call(inputs)
        outputs = thin_conv2d_transpose(inputs, tf.convert_to_tensor(self.kernel))
        outputs = outputs if self.bias is None else tf.nn.bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


Layers = list[tf_keras.layers.Layer]
Shape = tuple[int, ...]


class NetworkOptions(NamedTuple):
    """Options of a network; each kind of network uses some of them."""

    filters: Shape = (32, 64)  # width of each convolution of stride 2; the decoder has the same in reverse
    units: Shape = (200, 200)  # width of each dense hidden layer; the decoder has the same in reverse
    activation: str = "relu"  # name of a Keras activation
    base_channels: int = 32  # channels of the small image that a convolutional decoder starts from
    precision: str = "float32"  # Keras policy of all layers but the last of a decoder, which are float32
    dropout: float = 0.0  # fraction of the units that each hidden layer drops in training


def dropout(options: NetworkOptions) -> Layers:
    """Return the layer, if any, that drops units of the hidden layer before it in training."""
    return [tf_keras.layers.Dropout(options.dropout, dtype=options.precision)] if options.dropout else []


def initializers(seed: int) -> Iterator[tf_keras.initializers.Initializer]:
    """Yield Glorot-uniform initializers, each with a seed of its own."""
    for number in itertools.count(1000 * seed):
        yield tf_keras.initializers.GlorotUniform(seed=number)


class Residual(tf_keras.layers.Layer):
    """x + f(x), f two 3x3 convolutions, each after its activation; f is zero before training.

    References:
      He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027.
    """

    def __init__(self, size: int, activation: str, initializer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = tf_keras.activations.get(activation)
        convolution = functools.partial(
            tf_keras.layers.Conv2D, size, 3, padding="same", dtype=self.dtype_policy
        )
        self.first = convolution(kernel_initializer=initializer)
        self.second = convolution(kernel_initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x + f(x)."""
        return x + self.second(self.activation(self.first(self.activation(x))))


class Gated(tf_keras.layers.Layer):
    """A dense layer whose output is multiplied by a sigmoid gate from another (Dauphin et al. 2017).

    As in the networks of Tomczak & Welling 2018, arXiv:1705.07120.
    """

    def __init__(self, units: int, initializer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = tf_keras.layers.Dense(2 * units, kernel_initializer=initializer, dtype=self.dtype_policy)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return [B, units]."""
        value, gate = tf.split(self.dense(x), 2, axis=-1)
        return value * tf.sigmoid(gate)
