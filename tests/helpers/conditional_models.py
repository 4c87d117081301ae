"""Tiny conditional models, and one whose log p(x|y) is known."""

import numpy as np
import tensorflow as tf
import tf_keras
from linear_gaussian import LinearGaussian
from scipy import stats
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.likelihoods import LIKELIHOODS
from probvae.models.conditional import ConditionalVAE
from probvae.models.m2 import M2VAE, classifier_head
from probvae.models.networks.contexts import encoder_layers
from probvae.models.networks.layers import NetworkOptions
from probvae.models.networks.registry import NETWORKS
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

OPTIONS = NetworkOptions(filters=(3, 4), units=(8,))


def parts(network="conv", shape=(8, 8, 1), *, classes=3, latent_dim=2, posterior="diagonal", seed=0):
    """Prior, encoder and decoder of Bernoulli values given one of so many classes."""
    kind = NETWORKS[network]
    encoder = encoder_layers(kind, shape, classes, options=OPTIONS, seed=seed)
    decoder = kind.decoder(shape, latent_dim + classes, options=OPTIONS, seed=seed + 1)
    head = POSTERIORS[posterior](latent_dim, seed=seed + 2)
    return (
        PRIORS["standard_normal"](latent_dim),
        tf_keras.Sequential([*encoder, *head]),
        tf_keras.Sequential([*decoder, LIKELIHOODS["bernoulli"](shape).head()]),
    )


def shaken(vae, seed=0, gain=2.0):
    """The model with weights large enough for every term to matter."""
    rng = np.random.default_rng(seed)
    for variable in vae.trainable_variables:
        variable.assign(gain * variable + 0.1 * rng.standard_normal(variable.shape))
    return vae


def tiny(network="conv", shape=(8, 8, 1), *, classes=3, **options):
    return shaken(ConditionalVAE(*parts(network, shape, classes=classes, **options), context_dim=classes))


def tiny_m2(shape=(6,), *, classes=3, contexts=None, gain=2.0, **options):
    layers = NETWORKS["mlp"].encoder(shape, options=OPTIONS, seed=7)
    classifier = tf_keras.Sequential([*layers, *classifier_head(classes, seed=8)])
    return shaken(
        M2VAE(*parts("mlp", shape, classes=classes, **options), classifier, contexts=contexts), gain=gain
    )


class ConditionalLinearGaussian:
    """p(x|z, y) = N(W z + V y + b, s^2 I), so that p(x|y) = N(V y + b, W W' + s^2 I)."""

    def __init__(self, contexts: int = 3, seed: int = 5):
        self.plain = LinearGaussian()
        observed = len(self.plain.bias)
        self.slope = 2 * np.random.default_rng(seed).standard_normal([observed, contexts])  # V
        self.contexts = contexts

    def marginal(self, y: np.ndarray) -> stats._multivariate.multivariate_normal_frozen:
        """p(x|y) at one y."""
        return stats.multivariate_normal(self.plain.bias + self.slope @ y, self.plain.marginal.cov)

    def log_prob(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """log p(x|y), [N]."""
        return np.array([self.marginal(b).logpdf(a) for a, b in zip(x, y, strict=True)])

    def sample(self, y: np.ndarray, seed: int) -> np.ndarray:
        """x ~ p(x|y) for each y [N, C]."""
        return self.plain.sample(len(y), seed) + np.float32(y @ self.slope.T)

    def networks(self, *, shift: float = 0.0):
        """Prior, encoder and decoder; q(z|x, y) is p(z|x, y) but for the shift."""
        plain = self.plain.vae(shift=shift)
        kernel, bias = plain.encoder.layers[0].get_weights()  # of x, and x - V y takes its place
        encoder = tf_keras.Sequential(
            [
                tf_keras.layers.InputLayer((len(kernel) + self.contexts,)),
                tf_keras.layers.Dense(kernel.shape[1]),
                tfpl.MultivariateNormalTriL(self.plain.latent),
            ]
        )
        decoder = tf_keras.Sequential(
            [
                tf_keras.layers.InputLayer((self.plain.latent + self.contexts,)),
                tf_keras.layers.Dense(len(kernel)),
                tfpl.DistributionLambda(
                    lambda loc: tfd.MultivariateNormalDiag(loc, self.plain.noise * tf.ones_like(loc)),
                    convert_to_tensor_fn=tfd.Distribution.mean,
                ),
            ]
        )
        encoder.layers[0].set_weights([np.concatenate([kernel, -self.slope.T @ kernel]), bias])
        decoder.layers[0].set_weights([np.concatenate([self.plain.weights.T, self.slope.T]), self.plain.bias])
        return plain.prior, encoder, decoder

    def vae(self, **options) -> ConditionalVAE:
        return ConditionalVAE(*self.networks(**options), context_dim=self.contexts)
