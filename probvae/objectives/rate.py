"""Objectives that weight parts of the rate, or a distance between q(z) and p(z)."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.arguments import flag, weight
from probvae.objectives.aggregate import marginals, squared_mmd, total_correlation
from probvae.objectives.bound import Beta, LogTerms, Model, as_model, closed_kl, log_terms
from probvae.seeds import Seed, fold_in


def free_bits(
    vae: Model,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    free_bits: float = 0.5,
    analytic_kl: bool = False,
    beta: Beta = 1.0,
) -> tf.Tensor:
    """Estimate E_q[log p(x|z)] - beta sum_l max(free_bits, KL_l), KL_l the batch's mean rate in z_l.

    A dimension whose rate is below `free_bits` nats costs the same whatever its rate: nothing pushes it to
    collapse. If q(z|x) or p(z) has dependent coordinates, all L share L * `free_bits` free nats.

    The value of an example holds its own rate in the dimensions above the limit and `free_bits` in those
    below, so that the mean over the batch is the formula's. The maximum of a Monte Carlo mean is biased
    upwards; `analytic_kl` takes each KL in closed form.

    Raises:
      InputError: With `analytic_kl`, if TFP has no closed form for this pair.

    References:
      Kingma et al. 2016, arXiv:1606.04934, on free bits.
    """
    weight("free_bits", free_bits), weight("beta", beta), flag("analytic_kl", analytic_kl)
    q = as_model(vae).posterior(x)  # q(z|x)
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q)
    rates = _rates(vae, q, terms, analytic_kl)  # [B, L] or [B, 1]
    free = free_bits * terms.z.shape[-1] / rates.shape[-1]
    rates = tf.where(tf.reduce_mean(rates, axis=0) > free, rates, free)
    return tf.reduce_mean(terms.log_likelihood, axis=0) - beta * tf.reduce_sum(rates, axis=1)


def _rates(vae: Model, q: tfd.Distribution, terms: LogTerms, analytic_kl: bool) -> tf.Tensor:
    """Return KL(q(z|x) || p(z)) by coordinate, [B, L], or as a whole, [B, 1], if they are dependent."""
    each_q, each_p = marginals(q), marginals(vae.prior)
    if each_q and each_p and each_q.independent and each_p.independent:
        q, prior = each_q.distribution, each_p.distribution
        if analytic_kl:
            return closed_kl(vae, q, prior)
        return tf.reduce_mean(q.log_prob(terms.z) - prior.log_prob(terms.z), axis=0)
    if analytic_kl:
        return closed_kl(vae, q, vae.prior)[:, tf.newaxis]
    return tf.reduce_mean(terms.log_posterior - terms.log_prior, axis=0)[:, tf.newaxis]


def beta_tc(
    vae: Model,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    beta: Beta = 4.0,
    num_examples: int | None = None,
) -> tf.Tensor:
    """Estimate E_q[log p(x|z)] - I(x; z) - beta TC(q(z)) - sum_l KL(q(z_l) || p(z_l)), the beta-TCVAE.

    If p(z) has independent coordinates, the last three terms sum to the rate at beta = 1. The estimate is
    `elbo` minus (beta - 1) times `aggregate.total_correlation`, for any p(z).

    Args:
      vae: Model of x.
      x: Data [B, *E], drawn without replacement from the data set.
      num_samples: S, the number of draws of z for each example.
      seed: Seed of the draws, an int or an int32 pair.
      beta: Weight of the total correlation.
      num_examples: N, the size of the data set; None treats the batch as the whole data set.

    Raises:
      InputError: The marginals of q(z|x) are not known.

    References:
      Chen et al. 2018, arXiv:1802.04942.
    """
    weight("beta", beta)
    q = as_model(vae).posterior(x)  # q(z|x)
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q)
    correlation = total_correlation(q, terms.z, num_examples=num_examples)
    return tf.reduce_mean(terms.log_weights - (beta - 1) * correlation, axis=0)


def mmd(
    vae: Model,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    beta: Beta = 1.0,
    mmd_weight: float = 10.0,
) -> tf.Tensor:
    """Estimate `elbo` minus mmd_weight MMD^2(q(z), p(z)), the InfoVAE.

    Here q(z) is the mean of q(z|x) over the data. In the notation of the source, beta = 1 - alpha and
    mmd_weight = alpha + lambda - 1. The kernel is the inverse multiquadric C / (C + |z - z'|^2) with C = 2 L,
    so MMD^2 lies between 0 and 2.

    References:
      Zhao, Song & Ermon 2019, arXiv:1706.02262.
    """
    weight("mmd_weight", mmd_weight)
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed)
    prior_z = vae.prior.sample(tf.shape(terms.z)[: 2 - vae.prior.batch_shape.rank], seed=fold_in(seed, 1))
    if vae.prior.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        prior_z = tf.stop_gradient(prior_z)  # the gradient of the draws would be incomplete
    return tf.reduce_mean(terms.weighted(beta) - mmd_weight * squared_mmd(terms.z, prior_z), axis=0)
