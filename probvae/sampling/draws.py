"""What a trained VAE generates: prior draws, reconstructions, paths and traversals of the latent space.

Every function returns `Samples`. Each entry of `PATHS` is a function `(z0, z1, t) -> z`.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
from probvae.inference.blocks import in_blocks
from probvae.models.vae import VAE
from probvae.sampling.temperature import tempered
from probvae.seeds import Seed, fold_in, split

BLOCK = 1 << 20  # values of x that are decoded at once: bounds the memory for any number of draws


class Samples(NamedTuple):
    """Values of z and what the model makes of them; [...] are the axes that the function names.

    Attributes:
      z: [..., L].
      mean: [..., *E], the mean of p(x|z): probabilities, for binary pixels.
      x: [..., *E], a draw x ~ p(x|z).
      log_prior: [...], log p(z) in nats, under the model's own prior whatever z was drawn from.
      log_likelihood: [...], log p(x|z) in nats of the x that was given; None where none was.
    """

    z: np.ndarray
    mean: np.ndarray
    x: np.ndarray
    log_prior: np.ndarray
    log_likelihood: np.ndarray | None = None


def decode(vae: VAE, z: np.ndarray, *, x: np.ndarray | None = None, seed: Seed = 0) -> Samples:
    """Decode values of z.

    Args:
      vae: the model.
      z: [..., L].
      x: [N, *E], whose log-likelihoods at z [..., N, L] are asked for; or None.
      seed: of the draws of x.

    Returns:
      `Samples` of axes [...].

    Raises:
      InputError: z is of another size than the model's.
    """
    z = np.asarray(z, np.float32)
    if not z.ndim or z.shape[-1] != vae.latent_dim:
        raise InputError(f"Expected z of shape [..., {vae.latent_dim}]; got {list(z.shape)}.")
    flat = z.reshape(-1, vae.latent_dim)

    def decoded(rows: slice) -> list[tf.Tensor]:
        p = vae.likelihood(tf.constant(flat[rows]))  # p(x|z)
        parts = [p.mean(), p.sample(seed=fold_in(seed, rows.start)), vae.prior.log_prob(flat[rows])]
        if x is not None:
            parts.append(p.log_prob(x[np.arange(rows.start, rows.stop) % len(x)]))
        return parts

    joined = in_blocks(decoded, len(flat), _block_size(vae))
    return Samples(z, *(values.reshape(*z.shape[:-1], *values.shape[1:]) for values in joined))


def _block_size(vae: VAE) -> int:
    """Return the number of examples that are encoded or decoded at once."""
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
      vae: the model.
      n: N, how many.
      temperature: see `tempered`.
      sampler: a distribution of z to draw from in place of the prior, such as one of `samplers.SAMPLERS`.
      seed: an int or an int32 pair.

    Returns:
      `Samples` of axes [N].

    Raises:
      InputError: n is below 1, or the prior has no temperature.
    """
    if n < 1:
        raise InputError(f"The number of draws must be 1 or more; got {n}.")
    distribution = tempered(vae.prior if sampler is None else sampler, temperature)
    seed_z, seed_x = split(seed, 2)
    # A mixture draws from all of its components and keeps one, hence the blocks.
    z = in_blocks(
        lambda rows: distribution.sample(rows.stop - rows.start, seed=fold_in(seed_z, rows.start // 1000)),
        n,
        1000,
    )
    return decode(vae, z, seed=seed_x)


# ---- posterior -------------------------------------------------------------------------------------


def posterior_predictive(vae: VAE, x: np.ndarray, *, num_draws: int = 1, seed: Seed = 0) -> Samples:
    """Draw reconstructions of x: z ~ q(z|x), then x' ~ p(x'|z).

    Args:
      vae: the model.
      x: data [N, *E].
      num_draws: S, for each example.
      seed: an int or an int32 pair.

    Returns:
      `Samples` of axes [S, N], with log p(x|z) of the x that was given.

    Raises:
      InputError: x is of another shape than the model's.
    """
    x = np.asarray(x, np.float32)
    if x.shape[1:] != vae.event_shape or not len(x):
        raise InputError(
            f"Expected one or more x of shape {list(vae.event_shape)}; got an array {list(x.shape)}."
        )
    seed_z, seed_x = split(seed, 2)
    return decode(vae, posterior_draws(vae, x, num_draws=num_draws, seed=seed_z), x=x, seed=seed_x)


def posterior_draws(vae: VAE, x: np.ndarray, *, num_draws: int = 1, seed: Seed = 0) -> np.ndarray:
    """Draw z ~ q(z|x), `num_draws` for each of x [N, *E]: [S, N, L], draws of the aggregate posterior."""

    def drawn(rows: slice) -> tf.Tensor:
        q = vae.posterior(tf.constant(x[rows], tf.float32))  # q(z|x)
        return q.sample(num_draws, seed=fold_in(seed, rows.start))

    return in_blocks(drawn, len(x), _block_size(vae), axes=(1,))
