"""A model whose log p(x) is known and whose p(z|x) has two modes, of which q(z|x) covers one.

p(z) = N(0, I), x_0 = z_0^2 + s e; the other latents and data are those of `LinearGaussian`. log p(x) is a sum
over a fine grid of z_0, and the closed form of the rest.
"""

import numpy as np
import tensorflow as tf
from linear_gaussian import LinearGaussian
from scipy import stats
from scipy.special import logsumexp
from tensorflow_probability import distributions as tfd

GRID = np.linspace(-7, 7, 40_001)


class TwoModes:
    """The model, which satisfies the protocol of estimators, and its exact log-marginal."""

    def __init__(self, latent: int = 1, noise: float = 0.1, stretch: float = 0.8):
        self.noise, self.latent_dim, self.stretch = noise, latent, stretch
        others = latent - 1
        self.rest = LinearGaussian(observed=2 * others, latent=others, noise=noise) if others else None
        self.event_shape = [1 + 2 * others]
        self.prior = tfd.MultivariateNormalDiag(tf.zeros(latent), tf.ones(latent))

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Return x [n, D] with z_0 so far from 0 that its modes are apart."""
        rng = np.random.default_rng(seed)
        z = 0.7 + np.abs(rng.standard_normal([n, 1])) / 2
        x = z**2 + self.noise * rng.standard_normal([n, 1])
        return np.concatenate([x, self.rest.sample(n, seed)] if self.rest else [x], axis=1).astype(np.float32)

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        log_joint = stats.norm.logpdf(GRID) + stats.norm.logpdf(x[:, :1], GRID**2, self.noise)
        log_p = logsumexp(log_joint, axis=1) + np.log(GRID[1] - GRID[0])
        return log_p + (self.rest.marginal.logpdf(x[:, 1:]) if self.rest else 0)

    def posterior(self, x: tf.Tensor) -> tfd.Distribution:
        """Return q(z|x), round the positive z_0."""
        loc = tf.sqrt(tf.maximum(x[..., :1], 0.3))
        tril = self.stretch * self.noise / (2 * loc)[..., tf.newaxis]
        if self.rest:
            gain = self.rest.covariance @ self.rest.weights.T / self.noise**2
            bias, gain = tf.constant(self.rest.bias, x.dtype), tf.constant(gain.T, x.dtype)
            loc = tf.concat([loc, (x[..., 1:] - bias) @ gain], axis=-1)
            root = tf.constant(self.stretch * np.linalg.cholesky(self.rest.covariance), x.dtype)
            blocks = [tf.linalg.LinearOperatorFullMatrix(tril), tf.linalg.LinearOperatorFullMatrix(root)]
            tril = tf.linalg.LinearOperatorBlockDiag(blocks).to_dense()
        return tfd.MultivariateNormalTriL(loc, tril)

    def likelihood(self, z: tf.Tensor) -> tfd.Distribution:
        """Return p(x|z)."""
        loc = z[..., :1] ** 2
        if self.rest:
            weights, bias = (tf.constant(a, z.dtype) for a in (self.rest.weights.T, self.rest.bias))
            loc = tf.concat([loc, z[..., 1:] @ weights + bias], axis=-1)
        return tfd.MultivariateNormalDiag(loc, self.noise * tf.ones_like(loc))
