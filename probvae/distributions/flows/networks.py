"""Networks of normalizing flows: dense layers over z and a context, with the masks of a MADE.

The masks are applied in every call, where `tfb.AutoregressiveNetwork` relies on constraints of the optimizer,
so a flow stays invertible for all values of its variables.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class Network(tf.Module):
    """Dense layers with ELU between them, over z and a context, with optional masks.

    Args:
      sizes: Numbers of inputs, of units of each hidden layer, and of outputs.
      context_size: C, the size of the context, which enters every layer; 0 for none.
      masks: Arrays [in, out] of zeros and ones, one for each layer; None for full layers.
      bias: Initial bias of the last layer, a number or [outputs].
      seed: Seed of the initial kernels: Glorot normal, the last one ten times smaller, so that the initial
        outputs are close to `bias`.
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
        rng, scope = np.random.default_rng([seed, 11]), f"{name}_{seed}"  # HDF5 needs names of their own
        self._masks = masks
        self._kernels, self._contexts, self._biases = [], [], []
        pairs = list(itertools.pairwise(sizes))
        for i, (inputs, outputs) in enumerate(pairs):
            last = i + 1 == len(pairs)
            gain = (0.1 if last else 1.0) * np.sqrt(2.0 / (inputs + context_size + outputs))
            values = gain * rng.standard_normal([inputs, outputs])
            self._kernels.append(_variable(values, f"{scope}/kernel_{i}"))
            if context_size:
                values = gain * rng.standard_normal([context_size, outputs])
                self._contexts.append(_variable(values, f"{scope}/context_{i}"))
            self._biases.append(_variable(np.zeros(outputs) + (bias if last else 0.0), f"{scope}/bias_{i}"))

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
    """Return x [..., in] times kernel [in, out], in fewer operations than `tf.tensordot`."""
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
    """Build a MADE with two outputs for each coordinate, [..., 2 L]: all first outputs, then all second ones.

    With `reverse`, outputs depend on the coordinates after their own, not on those before it. `hidden` are
    the units of the hidden layers, and `bias` holds the initial values of the two outputs. The order [L] of
    the coordinates is returned beside the network.

    References:
      Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, arXiv:1502.03509.
    """
    order = np.arange(latent_dim)[::-1] if reverse else np.arange(latent_dim)
    degrees = [np.argsort(order) + 1]  # degrees of the inputs: their positions in the order, from 1
    for units in hidden:
        degrees.append(np.arange(units) % max(latent_dim - 1, 1) + (latent_dim > 1))
    masks = [low[:, None] <= high[None, :] for low, high in itertools.pairwise(degrees)]
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
