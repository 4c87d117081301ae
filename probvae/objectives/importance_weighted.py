"""Importance-weighted bounds on log p(x)."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from probvae.arguments import weight
from probvae.objectives.bound import Model, decoded, drawn, log_terms, log_weights
from probvae.objectives.gradients import scale_path
from probvae.seeds import Seed


def iwae(
    vae: Model, x: tf.Tensor, *, num_samples: int = 50, seed: Seed, groups: int = 1, beta: float = 0.0
) -> tf.Tensor:
    """Estimate the importance-weighted bound E[log (1/K) sum_k w_k], K = `num_samples`.

    With more than one group, the estimate is the mean of M bounds, each of K draws of its own: the bound is
    the same, and its estimate and gradient have 1/M of the variance. Rainforth et al. call this the MIWAE,
    which is not the bound of Mattei & Frellsen 2019 for missing values. With beta, the estimate is beta times
    the ELBO of the same draws and 1 - beta times the importance-weighted bound (their CIWAE), so that the
    gradient of the encoder is less noisy.

    Args:
      vae: Model of x.
      x: Data [B, *E].
      num_samples: K, the number of draws of z for each example and group; 1 gives the `elbo`.
      seed: Seed of the draws, an int or an int32 pair.
      groups: M, the number of groups of draws.
      beta: Weight of the ELBO, from 0 to 1.

    Returns:
      [B], nats per example, at most log p(x) in expectation; to be maximised.

    Raises:
      InputError: The number of draws or groups is below 1, or beta is not from 0 to 1.

    References:
      Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, equation 8. Rainforth et al. 2018,
      arXiv:1802.04537, section 5, on groups and beta.
    """
    weight("beta", beta, high=1.0)
    log_w = log_weights(vae, x, num_samples=num_samples, groups=groups, seed=seed)  # [M K, B]
    bound = _mean_of_groups(log_w, groups)
    if isinstance(beta, int | float) and beta == 0:
        return bound
    return beta * tf.reduce_mean(log_w, axis=0) + (1 - beta) * bound


def _mean_of_groups(log_w: tf.Tensor, groups: int) -> tf.Tensor:
    """Return the mean over M groups of the log of the mean weight of their draws, [B]; log_w is [M K, B]."""
    number = log_w.shape[0] // groups
    if groups == 1:
        return tf.reduce_logsumexp(log_w, axis=0) - np.log(number)
    log_w = tf.reshape(log_w, tf.concat([[groups, number], tf.shape(log_w)[1:]], axis=0))  # [M, K, B]
    return tf.reduce_mean(tf.reduce_logsumexp(log_w, axis=1) - np.log(number), axis=0)


def piwae(vae: Model, x: tf.Tensor, *, num_samples: int = 8, seed: Seed, groups: int = 8) -> tf.Tensor:
    """Estimate `iwae` of all M K draws, with an encoder that ascends the mean of the M bounds of K draws.

    The value, and the gradient of decoder and prior, are those of `iwae` with M K draws, the tightest bound;
    the gradient of the encoder is that of `iwae` with M groups of K draws, which has more signal and less
    noise. So this is `iwae` if M is 1. Variables that encoder and prior share, as with a VampPrior or a
    ladder, get the sum of both gradients.

    Args:
      vae: Model of x.
      x: Data [B, *E].
      num_samples: K, the number of draws of z for each example and group.
      seed: Seed of the draws, an int or an int32 pair.
      groups: M, the number of groups of draws.

    Returns:
      [B], nats per example, at most log p(x) in expectation; to be maximised.

    Raises:
      InputError: The number of draws or groups is below 1.

    References:
      Rainforth et al. 2018, arXiv:1802.04537, section 5.
    """
    x, q, z = drawn(vae, x, num_samples=num_samples, groups=groups, seed=seed)
    copy, log_q = tf.stop_gradient(z), q.log_prob(z)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(copy)
        log_joint = tf.add_n(decoded(vae, x, copy))  # log p(x, z) [M K, B]
    slope = tf.stop_gradient(tape.gradient(log_joint, copy))
    path = tf.reduce_sum(slope * (z - copy), axis=-1)  # zero, with the gradient of log p(x, z) at z
    of_encoder = _mean_of_groups(tf.stop_gradient(log_joint) + path - log_q, groups)
    of_decoder = tf.reduce_logsumexp(log_joint - tf.stop_gradient(log_q), axis=0) - np.log(log_joint.shape[0])
    return of_decoder + of_encoder - tf.stop_gradient(of_encoder)


def dreg(vae: Model, x: tf.Tensor, *, num_samples: int = 50, seed: Seed) -> tf.Tensor:
    """Estimate `iwae` with the doubly reparameterized gradient for the encoder.

    With v_k = w_k / sum_j w_j the gradient is sum_k v_k^2 (d log w_k / d z_k) (d z_k / d encoder): its mean
    is that of `iwae`, and its signal-to-noise ratio grows with K where that of `iwae` falls. The value, and
    the gradient of decoder and prior, are those of `iwae`.

    References:
      Tucker et al. 2019, arXiv:1810.04152.
    """
    return _iwae_with_path_weights(vae, x, num_samples, seed, lambda log_w: tf.nn.softmax(log_w, axis=0))


def chi(vae: Model, x: tf.Tensor, *, num_samples: int = 50, seed: Seed, order: float = 2.0) -> tf.Tensor:
    """Estimate `iwae`, with an encoder that descends the chi upper bound, so that q(z|x) covers the mass.

    CUBO_n = (1/n) log E_q[w^n] >= log p(x) is minimised over q; a decoder cannot be trained on an upper
    bound. The value, and the gradient of decoder and prior, are therefore those of `iwae`. The encoder's
    gradient is that of -CUBO_n, (n - 1) sum_k v_k (d log w_k / d z_k) (d z_k / d encoder), v_k = w_k^n /
    sum_j w_j^n. This ratio of sums has a bias of order 1/K, towards the gradient of `stl`, to which it is
    equal at K = 1 and n = 2. `renyi` with alpha = 1 - n estimates the value of CUBO_n; this estimate is too
    small in expectation. Variables that encoder and prior share, as with a VampPrior or a ladder, get a
    mixture of both gradients.

    The arguments are those of `iwae`; order is n, above 1, and 2 for the chi-square divergence.

    Raises:
      InputError: The order is not above 1.

    References:
      Dieng et al. 2017, arXiv:1611.00328. Geffner & Domke 2021, arXiv:2010.09541 (double reparameterization).
    """
    weight("order", order, 1.0, above=True)

    def weights(log_w: tf.Tensor) -> tf.Tensor:
        # (n - 1) v_k divided by the weight of the draw in `iwae`, at most (n - 1) K
        log_ratio = tf.nn.log_softmax(order * log_w, axis=0) - tf.nn.log_softmax(log_w, axis=0)
        return (order - 1) * tf.exp(log_ratio)

    return _iwae_with_path_weights(vae, x, num_samples, seed, weights)


def _iwae_with_path_weights(
    vae: Model, x: tf.Tensor, num_samples: int, seed: Seed, weights: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Estimate `iwae` without the score of q; weights(log_w) [K, B] multiplies the gradient of each draw."""
    path = scale_path(lambda: weights(tf.stop_gradient(log_w)))
    log_w = log_terms(vae, x, num_samples=num_samples, seed=seed, path=path).log_weights
    return tf.reduce_logsumexp(log_w, axis=0) - np.log(num_samples)


def renyi(vae: Model, x: tf.Tensor, *, num_samples: int = 50, seed: Seed, alpha: float = 0.5) -> tf.Tensor:
    """Estimate the Renyi bound E[1 / (1 - alpha) log (1/K) sum_k w_k^(1 - alpha)].

    The bound falls with alpha: 0 gives `iwae`, 1 gives `elbo`. For alpha >= 0 it lies below log p(x) in
    expectation. For alpha < 0 it tends to an upper bound as K grows; at small K it is neither bound, and its
    maximum means little.

    References:
      Li & Turner 2016, arXiv:1602.02311.
    """
    weight("alpha", alpha, -math.inf)
    log_w = log_weights(vae, x, num_samples=num_samples, seed=seed)
    if alpha == 1:
        return tf.reduce_mean(log_w, axis=0)
    scaled = (1 - alpha) * log_w
    top = tf.stop_gradient(tf.reduce_max(scaled, axis=0))
    # Not log-sum-exp minus log K: near alpha = 1 the division would magnify its rounding error.
    below = tf.math.log1p(tf.reduce_mean(tf.math.expm1(scaled - top), axis=0))
    return (top + below) / (1 - alpha)
