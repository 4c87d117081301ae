"""Models whose z lies on the unit sphere, for estimators that need a z in all of R^L."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.distributions.sphere import Radial
from probvae.objectives.bound import Model
from probvae.priors import on_sphere
from probvae.seeds import Seed, as_seed


class InSpace:
    """The same p(x) with v = r z in place of z, for a length r that is independent of everything else.

    p(x|v) = p(x|z = v / |v|). So quadrature, annealing and Hamiltonian Monte Carlo, which move through all of
    R^L, estimate p(x) as for any other model.

    Args:
      vae: a model whose prior and posterior lie on the sphere.
      length: the distribution of r; that of a unit normal's length unless given, under which p(v) is N(0, I)
        where p(z) is uniform.
    """

    def __init__(self, vae: Model, length: tfd.Distribution | None = None) -> None:
        self.vae, self.length = vae, length
        self.latent_dim, self.event_shape = vae.latent_dim, vae.event_shape
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
    """Return a model of the same p(x) whose z lies in all of R^L; most are that themselves."""
    return InSpace(vae, length) if on_sphere(vae.prior) else vae


def lengthened(vae: Any, z: tf.Tensor, *, seed: Seed) -> tf.Tensor:
    """Return v = r z for z [..., L] of `vae` on the sphere, r drawn; other z as they are."""
    if not on_sphere(vae.prior):
        return z
    return z * tfd.Chi(df=float(z.shape[-1])).sample(tf.shape(z)[:-1], seed=as_seed(seed))[..., tf.newaxis]


def shortened(vae: Any, v: Any) -> Any:
    """Return z = v / |v| for v [..., L] where `vae` has z on the sphere; other v as they are."""
    return tf.math.l2_normalize(v, axis=-1).numpy() if on_sphere(vae.prior) else v
