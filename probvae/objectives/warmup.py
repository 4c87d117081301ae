"""Warm-ups of beta, the weight of the rate."""

import math
from collections.abc import Callable

import tensorflow as tf

from probvae.errors import InputError


def no_warmup(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Return 1 at every step."""
    return tf.ones([])


def linear(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Return a weight that rises from 0 at step 0 to 1 at `steps` and stays there.

    References:
      Soenderby et al. 2016, arXiv:1602.02282.
    """
    return tf.minimum(tf.cast(step / _checked(steps), tf.float32), 1.0)


def cosine(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Return a weight that rises like `linear`, but along half a cosine, without a jump of the slope."""
    return (1 - tf.cos(math.pi * linear(step, steps=steps))) / 2


def cyclic(step: tf.Tensor, *, steps: int) -> tf.Tensor:
    """Return a weight that rises in half of `steps`, stays at 1, and starts again.

    References:
      Fu et al. 2019, arXiv:1903.10145.
    """
    return linear(2 * tf.math.floormod(step, _checked(steps)), steps=steps)


def _checked(steps: int) -> int:
    if steps < 1:
        raise InputError(f"A warm-up must take 1 step or more; got {steps}. Choose none for no warm-up.")
    return steps


# Functions `(step, *, steps) -> float32 scalar in [0, 1]` of the training step, counted from 0.
WARMUPS: dict[str, Callable[..., tf.Tensor]] = {
    "none": no_warmup,
    "linear": linear,
    "cyclic": cyclic,
    "cosine": cosine,
}
