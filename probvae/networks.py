"""Networks without randomness: lists of Keras layers, from x towards q(z|x) and from z towards p(x|z).

Each entry of `NETWORKS` is a pair of functions: `encoder(input_shape, *, options, seed)` gives the layers
from [B, *input_shape] to [B, features], `decoder(output_shape, input_dim, *, options, seed)` those from
[B, input_dim] to [B, prod(output_shape)]. The last axis of the output's shape counts the parameters of p(x|z)
at each place. The first entry is the stack of TensorFlow's tutorial "Convolutional Variational Autoencoder".
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from probvae.errors import InputError
from probvae.fast_layers import ThinConv2DTranspose

Layers = list[tf_keras.layers.Layer]
Shape = tuple[int, ...]


class Options(NamedTuple):
    """Sizes of a network; each kind of network uses the fields that it needs.

    Attributes:
      filters: width of each convolution of stride 2; the decoder has the same in reverse.
      units: width of each hidden layer of a multilayer perceptron; the decoder has the same in reverse.
      activation: a Keras activation.
      base_channels: channels of the small image that a convolutional decoder starts from; 32 in the tutorial.
      precision: a Keras policy, which all layers have but those that end a decoder: these are float32.
    """

    filters: Shape = (32, 64)
    units: Shape = (200, 200)
    activation: str = "relu"
    base_channels: int = 32
    precision: str = "float32"


class Network(NamedTuple):
    """An encoder and a decoder that fit each other.

    Attributes:
      encoder, decoder: see this module's first lines.
      event_ranks: numbers of axes that x may have; empty where any will do.
    """

    encoder: Callable[..., Layers]
    decoder: Callable[..., Layers]
    event_ranks: Shape


def _with_policy(build: Callable[..., Layers]) -> Callable[..., Layers]:
    """Make a network's layers under the Keras policy of its options."""

    @functools.wraps(build)
    def under_policy(*args: Any, options: Options, **kwargs: Any) -> Layers:
        before = tf_keras.mixed_precision.global_policy()
        tf_keras.mixed_precision.set_global_policy(options.precision)
        try:
            return build(*args, options=options, **kwargs)
        finally:
            tf_keras.mixed_precision.set_global_policy(before)

    return under_policy


class _Initializers:
    """Glorot-uniform initializers, each from a seed of its own."""

    def __init__(self, seed: int) -> None:
        self.seed, self.used = seed * 1000 - 1, 0

    def __call__(self) -> tf_keras.initializers.Initializer:
        self.used += 1
        return tf_keras.initializers.GlorotUniform(seed=self.seed + self.used)


# ---- convolutions --------------------------------------------------------------------------------


@_with_policy
def conv_encoder(input_shape: Shape, *, options: Options, seed: int) -> Layers:
    """Build 3x3 convolutions of stride 2 (valid), flattened.

    Args:
      input_shape: (height, width, channels) of x.
      options: `filters` and `activation`.
      seed: of the initial weights.

    Raises:
      InputError: the image is too small for so many convolutions.
    """
    height, width, _ = input_shape
    filters = options.filters
    smallest = 2 ** (len(filters) + 1) - 1  # each valid convolution maps n to (n - 3) // 2 + 1
    if min(height, width) < smallest:
        raise InputError(
            f"Images of {height}x{width} are too small for {len(filters)} convolutions of stride 2: "
            f"both sides must be at least {smallest}. Use fewer filters or larger images."
        )
    initializer = _Initializers(seed)
    initializer()  # the decoder's dense layer has the first seed: both number their convolutions from one
    convolutions = [
        tf_keras.layers.Conv2D(
            size, 3, 2, activation=options.activation, kernel_initializer=initializer(), name=f"conv_{i}"
        )
        for i, size in enumerate(filters, 1)
    ]
    return [tf_keras.layers.InputLayer(input_shape), *convolutions, tf_keras.layers.Flatten()]


@_with_policy
def conv_decoder(output_shape: Shape, input_dim: int, *, options: Options, seed: int) -> Layers:
    """Build a dense layer and transposed 3x3 convolutions of stride 2 (same).

    A side that 2 ** len(filters) does not divide is decoded to the next multiple and cropped at its
    far end.

    Args:
      output_shape: (height, width, parameters of p(x|z) at each pixel).
      input_dim: size of z, and of what it is joined with.
      options: `filters`, used here in reverse, `activation` and `base_channels`.
      seed: of the initial weights.
    """
    initializer = _Initializers(seed)
    layers, crop = _start(output_shape, input_dim, options, initializer)
    for i, size in enumerate(reversed(options.filters), 1):
        layers.append(
            tf_keras.layers.Conv2DTranspose(
                size,
                3,
                2,
                padding="same",
                activation=options.activation,
                kernel_initializer=initializer(),
                name=f"deconv_{i}",
            )
        )
    return [*layers, *_finish(output_shape[2], crop, initializer)]


def _start(
    output_shape: Shape, input_dim: int, options: Options, initializer: _Initializers
) -> tuple[Layers, tuple[int, int]]:
    """Return the layers from z to the smallest image, and what the largest has to be cropped by."""
    height, width, _ = output_shape
    factor = 2 ** len(options.filters)
    base = (-(-height // factor), -(-width // factor), options.base_channels)
    dense = tf_keras.layers.Dense(
        math.prod(base), activation=options.activation, kernel_initializer=initializer(), name="dense"
    )
    layers = [tf_keras.layers.InputLayer((input_dim,)), dense, tf_keras.layers.Reshape(base)]
    return layers, (base[0] * factor - height, base[1] * factor - width)


def _finish(channels: int, crop: tuple[int, int], initializer: _Initializers) -> Layers:
    last = ThinConv2DTranspose(
        channels,
        3,
        kernel_initializer=initializer(),
        name="likelihood_params",
        dtype="float32",
    )
    margins = ((0, crop[0]), (0, crop[1]))
    cropping = [tf_keras.layers.Cropping2D(margins, dtype="float32")] if any(crop) else []
    return [last, *cropping, tf_keras.layers.Flatten(dtype="float32")]


class Residual(tf_keras.layers.Layer):
    """x + f(x), f two 3x3 convolutions, each after its activation; f is zero before training.

    References:
      He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027.
    """

    def __init__(self, size: int, activation: str, initializer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = tf_keras.activations.get(activation)
        self.first = tf_keras.layers.Conv2D(size, 3, padding="same", kernel_initializer=initializer)
        self.second = tf_keras.layers.Conv2D(size, 3, padding="same", kernel_initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return an image of the shape of x."""
        return x + self.second(self.activation(self.first(self.activation(x))))


@_with_policy
def residual_encoder(input_shape: Shape, *, options: Options, seed: int) -> Layers:
    """Build, for each width, a 3x3 convolution of stride 2 (same) and a residual block; then flatten.

    Arguments as of `conv_encoder`.
    """
    initializer = _Initializers(seed)
    layers = [tf_keras.layers.InputLayer(input_shape)]
    for i, size in enumerate(options.filters, 1):
        layers += [
            tf_keras.layers.Conv2D(
                size, 3, 2, padding="same", kernel_initializer=initializer(), name=f"conv_{i}"
            ),
            Residual(size, options.activation, initializer(), name=f"residual_{i}"),
        ]
    return [*layers, tf_keras.layers.Activation(options.activation), tf_keras.layers.Flatten()]


@_with_policy
def residual_decoder(output_shape: Shape, input_dim: int, *, options: Options, seed: int) -> Layers:
    """Build a dense layer and, for each width, a residual block after a transposed convolution of stride 2.

    Arguments as of `conv_decoder`.
    """
    initializer = _Initializers(seed)
    layers, crop = _start(output_shape, input_dim, options, initializer)
    for i, size in enumerate(reversed(options.filters), 1):
        deconvolution = tf_keras.layers.Conv2DTranspose(
            size, 3, 2, padding="same", kernel_initializer=initializer(), name=f"deconv_{i}"
        )
        layers += [deconvolution, Residual(size, options.activation, initializer(), name=f"residual_{i}")]
    layers.append(tf_keras.layers.Activation(options.activation))
    return [*layers, *_finish(output_shape[2], crop, initializer)]


@_with_policy
def conv1d_encoder(input_shape: Shape, *, options: Options, seed: int) -> Layers:
    """Build convolutions over time of width 5 and stride 2 (same), flattened; x is [B, time, channels]."""
    initializer = _Initializers(seed)
    convolutions = [
        tf_keras.layers.Conv1D(
            size,
            5,
            2,
            padding="same",
            activation=options.activation,
            kernel_initializer=initializer(),
            name=f"conv_{i}",
        )
        for i, size in enumerate(options.filters, 1)
    ]
    return [tf_keras.layers.InputLayer(input_shape), *convolutions, tf_keras.layers.Flatten()]


@_with_policy
def conv1d_decoder(output_shape: Shape, input_dim: int, *, options: Options, seed: int) -> Layers:
    """Build a dense layer and transposed convolutions over time of width 5 and stride 2 (same).

    A length that 2 ** len(filters) does not divide is decoded to the next multiple and cropped at its end.
    """
    length, channels = output_shape
    initializer = _Initializers(seed)
    factor = 2 ** len(options.filters)
    base = (-(-length // factor), options.base_channels)
    dense = tf_keras.layers.Dense(
        math.prod(base), activation=options.activation, kernel_initializer=initializer(), name="dense"
    )
    layers = [tf_keras.layers.InputLayer((input_dim,)), dense, tf_keras.layers.Reshape(base)]
    for i, size in enumerate(reversed(options.filters), 1):
        layers.append(
            tf_keras.layers.Conv1DTranspose(
                size,
                5,
                2,
                padding="same",
                activation=options.activation,
                kernel_initializer=initializer(),
                name=f"deconv_{i}",
            )
        )
    last = tf_keras.layers.Conv1D(
        channels,
        5,
        padding="same",
        kernel_initializer=initializer(),
        name="likelihood_params",
        dtype="float32",
    )
    cropping = tf_keras.layers.Cropping1D((0, base[0] * factor - length), dtype="float32")
    return [*layers, last, cropping, tf_keras.layers.Flatten(dtype="float32")]


# ---- multilayer perceptrons ----------------------------------------------------------------------


class Gated(tf_keras.layers.Layer):
    """A dense layer whose output is multiplied by a sigmoid gate of another (Dauphin et al. 2017).

    As in the networks of Tomczak & Welling 2018, arXiv:1705.07120.
    """

    def __init__(self, units: int, initializer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = tf_keras.layers.Dense(2 * units, kernel_initializer=initializer)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return [B, units]."""
        value, gate = tf.split(self.dense(x), 2, axis=-1)
        return value * tf.sigmoid(gate)


def _hidden(units: Shape, options: Options, initializer: _Initializers, gated: bool) -> Layers:
    if gated:
        return [Gated(size, initializer(), name=f"gated_{i}") for i, size in enumerate(units, 1)]
    return [
        tf_keras.layers.Dense(
            size, activation=options.activation, kernel_initializer=initializer(), name=f"dense_{i}"
        )
        for i, size in enumerate(units, 1)
    ]


@_with_policy
def mlp_encoder(input_shape: Shape, *, options: Options, seed: int, gated: bool = False) -> Layers:
    """Build dense layers of the widths `options.units` on the flattened x, of any shape."""
    hidden = _hidden(options.units, options, _Initializers(seed), gated)
    return [tf_keras.layers.InputLayer(input_shape), tf_keras.layers.Flatten(), *hidden]


@_with_policy
def mlp_decoder(
    output_shape: Shape, input_dim: int, *, options: Options, seed: int, gated: bool = False
) -> Layers:
    """Build dense layers of the widths `options.units` in reverse, and a linear one for p(x|z)."""
    initializer = _Initializers(seed)
    hidden = _hidden(tuple(reversed(options.units)), options, initializer, gated)
    last = tf_keras.layers.Dense(
        math.prod(output_shape), kernel_initializer=initializer(), name="likelihood_params", dtype="float32"
    )
    return [tf_keras.layers.InputLayer((input_dim,)), *hidden, last]


def gated_mlp_encoder(input_shape: Shape, *, options: Options, seed: int) -> Layers:
    """Build `mlp_encoder` with gated layers in place of an activation."""
    return mlp_encoder(input_shape, options=options, seed=seed, gated=True)


def gated_mlp_decoder(output_shape: Shape, input_dim: int, *, options: Options, seed: int) -> Layers:
    """Build `mlp_decoder` with gated layers in place of an activation."""
    return mlp_decoder(output_shape, input_dim, options=options, seed=seed, gated=True)


NETWORKS: dict[str, Network] = {
    "conv": Network(conv_encoder, conv_decoder, (3,)),
    "residual_conv": Network(residual_encoder, residual_decoder, (3,)),
    "conv1d": Network(conv1d_encoder, conv1d_decoder, (2,)),
    "mlp": Network(mlp_encoder, mlp_decoder, ()),
    "gated_mlp": Network(gated_mlp_encoder, gated_mlp_decoder, ()),
}


def network(name: str, event_shape: Shape) -> Network:
    """Return an entry of `NETWORKS` after checking that it takes x of this shape.

    Raises:
      InputError: x has another number of axes than the network serves.
    """
    found = NETWORKS[name]
    if found.event_ranks and len(event_shape) not in found.event_ranks:
        kinds = {1: "vectors", 2: "series [time, channels]", 3: "images [height, width, channels]"}
        rank = len(event_shape)
        fits = [key for key, entry in NETWORKS.items() if rank in (entry.event_ranks or (rank,))]
        raise InputError(
            f"The network {name} takes {kinds[found.event_ranks[0]]}; x is of shape {list(event_shape)}. Use "
            f"one of {', '.join(fits)}."
        )
    return found
