"""Networks inside normalizing flows: dense layers over z and a context, with the masks of a MADE.

The masks are part of every call, where `tfb.AutoregressiveNetwork` leaves them to the optimizer's
constraints, so a flow stays invertible whatever is assigned to its variables.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class Network(tf.Module):
    """Dense layers with ELU between them, over values and a context, with optional masks.

    Args:
      sizes: of the layers: inputs, hidden units, ..., outputs.
      context_size: C; the context enters every layer. 0 for none.
      masks: one array [in, out] of zeros and ones for each layer; None for full layers.
      bias: of the last layer at the start, a number or [outputs].
      seed: of the initial kernels: Glorot's normal, the last one ten times smaller, so that a flow starts
        near what `bias` says.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        context_size: int = 0,
        masks: Sequence[np.ndarray] | None = None,
        bias: Any = 0.0,
        seed: int,
        name: str = "network",
    ) -> None:
        super().__init__(name=name)
        rng = np.random.default_rng([seed, 11])
        self._masks = masks
        self._kernels, self._contexts, self._biases = [], [], []
        pairs = list(itertools.pairwise(sizes))
        for i, (inputs, outputs) in enumerate(pairs):
            last = i + 1 == len(pairs)
            gain = (0.1 if last else 1.0) * np.sqrt(2.0 / (inputs + context_size + outputs))
            self._kernels.append(_variable(gain * rng.standard_normal([inputs, outputs]), f"kernel_{i}"))
            if context_size:
                values = gain * rng.standard_normal([context_size, outputs])
                self._contexts.append(_variable(values, f"context_{i}"))
            self._biases.append(_variable(np.zeros(outputs) + (bias if last else 0.0), f"bias_{i}"))

    def __call__(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Return [..., outputs] for x [..., inputs] and a context [..., C] that broadcast."""
        for i, (kernel, bias) in enumerate(zip(self._kernels, self._biases, strict=True)):
            kernel = kernel if self._masks is None else kernel * self._masks[i]
            x = _times(x, kernel) + bias
            if self._contexts:
                x = x + _times(context, self._contexts[i])
            if i + 1 < len(self._kernels):
                x = tf.nn.elu(x)
        return x


def _times(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return x [..., in] times kernel [in, out], as `tf.tensordot` does in more operations."""
    if x.shape.rank == 2:
        return x @ kernel
    flat = tf.reshape(x, [-1, kernel.shape[0]]) @ kernel
    y = tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], 0))
    y.set_shape([*x.shape[:-1], kernel.shape[1]])
    return y


def _variable(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(np.asarray(values, np.float32), name=name)


def made(
    latent_dim: int,
    *,
    hidden: Sequence[int],
    context_size: int = 0,
    reverse: bool = False,
    bias: tuple[float, float] = (0.0, 0.0),
    seed: int,
) -> tuple[Network, np.ndarray]:
    """Build a MADE with two outputs for each coordinate, [..., 2 L]: all first ones, then all second ones.

    Args:
      latent_dim: L.
      hidden: units of the hidden layers.
      context_size: C.
      reverse: whether a coordinate's outputs depend on the coordinates after it, and not on those before it.
      bias: initial values of the two outputs.
      seed: of the initial weights.

    Returns:
      The network, and the order [L] in which the coordinates depend on each other.

    References:
      Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, arXiv:1502.03509.
    """
    order = np.arange(latent_dim)[::-1] if reverse else np.arange(latent_dim)
    degrees = [np.argsort(order) + 1]  # of the inputs: their place in the order, from 1
    for units in hidden:
        degrees.append(np.arange(units) % max(latent_dim - 1, 1) + (latent_dim > 1))
    masks = [a[:, None] <= b[None, :] for a, b in itertools.pairwise(degrees)]
    last = degrees[-1][:, None] < degrees[0][None, :]
    masks.append(np.concatenate([last, last], axis=1))
    network = Network(
        [latent_dim, *hidden, 2 * latent_dim],
        context_size=context_size,
        masks=[mask.astype(np.float32) for mask in masks],
        bias=np.repeat(bias, latent_dim),
        seed=seed,
        name="made",
    )
    return network, order
