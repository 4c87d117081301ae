"""Values that training hides, so that q(z|x_seen) learns to serve any values given any others."""

import math

import tensorflow as tf

from probvae.models.vae import VAE
from probvae.seeds import Seed, split


def hide_values(vae: VAE, x: tf.Tensor, share: float, *, seed: Seed) -> tf.Tensor:
    """Hide random values of random examples.

    An example is chosen with probability `share`. A rate is drawn from U(0, 1) for each chosen example, and
    each of its values is hidden with this rate, so that every number of values is hidden equally often. y and
    the size of a row are never hidden.
    Of images, pixels are hidden with all of their channels.

    Args:
      vae: Model that takes missing values.
      x: Examples of the model, [B, *E] or, with their y, [B, D + C].
      share: Fraction of the examples of which values are hidden.
      seed: Seed of the choice, an int or an int32 pair.

    Returns:
      The examples, nan where hidden.
    """
    seed_chosen, seed_rate, seed_value = split(seed, 3)
    size, shape = tf.shape(x)[0], vae.value_shape
    chosen = tf.random.stateless_uniform([size, 1], seed_chosen) < share
    rate = tf.where(chosen, tf.random.stateless_uniform([size, 1], seed_rate), 0.0)
    channels = shape[-1] if len(shape) == 3 else 1
    hidden = tf.random.stateless_uniform([size, math.prod(shape) // channels], seed_value) < rate
    rows = tf.reshape(x, [size, -1])
    hidden = tf.repeat(hidden, channels, axis=1) & vae.value_contract.may_be_missing.reshape(-1)
    of_y = tf.zeros([size, tf.shape(rows)[1] - math.prod(shape)], tf.bool)
    mask = tf.concat([hidden, of_y], axis=1)
    return tf.reshape(tf.where(mask, math.nan, rows), tf.shape(x))
