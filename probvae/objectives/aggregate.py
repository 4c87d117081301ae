"""Estimates of the aggregate posterior q(z) = (1/N) sum_n q(z|x_n) from a batch."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability import math as tfm

from probvae.distributions.base import unwrap
from probvae.errors import InputError

# Multivariate normals, whose marginals are normal.
NORMALS = (tfd.MultivariateNormalLinearOperator, tfd.MultivariateNormalDiagPlusLowRankCovariance)


class Marginals(NamedTuple):
    """The distributions of a vector's coordinates, and whether they are independent."""

    distribution: tfd.Distribution  # distribution of single numbers, with batch [..., L] by broadcasting
    independent: bool  # whether the product of the marginals is the joint distribution


def marginals(distribution: tfd.Distribution) -> Marginals | None:
    """Return the marginals of a distribution of event shape [L]; None where they are not known.

    >>> marginals(tfd.MultivariateNormalDiag(tf.zeros([5, 2]))).distribution.batch_shape.as_list()
    [5, 2]
    """
    d = unwrap(distribution)
    if isinstance(d, NORMALS):
        return Marginals(tfd.Normal(d.mean(), d.stddev()), isinstance(d, tfd.MultivariateNormalDiag))
    if not isinstance(d, tfd.Independent | tfd.Sample) or d.event_shape.rank != 1:
        return None
    # The batch of a `tfd.Sample` is that of its base, which then has no axis for the coordinates.
    if d.distribution.event_shape.rank == 0 and (isinstance(d, tfd.Independent) or not d.batch_shape.rank):
        return Marginals(d.distribution, True)
    return None


def total_correlation(q: tfd.Distribution, z: tf.Tensor, *, num_examples: int | None = None) -> tf.Tensor:
    """Estimate log q(z) - sum_l log q(z_l), whose mean is the total correlation of q(z).

    q(z) at a draw from q(z|x_i) is estimated from the batch, without bias if the batch is drawn without
    replacement: x_i itself has the weight 1 / N, and the others share the rest equally. (Minibatch stratified
    sampling weights the others by their place in the batch; these weights are its averages over all orders.)
    The logarithm of an unbiased estimate is too small in expectation. For a batch of one example, q(z|x)
    stands for q(z).

    Args:
      q: q(z|x), batch [B].
      z: Draws from q(z|x), [S, B, L].
      num_examples: N, the size of the data set; None, or a number below B, treats the batch as the whole data
        set.

    Returns:
      [S, B], nats. Time and memory are S B^2 L.

    Raises:
      InputError: The marginals of q are not known.

    References:
      Chen et al. 2018, arXiv:1802.04942, appendix C.
    """
    each = marginals(q)
    if each is None:
        raise InputError(
            "The total correlation needs q(z|x) to be normal or of independent coordinates; this posterior "
            "is neither. Use the posterior diagonal, tril or low_rank."
        )
    pairs = z[:, :, tf.newaxis]  # [S, B, 1, L], against the batch [B]
    log_each = each.distribution.log_prob(pairs)  # [S, B, B, L]
    log_joint = tf.reduce_sum(log_each, axis=-1) if each.independent else q.log_prob(pairs)  # [S, B, B]
    log_weights = tf.math.log(_stratified_weights(tf.shape(z)[1], num_examples))
    log_q = tf.reduce_logsumexp(log_joint + log_weights, axis=2)
    log_q_each = tf.reduce_logsumexp(log_each + log_weights[..., tf.newaxis], axis=2)
    return log_q - tf.reduce_sum(log_q_each, axis=-1)


def _stratified_weights(batch_size: tf.Tensor, num_examples: int | None) -> tf.Tensor:
    """Return the weights [B, B] of q(z|x_j) in q(z) at a draw from q(z|x_i); every row sums to 1."""
    b = tf.cast(batch_size, tf.float32)
    own = tf.where(b > 1, 1 / tf.maximum(b, float(num_examples or 0)), 1.0)
    others = (1 - own) / tf.maximum(b - 1, 1)
    return tf.linalg.set_diag(tf.fill([batch_size, batch_size], others), tf.fill([batch_size], own))


def squared_mmd(z: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Estimate the squared maximum mean discrepancy between two distributions, without bias.

    The kernel is the inverse multiquadric k(a, b) = C / (C + |a - b|^2) with C = 2 L, the mean square of the
    distance between two draws of a unit normal.

    Args:
      z: Draws from one distribution, [..., B, L], independent along B.
      other: Draws from the other, [..., B, L].

    Returns:
      The terms of the examples, [..., B]; their mean over B is the estimate, which may be negative. It is
      zero for B = 1, where there are no pairs.

    References:
      Gretton et al. 2012, A kernel two-sample test. Tolstikhin et al. 2018, arXiv:1711.01558 (the kernel).
    """
    kernel = tfm.psd_kernels.RationalQuadratic(
        length_scale=np.float32(np.sqrt(z.shape[-1])), scale_mixture_rate=np.float32(1.0)
    )
    b = tf.cast(tf.shape(z)[-2], z.dtype)

    def with_the_others(a: tf.Tensor) -> tf.Tensor:  # k(a_i, a_i) = 1
        return (tf.reduce_sum(kernel.matrix(a, a), axis=-1) - 1) / tf.maximum(b - 1, 1)

    across = tf.reduce_mean(kernel.matrix(z, other), axis=-1)
    parts = with_the_others(z) + with_the_others(other) - 2 * across
    return tf.where(b > 1, parts, tf.zeros_like(parts))
