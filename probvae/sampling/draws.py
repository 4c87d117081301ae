"""What a trained VAE generates: prior draws, reconstructions, paths and traversals of the latent space.

Every function returns `Samples`. Each entry of `PATHS` is a function `(z0, z1, t) -> z`.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
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
    parts = []
    for start, block in _blocks(vae, flat):
        p = vae.likelihood(tf.constant(block))  # p(x|z)
        part = [p.mean(), p.sample(seed=fold_in(seed, start)), vae.prior.log_prob(block)]
        if x is not None:
            part.append(p.log_prob(x[np.arange(start, start + len(block)) % len(x)]))
        parts.append([values.numpy() for values in part])
    joined = [np.concatenate(values) for values in zip(*parts, strict=True)]
    return Samples(z, *(values.reshape(*z.shape[:-1], *values.shape[1:]) for values in joined))


def _blocks(vae: VAE, array: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Cut [N, ...] into parts that can be encoded or decoded at once, each with its start."""
    size = int(np.clip(BLOCK // np.prod(vae.event_shape), 1, 1000))
    return [(i, array[i : i + size]) for i in range(0, max(len(array), 1), size)]


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
    sizes = [min(1000, n - start) for start in range(0, n, 1000)]
    z = [distribution.sample(size, seed=fold_in(seed_z, i)).numpy() for i, size in enumerate(sizes)]
    return decode(vae, np.concatenate(z), seed=seed_x)


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
    parts = [
        vae.posterior(tf.constant(block, tf.float32)).sample(num_draws, seed=fold_in(seed, start)).numpy()
        for start, block in _blocks(vae, x)
    ]
    return np.concatenate(parts, axis=1)
