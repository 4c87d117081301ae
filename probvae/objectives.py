"""Lower bounds on log p(x), per example, in nats, to be maximised.

The bound is written once, in `log_terms`: three `log_prob` calls at the same draw of z.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.seeds import Seed, as_seed

if TYPE_CHECKING:
    from probvae.model import VAE


class LogTerms(NamedTuple):
    """The three terms of the bound, each [S, B] in nats.

    Attributes:
      log_likelihood: log p(x|z); minus it is the distortion.
      log_prior: log p(z).
      log_posterior: log q(z|x); log_posterior - log_prior is the rate, whose mean is the KL.
    """

    log_likelihood: tf.Tensor
    log_prior: tf.Tensor
    log_posterior: tf.Tensor

    @property
    def log_weights(self) -> tf.Tensor:
        """Log p(x|z) + log p(z) - log q(z|x), [S, B]."""
        return self.log_likelihood + self.log_prior - self.log_posterior


def log_terms(
    vae: "VAE", x: tf.Tensor, *, num_samples: int = 1, seed: Seed, q: tfd.Distribution | None = None
) -> LogTerms:
    """Draw z from q(z|x) and evaluate the three terms of the bound.

    Args:
      vae: the model.
      x: data [B, *E].
      num_samples: S, draws of z for each example.
      seed: an int or an int32 pair; the same seed gives the same draws.
      q: q(z|x), batch [B], in place of the encoder's.

    Returns:
      `LogTerms` of tensors [S, B] in nats.
    """
    q = vae.posterior(x) if q is None else q  # q(z|x)
    z = q.sample(num_samples, seed=as_seed(seed))  # [S, B, L]
    return LogTerms(vae.likelihood(z).log_prob(x), vae.prior.log_prob(z), q.log_prob(z))


def log_weights(vae: "VAE", x: tf.Tensor, *, num_samples: int = 1, seed: Seed) -> tf.Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x) for `num_samples` draws of z from q(z|x), [S, B].

    Args and seed as in `log_terms`. exp of it is an unbiased estimate of p(x).
    """
    return log_terms(vae, x, num_samples=num_samples, seed=seed).log_weights


def elbo(
    vae: "VAE", x: tf.Tensor, *, num_samples: int = 1, seed: Seed, analytic_kl: bool = False
) -> tf.Tensor:
    """Estimate the evidence lower bound E_q[log p(x|z) + log p(z) - log q(z|x)].

    Args:
      vae: the model.
      x: data [B, *E].
      num_samples: S, draws of z for each example; 1 is the tutorial's estimator.
      seed: an int or an int32 pair.
      analytic_kl: take KL(q(z|x) || p(z)) from `tfd.kl_divergence` in place of the Monte Carlo
        estimate of log p(z) - log q(z|x).

    Returns:
      [B], nats per example, at most log p(x) in expectation; to be maximised.

    Raises:
      NotImplementedError: `analytic_kl` where TFP knows no closed form for this pair.

    References:
      Kingma & Welling 2014, arXiv:1312.6114, section 2.3, both estimators.
    """
    if not analytic_kl:
        return tf.reduce_mean(log_weights(vae, x, num_samples=num_samples, seed=seed), axis=0)
    q = vae.posterior(x)  # q(z|x)
    log_likelihood = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q).log_likelihood
    return tf.reduce_mean(log_likelihood, axis=0) - tfd.kl_divergence(q, vae.prior)


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


OBJECTIVES: dict[str, Callable[..., Any]] = {"elbo": elbo, "iwae": iwae}
