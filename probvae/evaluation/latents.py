"""The latent space of a VAE on data: rate, distortion, moments, and the use of its dimensions.

Results are float64, in nats except for `bits_per_dimension`. Standard errors assume independent examples.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae import objectives
from probvae.arguments import count, weight
from probvae.distributions.base import unwrap
from probvae.errors import InputError
from probvae.evaluation.activity import ACTIVE, used_dimensions
from probvae.inference.blocks import accepted, in_blocks
from probvae.inference.estimates import error_of_mean
from probvae.models.vae import VAE
from probvae.objectives.memory import refuse_values
from probvae.seeds import Seed, as_seed, fold_in

BLOCK = 500  # examples in one call of a compiled function, which bounds the memory
_SEED = tf.TensorSpec([2], tf.int32)


def _compiled_in_blocks(
    vae: VAE, function: Callable[[tf.Tensor, tf.Tensor], Iterable[tf.Tensor]]
) -> Callable[[np.ndarray, Seed], list[np.ndarray]]:
    """Compile `(x [B, *E], seed) -> tensors [B, ...]` once, for any number N of examples x [N, *E]."""
    signature = [tf.TensorSpec([None, *vae.event_shape]), _SEED]
    compiled = tf.function(function, input_signature=signature, autograph=False)

    def over_blocks(x: np.ndarray, seed: Seed) -> list[np.ndarray]:
        seed = as_seed(seed)
        results = in_blocks(
            lambda rows: compiled(x[rows].astype(np.float32), fold_in(seed, rows.start)), len(x), BLOCK
        )
        return [result.astype(np.float64) for result in results]

    return over_blocks


def _checked(vae: VAE, x: np.ndarray, at_least: int = 1) -> np.ndarray:
    x = accepted(vae, x)
    if len(x) < at_least:
        raise InputError(f"x must hold {at_least} examples or more; got {len(x)}.")
    return x


class RateDistortion(NamedTuple):
    """Rate and distortion, each [N] in nats, and their Monte Carlo errors; ELBO = -rate - distortion."""

    rate: np.ndarray  # KL(q(z|x) || p(z))
    distortion: np.ndarray  # -E_q[log p(x|z)]
    rate_error: np.ndarray  # 0 for an analytic rate
    distortion_error: np.ndarray  # NaN for a single draw


def rate_distortion(vae: VAE, x: np.ndarray, *, num_samples: int = 1, seed: Seed) -> RateDistortion:
    """Split the ELBO into rate and distortion (Alemi et al. 2018, arXiv:1711.00464).

    Args:
      vae: Model.
      x: Data [N, *E].
      num_samples: Number of draws of z for each example.
      seed: Seed of the draws, an int or an int32 pair.

    Returns:
      `RateDistortion`. The rate is `tfd.kl_divergence` if TFP has it for this pair, otherwise the Monte Carlo
      mean of log q(z|x) - log p(z).
    """

    def draw(x: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        terms = objectives.log_terms(vae, x, seed=seed)
        return [(terms.log_posterior - terms.log_prior)[0], -terms.log_likelihood[0]]

    x, num_samples = _checked(vae, x), count("num_samples", num_samples)
    refuse_values("num_samples", num_samples, 4 * len(x))
    one_draw = _compiled_in_blocks(vae, draw)
    draws = np.array([one_draw(x, fold_in(seed, s)) for s in range(num_samples)])  # [S, 2, N]
    (rate, distortion), (rate_error, distortion_error) = draws.mean(axis=0), error_of_mean(draws)
    with contextlib.suppress(NotImplementedError):  # TFP has no closed form for this pair
        analytic = _compiled_in_blocks(vae, lambda x, _: [tfd.kl_divergence(vae.posterior(x), vae.prior)])
        (rate,) = analytic(x, 0)
        rate_error = np.zeros_like(rate)
    return RateDistortion(rate, distortion, rate_error, distortion_error)


def bits_per_dimension(
    log_prob: np.ndarray, event_shape: tuple[int, ...], x: np.ndarray | None = None
) -> np.ndarray:
    """Turn log p(x) in nats into bits per dimension, -log p(x) / (D log 2); lower is better.

    Args:
      log_prob: log p(x), [N], nats. Add D log(1/256) first to a density of values in [0, 1] that stand for
        256 levels: otherwise the unit of the density decides the result.
      event_shape: E, the shape of x, of D values.
      x: Examples [N, *E], if values may be missing (NaN): D is then the number of values that were seen.

    Returns:
      [N], bits per dimension; nan where no value was seen.

    >>> bits_per_dimension(np.array([-8 * np.log(2)]), (2, 2, 1))
    array([2.])
    >>> bits_per_dimension(np.array([-8 * np.log(2)]), (4,), np.array([[0, 1, np.nan, np.nan]]))
    array([4.])
    """
    size: Any = math.prod(event_shape)
    if x is not None:
        size = np.sum(~np.isnan(np.asarray(x).reshape(len(x), -1)), axis=1).astype(np.float64)
        size[size == 0] = np.nan
    return -np.asarray(log_prob, np.float64) / (size * math.log(2))


class Moments(NamedTuple):
    """The mean and standard deviation of q(z|x), each [N, L]; estimates from draws if not `exact`."""

    mean: np.ndarray
    stddev: np.ndarray
    exact: bool


def posterior_moments(vae: VAE, x: np.ndarray, *, num_samples: int = 100, seed: Seed = 0) -> Moments:
    """Return the mean and standard deviation of q(z|x) for x [N, *E].

    If q(z|x) has none in closed form (a flow), they are estimated from `num_samples` draws for each example.
    """

    def known(x: tf.Tensor, _: tf.Tensor) -> list[tf.Tensor]:
        q = vae.posterior(x)  # q(z|x)
        return [q.mean(), q.stddev()]

    def sampled(x: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        z = vae.posterior(x).sample(num_samples, seed=seed)  # [S, B, L]
        unbiased = math.sqrt(num_samples / (num_samples - 1))
        return [tf.reduce_mean(z, axis=0), tf.math.reduce_std(z, axis=0) * unbiased]

    x, num_samples = _checked(vae, x), count("num_samples", num_samples, 2)
    try:
        mean, stddev = _compiled_in_blocks(vae, known)(x, seed)
        return Moments(mean, stddev, exact=True)
    except NotImplementedError:
        refuse_values("num_samples", num_samples, vae.latent_dim)
        mean, stddev = _compiled_in_blocks(vae, sampled)(x, seed)
        return Moments(mean, stddev, exact=False)


class KLPerDimension(NamedTuple):
    """E_x KL(q(z_l|x) || p(z_l)) and its error over examples, [L]; a lower bound if not `exact`."""

    mean: np.ndarray
    standard_error: np.ndarray
    exact: bool


def kl_per_dimension(vae: VAE, x: np.ndarray, *, num_samples: int = 100, seed: Seed = 0) -> KLPerDimension:
    """Return the KL of q(z|x)'s marginals from those of a normal prior, by latent dimension.

    With a factorized prior the sum over dimensions is the rate minus the total correlation of q(z|x), which
    is zero for a diagonal posterior. With a correlated prior the sum has no meaning. A q(z|x) that is not
    normal is replaced by the normal of the same moments, which can only lower its KL from a normal prior:
    the result is then a lower bound, and not `exact`.

    x is [N, *E], the result in nats; `num_samples` and `seed` are those of `posterior_moments`.

    Raises:
      NotImplementedError: The prior is not a normal.
    """
    if not _is_normal(vae.prior):
        raise NotImplementedError(
            f"The KL per dimension needs a normal prior; got {vae.prior}. "
            "rate_distortion gives the KL over all dimensions for any prior."
        )
    moments = posterior_moments(vae, x, num_samples=num_samples, seed=seed)
    q = tfd.Normal(moments.mean, moments.stddev)  # q(z_l|x)
    prior = tfd.Normal(*(tf.cast(t, tf.float64) for t in (vae.prior.mean(), vae.prior.stddev())))
    kl = tfd.kl_divergence(q, prior).numpy()  # [N, L]
    exact = moments.exact and _is_normal(vae.posterior(np.asarray(x[:1], np.float32)))
    return KLPerDimension(kl.mean(axis=0), error_of_mean(kl), exact)


def _is_normal(distribution: tfd.Distribution) -> bool:
    distribution = unwrap(distribution)
    if isinstance(distribution, tfd.Independent | tfd.Sample):
        return _is_normal(distribution.distribution)
    return isinstance(distribution, tfd.Normal | tfd.MultivariateNormalLinearOperator)


class ActiveUnits(NamedTuple):
    """The number of active dimensions, their mask, Var_x(E_q[z_l]) and its error over examples, each [L]."""

    number: int
    mask: np.ndarray
    variances: np.ndarray
    standard_errors: np.ndarray


def active_units(
    vae: VAE, x: np.ndarray, *, threshold: float = ACTIVE, num_samples: int = 100, seed: Seed = 0
) -> ActiveUnits:
    """Find the latent dimensions with Var_x(E_q[z_l]) > threshold (Burda et al. 2016, arXiv:1509.00519).

    x is [N, *E] with N at least 2; the threshold is the source's, for a unit prior. If q(z|x) has no mean in
    closed form, it is estimated from `num_samples` draws, whose variance is subtracted.
    """
    weight("threshold", threshold)
    x = _checked(vae, x, at_least=2)
    mean, stddev, exact = posterior_moments(vae, x, num_samples=num_samples, seed=seed)
    squares = (mean - mean.mean(axis=0)) ** 2 * (len(mean) / (len(mean) - 1))
    variances = squares.mean(axis=0) - (0 if exact else (stddev**2).mean(axis=0) / num_samples)
    mask = used_dimensions(variances, threshold)
    return ActiveUnits(int(mask.sum()), mask, variances, error_of_mean(squares))
