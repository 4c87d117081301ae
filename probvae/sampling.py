"""What a trained VAE generates: prior draws, reconstructions, paths and traversals of the latent space.

Every function returns `Samples`. Each entry of `PATHS` is a function `(z0, z1, t) -> z`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
from probvae.priors import on_sphere
from probvae.seeds import Seed, fold_in, split
from probvae.temperature import tempered

if TYPE_CHECKING:
    from probvae.model import VAE

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


def decode(vae: "VAE", z: np.ndarray, *, x: np.ndarray | None = None, seed: Seed = 0) -> Samples:
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


def _blocks(vae: "VAE", array: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Cut [N, ...] into parts that can be encoded or decoded at once, each with its start."""
    size = int(np.clip(BLOCK // np.prod(vae.event_shape), 1, 1000))
    return [(i, array[i : i + size]) for i in range(0, max(len(array), 1), size)]


# ---- prior -----------------------------------------------------------------------------------------


def prior_draws(
    vae: "VAE",
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
      sampler: a distribution of z to draw from in place of the prior, such as one of `probvae.samplers`.
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


def posterior_predictive(vae: "VAE", x: np.ndarray, *, num_draws: int = 1, seed: Seed = 0) -> Samples:
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


def posterior_draws(vae: "VAE", x: np.ndarray, *, num_draws: int = 1, seed: Seed = 0) -> np.ndarray:
    """Draw z ~ q(z|x), `num_draws` for each of x [N, *E]: [S, N, L], draws of the aggregate posterior."""
    parts = [
        vae.posterior(tf.constant(block, tf.float32)).sample(num_draws, seed=fold_in(seed, start)).numpy()
        for start, block in _blocks(vae, x)
    ]
    return np.concatenate(parts, axis=1)


# ---- paths and traversals --------------------------------------------------------------------------


def linear(z0: np.ndarray, z1: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return (1 - t) z0 + t z1, [T, ..., L]."""
    t = _column(t, z0)
    return (1 - t) * z0 + t * z1


def spherical(z0: np.ndarray, z1: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Turn z0 at an even pace along the great circle to z1; its norm goes linearly from one to the other.

    On a sphere this is Shoemake's slerp. Draws of a unit normal in many dimensions have norms near sqrt(L),
    and a straight line between two of them passes through norms that no draw has; this path does not. Between
    opposite directions the circle is one of many. Where a direction is missing, at the origin or in one
    dimension, the straight line takes its place.

    Args:
      z0: where the path starts, [..., L].
      z1: where it ends, of the same shape.
      t: [T], from 0 to 1.

    Returns:
      [T, ..., L].

    References:
      Shoemake 1985, Animating rotation with quaternion curves. White 2016, Sampling generative networks,
      arXiv:1609.04468, who puts the vectors themselves into slerp's formula, which for equal norms
      is the same.
    """
    norms = [np.linalg.norm(z, axis=-1, keepdims=True) for z in (z0, z1)]
    a, b = (z / np.maximum(norm, np.finfo(np.float64).tiny) for z, norm in zip((z0, z1), norms, strict=True))
    cosine = np.sum(a * b, axis=-1, keepdims=True)
    across = b - cosine * a  # of b, what is at right angles to a
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    opposite = (sine < 1e-7) & (cosine < 0)
    across, sine = (
        np.where(opposite, _at_right_angles(a), across / np.maximum(sine, 1e-300)),
        np.where(opposite, 0.0, sine),
    )
    angle = _column(t, z0) * np.arctan2(sine, cosine)
    norm = linear(norms[0], norms[1], t)
    circle = norm * (np.cos(angle) * a + np.sin(angle) * across)
    straight = (z0.shape[-1] == 1) | (norms[0] == 0) | (norms[1] == 0)
    return np.where(straight, linear(z0, z1, t), circle)


def _column(t: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.asarray(t, np.float64).reshape(-1, *[1] * z.ndim)


def _at_right_angles(a: np.ndarray) -> np.ndarray:
    """Return a unit vector at right angles to each of the unit vectors a [..., L]."""
    axis = np.eye(a.shape[-1])[np.argmin(np.abs(a), axis=-1)]
    across = axis - np.sum(axis * a, axis=-1, keepdims=True) * a
    return across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-300)


PATHS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "linear": linear,
    "spherical": spherical,
}


def interpolate(
    vae: "VAE", z0: np.ndarray, z1: np.ndarray, *, steps: int = 9, path: str = "spherical", seed: Seed = 0
) -> Samples:
    """Decode a path from z0 to z1, both [..., L].

    Args:
      vae: the model.
      z0: where it starts, exactly.
      z1: where it ends, exactly.
      steps: T, points of the path, the ends among them.
      path: a key of `PATHS`.
      seed: of the draws of x.

    Returns:
      `Samples` of axes [T, ...].

    Raises:
      InputError: no such path, fewer than two steps, ends of different shapes, or a straight line where z
        lies on a sphere.
    """
    z0, z1 = np.asarray(z0, np.float64), np.asarray(z1, np.float64)
    if path not in PATHS:
        raise InputError(f"path must be one of {', '.join(PATHS)}; got {path!r}.")
    if steps < 2 or z0.shape != z1.shape:
        raise InputError(
            f"A path needs 2 or more steps between ends of one shape; got {steps} steps from z of shape "
            f"{list(z0.shape)} to {list(z1.shape)}."
        )
    if path == "linear" and on_sphere(vae.prior):
        raise InputError("z lies on a sphere, which a straight line leaves: choose the path spherical.")
    z = PATHS[path](z0, z1, np.linspace(0, 1, steps))
    z[0], z[-1] = z0, z1
    return decode(vae, z, seed=seed)


def traverse(vae: "VAE", z: np.ndarray, *, dimension: int, values: np.ndarray, seed: Seed = 0) -> Samples:
    """Decode z [..., L] with one of its coordinates replaced by each of some values [V].

    Returns:
      `Samples` of axes [V, ...].

    Raises:
      InputError: there is no such dimension, or z lies on a sphere.
    """
    z = np.asarray(z, np.float32)
    if on_sphere(vae.prior):
        raise InputError(
            "z lies on a sphere, where no coordinate changes alone: interpolate between two points instead."
        )
    if not 0 <= dimension < vae.latent_dim:
        raise InputError(f"dimension must be from 0 to {vae.latent_dim - 1}; got {dimension}.")
    z = np.repeat(z[np.newaxis], len(values), axis=0)
    z[..., dimension] = np.reshape(values, [-1, *[1] * (z.ndim - 2)])
    return decode(vae, z, seed=seed)
