"""Networks of dense layers."""

import math
from collections.abc import Iterator
from typing import Any

import tf_keras

from probvae.models.networks.layers import Gated, Layers, NetworkOptions, Shape, dropout, initializers


def _hidden(units: Shape, options: NetworkOptions, initializer: Iterator[Any], gated: bool) -> Layers:
    layers: Layers = []
    for i, size in enumerate(units, 1):
        if gated:
            layer = Gated(size, next(initializer), name=f"gated_{i}", dtype=options.precision)
        else:
            layer = tf_keras.layers.Dense(
                size,
                activation=options.activation,
                kernel_initializer=next(initializer),
                name=f"dense_{i}",
                dtype=options.precision,
            )
        layers += [layer, *dropout(options)]
    return layers


def mlp_encoder(input_shape: Shape, *, options: NetworkOptions, seed: int, gated: bool = False) -> Layers:
    """Build dense layers of the widths `options.units` on the flattened x, of any shape; `Gated` or not."""
    hidden = _hidden(options.units, options, initializers(seed), gated)
    return [
        tf_keras.layers.InputLayer(input_shape),
        tf_keras.layers.Flatten(dtype=options.precision),
        *hidden,
    ]


def mlp_decoder(
    output_shape: Shape, input_dim: int, *, options: NetworkOptions, seed: int, gated: bool = False
) -> Layers:
    """Build dense layers of the widths `options.units` in reverse, and a linear one for p(x|z)."""
    initializer = initializers(seed)
    hidden = _hidden(tuple(reversed(options.units)), options, initializer, gated)
    last = tf_keras.layers.Dense(
        math.prod(output_shape),
        kernel_initializer=next(initializer),
        name="likelihood_params",
        dtype="float32",
    )
    return [tf_keras.layers.InputLayer((input_dim,)), *hidden, last]
