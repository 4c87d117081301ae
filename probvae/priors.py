"""Priors p(z): plain TFP distributions.

Each entry of `PRIORS` is a function `(latent_dim) -> tfd.Distribution` of event shape [L].
"""

from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd


def standard_normal(latent_dim: int) -> tfd.Distribution:
    """Build the unit normal of event shape [L].

    >>> print(standard_normal(2).log_prob([0.0, 0.0]).numpy().round(4))
    -1.8379
    """
    zeros = tf.zeros([latent_dim])
    return tfd.MultivariateNormalDiag(zeros, scale_diag=tf.ones_like(zeros), name="prior")


PRIORS: dict[str, Callable[[int], tfd.Distribution]] = {"standard_normal": standard_normal}
