"""Objectives of training, per example, in nats, to be maximised: lower bounds on log p(x) and their variants.

The bound is written once, in `log_terms`: three `log_prob` calls at the same draw of z. An objective is a
function `(vae, x, *, num_samples, seed, **options) -> [B]`: x is data [B, *E], num_samples the draws of z for
each example (S, or K for importance weights), and seed an int or an int32 pair.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
from tensorflow_probability import distributions as tfd

import probvae.distributions.kl  # noqa: F401  registers closed forms
from probvae.arguments import class_of, count, flag, weight
from probvae.display import kind
from probvae.distributions.base import unwrap
from probvae.errors import InputError
from probvae.objectives import memory
from probvae.objectives.gradients import path_log_prob
from probvae.seeds import Seed, as_seed


class Model(Protocol):
    """The three distributions of a model, which are all that a bound needs.

    If a model has a `contract` (`models.contract.Contract`), the contract checks x.
    """

    prior: tfd.Distribution  # p(z)
    event_shape: tuple[int, ...]
    latent_dim: int

    def posterior(self, x: tf.Tensor) -> tfd.Distribution:
        """Return q(z|x), batch [..., B] and event [L], for x of shape [..., B, *E]."""

    def likelihood(self, z: tf.Tensor) -> tfd.Distribution:
        """Return p(x|z), batch [..., B] and event E, for z of shape [..., B, L]."""

    def joint(self) -> tfd.JointDistribution:
        """Return p(z, x) as a joint distribution of `z` and `x`."""


def as_model(vae: Any) -> Any:
    """Return a model.

    Raises:
      InputError: It is none, such as the data.
    """
    if not (hasattr(vae, "posterior") or hasattr(vae, "likelihood")):
        raise InputError(
            f"vae must be a model, such as a VAE; got {class_of(vae)}. The model comes first, then x."
        )
    return vae


def checked(vae: Model, x: Any) -> Any:
    """Return x as the model takes it.

    Raises:
      InputError: There is no model, or it has a contract and does not take x.
    """
    as_model(vae)
    contract = getattr(vae, "contract", None)
    return x if contract is None else contract.check(x)


Beta = Any  # the weight of the rate: a number, or the scalar tensor of a warm-up


class LogTerms(NamedTuple):
    """The three terms of the bound, each [S, B] in nats, and the draws at which they were taken.

    Attributes:
      log_likelihood: log p(x|z), the negative of the distortion.
      log_prior: log p(z).
      log_posterior: log q(z|x). log_posterior - log_prior is the rate, whose mean is the KL.
      z: Draws from q(z|x), [S, B, L].
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
        weight("beta", beta)
        if isinstance(beta, int | float) and beta == 1:
            return self.log_weights
        return self.log_likelihood + beta * (self.log_prior - self.log_posterior)


def log_terms(
    vae: Model,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    groups: int = 1,
    seed: Seed,
    q: tfd.Distribution | None = None,
    path: Callable[[tf.Tensor], tf.Tensor] | None = None,
    loop: bool = False,
) -> LogTerms:
    """Draw z from q(z|x) and evaluate the three terms of the bound.

    Without a gradient, and outside of a `tf.function`, the draws are decoded in blocks within
    `memory.BUDGET`, with the same numbers up to rounding.

    Args:
      vae: Model of x.
      x: Data [B, *E].
      num_samples: Number of draws of z for each example and group.
      groups: Number of groups of draws; S is the number of draws of all groups, one group after the other.
      seed: Seed of the draws, an int or an int32 pair.
      q: q(z|x), batch [B], instead of the encoder's.
      path: Function that returns z unchanged and may change its gradient. If given, the gradient of log
        q(z|x) goes through z alone (`gradients.path_log_prob`).
      loop: Whether the graph of a `tf.function` decodes in blocks too, in a loop, which has no gradient.

    Returns:
      `LogTerms`.

    Raises:
      InputError: The model does not take x, the number of draws is below 1, or a gradient of so many draws
        does not fit into memory.
    """
    x, q, z = drawn(vae, x, num_samples=num_samples, groups=groups, seed=seed, q=q)
    z = z if path is None else path(z)
    log_posterior = q.log_prob if path is None else lambda z: path_log_prob(q, z)
    log_q = log_posterior(z)
    log_likelihood, log_prior = decoded(vae, x, z, loop=loop)
    return LogTerms(log_likelihood, log_prior, log_q, z)


def drawn(
    vae: Model,
    x: Any,
    *,
    num_samples: int,
    groups: int = 1,
    seed: Seed,
    q: tfd.Distribution | None = None,
) -> tuple[tf.Tensor, tfd.Distribution, tf.Tensor]:
    """Return x as a tensor, q(z|x) and draws z from it, [S, B, L].

    The arguments are those of `log_terms`.
    """
    x, groups, num_samples = checked(vae, x), count("groups", groups), count("num_samples", num_samples)
    q = vae.posterior(x) if q is None else q  # q(z|x)
    sizes = [shape.num_elements() or 1 for shape in (q.batch_shape, q.event_shape)]
    values = sizes[0] * (sizes[1] + 3)  # z, and the three terms
    memory.refuse_values("num_samples", num_samples, groups * values)
    return tf.convert_to_tensor(x), q, q.sample(groups * num_samples, seed=as_seed(seed))


def decoded(vae: Model, x: tf.Tensor, z: tf.Tensor, *, loop: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log p(x|z) and log p(z), [S, B], in blocks of draws where no gradient is recorded.

    Args:
      vae: Model of x.
      x: Data [B, *E].
      z: Latent values [S, B, L].
      loop: As in `log_terms`.
    """
    if not (tf.executing_eagerly() or loop):
        return vae.likelihood(z).log_prob(x), vae.prior.log_prob(z)
    event, row = x.shape[z.shape.rank - 2 :], z.shape[-1:]
    counted = getattr(vae, "out_of_training", vae)  # a view of a model in training records its calls

    def at_zeros(z: tf.Tensor) -> tf.Tensor:
        return counted.likelihood(z).log_prob(tf.zeros([*z.shape[:-1], *event], z.dtype))

    values = event.num_elements() + z.shape[-1]
    decoding = memory.Cost(counted, "log p(x|z)", at_zeros, row, z.dtype, values, counted)
    if not loop:
        memory.refuse_gradient(decoding, z.shape[0], z.shape[1:-1].num_elements())
    log_likelihood = memory.by_rows(
        lambda z, x: vae.likelihood(z).log_prob(x), decoding, z, x, event_ndims=event.rank, loop=loop
    )
    if vae.prior.batch_shape.rank:
        return log_likelihood, vae.prior.log_prob(z)
    scoring = memory.Cost(counted, "log p(z)", vae.prior.log_prob, row, z.dtype, z.shape[-1], vae.prior)
    return log_likelihood, memory.by_rows(vae.prior.log_prob, scoring, z, loop=loop)


def log_weights(vae: Model, x: tf.Tensor, *, num_samples: int = 1, groups: int = 1, seed: Seed) -> tf.Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x) for draws of z from q(z|x), [S, B].

    The arguments are those of `log_terms`. The mean of exp(log w) is an unbiased estimate of p(x).
    """
    return log_terms(vae, x, num_samples=num_samples, groups=groups, seed=seed).log_weights


def elbo(
    vae: Model,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    analytic_kl: bool = False,
    beta: Beta = 1.0,
) -> tf.Tensor:
    """Estimate the evidence lower bound E_q[log p(x|z) + beta (log p(z) - log q(z|x))].

    Args:
      vae: Model of x.
      x: Data [B, *E].
      num_samples: S, the number of draws of z for each example; 1 is the tutorial's estimator.
      seed: Seed of the draws, an int or an int32 pair.
      analytic_kl: Whether to compute KL(q(z|x) || p(z)) with `tfd.kl_divergence` instead of the Monte Carlo
        estimate of log q(z|x) - log p(z).
      beta: Weight of the rate. The result is a lower bound only if beta is 1 or more.

    Returns:
      [B], nats per example, at most log p(x) in expectation; to be maximised.

    Raises:
      InputError: With `analytic_kl`, if TFP has no closed form for this pair.

    References:
      Kingma & Welling 2014, arXiv:1312.6114, section 2.3, both estimators. Higgins et al. 2017, beta-VAE.
    """
    flag("analytic_kl", analytic_kl)
    q = as_model(vae).posterior(x)  # q(z|x)
    rate = closed_kl(vae, q, vae.prior) if analytic_kl else None
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q)
    if rate is not None:
        weight("beta", beta)
        return tf.reduce_mean(terms.log_likelihood, axis=0) - beta * rate
    return tf.reduce_mean(terms.weighted(beta), axis=0)


def closed_kl(vae: Model, q: tfd.Distribution, prior: tfd.Distribution) -> tf.Tensor:
    """Return KL(q || p(z)) in closed form; q and the prior may be single coordinates of those of the model.

    Raises:
      InputError: TFP has no closed form for this pair.
    """
    try:
        return tfd.kl_divergence(q, prior)
    except NotImplementedError:
        architecture = getattr(vae, "architecture", None)
        names = [kind(unwrap(d)) for d in (q, prior)]
        if architecture is not None:
            names = [architecture.posterior, architecture.prior]
        raise InputError(
            f"The KL of the posterior {names[0]} and the prior {names[1]} has no closed form: leave "
            "analytic_kl out."
        ) from None


def stl(vae: Model, x: tf.Tensor, *, num_samples: int = 1, seed: Seed, beta: Beta = 1.0) -> tf.Tensor:
    """Estimate the ELBO with a gradient that leaves out the score of q(z|x) ("sticking the landing").

    The value and the mean of the gradient are those of `elbo`, as the score has mean zero. With beta = 1 the
    gradient of the encoder has no variance where q(z|x) equals p(z|x). As in `dreg` and `chi`, log q(z|x) is
    evaluated at a copy of z, for which an inverse autoregressive flow takes L passes.

    References:
      Roeder, Wu & Duvenaud 2017, arXiv:1703.09194.
    """
    terms = log_terms(vae, x, num_samples=num_samples, seed=seed, path=tf.identity)
    return tf.reduce_mean(terms.weighted(beta), axis=0)
