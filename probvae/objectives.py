"""Objectives of training, per example, in nats, to be maximised: lower bounds on log p(x) and their variants.

The bound is written once, in `log_terms`: three `log_prob` calls at the same draw of z. An objective is a
function `(vae, x, *, num_samples, seed, **options) -> [B]`: x is data [B, *E], num_samples the draws of z for
each example (S, or K where they are weighed against each other), seed an int or an int32 pair.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.aggregate import marginals, squared_mmd, total_correlation
from probvae.errors import InputError
from probvae.gradients import path_log_prob, scale_path
from probvae.seeds import Seed, as_seed, fold_in

if TYPE_CHECKING:
    from probvae.model import VAE

Beta = Any  # a number, or a scalar tensor that a warm-up makes


class LogTerms(NamedTuple):
    """The three terms of the bound, each [S, B] in nats, and the draws at which they were taken.

    Attributes:
      log_likelihood: log p(x|z); minus it is the distortion.
      log_prior: log p(z).
      log_posterior: log q(z|x); log_posterior - log_prior is the rate, whose mean is the KL.
      z: [S, B, L].
    """

    log_likelihood: tf.Tensor
    log_prior: tf.Tensor
    log_posterior: tf.Tensor
    z: tf.Tensor

    @property
    def log_weights(self) -> tf.Tensor:
        """Log p(x|z) + log p(z) - log q(z|x), [S, B]."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    def weighted(self, beta: Beta) -> tf.Tensor:
        """Log p(x|z) + beta (log p(z) - log q(z|x)), [S, B]."""
        if isinstance(beta, int | float) and beta == 1:
            return self.log_weights
        return self.log_likelihood + beta * (self.log_prior - self.log_posterior)


def log_terms(
    vae: "VAE",
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    q: tfd.Distribution | None = None,
    path: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> LogTerms:
    """Draw z from q(z|x) and evaluate the three terms of the bound.

    Args:
      vae: the model.
      x: data [B, *E].
      num_samples: S, draws of z for each example.
      seed: an int or an int32 pair; the same seed gives the same draws.
      q: q(z|x), batch [B], in place of the encoder's.
      path: returns z as it is, but may change its gradient. Where given, log q(z|x) has no gradient but
        through z (`gradients.path_log_prob`).

    Returns:
      `LogTerms`.
    """
    q = vae.posterior(x) if q is None else q  # q(z|x)
    z = q.sample(num_samples, seed=as_seed(seed))  # [S, B, L]
    z = z if path is None else path(z)
    log_posterior = q.log_prob if path is None else lambda z: path_log_prob(q, z)
    return LogTerms(vae.likelihood(z).log_prob(x), vae.prior.log_prob(z), log_posterior(z), z)


def log_weights(vae: "VAE", x: tf.Tensor, *, num_samples: int = 1, seed: Seed) -> tf.Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x) for `num_samples` draws of z from q(z|x), [S, B].

    Args and seed as in `log_terms`. exp of it is an unbiased estimate of p(x).
    """
    return log_terms(vae, x, num_samples=num_samples, seed=seed).log_weights


# ---- bounds --------------------------------------------------------------------------------------


def elbo(
    vae: "VAE",
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    analytic_kl: bool = False,
    beta: Beta = 1.0,
) -> tf.Tensor:
    """Estimate the evidence lower bound E_q[log p(x|z) + beta (log p(z) - log q(z|x))].

    Args:
      vae: the model.
      x: data [B, *E].
      num_samples: S, draws of z for each example; 1 is the tutorial's estimator.
      seed: an int or an int32 pair.
      analytic_kl: take KL(q(z|x) || p(z)) from `tfd.kl_divergence` in place of the Monte Carlo
        estimate of log p(z) - log q(z|x).
      beta: weight of the rate; with 1 or more a lower bound, with less none.

    Returns:
      [B], nats per example, at most log p(x) in expectation; to be maximised.

    Raises:
      NotImplementedError: `analytic_kl` where TFP knows no closed form for this pair.

    References:
      Kingma & Welling 2014, arXiv:1312.6114, section 2.3, both estimators. Higgins et al. 2017, beta-VAE.
    """
    q = vae.posterior(x)  # q(z|x)
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q)
    if analytic_kl:
        return tf.reduce_mean(terms.log_likelihood, axis=0) - beta * tfd.kl_divergence(q, vae.prior)
    return tf.reduce_mean(terms.weighted(beta), axis=0)


def stl(vae: "VAE", x: tf.Tensor, *, num_samples: int = 1, seed: Seed, beta: Beta = 1.0) -> tf.Tensor:
    """Estimate the ELBO, "sticking the landing": its gradient leaves out the score of q(z|x).

    Value and mean of the gradient are those of `elbo`, as the score has mean zero; with beta = 1 the
    gradient of the encoder has no variance where q(z|x) is p(z|x). Here as in `dreg` and `chi`, log q(z|x)
    is taken at a copy of z, which costs an inverse autoregressive flow L passes.

    References:
      Roeder, Wu & Duvenaud 2017, arXiv:1703.09194.
    """
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, path=tf.identity)
    return tf.reduce_mean(terms.weighted(beta), axis=0)


def iwae(vae: "VAE", x: tf.Tensor, *, num_samples: int = 50, seed: Seed) -> tf.Tensor:
    """Estimate the importance-weighted bound E[log (1/K) sum_k w_k], K = `num_samples`.

    Args:
      vae: the model.
      x: data [B, *E].
      num_samples: K; with 1 this is the single-sample `elbo`.
      seed: an int or an int32 pair.

    Returns:
      [B], nats per example, at most log p(x) in expectation; to be maximised.

    References:
      Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, equation 8.
    """
    log_w = log_weights(vae, x, num_samples=num_samples, seed=seed)  # [K, B]
    return tf.reduce_logsumexp(log_w, axis=0) - np.log(num_samples)


def dreg(vae: "VAE", x: tf.Tensor, *, num_samples: int = 50, seed: Seed) -> tf.Tensor:
    """Estimate `iwae` with the doubly reparameterized gradient for the encoder.

    With v_k = w_k / sum_j w_j it is sum_k v_k^2 (d log w_k / d z_k) (d z_k / d encoder): its mean is that of
    `iwae`, and its signal-to-noise ratio grows with K where that of `iwae` falls. The value, and the gradient
    of decoder and prior, are those of `iwae`.

    References:
      Tucker et al. 2019, arXiv:1810.04152.
    """
    return _iwae_with_path_weights(vae, x, num_samples, seed, lambda log_w: tf.nn.softmax(log_w, axis=0))


def chi(vae: "VAE", x: tf.Tensor, *, num_samples: int = 50, seed: Seed, order: float = 2.0) -> tf.Tensor:
    """Estimate `iwae`, the encoder's gradient being that of minus the chi upper bound: mass-covering q(z|x).

    CUBO_n = (1/n) log E_q[w^n] >= log p(x) is to be minimised over q, and is nothing to train a decoder by.
    So the value, and the gradient of decoder and prior, are those of `iwae`. The encoder's gradient is that
    of -CUBO_n, (n - 1) sum_k v_k (d log w_k / d z_k) (d z_k / d encoder), v_k = w_k^n / sum_j w_j^n. This
    ratio of sums has a bias of order 1/K, towards the gradient of `stl`, which it is at K = 1 and n = 2. For
    the value of CUBO_n take `renyi` with alpha = 1 - n; that estimate is too small in expectation. What
    encoder and prior share, as with a VampPrior or a ladder, gets a mixture of both gradients.

    Args as in `iwae`; order is n, above 1, and 2 for the chi-square divergence.

    Raises:
      InputError: the order is not above 1.

    References:
      Dieng et al. 2017, arXiv:1611.00328. Geffner & Domke 2021, arXiv:2010.09541 (double reparameterization).
    """
    if not order > 1:
        raise InputError(f"The order of the chi bound must be greater than 1; got {order}. Use 2.")

    def weights(log_w: tf.Tensor) -> tf.Tensor:
        # (n - 1) v_k over what `iwae` weighs the draw by; at most (n - 1) K
        log_ratio = tf.nn.log_softmax(order * log_w, axis=0) - tf.nn.log_softmax(log_w, axis=0)
        return (order - 1) * tf.exp(log_ratio)

    return _iwae_with_path_weights(vae, x, num_samples, seed, weights)


def _iwae_with_path_weights(
    vae: "VAE", x: tf.Tensor, num_samples: int, seed: Seed, weights: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """`iwae` without the score of q, where weights(log_w) [K, B] multiplies the gradient of each draw."""
    path = scale_path(lambda: weights(tf.stop_gradient(log_w)))
    log_w = log_terms(vae, x, num_samples=num_samples, seed=seed, path=path).log_weights
    return tf.reduce_logsumexp(log_w, axis=0) - np.log(num_samples)


def renyi(vae: "VAE", x: tf.Tensor, *, num_samples: int = 50, seed: Seed, alpha: float = 0.5) -> tf.Tensor:
    """Estimate the Renyi bound E[1 / (1 - alpha) log (1/K) sum_k w_k^(1 - alpha)].

    It falls with alpha: 0 is `iwae`, 1 the `elbo`. For alpha >= 0 it lies below log p(x) in expectation. For
    alpha < 0 it tends to an upper bound as K grows and to none at small K, where to maximise it means little.

    References:
      Li & Turner 2016, arXiv:1602.02311.
    """
    log_w = log_weights(vae, x, num_samples=num_samples, seed=seed)
    if alpha == 1:
        return tf.reduce_mean(log_w, axis=0)
    scaled = (1 - alpha) * log_w
    top = tf.stop_gradient(tf.reduce_max(scaled, axis=0))
    # Not log sum exp less log K: near alpha = 1 the division would blow its rounding up.
    below = tf.math.log1p(tf.reduce_mean(tf.math.expm1(scaled - top), axis=0))
    return (top + below) / (1 - alpha)


# ---- the rate taken apart ------------------------------------------------------------------------


def free_bits(
    vae: "VAE",
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    free_bits: float = 0.5,
    analytic_kl: bool = False,
    beta: Beta = 1.0,
) -> tf.Tensor:
    """Estimate E_q[log p(x|z)] - beta sum_l max(free_bits, KL_l), KL_l the batch's mean rate in z_l.

    Below `free_bits` nats a dimension costs the same whatever it holds: nothing pushes it to collapse. Where
    q(z|x) or p(z) has dependent coordinates, all L together have L * `free_bits` nats free.

    An example's value holds its own rate in the dimensions above and `free_bits` in those below, so that the
    mean over the batch is the formula's. The maximum of a Monte Carlo mean is biased upwards; `analytic_kl`
    takes each KL in closed form.

    References:
      Kingma et al. 2016, arXiv:1606.04934, on free bits.
    """
    q = vae.posterior(x)  # q(z|x)
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q)
    rates = _rates(q, vae.prior, terms, analytic_kl)  # [B, L] or [B, 1]
    free = free_bits * terms.z.shape[-1] / rates.shape[-1]
    rates = tf.where(tf.reduce_mean(rates, axis=0) > free, rates, free)
    return tf.reduce_mean(terms.log_likelihood, axis=0) - beta * tf.reduce_sum(rates, axis=1)


def _rates(q: tfd.Distribution, prior: tfd.Distribution, terms: LogTerms, analytic_kl: bool) -> tf.Tensor:
    """KL(q(z|x) || p(z)) of each coordinate, [B, L], or of all, [B, 1], where they are dependent."""
    each_q, each_p = marginals(q), marginals(prior)
    if each_q and each_p and each_q.independent and each_p.independent:
        q, prior = each_q.distribution, each_p.distribution
        if analytic_kl:
            return tfd.kl_divergence(q, prior)
        return tf.reduce_mean(q.log_prob(terms.z) - prior.log_prob(terms.z), axis=0)
    if analytic_kl:
        return tfd.kl_divergence(q, prior)[:, tf.newaxis]
    return tf.reduce_mean(terms.log_posterior - terms.log_prior, axis=0)[:, tf.newaxis]


def beta_tc(
    vae: "VAE",
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    beta: Beta = 4.0,
    num_examples: int | None = None,
) -> tf.Tensor:
    """Estimate E_q[log p(x|z)] - I(x; z) - beta TC(q(z)) - sum_l KL(q(z_l) || p(z_l)), the beta-TCVAE.

    The last two terms need a p(z) of independent coordinates; with beta = 1 the three then sum to the rate.
    This is `elbo` less (beta - 1) times the estimate of `aggregate.total_correlation`, for any p(z).

    Args:
      vae: the model.
      x: data [B, *E], drawn without replacement from the data set.
      num_samples: S.
      seed: an int or an int32 pair.
      beta: weight of the total correlation.
      num_examples: N, size of the data set; None takes the batch for the whole of it.

    Raises:
      InputError: the coordinates' marginals of q(z|x) are not known.

    References:
      Chen et al. 2018, arXiv:1802.04942.
    """
    q = vae.posterior(x)  # q(z|x)
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q)
    correlation = total_correlation(q, terms.z, num_examples=num_examples)
    return tf.reduce_mean(terms.log_weights - (beta - 1) * correlation, axis=0)


def mmd(
    vae: "VAE",
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    beta: Beta = 1.0,
    weight: float = 10.0,
) -> tf.Tensor:
    """Estimate `elbo` less weight MMD^2(q(z), p(z)), the InfoVAE; q(z) is the mean of q(z|x) over the data.

    In the source's letters beta = 1 - alpha and weight = alpha + lambda - 1. The kernel is the inverse
    multiquadric C / (C + |z - z'|^2) with C = 2 L, so MMD^2 is from 0 to 2.

    References:
      Zhao, Song & Ermon 2019, arXiv:1706.02262.
    """
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed)
    prior_z = vae.prior.sample(tf.shape(terms.z)[: 2 - vae.prior.batch_shape.rank], seed=fold_in(seed, 1))
    if vae.prior.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        prior_z = tf.stop_gradient(prior_z)  # what gradient there is would be a part only
    return tf.reduce_mean(terms.weighted(beta) - weight * squared_mmd(terms.z, prior_z), axis=0)


OBJECTIVES: dict[str, Callable[..., Any]] = {
    "elbo": elbo,
    "iwae": iwae,
    "stl": stl,
    "dreg": dreg,
    "renyi": renyi,
    "chi": chi,
    "free_bits": free_bits,
    "beta_tc": beta_tc,
    "mmd": mmd,
}

# The options of each that a training run may set; num_samples and seed are everyone's.
OPTIONS: dict[str, tuple[str, ...]] = {
    "elbo": ("beta", "analytic_kl"),
    "iwae": (),
    "stl": ("beta",),
    "dreg": (),
    "renyi": ("alpha",),
    "chi": (),
    "free_bits": ("beta", "free_bits", "analytic_kl"),
    "beta_tc": ("beta", "num_examples"),
    "mmd": ("beta", "weight"),
}


# ---- warm-up of beta -----------------------------------------------------------------------------


def no_warmup(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Return 1 at every step."""
    return tf.ones([])


def linear(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Rise from 0 at step 0 to 1 at `steps`, and stay (Soenderby et al. 2016, arXiv:1602.02282)."""
    return tf.minimum(tf.cast(step / _checked(steps), tf.float32), 1.0)


def cosine(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Rise like `linear`, but along half a cosine, without a jump of the slope."""
    return (1 - tf.cos(math.pi * linear(step, steps=steps))) / 2


def cyclic(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Rise from 0 to 1 in half of `steps`, stay, and start again (Fu et al. 2019, arXiv:1903.10145)."""
    return linear(2 * tf.math.floormod(step, _checked(steps)), steps=steps)


def _checked(steps: int) -> int:
    if steps < 1:
        raise InputError(f"A warm-up must take 1 step or more; got {steps}. Choose none for no warm-up.")
    return steps


# `(step, *, steps) -> float32 scalar in [0, 1]` at training step `step`, counted from 0.
WARMUPS: dict[str, Callable[..., tf.Tensor]] = {
    "none": no_warmup,
    "linear": linear,
    "cyclic": cyclic,
    "cosine": cosine,
}
