"""Paths through the latent space: interpolations and traversals."""

import math
from collections.abc import Callable

import numpy as np

from probvae.arguments import choice, count
from probvae.errors import InputError
from probvae.models.vae import VAE
from probvae.objectives.memory import refuse_values
from probvae.priors import on_sphere
from probvae.sampling.draws import Samples, decode, latents
from probvae.seeds import Seed


def linear(z0: np.ndarray, z1: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the straight line (1 - t) z0 + t z1, [T, ..., L]."""
    t = _column(t, z0)
    return (1 - t) * z0 + t * z1


def spherical(z0: np.ndarray, z1: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the path [T, ..., L] of uniform rotation along a great circle and a linear norm from z0 to z1.

    t are the positions [T] on it, from 0 to 1. On a sphere this is the slerp of Shoemake. Draws of a unit
    normal in many dimensions have norms near sqrt(L), and so have the points of this path, but not those of a
    straight line. Between opposite directions the circle is one of many. The path is the straight line in one
    dimension, or if an end is the origin.

    References:
      Shoemake 1985, Animating rotation with quaternion curves. White 2016, Sampling generative networks,
      arXiv:1609.04468, applies slerp to vectors of any norm, which is the same for equal norms.
    """
    norms = [np.linalg.norm(z, axis=-1, keepdims=True) for z in (z0, z1)]
    start, end = (
        z / np.maximum(norm, np.finfo(np.float64).tiny) for z, norm in zip((z0, z1), norms, strict=True)
    )
    cosine = np.sum(start * end, axis=-1, keepdims=True)
    across = end - cosine * start  # component of `end` orthogonal to `start`
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    opposite = (sine < 1e-7) & (cosine < 0)
    across, sine = (
        np.where(opposite, _orthogonal(start), across / np.maximum(sine, 1e-300)),
        np.where(opposite, 0.0, sine),
    )
    angle = _column(t, z0) * np.arctan2(sine, cosine)
    norm = linear(norms[0], norms[1], t)
    circle = norm * (np.cos(angle) * start + np.sin(angle) * across)
    straight = (z0.shape[-1] == 1) | (norms[0] == 0) | (norms[1] == 0)
    return np.where(straight, linear(z0, z1, t), circle)


def _column(t: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.asarray(t, np.float64).reshape(-1, *[1] * z.ndim)


def _orthogonal(vectors: np.ndarray) -> np.ndarray:
    """Return a unit vector orthogonal to each of the unit vectors [..., L]."""
    axis = np.eye(vectors.shape[-1])[np.argmin(np.abs(vectors), axis=-1)]
    across = axis - np.sum(axis * vectors, axis=-1, keepdims=True) * vectors
    return across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-300)


# Functions `(z0, z1, t) -> z`.
PATHS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "linear": linear,
    "spherical": spherical,
}


def interpolate(
    vae: VAE, z0: np.ndarray, z1: np.ndarray, *, steps: int = 9, path: str = "spherical", seed: Seed = 0
) -> Samples:
    """Decode the points of a path from z0 to z1, both [..., L].

    Args:
      vae: Model.
      z0: Start of the path, which is the first point.
      z1: End of the path, which is the last point.
      steps: T, the number of points, with start and end.
      path: Key of `PATHS`.
      seed: Seed of the draws of x.

    Returns:
      `Samples` of axes [T, ...].

    Raises:
      InputError: The path is unknown, there are fewer than two steps, the shapes of the ends differ, or the
        path is linear and z lies on a sphere.
    """
    choice("path", path, PATHS)
    for z in (z0, z1):
        latents(vae, z, finite=True)
    z0, z1 = np.asarray(z0, np.float64), np.asarray(z1, np.float64)
    steps = count("steps", steps, 2)
    refuse_values("steps", steps, z0.size + 2 * math.prod(vae.event_shape) * (z0.size // vae.latent_dim))
    if z0.shape != z1.shape:
        raise InputError(
            f"A path needs ends of one shape; got z of shape {list(z0.shape)} and {list(z1.shape)}."
        )
    if path == "linear" and on_sphere(vae.prior):
        raise InputError("z lies on a sphere, which a straight line leaves: choose the path spherical.")
    z = PATHS[path](z0, z1, np.linspace(0, 1, steps))
    z[0], z[-1] = z0, z1
    return decode(vae, z, seed=seed)


def traverse(vae: VAE, z: np.ndarray, *, dimension: int, values: np.ndarray, seed: Seed = 0) -> Samples:
    """Decode z [..., L] with a coordinate replaced by each of the values [V].

    Returns:
      `Samples` of axes [V, ...].

    Raises:
      InputError: The dimension does not exist, or z lies on a sphere.
    """
    z, values = latents(vae, z, finite=True), np.ravel(values)
    if values.dtype.kind not in "biuf" or not np.all(np.isfinite(values)):
        raise InputError("values must be finite numbers [V]; mend those that are not.")
    if on_sphere(vae.prior):
        raise InputError(
            "z lies on a sphere, where no coordinate changes alone: interpolate between two points instead."
        )
    if not 0 <= count("dimension", dimension, 0) < vae.latent_dim:
        raise InputError(f"dimension must be from 0 to {vae.latent_dim - 1}; got {dimension}.")
    z = np.repeat(z[np.newaxis], len(values), axis=0)
    z[..., dimension] = np.reshape(values, [-1, *[1] * (z.ndim - 2)])
    return decode(vae, z, seed=seed)
