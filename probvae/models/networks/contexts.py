"""Layers of conditional networks: they join y to x before an encoder, or fill in a fixed y."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

from probvae.distributions.layers import SharedHead
from probvae.models.folding import Split
from probvae.models.networks.layers import Layers, NetworkOptions
from probvae.models.networks.registry import Network

Shape = tuple[int, ...]


class WithContext(tf_keras.layers.Layer):
    """A layer from joined examples [B, D + C] to the input of an encoder's network: x with y beside it.

    The C values of y are further channels at every place of an image or series; a flat network gets one
    vector.

    Args:
      value_shape: E, the shape of x.
      context_dim: C, the size of y.
      inputs: Function from x [B, *E] to the encoder's view of it, [B, *E'].
      flat: Whether to return vectors whatever the shape of x.
      **kwargs: Keyword arguments of the Keras layer.

    Attributes:
      output_dims: Shape of the output without B.
    """

    def __init__(
        self,
        value_shape: Shape,
        context_dim: int,
        *,
        inputs: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
        flat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.value_shape, self.inputs, self.flat = value_shape, inputs, flat
        output = self(tf.zeros([1, math.prod(value_shape) + context_dim]))
        self.output_dims = tuple(output.shape[1:].as_list())

    def call(self, example: tf.Tensor) -> tf.Tensor:
        """Return [B, *E'[:-1], channels + C], or [B, D' + C]."""
        size = math.prod(self.value_shape)
        x, y = self.inputs(tf.reshape(example[:, :size], [-1, *self.value_shape])), example[:, size:]
        if self.flat:
            x = tf.reshape(x, [-1, math.prod(x.shape[1:])])
        y = tf.reshape(y, [-1, *[1] * (x.shape.rank - 2), y.shape[-1]])
        return tf.concat([x, y + tf.zeros_like(x[..., :1])], axis=-1)


def encoder_layers(
    kind: Network,
    value_shape: Shape,
    context_dim: int,
    *,
    options: NetworkOptions,
    seed: int,
    inputs: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Layers:
    """Build the layers of an encoder from joined examples [B, D + C] to [B, features].

    The arguments are those of `WithContext`, and a kind of network, its options and the seed of its weights.
    """
    front = WithContext(
        value_shape, context_dim, inputs=inputs, flat=not kind.event_ranks, name="with_context"
    )
    joined = tf_keras.layers.InputLayer((math.prod(value_shape) + context_dim,))
    network = kind.encoder(front.output_dims, options=options, seed=seed)
    return [joined, front, *(layer for layer in network if not isinstance(layer, tf_keras.layers.InputLayer))]


class _ContextFilling(tf_keras.layers.Layer):
    """A layer from x [B, ...] to [B, D + C]: x flattened, and one y."""

    def __init__(self, y: tf.Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = tf.get_static_value(y)  # an array is a constant of a graph, a tensor an input of its function
        self.y = y if known is None else known

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(x, [-1, math.prod(x.shape[1:])])
        return tf.concat([x, self.y + tf.zeros_like(x[:, :1])], axis=-1)


def filled(part: Split, shape: Shape, y: tf.Tensor) -> tf_keras.Model:
    """Build an encoder or decoder of inputs [B, *shape] with y [C] filled in and the weights of `part`."""
    inputs = tf_keras.Input(shape)
    return tf_keras.Model(inputs, SharedHead(part.head)(part.network(_ContextFilling(y)(inputs))))
