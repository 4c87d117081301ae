"""Importance-weighted bounds on log p(x)."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from probvae.arguments import weight
from probvae.objectives.bound import Model, log_terms, log_weights
from probvae.objectives.gradients import scale_path
from probvae.seeds import Seed


def iwae(vae: Model, x: tf.Tensor, *, num_samples: int = 50, seed: Seed) -> tf.Tensor:
    """Estimate the importance-weighted bound E[log (1/K) sum_k w_k], K = `num_samples`.

    Args:
      vae: Model of x.
      x: Data [B, *E].
      num_samples: K, the number of draws of z for each example; 1 gives the single-sample `elbo`.
      seed: Seed of the draws, an int or an int32 pair.

    Returns:
      [B], nats per example, at most log p(x) in expectation; to be maximised.

    References:
      Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, equation 8.
    """
    log_w = log_weights(vae, x, num_samples=num_samples, seed=seed)  # [K, B]
    return tf.reduce_logsumexp(log_w, axis=0) - np.log(num_samples)


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
