"""From an `Architecture` to a model."""

from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from probvae.config.architecture import Architecture
from probvae.distributions.missing import encoder_inputs
from probvae.likelihoods import likelihood_of
from probvae.models.conditional import ConditionalVAE
from probvae.models.ladder import build_ladder
from probvae.models.m2 import M2VAE, classifier_head
from probvae.models.networks import contexts
from probvae.models.networks.layers import Layers, NetworkOptions
from probvae.models.networks.registry import network
from probvae.models.vae import VAE
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS, PriorContext, compatible


def conv_vae(image_shape: tuple[int, int, int] = (28, 28, 1), *, seed: int = 0, **choices: Any) -> VAE:
    """Build the tutorial's convolutional VAE, for any image shape, width, latent size and distributions.

    Args:
      image_shape: (height, width, channels).
      seed: of the initial weights.
      **choices: other fields of `probvae.Architecture`: `latent_dim`, `posterior`, `prior`, `likelihood`,
        `filters`, ...

    Returns:
      A `VAE`; `probvae.save` keeps its architecture with its weights.

    Raises:
      InputError: a choice is unknown or out of range, or the images are too small.

    References:
      TensorFlow's tutorial "Convolutional Variational Autoencoder" (tensorflow.org/tutorials).
    """
    return build(Architecture(event_shape=image_shape, **choices), seed=seed)


def build(architecture: Architecture, *, seed: int = 0, precision: str = "float32") -> VAE:
    """Build the model that `architecture` describes, with initial weights from `seed`.

    Args:
      architecture: what to build.
      seed: of the initial weights.
      precision: of the hidden layers of its networks, "mixed_bfloat16" or "mixed_float16". Weights,
        parameters of distributions and all densities are float32 in any case.

    Raises:
      InputError: choices that do not go together.
    """
    a = architecture
    network(a.network, a.event_shape)
    compatible(a.posterior, a.prior)
    sizes = NetworkOptions(a.filters, a.units, a.activation, precision=precision)
    vae = (_ladder if a.latent_layers else _conditional if a.context_dim else _plain)(a, sizes, seed)
    vae.architecture = architecture
    return vae


def _plain(a: Architecture, sizes: NetworkOptions, seed: int) -> VAE:
    head = POSTERIORS[a.posterior](a.latent_dim, seed=3 * seed + 2)
    encoder = tf_keras.Sequential([*encoder_layers(a, sizes, seed=3 * seed), *head], name="encoder")
    prior = prior_of(a, encoder, seed=seed)
    return VAE(prior, encoder, decoder(a, sizes, a.latent_dim, seed=3 * seed + 1), name="vae")


def _ladder(a: Architecture, sizes: NetworkOptions, seed: int) -> VAE:
    features = encoder_layers(a, sizes, seed=3 * seed)
    prior, encoder = build_ladder(
        features, a.latent_layers, units=a.units[-1], activation=a.activation, seed=3 * seed + 2
    )
    return VAE(prior, encoder, decoder(a, sizes, a.latent_dim, seed=3 * seed + 1), name="vae")


def _conditional(a: Architecture, sizes: NetworkOptions, seed: int) -> VAE:
    layers = contexts.encoder_layers(
        network(a.network, a.event_shape),
        a.event_shape,
        a.context_dim,
        options=sizes,
        seed=3 * seed,
        inputs=lambda x: see(a, x),
    )
    head = POSTERIORS[a.posterior](a.latent_dim, seed=3 * seed + 2)
    encoder = tf_keras.Sequential([*layers, *head], name="encoder")
    prior = prior_of(a, encoder, seed=seed)
    parts = prior, encoder, decoder(a, sizes, a.latent_dim + a.context_dim, seed=3 * seed + 1)
    if not a.classifier:
        return ConditionalVAE(*parts, context_dim=a.context_dim, name="vae")
    features = encoder_layers(a, sizes, seed=3 * seed + 2)
    classifier = [*features, *classifier_head(a.context_dim, seed=3 * seed + 2)]
    return M2VAE(*parts, tf_keras.Sequential(classifier, name="classifier"), name="vae")


def encoder_layers(a: Architecture, sizes: NetworkOptions, *, seed: int) -> Layers:
    """Build the layers from x [B, *E] to features [B, F], what the encoder sees of x first."""
    seen = see(a, tf.zeros([1, *a.event_shape])).shape[1:]
    _, *layers = network(a.network, a.event_shape).encoder(tuple(seen), options=sizes, seed=seed)
    eye = tf_keras.layers.Lambda(lambda x: see(a, x), name="see")
    return [tf_keras.layers.InputLayer(a.event_shape), eye, *layers]


def see(a: Architecture, x: tf.Tensor) -> tf.Tensor:
    """Return what the encoder sees of x [B, *E]: counts as logarithms, say, and which values are missing."""
    x = likelihood_of(a).inputs(x)
    return encoder_inputs(x) if a.missing else x


def decoder(a: Architecture, sizes: NetworkOptions, input_dim: int, *, seed: int) -> tf_keras.Model:
    """Build the model from z, or z and y, [B, input_dim] to p(x|z)."""
    likelihood = likelihood_of(a)
    make = network(a.network, a.event_shape).decoder
    layers = make(likelihood.params_shape, input_dim, options=sizes, seed=seed)
    return tf_keras.Sequential([*layers, likelihood.head()], name="decoder")


def prior_of(a: Architecture, encoder: tf_keras.Model, *, seed: int) -> tfd.Distribution:
    """Build p(z)."""
    context = PriorContext(encoder, a.event_shape, a.components, likelihood_of(a).to_support())
    return PRIORS[a.prior](a.latent_dim, seed=seed, context=context)
