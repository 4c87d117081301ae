"""Likelihoods p(x|z): the distribution layer that ends a decoder, and the data that it accepts.

Each entry of `LIKELIHOODS` is a `Likelihood`. `log_prob` comes from the distribution alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tf_keras
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.errors import InputError


class Likelihood(NamedTuple):
    """What a decoder and a data loader need to know of a likelihood.

    Attributes:
      head: event shape -> distribution layer over parameters [..., prod(event shape) * n].
      params_per_value: n, how many parameters each value of x has.
      support: in words, the values that x may take.
      accepts: array of data -> whether all of it lies in the support.
    """

    head: Callable[[tuple[int, ...]], tf_keras.layers.Layer]
    params_per_value: int
    support: str
    accepts: Callable[[np.ndarray], bool]


def bernoulli_head(event_shape: tuple[int, ...]) -> tf_keras.layers.Layer:
    """Build `tfp.layers.IndependentBernoulli` over logits [..., prod(event shape)].

    The mean stands for p(x|z) where a tensor is asked for, so that no pixels are drawn in vain.
    """
    return tfpl.IndependentBernoulli(
        event_shape, convert_to_tensor_fn=tfd.Distribution.mean, name="likelihood"
    )


def _is_binary(x: np.ndarray) -> bool:
    return bool(np.all((x == 0) | (x == 1)))


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(bernoulli_head, 1, "0 or 1", _is_binary),
}


def check_support(name: str, x: np.ndarray, *, what: str = "The data", advice: str = "") -> None:
    """Refuse data outside the support of a likelihood.

    Args:
      name: a key of `LIKELIHOODS`.
      x: data of any shape.
      what: how the message names the data.
      advice: a last sentence for the message: what to do.

    Raises:
      InputError: some value lies outside the support; the message gives the range found.

    >>> check_support("bernoulli", np.array([0.0, 1.0]))
    """
    likelihood = LIKELIHOODS[name]
    if likelihood.accepts(x):
        return
    low, high = np.min(x), np.max(x)
    inside = int(np.sum((x != low) & (x != high)))
    raise InputError(
        f"{what} must be {likelihood.support} for the {name} likelihood; found values from {low:g} "
        f"to {high:g}, {inside:,} of {x.size:,} of them strictly between. {advice}".strip()
    )
