"""Distributions on the unit sphere in R^L, with gradients and variances that those of TFP lack."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.display import ReprMixin
from probvae.distributions.base import Wrapper
from probvae.seeds import Seed, split

QUADRATURE_NODES = 48


class VonMisesFisher(ReprMixin, tfd.VonMisesFisher):
    """`tfd.VonMisesFisher` with draws reparameterized by implicit differentiation, for every L.

    The draws of TFP have the right gradient with respect to the concentration for L = 3 only; for other L
    they come from rejection sampling, and their gradient leaves out the acceptance. Here the angle t between
    a draw and the mean direction has dt/dconcentration = - (d F(t) / d concentration) / p(t), where p and F
    are the density and distribution function of t, with the integral by Gauss-Legendre quadrature. Second
    derivatives of draws are wrong.

    Args:
      mean_direction: Unit vectors [..., L], with L of 2 or more.
      concentration: Positive concentrations [...].

    References:
      Figurnov, Mohamed & Mnih 2018, Implicit Reparameterization Gradients, arXiv:1805.08498, equation 4.
      Davidson et al. 2018, Hyperspherical Variational Auto-Encoders, arXiv:1804.00891.
    """

    def __init__(
        self, mean_direction: tf.Tensor, concentration: tf.Tensor, name: str = "von_mises_fisher"
    ) -> None:
        parameters = dict(locals())
        super().__init__(mean_direction, concentration, name=name)
        self._parameters = self._no_dependency(parameters)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return tfd.VonMisesFisher._parameter_properties(dtype, num_classes)

    @property
    def reparameterization_type(self) -> Any:
        """`FULLY_REPARAMETERIZED`: draws have gradients with respect to both parameters."""
        return tfd.FULLY_REPARAMETERIZED

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        batch = self.batch_shape_tensor()
        size = self.event_shape[-1]
        concentration = tf.broadcast_to(self.concentration, batch)
        pole = tf.one_hot(tf.zeros(batch, tf.int32), size)  # mean direction before the reflection
        draws = tfd.VonMisesFisher(pole, tf.stop_gradient(concentration)).sample(n, seed=seed)
        draws = tf.stop_gradient(draws)
        across = tf.norm(draws[..., 1:], axis=-1)
        angle = tf.math.atan2(across, draws[..., 0])
        slope = angle_slope(angle, tf.stop_gradient(concentration), size)
        angle += slope * (concentration - tf.stop_gradient(concentration))  # the same value, with a gradient
        tangent = draws[..., 1:] / tf.maximum(across, 1e-30)[..., tf.newaxis]
        z = tf.concat([tf.cos(angle)[..., tf.newaxis], tf.sin(angle)[..., tf.newaxis] * tangent], axis=-1)
        mirror = tf.math.l2_normalize(pole - self.mean_direction, axis=-1, epsilon=1e-30)
        return z - 2 * tf.reduce_sum(z * mirror, axis=-1, keepdims=True) * mirror

    def _variance(self) -> tf.Tensor:
        return tf.linalg.diag_part(self.covariance())


def angle_slope(angle: tf.Tensor, concentration: tf.Tensor, size: int) -> tf.Tensor:
    """Return d angle / d concentration of a von Mises-Fisher draw at a fixed probability, [S, ...] up to 0.

    The angle t [S, ...] from the mean direction has density p(t) ~ exp(concentration cos t) sin(t)^(L - 2),
    so dF(t)/dconcentration = integral from 0 to t of (cos s - E[cos]) p(s) ds. For t above pi / 2 the
    integral from t to pi, with the other sign, is accurate. Both are in float64, since p(s) / p(t) may be
    large. `size` is L, the dimension of the space around the sphere.
    """
    t, k = tf.cast(angle, tf.float64)[..., tf.newaxis], tf.cast(concentration, tf.float64)
    mean = tf.norm(tfd.VonMisesFisher(tf.one_hot(0, size, dtype=tf.float64), k).mean(), axis=-1)  # E[cos]
    k, mean = k[..., tf.newaxis], mean[..., tf.newaxis]
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    nodes, weights = (nodes + 1) / 2, weights / 2
    t = tf.clip_by_value(t, 1e-12, np.pi - 1e-12)
    low = t < np.pi / 2
    width = tf.where(low, t, np.pi - t)
    s = tf.where(low, width * nodes, np.pi - width * nodes)
    log_ratio = k * (tf.cos(s) - tf.cos(t)) + (size - 2) * (tf.math.log(tf.sin(s)) - tf.math.log(tf.sin(t)))
    integral = width[..., 0] * tf.reduce_sum(weights * (tf.cos(s) - mean) * tf.exp(log_ratio), axis=-1)
    slope = tf.where(low[..., 0], -integral, integral)
    return tf.cast(slope, angle.dtype)


class SphericalUniform(ReprMixin, tfd.SphericalUniform):
    """`tfd.SphericalUniform` with a variance, which is 1 / L in each coordinate."""

    def _variance(self) -> tf.Tensor:
        return tf.linalg.diag_part(self.covariance())


class Radial(Wrapper):
    """Distribution of v = r z in R^L, for z on the unit sphere and an independent length r.

    Its log-density is log p(v / |v|) + log p(r = |v|) - (L - 1) log |v|. If z is uniform and r has a chi
    distribution with L degrees of freedom, v is unit normal.

    Args:
      distribution: Distribution of z, of event shape [L].
      length: Distribution of r; None for the chi distribution with L degrees of freedom.
    """

    def __init__(
        self, distribution: tfd.Distribution, length: tfd.Distribution | None = None, name: str = "radial"
    ) -> None:
        parameters = dict(locals())
        super().__init__(distribution, parameters, name)
        self.length = length or tfd.Chi(df=np.float32(distribution.event_shape[-1]))

    def _log_prob(self, v: tf.Tensor) -> tf.Tensor:
        length = tf.maximum(tf.norm(v, axis=-1), 1e-12)  # the origin has no direction
        log_radial = self.length.log_prob(length) - (self.event_shape[-1] - 1) * tf.math.log(length)
        return self.distribution.log_prob(v / length[..., tf.newaxis]) + log_radial

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        seed_z, seed_r = split(seed, 2)
        z = self.distribution.sample(n, seed=seed_z)
        return z * self.length.sample(tf.shape(z)[:-1], seed=seed_r)[..., tf.newaxis]
