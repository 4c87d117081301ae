"""Invertible steps of normalizing flows.

Unlike those of `tfb.MaskedAutoregressiveFlow` and `tfb.RealNVP`, their values and log-determinants take one
pass of the network together, and z broadcasts against the batch of the context.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from probvae.distributions.flows import networks
from probvae.distributions.flows.transforms import Transform, affine, gated

Network = Callable[..., tf.Tensor]  # (z, context) -> outputs


class _Step(tfb.Bijector):
    """Base class of invertible maps of [..., L] with parameters from a network.

    The result at the last x is cached, so that the value and the log-determinant share one pass of the
    network; and TFP caches the values of bijectors at a tensor as long as the tensor lives. So a step must be
    built again when the variables of its network have changed.
    """

    def __init__(self, network: Network, context: tf.Tensor | None, transform: Any, name: str) -> None:
        # The function hides the variables of the network from tf.Module: the layer or the prior has them.
        self._transform_at = lambda x: transform(network(x, context))
        self._context: Any = context
        self._last: tuple[Any, ...] = (None,)
        # Without `parameters` no two steps are equal for TFP, so none uses the cache of another.
        super().__init__(forward_min_event_ndims=1, name=name)

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return self._evaluate(x)[0]

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self._evaluate(x)[1], axis=-1)

    def _evaluate(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the value at x and the logarithms of the slopes, from the cache if x is the last x."""
        if self._last[0] is not x:
            self._last = (x, *self._compute(self._full(x)))
        return self._last[1:]

    def _compute(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _full(self, z: tf.Tensor) -> tf.Tensor:
        """Broadcast z [..., L] against the batch of the context."""
        if self._context is None:
            return z
        batch = tf.broadcast_dynamic_shape(tf.shape(z)[:-1], tf.shape(self._context)[:-1])
        full = tf.broadcast_to(z, tf.concat([batch, tf.shape(z)[-1:]], 0))
        static = tf.broadcast_static_shape(z.shape[:-1], self._context.shape[:-1])
        full.set_shape([*static, z.shape[-1]])
        return full


class AutoregressiveStep(_Step):
    """Autoregressive map z'_i = f(z_i; network(z_1, ..., z_{i-1}, context)), forward in one pass.

    The inverse computes one coordinate after the other, in L passes.

    Args:
      network: Network from `made`.
      order: Order [L] of the coordinates, from `made`.
      context: Context h [..., C], or None.
      transform: Function from the outputs [..., 2 L] of the network to a map of each coordinate.
    """

    def __init__(
        self,
        network: Network,
        order: np.ndarray,
        *,
        context: tf.Tensor | None = None,
        transform: Callable[[tf.Tensor], Transform] = gated,
    ) -> None:
        self.order = np.array(order)
        super().__init__(network, context, transform, "autoregressive_step")

    def _compute(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._transform_at(x).forward(x)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        y = self._full(y)
        size = len(self.order)
        now = tf.one_hot(self.order, size, on_value=True, off_value=False)  # [step, coordinate]

        def solve(i: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The inverse is not yet valid for later coordinates, which stay zero.
            return i + 1, tf.where(now[i], self._transform_at(x).inverse(y), x)

        start = (tf.constant(0), tf.zeros_like(y))
        return tf.while_loop(lambda i, _: i < size, solve, start, maximum_iterations=size)[1]


class CouplingStep(_Step):
    """Coupling that changes one part of z given the other; both directions in one pass.

    Args:
      network: Network from the unchanged part [..., L - n] and the context to the inputs of `transform`.
      changed: Changed part of z, (start, stop), with start = 0 or stop = L.
      context: Context h [..., C], or None.
      transform: Function from the outputs of the network to a map of each of the n changed coordinates.

    References:
      Dinh et al. 2017, Density Estimation Using Real NVP, arXiv:1605.08803.
    """

    def __init__(
        self,
        network: Network,
        changed: tuple[int, int],
        *,
        context: tf.Tensor | None = None,
        transform: Callable[[tf.Tensor], Transform] = affine,
    ) -> None:
        self._start, self._stop = changed
        super().__init__(network, context, transform, "coupling_step")

    def _parts(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kept = z[..., self._stop :] if self._start == 0 else z[..., : self._start]
        return kept, z[..., self._start : self._stop]

    def _joined(self, kept: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
        return tf.concat([changed, kept] if self._start == 0 else [kept, changed], axis=-1)

    def _compute(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kept, changed = self._parts(x)
        changed, log_slopes = self._transform_at(kept).forward(changed)
        return self._joined(kept, changed), log_slopes

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        kept, changed = self._parts(self._full(y))
        transform = self._transform_at(kept)  # the same at y and at x
        changed = transform.inverse(changed)
        x = self._joined(kept, changed)
        self._last = (x, y, transform.forward(changed)[1])
        return x


def halves(latent_dim: int, steps: int) -> list[tuple[int, int]]:
    """Return the changed parts (start, stop) of `steps` couplings: second half, first half, and so on.

    For latent_dim = 1 every step changes the only coordinate, given the context.

    >>> halves(5, 3)
    [(2, 5), (0, 2), (2, 5)]
    """
    middle = latent_dim // 2
    first = (0, middle) if middle else (0, latent_dim)
    return [first if step % 2 else (middle, latent_dim) for step in range(steps)]


def couplings(
    latent_dim: int, *, steps: int, hidden: Sequence[int], outputs: int, context_size: int = 0, seed: int
) -> list[tuple[networks.Network, tuple[int, int]]]:
    """Build the networks of `steps` couplings, each with its changed part (start, stop) of z.

    `hidden` are the units of the hidden layers; there are two outputs for each changed coordinate for
    `affine`, 3 SPLINE_BINS - 1 for `spline`.
    """

    def network(step: int, changed: int) -> networks.Network:
        sizes = [latent_dim - changed, *hidden, outputs * changed]
        return networks.Network(sizes, context_size=context_size, seed=seed * 100 + step)

    parts = halves(latent_dim, steps)
    return [(network(step, stop - start), (start, stop)) for step, (start, stop) in enumerate(parts)]
