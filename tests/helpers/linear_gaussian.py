"""A VAE whose log p(x) and p(z|x) are known: the oracle of many tests.

p(z) = N(0, I), p(x|z) = N(W z + b, s^2 I), so that p(x) = N(b, W W' + s^2 I) and
p(z|x) = N(P W' (x - b) / s^2, P) with P = (I + W' W / s^2)^-1.
"""

import numpy as np
import tensorflow as tf
import tf_keras
from scipy import stats
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae


class LinearGaussian:
    """The model, its exact log-marginal and its exact posterior, for D observed and L latent."""

    def __init__(self, observed: int = 5, latent: int = 2, noise: float = 0.7, seed: int = 3):
        rng = np.random.default_rng(seed)
        self.weights = rng.standard_normal([observed, latent])
        self.bias = rng.standard_normal(observed)
        self.noise, self.latent = noise, latent
        self._vaes: dict[tuple[float, float], probvae.VAE] = {}
        precision = np.eye(latent) + self.weights.T @ self.weights / noise**2
        self.covariance = np.linalg.inv(precision)
        self.marginal = stats.multivariate_normal(
            self.bias, self.weights @ self.weights.T + noise**2 * np.eye(observed)
        )

    def sample(self, n: int, seed: int) -> np.ndarray:
        return self.marginal.rvs(n, random_state=seed).astype(np.float32)

    def vae(self, *, shift: float = 0.0, stretch: float = 1.0) -> probvae.VAE:
        """The VAE of the caller's own networks, whose posterior is exact but for shift and stretch.

        It is built once, and returned again to whoever asks again.
        """
        if (shift, stretch) not in self._vaes:
            self._vaes[shift, stretch] = self._build(shift, stretch)
        return self._vaes[shift, stretch]

    def _build(self, shift: float, stretch: float) -> probvae.VAE:
        observed = len(self.bias)
        gain = self.covariance @ self.weights.T / self.noise**2  # z's mean is gain @ (x - b)
        scale = tfb.FillScaleTriL(diag_shift=np.float32(1e-5))
        tril = scale.inverse(np.float32(stretch * np.linalg.cholesky(self.covariance))).numpy()
        kernel = np.concatenate([gain.T, np.zeros([observed, len(tril)])], axis=1)
        bias = np.concatenate([shift - gain @ self.bias, tril])
        encoder = tf_keras.Sequential(
            [
                tf_keras.layers.InputLayer((observed,)),
                tf_keras.layers.Dense(kernel.shape[1]),
                tfpl.MultivariateNormalTriL(self.latent),
            ]
        )
        decoder = tf_keras.Sequential(
            [
                tf_keras.layers.InputLayer((self.latent,)),
                tf_keras.layers.Dense(observed),
                tfpl.DistributionLambda(
                    lambda loc: tfd.MultivariateNormalDiag(loc, self.noise * tf.ones_like(loc)),
                    convert_to_tensor_fn=tfd.Distribution.mean,
                ),
            ]
        )
        encoder.layers[0].set_weights([kernel, bias])
        decoder.layers[0].set_weights([self.weights.T, self.bias])
        prior = tfd.MultivariateNormalDiag(tf.zeros(self.latent), tf.ones(self.latent))
        return probvae.VAE(prior, encoder, decoder)
