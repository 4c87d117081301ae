"""Convolutional networks, of images and of series."""

import math
from collections.abc import Iterator
from typing import Any

import tf_keras

from probvae.errors import InputError
from probvae.models.networks.layers import (
    Layers,
    NetworkOptions,
    Residual,
    Shape,
    ThinConv2DTranspose,
    dropout,
    initializers,
)


def conv_encoder(input_shape: Shape, *, options: NetworkOptions, seed: int) -> Layers:
    """Build 3x3 convolutions of stride 2 (valid), flattened; an image too small for them is refused."""
    height, width, _ = input_shape
    filters = options.filters
    smallest = 2 ** (len(filters) + 1) - 1  # each valid convolution maps n to (n - 3) // 2 + 1
    if min(height, width) < smallest:
        raise InputError(
            f"Images of {height}x{width} are too small for {len(filters)} convolutions of stride 2: "
            f"both sides must be at least {smallest}. Use fewer filters or larger images."
        )
    initializer = initializers(seed)
    next(initializer)  # encoder and decoder number convolutions from one; zero is the decoder's dense layer
    kind = tf_keras.layers.Conv2D
    layers = _convolutions(kind, "conv", filters, 3, options, initializer, padding="valid")
    return _encoder(input_shape, layers, options)


def conv_decoder(
    output_shape: Shape, input_dim: int, *, options: NetworkOptions, seed: int, residual: bool = False
) -> Layers:
    """Build a dense layer and transposed 3x3 convolutions of stride 2 (same), of the filters in reverse.

    A side that 2 ** len(filters) does not divide is decoded to the next multiple and cropped at its far end.
    `output_shape` is (height, width, parameters of p(x|z) at each pixel), `input_dim` the size of z, or of z
    and y; with `residual`, a residual block follows each convolution.
    """
    initializer = initializers(seed)
    layers, crop = _start(output_shape, input_dim, options, initializer)
    kind, filters = tf_keras.layers.Conv2DTranspose, options.filters[::-1]
    layers += _convolutions(kind, "deconv", filters, 3, options, initializer, residual=residual)
    last = ThinConv2DTranspose(
        output_shape[-1], 3, kernel_initializer=next(initializer), name="likelihood_params", dtype="float32"
    )
    margins = [(0, margin) for margin in crop]
    cropping = [tf_keras.layers.Cropping2D(margins, dtype="float32")] if any(crop) else []
    return [*layers, last, *cropping, tf_keras.layers.Flatten(dtype="float32")]


def residual_encoder(input_shape: Shape, *, options: NetworkOptions, seed: int) -> Layers:
    """Build, for each width, a 3x3 convolution of stride 2 (same) and a residual block; then flatten."""
    kind, initializer = tf_keras.layers.Conv2D, initializers(seed)
    layers = _convolutions(kind, "conv", options.filters, 3, options, initializer, residual=True)
    return _encoder(input_shape, layers, options)


def conv1d_encoder(input_shape: Shape, *, options: NetworkOptions, seed: int) -> Layers:
    """Build convolutions over time of width 5 and stride 2 (same), flattened; x is [B, time, channels]."""
    layers = _convolutions(tf_keras.layers.Conv1D, "conv", options.filters, 5, options, initializers(seed))
    return _encoder(input_shape, layers, options)


def conv1d_decoder(output_shape: Shape, input_dim: int, *, options: NetworkOptions, seed: int) -> Layers:
    """Build a dense layer and transposed convolutions over time of width 5 and stride 2 (same).

    A length that 2 ** len(filters) does not divide is decoded to the next multiple and cropped at its end.
    """
    initializer = initializers(seed)
    layers, (crop,) = _start(output_shape, input_dim, options, initializer)
    kind, filters = tf_keras.layers.Conv1DTranspose, options.filters[::-1]
    layers += _convolutions(kind, "deconv", filters, 5, options, initializer)
    last = tf_keras.layers.Conv1D(
        output_shape[-1],
        5,
        padding="same",
        kernel_initializer=next(initializer),
        name="likelihood_params",
        dtype="float32",
    )
    cropping = tf_keras.layers.Cropping1D((0, crop), dtype="float32")
    return [*layers, last, cropping, tf_keras.layers.Flatten(dtype="float32")]


def _encoder(input_shape: Shape, layers: Layers, options: NetworkOptions) -> Layers:
    """Put an input layer before the layers and a flattening one after them."""
    flat = tf_keras.layers.Flatten(dtype=options.precision)
    return [tf_keras.layers.InputLayer(input_shape), *layers, flat]


def _convolutions(
    kind: Any,
    name: str,
    filters: Shape,
    width: int,
    options: NetworkOptions,
    initializer: Iterator[Any],
    *,
    padding: str = "same",
    residual: bool = False,
) -> Layers:
    """Build a convolution of stride 2 for each of the filters, with its activation or a residual block."""
    activation, dtype = options.activation, options.precision
    layers: Layers = []
    for i, size in enumerate(filters, 1):
        convolution = kind(
            size,
            width,
            2,
            padding=padding,
            activation=None if residual else activation,
            kernel_initializer=next(initializer),
            name=f"{name}_{i}",
            dtype=dtype,
        )
        layers.append(convolution)
        if residual:
            layers.append(Residual(size, activation, next(initializer), name=f"residual_{i}", dtype=dtype))
        layers += dropout(options)
    return [*layers, tf_keras.layers.Activation(activation, dtype=dtype)] if residual else layers


def _start(
    output_shape: Shape, input_dim: int, options: NetworkOptions, initializer: Iterator[Any]
) -> tuple[Layers, list[int]]:
    """Return the layers from z to the smallest image or series, and the margins to crop of the largest."""
    factor = 2 ** len(options.filters)
    base = [-(-side // factor) for side in output_shape[:-1]]
    dense = tf_keras.layers.Dense(
        math.prod(base) * options.base_channels,
        activation=options.activation,
        kernel_initializer=next(initializer),
        name="dense",
        dtype=options.precision,
    )
    reshape = tf_keras.layers.Reshape((*base, options.base_channels), dtype=options.precision)
    crop = [factor * small - side for small, side in zip(base, output_shape[:-1], strict=True)]
    return [tf_keras.layers.InputLayer((input_dim,)), dense, *dropout(options), reshape], crop
