"""Networks of dense layers."""

import math

import tf_keras

from probvae.models.networks.layers import Gated, Layers, Options, Shape, _Initializers, _with_policy


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
