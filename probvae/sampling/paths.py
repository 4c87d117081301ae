"""Paths through the latent space: interpolations and traversals."""

from collections.abc import Callable

import numpy as np

from probvae.errors import InputError
from probvae.models.vae import VAE
from probvae.priors import on_sphere
from probvae.sampling.draws import Samples, decode
from probvae.seeds import Seed

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
    vae: VAE, z0: np.ndarray, z1: np.ndarray, *, steps: int = 9, path: str = "spherical", seed: Seed = 0
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


def traverse(vae: VAE, z: np.ndarray, *, dimension: int, values: np.ndarray, seed: Seed = 0) -> Samples:
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
