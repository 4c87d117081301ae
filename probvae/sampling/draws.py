"""Draws from the prior of a VAE and from its posterior predictive distribution."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.arguments import class_of, count, instance
from probvae.distributions.base import at_rows
from probvae.errors import InputError
from probvae.inference.blocks import accepted, as_data, in_blocks
from probvae.models.contract import check_latents
from probvae.models.vae import VAE
from probvae.objectives.memory import refuse_values
from probvae.sampling.temperature import tempered
from probvae.seeds import Seed, fold_in, split

BLOCK = 1 << 20  # number of values of x in a block, which bounds the memory for any number of draws
DRAWS = 1 << 21  # number of z in a block of examples


class Samples(NamedTuple):
    """Values of z with their decoded x; the axes [...] depend on the function.

    Attributes:
      z: Values of z, [..., L].
      mean: Mean of p(x|z), [..., *E]; probabilities for binary pixels.
      x: Draws x ~ p(x|z), [..., *E].
      log_prior: log p(z) in nats, [...], under the prior of the model also for draws from a sampler.
      log_likelihood: log p(x|z) of given x in nats, [...]; None without them.
      stddev: Standard deviation of p(x|z), [..., D], for tables; else None.
      mode: Mode of p(x|z), [..., D], for tables; else None.
    """

    z: np.ndarray
    mean: np.ndarray
    x: np.ndarray
    log_prior: np.ndarray
    log_likelihood: np.ndarray | None = None
    stddev: np.ndarray | None = None
    mode: np.ndarray | None = None


def decode(
    vae: VAE,
    z: np.ndarray,
    *,
    x: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    seed: Seed = 0,
) -> Samples:
    """Decode values of z.

    Args:
      vae: Model.
      z: Values [..., L].
      x: Data [N, *E] for log-likelihoods at z [..., N, L], or None.
      rows: Rows of a table [N, D] at z [N, L], whose size the counts have if the model has one; None for
        draws of sizes, too, and means over them.
      seed: Seed of the draws of x.

    Returns:
      `Samples` of axes [...].

    Raises:
      InputError: z does not have the size L of the model.
    """
    z = latents(vae, z)
    flat = z.reshape(-1, vae.latent_dim)

    is_table = vae.schema is not None and vae.schema.is_table
    names = ["mean", "x", "log_prior"]
    names += ["stddev", "mode"] if is_table else []
    names += ["log_likelihood"] if x is not None else []

    def decode_block(block: slice) -> list[tf.Tensor]:
        p = vae.likelihood(tf.constant(flat[block]))  # p(x|z)
        p = p if rows is None else at_rows(p, rows[block])
        parts = [p.mean(), p.sample(seed=fold_in(seed, block.start)), vae.prior.log_prob(flat[block])]
        parts += [p.stddev(), p.mode()] if is_table else []
        if x is not None:
            parts.append(p.log_prob(x[np.arange(block.start, block.stop) % len(x)]))
        return parts

    joined = in_blocks(decode_block, len(flat), _block_size(vae))
    shaped = (values.reshape(*z.shape[:-1], *values.shape[1:]) for values in joined)
    return Samples(z=z, **dict(zip(names, shaped, strict=True)))


def latents(vae: VAE, z: Any, *, finite: bool = False) -> np.ndarray:
    """Return z [..., L] as float32; refuse other shapes, types and, if asked, NaN and infinity."""
    instance("vae", vae, VAE, "the model comes first, then z")
    z = check_latents(z, vae.latent_dim, np.float32).numpy()
    if finite and not np.all(np.isfinite(z)):
        raise InputError("z must be finite; it holds infinite values or NaN: mend them.")
    return z


def _block_size(vae: VAE) -> int:
    """Return the number of examples in a block."""
    return int(np.clip(BLOCK // np.prod(vae.event_shape), 1, 1000))


# ---- prior -----------------------------------------------------------------------------------------


def prior_draws(
    vae: VAE,
    n: int,
    *,
    temperature: float = 1.0,
    sampler: tfd.Distribution | None = None,
    seed: Seed = 0,
) -> Samples:
    """Draw z ~ p(z) and x ~ p(x|z).

    Args:
      vae: Model.
      n: N, the number of draws.
      temperature: Temperature of the prior, see `tempered`.
      sampler: Distribution of z instead of the prior, such as one from `fit_sampler`.
      seed: Seed of the draws, an int or an int32 pair.

    Returns:
      `Samples` of axes [N].

    Raises:
      InputError: The number n is below 1, or the prior cannot be tempered.
    """
    instance("vae", vae, VAE, "call prior_draws(vae, n)")
    n = count("n", n)
    refuse_values("n", n, vae.latent_dim + 2 * math.prod(vae.event_shape))
    if sampler is not None:
        check_sampler(vae, sampler)
    distribution = tempered(vae.prior if sampler is None else sampler, temperature)
    seed_z, seed_x = split(seed, 2)
    # The blocks bound the memory of mixtures, which draw from all components and keep one.
    z = in_blocks(
        lambda rows: distribution.sample(rows.stop - rows.start, seed=fold_in(seed_z, rows.start // 1000)),
        n,
        1000,
    )
    return decode(vae, z, seed=seed_x)


def check_sampler(vae: VAE, sampler: Any) -> None:
    """Refuse what is no distribution of z."""
    if not isinstance(sampler, tfd.Distribution) or sampler.event_shape != [vae.latent_dim]:
        shape = getattr(sampler, "event_shape", None)
        got = class_of(sampler) if shape is None else f"one of event shape {shape}"
        raise InputError(
            f"The sampler must be a distribution of z, of event shape [{vae.latent_dim}]; got {got}: make "
            "one by sampling.fit_sampler."
        )


# ---- posterior -------------------------------------------------------------------------------------


def posterior_predictive(vae: VAE, x: np.ndarray, *, num_draws: int = 1, seed: Seed = 0) -> Samples:
    """Draw reconstructions of x: z ~ q(z|x), then x' ~ p(x'|z).

    Args:
      vae: Model.
      x: Data [N, *E].
      num_draws: S, the number of draws for each example.
      seed: Seed of the draws, an int or an int32 pair.

    Returns:
      `Samples` of axes [S, N], with log p(x|z) of the given x.

    Raises:
      InputError: x does not have the shape of the model.
    """
    x = as_data(vae, x)
    seed_z, seed_x = split(seed, 2)
    return decode(vae, posterior_draws(vae, x, num_draws=num_draws, seed=seed_z), x=x, seed=seed_x)


def posterior_draws(vae: VAE, x: np.ndarray, *, num_draws: int = 1, seed: Seed = 0) -> np.ndarray:
    """Draw z ~ q(z|x), [S, N, L] with S = `num_draws`, for x [N, *E]."""
    x, num_draws = accepted(vae, x), count("num_draws", num_draws)
    refuse_values("num_draws", num_draws, len(x) * vae.latent_dim)

    def draw_block(rows: slice) -> tf.Tensor:
        q = vae.posterior(tf.constant(x[rows], tf.float32))  # q(z|x)
        return q.sample(num_draws, seed=fold_in(seed, rows.start))

    size = min(_block_size(vae), max(1, DRAWS // num_draws))
    return in_blocks(draw_block, len(x), size, axes=(1,))
