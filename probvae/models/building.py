"""Building of a model from an `Architecture`."""

from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from probvae.arguments import choice, count, instance, weight
from probvae.config.architecture import Architecture
from probvae.config.choices import CHOICES
from probvae.data.schema import Schema
from probvae.distributions.missing import encoder_inputs
from probvae.errors import InputError
from probvae.likelihoods import likelihood_of
from probvae.models.conditional import ConditionalVAE
from probvae.models.ladder import build_ladder
from probvae.models.m2 import M2VAE, classifier_head
from probvae.models.networks import contexts
from probvae.models.networks.layers import Layers, NetworkOptions, float32_layers
from probvae.models.networks.registry import network
from probvae.models.vae import VAE
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS, PriorContext, compatible

LARGEST_SEED = 2**50  # the seeds of the layers, some 3000 times as large, are int64


def conv_vae(image_shape: tuple[int, int, int] = (28, 28, 1), *, seed: int = 0, **choices: Any) -> VAE:
    """Build the tutorial's convolutional VAE, for any image shape, width, latent size and distributions.

    Args:
      image_shape: (height, width, channels).
      seed: Seed of the initial weights.
      **choices: Other fields of `probvae.Architecture`: `latent_dim`, `posterior`, `prior`, `likelihood`,
        `filters`, ...

    Returns:
      A `VAE`; `probvae.save` keeps its architecture with its weights.

    Raises:
      InputError: A choice is unknown or out of range, or the images are too small.

    References:
      TensorFlow's tutorial "Convolutional Variational Autoencoder" (tensorflow.org/tutorials).
    """
    return build(Architecture(event_shape=image_shape, **choices), seed=seed)


def build(
    architecture: Architecture,
    *,
    seed: int = 0,
    precision: str = "float32",
    dropout: float = 0.0,
    schema: Schema | None = None,
) -> VAE:
    """Build the model that `architecture` describes, with initial weights from `seed`.

    Args:
      architecture: Architecture of the model.
      seed: Seed of the initial weights.
      precision: Keras policy of the hidden layers, such as "mixed_bfloat16". Weights, parameters of
        distributions and densities are float32 in any case.
      dropout: Fraction of the units that each hidden layer of encoder, decoder and classifier drops in
        training; it adds no variables, and plays no part in inference.
      schema: Schema of the data, `DataSet.schema`, which `vae.schema` keeps; None for arrays of one's own.

    Raises:
      InputError: An argument has the wrong type or is out of range, or some choices cannot be combined.
    """
    instance("architecture", architecture, Architecture, "call build(Architecture(...))")
    if schema is not None:
        instance("schema", schema, Schema, "give the schema of the data, DataSet.schema, or leave it out")
    seed = count("seed", seed, 0, LARGEST_SEED)
    choice("precision", precision, CHOICES["precision"])
    if weight("dropout", dropout) >= 1:
        raise InputError(f"dropout must be from 0 to below 1; got {dropout}.")
    if schema is not None:
        _refuse_other_schema(architecture, schema)
    network(architecture.network, architecture.event_shape)
    compatible(architecture.posterior, architecture.prior)
    sizes = sizes_of(architecture, precision=precision, dropout=dropout)
    make = _ladder if architecture.latent_layers else _conditional if architecture.context_dim else _plain
    with float32_layers():
        vae = make(architecture, sizes, seed)
    vae.architecture, vae.schema = architecture, schema
    return vae


def sizes_of(architecture: Architecture, **options: Any) -> NetworkOptions:
    """Return the options of the networks; the others than sizes are given."""
    return NetworkOptions(architecture.filters, architecture.units, architecture.activation, **options)


def _refuse_other_schema(architecture: Architecture, schema: Schema) -> None:
    """Refuse a schema of data that the model does not take."""
    same = architecture.event_shape == schema.event_shape
    if not same or (architecture.columns and architecture.columns != schema.likelihoods):
        raise InputError(
            f"The schema must be that of x of shape {list(architecture.event_shape)}"
            f"{f' with columns {architecture.columns}' if architecture.columns else ''}; it is of shape "
            f"{list(schema.event_shape)}{f' with columns {schema.likelihoods}' if schema.columns else ''}."
        )
    if schema.is_table and likelihood_of(architecture).kind.grey_levels:
        raise InputError(
            f"The likelihood {architecture.likelihood} is for the grey levels of images, and the data are a "
            "table: leave it out, or choose mixed."
        )


def _plain(architecture: Architecture, sizes: NetworkOptions, seed: int) -> VAE:
    encoding, decoding = plain_layers(architecture, sizes, seed=seed)
    encoder = tf_keras.Sequential(encoding, name="encoder")
    prior = prior_of(architecture, encoder, seed=seed)
    return VAE(prior, encoder, tf_keras.Sequential(decoding, name="decoder"), name="vae")


def plain_layers(architecture: Architecture, sizes: NetworkOptions, *, seed: int) -> tuple[Layers, Layers]:
    """Return the layers of the encoder and of the decoder of a model without y and without a hierarchy."""
    head = POSTERIORS[architecture.posterior](architecture.latent_dim, seed=3 * seed + 2)
    encoding = [*encoder_layers(architecture, sizes, seed=3 * seed), *head]
    return encoding, _decoder_layers(architecture, sizes, seed=3 * seed + 1)


def _ladder(architecture: Architecture, sizes: NetworkOptions, seed: int) -> VAE:
    features = encoder_layers(architecture, sizes, seed=3 * seed)
    prior, encoder = build_ladder(
        features,
        architecture.latent_layers,
        units=architecture.units[-1],
        activation=architecture.activation,
        dropout=sizes.dropout,
        seed=3 * seed + 2,
    )
    return VAE(prior, encoder, decoder(architecture, sizes, seed=3 * seed + 1), name="vae")


def _conditional(architecture: Architecture, sizes: NetworkOptions, seed: int) -> VAE:
    layers = contexts.encoder_layers(
        network(architecture.network, architecture.event_shape),
        architecture.event_shape,
        architecture.context_dim,
        options=sizes,
        seed=3 * seed,
        inputs=lambda x: see(architecture, x),
    )
    head = POSTERIORS[architecture.posterior](architecture.latent_dim, seed=3 * seed + 2)
    encoder = tf_keras.Sequential([*layers, *head], name="encoder")
    prior = prior_of(architecture, encoder, seed=seed)
    parts = prior, encoder, decoder(architecture, sizes, seed=3 * seed + 1)
    if not architecture.classifier:
        return ConditionalVAE(*parts, context_dim=architecture.context_dim, name="vae")
    features = encoder_layers(architecture, sizes, seed=3 * seed + 2)
    classifier = [*features, *classifier_head(architecture.context_dim, seed=3 * seed + 2)]
    return M2VAE(*parts, tf_keras.Sequential(classifier, name="classifier"), name="vae")


def encoder_layers(architecture: Architecture, sizes: NetworkOptions, *, seed: int) -> Layers:
    """Build the layers from x [B, *E] to features [B, F], of which the first is `see`."""
    seen = see(architecture, tf.zeros([1, *architecture.event_shape])).shape[1:]
    _, *layers = network(architecture.network, architecture.event_shape).encoder(
        tuple(seen), options=sizes, seed=seed
    )
    eye = tf_keras.layers.Lambda(lambda x: see(architecture, x), name="see")
    return [tf_keras.layers.InputLayer(architecture.event_shape), eye, *layers]


def see(architecture: Architecture, x: tf.Tensor) -> tf.Tensor:
    """Return the encoder's view of x [B, *E], such as logarithms of counts and a mask of missing values."""
    x = likelihood_of(architecture).inputs(x)
    return encoder_inputs(x) if architecture.missing else x


def decoder(architecture: Architecture, sizes: NetworkOptions, *, seed: int) -> tf_keras.Model:
    """Build the model from z, or z and y side by side, [B, L + C] to p(x|z)."""
    return tf_keras.Sequential(_decoder_layers(architecture, sizes, seed=seed), name="decoder")


def _decoder_layers(architecture: Architecture, sizes: NetworkOptions, *, seed: int) -> Layers:
    input_dim = architecture.latent_dim + architecture.context_dim
    likelihood = likelihood_of(architecture)
    make = network(architecture.network, architecture.event_shape).decoder
    return [*make(likelihood.params_shape, input_dim, options=sizes, seed=seed), likelihood.head()]


def prior_of(architecture: Architecture, encoder: tf_keras.Model | None, *, seed: int) -> tfd.Distribution:
    """Build p(z); a prior that takes the encoder needs it."""
    context = PriorContext(
        encoder, architecture.event_shape, architecture.components, likelihood_of(architecture).to_support()
    )
    return PRIORS[architecture.prior](architecture.latent_dim, seed=seed, context=context)
