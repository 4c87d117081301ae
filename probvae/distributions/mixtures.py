"""Mixtures of many components with densities at many points."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.display import ReprMixin

BLOCK_NUMBERS = 2**22  # limit of points x components x L in a block of `BlockedMixture`


class _Mixture(ReprMixin, tfd.MixtureSameFamily):
    """Base class of mixtures that extend `tfd.MixtureSameFamily`."""

    def _details(self) -> dict[str, Any]:
        return {"components": self.components_distribution.batch_shape[-1]}


class NormalMixture(_Mixture):
    """`tfd.MixtureSameFamily` of normals with independent coordinates: log-density by one matrix product.

    The generic log-density builds tensors of points x components x L, this one of points x components. In
    float64 the cancellation of terms up to (loc / scale)^2 causes an error below that of z in float32.

    Args:
      mixture_distribution: Weights of the K components, a `tfd.Categorical`.
      components_distribution: Components, a `tfd.MultivariateNormalDiag` of batch shape [K].
    """

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        components = self.components_distribution
        loc, scale = (tf.cast(t, tf.float64) for t in (components.mean(), components.stddev()))
        points, precision = tf.cast(z, tf.float64), scale**-2
        # log N(z; loc, scale) = sum over L of - z^2 / 2 scale^2 + z loc / scale^2, plus terms without z
        factors = tf.concat([-0.5 * precision, loc * precision], axis=-1)  # [K, 2 L]
        rest = -0.5 * loc**2 * precision - tf.math.log(scale) - 0.5 * np.log(2 * np.pi)
        log_weights = tf.math.log_softmax(self.mixture_distribution.logits_parameter())
        log_probs = tf.tensordot(tf.concat([points**2, points], axis=-1), factors, axes=[[-1], [-1]])
        log_probs += tf.reduce_sum(rest, axis=-1) + tf.cast(log_weights, tf.float64)  # [..., K]
        return tf.cast(tf.reduce_logsumexp(log_probs, axis=-1), z.dtype)


class BlockedMixture(_Mixture):
    """`tfd.MixtureSameFamily` whose log-density takes blocks of points, to bound the memory.

    A block has at most BLOCK_NUMBERS points x components x L. Gradients keep the tensors of all blocks.
    """

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        size = self.components_distribution.batch_shape[-1] * self.event_shape[-1]
        return in_blocks(super()._log_prob, z, BLOCK_NUMBERS // size)


def in_blocks(f: Callable[[tf.Tensor], tf.Tensor], z: tf.Tensor, size: int) -> tf.Tensor:
    """Return f(z) [...] of points z [..., L], in blocks of at most `size` points to bound the memory.

    `f` maps points [N, L] to values [N]. Gradients keep the tensors of all blocks.
    """
    leading, latent_dim = tf.shape(z)[:-1], z.shape[-1]
    points = tf.reshape(z, [-1, latent_dim])
    count = tf.shape(points)[0]
    block = tf.clip_by_value(size, 1, tf.maximum(count, 1))
    blocks = -(-count // block)
    points = tf.pad(points, [[0, blocks * block - count], [0, 0]])
    values = tf.map_fn(f, tf.reshape(points, tf.stack([blocks, block, latent_dim])), parallel_iterations=1)
    return tf.reshape(tf.reshape(values, [-1])[:count], leading)
