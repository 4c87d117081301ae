"""Models whose z lies on the unit sphere, for estimators that need a z in all of R^L."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.distributions.sphere import Radial
from probvae.objectives.bound import Model
from probvae.priors import on_sphere
from probvae.seeds import Seed, as_seed


class InSpace:
    """A model of the same p(x) with v = r z instead of z, for an independent length r.

    p(x|v) = p(x|z = v / |v|). Quadrature, annealing and Hamiltonian Monte Carlo, which move through all of
    R^L, can therefore estimate p(x) as for any other model.

    Args:
      vae: Model whose prior and posterior lie on the sphere.
      length: Distribution of r; by default that of the length of a unit normal, for which p(v) is N(0, I) if
        p(z) is uniform.
    """

    def __init__(self, vae: Model, length: tfd.Distribution | None = None) -> None:
        self.vae, self.length = vae, length
        self.latent_dim, self.event_shape = vae.latent_dim, vae.event_shape
        self.contract = getattr(vae, "contract", None)
        normal = length is None and isinstance(vae.prior, tfd.SphericalUniform)
        zeros = tf.zeros([vae.latent_dim])
        self.prior: Any = (
            tfd.MultivariateNormalDiag(zeros, zeros + 1) if normal else Radial(vae.prior, length)
        )

    def posterior(self, x: tf.Tensor) -> tfd.Distribution:
        """Return q(v|x)."""
        return Radial(self.vae.posterior(x), self.length)

    def likelihood(self, v: tf.Tensor) -> tfd.Distribution:
        """Return p(x|v)."""
        return self.vae.likelihood(tf.math.l2_normalize(v, axis=-1))

    def joint(self) -> tfd.JointDistribution:
        """Return p(v, x); v is called z, as in other models."""
        return tfd.JointDistributionNamed({"z": self.prior, "x": lambda z: self.likelihood(z)})


def in_space(vae: Any, length: tfd.Distribution | None = None) -> Any:
    """Return a model of the same p(x) whose z lies in all of R^L; most models are returned unchanged."""
    return InSpace(vae, length) if on_sphere(vae.prior) else vae


def lengthened(vae: Any, z: tf.Tensor, *, seed: Seed) -> tf.Tensor:
    """Return v = r z with a drawn r for z [..., L] on the sphere; other z are returned unchanged."""
    if not on_sphere(vae.prior):
        return z
    return z * tfd.Chi(df=float(z.shape[-1])).sample(tf.shape(z)[:-1], seed=as_seed(seed))[..., tf.newaxis]


def shortened(vae: Any, v: Any) -> Any:
    """Return z = v / |v| for v [..., L] if z lies on the sphere; other v are returned unchanged."""
    return tf.math.l2_normalize(v, axis=-1).numpy() if on_sphere(vae.prior) else v
