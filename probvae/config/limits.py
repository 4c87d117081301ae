"""Limits of the size of a model, and thus of its memory, checked before it is built."""

import math
from itertools import pairwise
from typing import Any

from probvae.config.choices import LIKELIHOODS, NETWORKS, POSTERIORS, PRIORS, Network, column_sizes, dense
from probvae.errors import InputError

MAX_WEIGHTS = 2**30  # 4 GiB in float32
MAX_VALUES = 2**28  # largest number of values in a layer, for one example
MAX_LAYERS = 64  # largest number of layers in a list
BASE_CHANNELS = 32  # channels of the small image at the start of a convolutional decoder


def refuse_too_large(architecture: Any) -> None:
    """Refuse an `Architecture` of valid fields whose model is too large.

    Raises:
      InputError: The model has more weights than `MAX_WEIGHTS`, more values in a layer than `MAX_VALUES` or
        more layers than `MAX_LAYERS`.

    >>> from probvae.config.architecture import Architecture
    >>> Architecture((1000, 1000, 1000))
    Traceback (most recent call last):
    probvae.errors.InputError: A model of x ... must have at most 268,435,456 values ...
    """
    for name in ("filters", "units", "latent_layers"):
        number = len(getattr(architecture, name))
        if number > MAX_LAYERS:
            raise InputError(f"{name} must have at most {MAX_LAYERS} sizes; got {number:,}.")
    for size, most, unit in (
        (largest_layer(architecture), MAX_VALUES, "values in a layer"),
        (num_weights(architecture), MAX_WEIGHTS, "weights"),
    ):
        if size > most:
            raise InputError(
                f"A model of x of shape {list(architecture.event_shape)} must have at most {most:,} {unit}; "
                f"this one would have about {size:.3g}: use smaller images, or fewer, smaller layers and "
                "latent_dim."
            )


def largest_layer(architecture: Any) -> int:
    """Return the approximate number of values in the largest layer of the decoder, for one example."""
    filters = architecture.filters if NETWORKS[architecture.network].taps else (0,)
    full_size = math.prod(2 ** len(filters) * side for side in _smallest_image(architecture))
    places = math.prod(architecture.event_shape[:-1])
    return max(places * _parameters(architecture) + _trained(architecture), full_size * filters[0])


def num_weights(architecture: Any) -> int:
    """Return the number of weights of a model, except single numbers such as a shared scale."""
    latent_dim, posterior = architecture.latent_dim, POSTERIORS[architecture.posterior]
    encoder, features = _encoder(architecture, architecture.context_dim)
    weights = encoder + _decoder(architecture) + _trained(architecture)
    if architecture.latent_layers:
        return weights + _ladder(features, architecture.latent_layers, architecture.units[-1])
    weights += dense(features, posterior.parameters(latent_dim)) + posterior.weights(latent_dim)
    num_values = math.prod(architecture.event_shape)
    weights += PRIORS[architecture.prior](latent_dim, architecture.components, num_values)
    if architecture.classifier:
        weights += _encoder(architecture, 0)[0] + dense(features, architecture.context_dim)
    return weights


def _parameters(architecture: Any) -> int:
    """Return the number of parameters of p(x|z) at one place of x."""
    return LIKELIHOODS[architecture.likelihood](architecture, architecture.event_shape[-1])


def _trained(architecture: Any) -> int:
    """Return the number of parameters of the columns of a table that are trained numbers."""
    return sum(column_sizes(kind).trained for kind in architecture.columns)


def _smallest_image(architecture: Any) -> list[int]:
    """Return the sides of the small image at the start of a convolutional decoder."""
    return [-(-side // 2 ** len(architecture.filters)) for side in architecture.event_shape[:-1]]


def _encoder(architecture: Any, context_dim: int) -> tuple[int, int]:
    """Return the numbers of weights and of features of an encoder's network."""
    network, (*sides, channels) = NETWORKS[architecture.network], architecture.event_shape
    if architecture.columns:
        channels = sum(column_sizes(kind).inputs for kind in architecture.columns)
    channels *= 1 + architecture.missing
    if not network.taps:
        inputs, units = math.prod(sides) * channels + context_dim, architecture.units
        return dense(inputs, *units) * (1 + network.gated), units[-1]
    for _ in architecture.filters:  # each convolution has stride 2
        sides = [(side + (1 if network.padded else -1)) // 2 for side in sides]
    features = max(math.prod(sides), 0) * architecture.filters[-1]
    return _convolutions(network, channels + context_dim, *architecture.filters), features


def _decoder(architecture: Any) -> int:
    """Return the number of weights of a decoder's network."""
    network, inputs = NETWORKS[architecture.network], architecture.latent_dim + architecture.context_dim
    outputs, units, filters = _parameters(architecture), architecture.units, architecture.filters
    if not network.taps:
        hidden = dense(inputs, *reversed(units)) * (1 + network.gated)
        return hidden + dense(units[0], math.prod(architecture.event_shape[:-1]) * outputs)
    weights = dense(inputs, math.prod(_smallest_image(architecture)) * BASE_CHANNELS)
    weights += _convolutions(network, BASE_CHANNELS, *reversed(filters))
    return weights + dense(network.taps * filters[0], outputs)


def _convolutions(network: Network, *channels: int) -> int:
    """Return the number of weights of convolutions and of their residual blocks, if any."""
    blocks = sum(2 * dense(network.taps * size, size) for size in channels[1:]) * network.residual
    return blocks + sum(dense(network.taps * inputs, outputs) for inputs, outputs in pairwise(channels))


def _ladder(features: int, sizes: tuple[int, ...], units: int) -> int:
    """Return the number of weights between the features of x and q(z|x), and between layers of z."""
    upward = dense(features, 2 * sizes[-1]) + dense(features, *[units] * (len(sizes) - 1))
    upward += sum(dense(units, 2 * size) for size in sizes[:-1])
    return upward + sum(dense(sum(sizes[:k]), units, 2 * size) for k, size in enumerate(sizes) if k)
