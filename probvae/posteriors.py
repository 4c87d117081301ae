"""Posteriors q(z|x): the head of an encoder, a Dense layer and a distribution layer.

Each entry of `POSTERIORS` is a function `(latent_dim, *, seed) -> [Dense, distribution layer]`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

# Keeps exp(log-variance) finite and positive in float32, far outside what training reaches.
LOG_VARIANCE_LIMIT = 40.0


class DiagonalNormal(tfpl.DistributionLambda):
    """Distribution layer of a normal with independent coordinates.

    The input holds the mean and the log-variance, [..., 2 L]; the output is a
    `tfd.MultivariateNormalDiag` of batch shape [...] and event shape [L], with
    scale = exp(log-variance / 2).

    Args:
      latent_dim: L, the size of the event.
      **kwargs: passed to the Keras layer.

    >>> q = DiagonalNormal(2)(tf.constant([[0.0, 1.0, 0.0, 2.0]]))
    >>> q.event_shape.as_list(), q.batch_shape.as_list()
    ([2], [1])

    References:
      Kingma & Welling 2014, Auto-Encoding Variational Bayes, arXiv:1312.6114, appendix C.2.
    """

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        self.latent_dim = latent_dim
        kwargs.pop("make_distribution_fn", None)
        # The mean, and not a draw, stands for q(z|x) where a tensor is asked for: it costs nothing.
        kwargs.setdefault("convert_to_tensor_fn", tfd.Distribution.mean)
        super().__init__(lambda params: DiagonalNormal.new(params, latent_dim), **kwargs)

    @staticmethod
    def new(params: tf.Tensor, latent_dim: int) -> tfd.Distribution:
        """Build q(z|x) from its parameters [..., 2 L]: mean first, then log-variance."""
        loc, log_variance = params[..., :latent_dim], params[..., latent_dim:]
        log_variance = tf.clip_by_value(log_variance, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        return tfd.MultivariateNormalDiag(loc, scale_diag=tf.exp(log_variance / 2))

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Return the number of parameters, 2 L."""
        return 2 * latent_dim

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer: no pickled function."""
        return {"name": self.name, "dtype": self.dtype, "latent_dim": self.latent_dim}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "DiagonalNormal":
        """Rebuild the layer from `get_config`."""
        return cls(**config)


def _dense(units: int, seed: int) -> tf_keras.layers.Layer:
    initializer = tf_keras.initializers.GlorotUniform(seed=seed)
    return tf_keras.layers.Dense(units, kernel_initializer=initializer, name="posterior_params")


def diagonal(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build the tutorial's posterior: mean and log-variance of independent normals."""
    params_size = DiagonalNormal.params_size(latent_dim)
    return [_dense(params_size, seed), DiagonalNormal(latent_dim, name="posterior")]


def tril(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build a normal with full covariance, through its lower-triangular Cholesky factor.

    The layer is `tfp.layers.MultivariateNormalTriL`; softplus + 1e-5 keeps the diagonal positive.
    """
    params_size = tfpl.MultivariateNormalTriL.params_size(latent_dim)
    dense = _dense(params_size, seed)
    dense.bias_initializer = tf_keras.initializers.Constant(_unit_tril_params(latent_dim))
    head = tfpl.MultivariateNormalTriL(
        latent_dim, convert_to_tensor_fn=tfd.Distribution.mean, name="posterior"
    )
    return [dense, head]


def _unit_tril_params(latent_dim: int) -> np.ndarray:
    """Return the parameters of `tfp.layers.MultivariateNormalTriL` at loc 0 and scale I."""
    scale = tfb.FillScaleTriL(diag_shift=np.float32(1e-5)).inverse(np.eye(latent_dim, dtype=np.float32))
    return np.concatenate([np.zeros(latent_dim, np.float32), scale.numpy()])


POSTERIORS: dict[str, Callable[..., list[tf_keras.layers.Layer]]] = {
    "diagonal": diagonal,
    "tril": tril,
}
