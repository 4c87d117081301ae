"""Stateless seeds: every random number of the library comes from a seed that was passed in.

TFP treats an int as a *stateful* seed: two equal calls give two different draws. The library therefore turns
every seed into the int32 pair that TFP treats as stateless.
"""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

Seed = Any  # an int, or an int32 tensor of shape [2]


def as_seed(seed: Seed) -> tf.Tensor:
    """Turn an int, or an int32 pair, into a stateless TFP seed.

    Args:
      seed: An int, or an int32 tensor of shape [2], which is returned unchanged. None gives a fresh seed that
        cannot be repeated.

    Returns:
      An int32 tensor of shape [2].

    Raises:
      ValueError: The seed has another shape.

    >>> as_seed(3).numpy().tolist()
    [0, 3]
    """
    if seed is None:
        return tfp.random.sanitize_seed(None)
    if isinstance(seed, int):
        high, low = (seed >> 31) & 0x7FFFFFFF, seed & 0x7FFFFFFF
        return tf.constant([high, low], tf.int32)
    seed = tf.convert_to_tensor(seed, tf.int32)
    if seed.shape.rank == 0:
        return tf.stack([0, seed])
    if seed.shape != (2,):
        raise ValueError(
            f"A seed is an int or an int32 pair of shape [2]; got a tensor of shape {seed.shape}."
        )
    return seed


def fold_in(seed: Seed, number: Any) -> tf.Tensor:
    """Return the seed number `number` (an int or a scalar tensor) derived from `seed`, int32 [2]."""
    return tf.random.experimental.stateless_fold_in(as_seed(seed), tf.cast(number, tf.int32))


def split(seed: Seed, num: int) -> list[tf.Tensor]:
    """Return `num` independent seeds derived from `seed`, a list of int32 tensors of shape [2]."""
    return tf.unstack(tfp.random.split_seed(as_seed(seed), n=num))
