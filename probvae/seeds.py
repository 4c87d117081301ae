"""Stateless seeds: every random number of the library comes from a seed that was passed in.

TFP treats an int as a *stateful* seed: two equal calls give two different draws. The library therefore turns
every seed into the int32 pair that TFP treats as stateless.
"""

import hashlib
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from probvae.errors import InputError

Seed = Any  # an int, or an int32 tensor of shape [2]
INTEGERS = (tf.int32, tf.int64, tf.uint32)  # types of the tensors that can be a seed


def as_seed(seed: Seed) -> tf.Tensor:
    """Turn an int, or an int32 pair, into a stateless TFP seed.

    Args:
      seed: An int, or an int32 tensor of shape [2], which is returned unchanged. None gives a fresh seed that
        cannot be repeated.

    Returns:
      An int32 tensor of shape [2].

    Raises:
      InputError: The seed has another type or shape.

    >>> as_seed(3).numpy().tolist()
    [0, 3]
    """
    if seed is None:
        return tfp.random.sanitize_seed(None)
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        high, low = (int(seed) >> 31) & 0x7FFFFFFF, int(seed) & 0x7FFFFFFF
        return tf.constant([high, low], tf.int32)
    pair = seed if tf.is_tensor(seed) else _array(seed)
    if pair.dtype not in INTEGERS or pair.shape not in ((), (2,)):
        raise InputError(f"A seed must be an int or an int32 pair of shape [2]; got {seed!r}.")
    pair = tf.cast(pair, tf.int32)
    return tf.stack([0, pair]) if pair.shape.rank == 0 else pair


def _array(seed: Any) -> np.ndarray:
    """Return a pair as an array of the signs and sizes of int32, or of another type, if it is none."""
    pair = np.asarray(seed)
    whole = pair.dtype.kind in "iu" and pair.size and -(2**31) <= pair.min() <= pair.max() < 2**31
    return pair.astype(np.int32) if whole else pair.astype(object)


def fold_in(seed: Seed, number: Any) -> tf.Tensor:
    """Return the seed number `number` (an int or a scalar tensor) derived from `seed`, int32 [2]."""
    return tf.random.experimental.stateless_fold_in(as_seed(seed), tf.cast(number, tf.int32))


def of_rows(seed: Seed, x: np.ndarray) -> np.ndarray:
    """Return a seed for each row of x [N, *E] that follows from its values, an int32 array [N, 2].

    Neither the order nor the number of rows matters; equal rows have equal seeds. NaN is a value like others.

    >>> seeds = of_rows(0, np.array([[1.0, np.nan], [2.0, 3.0], [1.0, np.nan]]))
    >>> bool((seeds[0] == seeds[2]).all()), bool((seeds[0] == seeds[1]).all())
    (True, False)
    """
    x = np.where(np.isnan(x), np.asarray(np.nan, x.dtype), x + 0)  # one bit pattern for NaN, one for 0
    key = np.asarray(as_seed(seed)).tobytes()
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row in x]
    return np.frombuffer(b"".join(digests), np.int32).reshape(-1, 2)


def split(seed: Seed, num: int) -> list[tf.Tensor]:
    """Return `num` independent seeds derived from `seed`, a list of int32 tensors of shape [2]."""
    return tf.unstack(tfp.random.split_seed(as_seed(seed), n=num))
