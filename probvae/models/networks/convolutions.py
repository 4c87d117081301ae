"""Convolutional networks, of images and of series."""

import math

import tf_keras

from probvae.errors import InputError
from probvae.models.networks.layers import (
    Layers,
    Options,
    Residual,
    Shape,
    ThinConv2DTranspose,
    _Initializers,
    _with_policy,
)

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
