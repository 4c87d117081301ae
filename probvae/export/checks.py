"""Checks in the graphs of an export, of rows of x or z and of numbers of draws."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from probvae.export.values import Outputs
from probvae.models.vae import VAE

LARGEST = 10_000_000  # largest number of draws in a call, over all examples


class Check(NamedTuple):
    """Values that the rows of an argument may hold.

    Attributes:
      contains: Function from rows [B, ...] to the mask of the values that are allowed.
      expected: Sentence for the rows with other values.
    """

    contains: Callable[[tf.Tensor], tf.Tensor]
    expected: str

    def rows(self, values: tf.Tensor) -> tf.Tensor:
        """Return whether all values of a row are allowed, bool [B]."""
        return tf.reduce_all(self.contains(values), axis=tf.range(1, tf.rank(values)))

    def safe(self, values: tf.Tensor) -> tf.Tensor:
        """Return rows with 0 for values that are not allowed, as some operations fail at these."""
        return tf.where(self.contains(values), values, tf.zeros_like(values))


def of_x(vae: VAE) -> Check:
    """Return the check of x."""
    contract = vae.contract
    missing = "or be missing (NaN)" if vae.value_contract.missing else "and no value may be missing"
    return Check(contract.contains, f"x must hold {contract.support}, {missing}.")


def of_z(vae: VAE) -> Check:
    """Return the check of z."""
    return Check(tf.math.is_finite, "z must hold finite numbers.")


def masked(right: tf.Tensor, outputs: Outputs) -> Outputs:
    """Return outputs [B, ...] with NaN, or "" for texts, in the rows that are not right [B]."""

    def of_right_rows(value: tf.Tensor) -> tf.Tensor:
        none = tf.constant("") if value.dtype == tf.string else tf.cast(np.nan, value.dtype)
        shape = tf.concat([tf.shape(right), tf.ones_like(tf.shape(value)[1:])], 0)
        return tf.where(tf.reshape(right, shape), value, none)

    return {name: of_right_rows(value) for name, value in outputs.items()}


def count(name: str, number: tf.Tensor, examples: tf.Tensor | int = 1) -> tf.Tensor:
    """Return a number of draws for each of some examples; the graph ends with a sentence if it is wrong."""
    whole, examples = tf.cast(number, tf.int64), tf.cast(examples, tf.int64)
    each = " divided by the number of examples" if name == "num_samples" else ""
    sentence = f"{name} must be a whole number from 1 to {LARGEST:,}{each}; got"
    check = tf.debugging.Assert((whole >= 1) & (whole * examples <= LARGEST), [sentence, number])
    with tf.control_dependencies([check]):
        return tf.identity(number)
