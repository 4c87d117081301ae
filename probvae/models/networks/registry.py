"""Networks without randomness: lists of Keras layers, from x towards q(z|x) and from z towards p(x|z).

Each entry of `NETWORKS` is a pair of functions: `encoder(input_shape, *, options, seed)` gives the layers
from [B, *input_shape] to [B, features], `decoder(output_shape, input_dim, *, options, seed)` those from
[B, input_dim] to [B, prod(output_shape)]. The last axis of the output's shape counts the parameters of p(x|z)
at each place. The first entry is the stack of TensorFlow's tutorial "Convolutional Variational Autoencoder".
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from probvae.errors import InputError
from probvae.models.networks.convolutions import (
    conv1d_decoder,
    conv1d_encoder,
    conv_decoder,
    conv_encoder,
    residual_encoder,
)
from probvae.models.networks.layers import Layers, Shape
from probvae.models.networks.perceptrons import mlp_decoder, mlp_encoder


class Network(NamedTuple):
    """An encoder and a decoder that fit each other.

    Attributes:
      encoder, decoder: Functions as described in the docstring of this module.
      event_ranks: Numbers of axes allowed for x; empty for any number.
    """

    encoder: Callable[..., Layers]
    decoder: Callable[..., Layers]
    event_ranks: Shape


NETWORKS: dict[str, Network] = {
    "conv": Network(conv_encoder, conv_decoder, (3,)),
    "residual_conv": Network(residual_encoder, partial(conv_decoder, residual=True), (3,)),
    "conv1d": Network(conv1d_encoder, conv1d_decoder, (2,)),
    "mlp": Network(mlp_encoder, mlp_decoder, ()),
    "gated_mlp": Network(partial(mlp_encoder, gated=True), partial(mlp_decoder, gated=True), ()),
}


def network(name: str, event_shape: Shape) -> Network:
    """Return an entry of `NETWORKS` after checking that it takes x of this shape.

    Raises:
      InputError: The network does not take as many axes as x has.
    """
    entry = NETWORKS[name]
    if entry.event_ranks and len(event_shape) not in entry.event_ranks:
        kinds = {1: "vectors", 2: "series [time, channels]", 3: "images [height, width, channels]"}
        rank = len(event_shape)
        fits = [key for key, other in NETWORKS.items() if rank in (other.event_ranks or (rank,))]
        raise InputError(
            f"The network {name} takes {kinds[entry.event_ranks[0]]}; x is of shape {list(event_shape)}. Use "
            f"one of {', '.join(fits)}."
        )
    return entry
