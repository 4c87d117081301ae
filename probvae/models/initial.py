"""Initial weights of an architecture, without the model that has them."""

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tf_keras

from probvae.config.architecture import Architecture
from probvae.likelihoods import LIKELIHOODS
from probvae.models.building import build, plain_layers, prior_of, sizes_of
from probvae.models.networks.layers import float32_layers
from probvae.models.networks.registry import NETWORKS
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

MOST = 256  # architectures whose recipes are kept


class _Recipe(NamedTuple):
    """What new layers need for the weights of a model of the same architecture.

    Attributes:
      shapes: Shape of the input of each layer, or None where it has not been built.
      order: Places of the model's variables among those of the layers and of the prior.
    """

    shapes: list[Any]
    order: list[int]


_RECIPES: dict[Hashable, _Recipe | None] = {}  # None where the weights need the whole model


def identity_of(architecture: Architecture) -> Hashable:
    """Return what a model is made from: its architecture, and the registries' entries that this names."""
    return (
        architecture,
        LIKELIHOODS[architecture.likelihood],
        NETWORKS[architecture.network],
        POSTERIORS[architecture.posterior],
        PRIORS[architecture.prior],
    )


def initial_weights(architecture: Architecture, seed: int) -> list[np.ndarray]:
    """Return the weights that `build(architecture, seed=seed)` gives, in the order of `vae.variables`.

    Most of the time of `build` is Keras's graph of the networks. From the second call for an architecture on,
    only the layers are made and built, if the first call has found that this gives the same weights.
    """
    key = identity_of(architecture)
    recipe = _RECIPES.get(key)
    if recipe is not None:
        return _made(architecture, seed, recipe)
    vae = build(architecture, seed=seed)
    weights = [variable.numpy() for variable in vae.variables]
    if key not in _RECIPES:
        if len(_RECIPES) >= MOST:
            _RECIPES.clear()
        _RECIPES[key] = _recipe(vae, seed, weights)
    return weights


def _recipe(vae: Any, seed: int, weights: list[np.ndarray]) -> _Recipe | None:
    """Return a recipe that gives these weights, or None if there is none."""
    if vae.architecture.latent_layers or vae.architecture.context_dim:
        return None
    layers = [*_flat(vae.encoder.layers), *_flat(vae.decoder.layers)]
    places = {id(v): i for i, v in enumerate(_variables(layers, vae.prior))}
    try:
        order = [places[id(variable)] for variable in vae.variables]
        recipe = _Recipe([getattr(layer, "_build_input_shape", None) for layer in layers], order)
        made = _made(vae.architecture, seed, recipe)
    except Exception:  # layers, or a prior, that need more than a shape
        return None
    same = len(made) == len(weights) and all(map(np.array_equal, made, weights))
    return recipe if same else None


def _made(architecture: Architecture, seed: int, recipe: _Recipe) -> list[np.ndarray]:
    with float32_layers():
        encoding, decoding = plain_layers(architecture, sizes_of(architecture), seed=seed)
        layers = [*_flat(encoding), *_flat(decoding)]
        for layer, shape in zip(layers, recipe.shapes, strict=True):
            if shape is not None and not layer.built:
                layer.build(shape)
        variables = _variables(layers, prior_of(architecture, None, seed=seed))
    return [variables[place].numpy() for place in recipe.order]


def _flat(layers: list[tf_keras.layers.Layer]) -> Iterator[tf_keras.layers.Layer]:
    """Yield layers and those within them, but no inputs, which a Keras model does not list."""
    for layer in layers:
        if not isinstance(layer, tf_keras.layers.InputLayer):
            yield from layer._flatten_layers()


def _variables(layers: list[tf_keras.layers.Layer], prior: Any) -> list[Any]:
    """Return the variables that the layers themselves have, and those of the prior's own."""
    own = [v for layer in layers for v in (*layer._trainable_weights, *layer._non_trainable_weights)]
    known = {id(v) for v in own}
    return [*own, *(v for v in prior.variables if id(v) not in known)]
