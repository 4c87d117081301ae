"""Bases of the library's own distributions."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.display import Shown
from probvae.seeds import Seed


class Around(Shown, tfd.Distribution):
    """A distribution with type, batch and event shape of `distribution`; subclasses say what differs.

    Args:
      distribution: the one inside.
      parameters: of the subclass's constructor.
      name: of the distribution.
    """

    def __init__(self, distribution: tfd.Distribution, parameters: dict[str, Any], name: str) -> None:
        self.distribution = distribution
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=distribution.allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        raise NotImplementedError("The batch shape is that of the distribution inside, not inferred.")

    def _batch_shape(self) -> tf.TensorShape:
        return self.distribution.batch_shape

    def _batch_shape_tensor(self, **parameters: Any) -> tf.Tensor:
        return self.distribution.batch_shape_tensor()

    def _event_shape(self) -> tf.TensorShape:
        return self.distribution.event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return self.distribution.event_shape_tensor()


# ---- priors made anew at every call --------------------------------------------------------------


class MadeAnew(Shown, tfd.Distribution):
    """A distribution that `now()` makes at every call, from variables as they are then.

    A flow needs that because TFP keeps what a bijector found at a tensor as long as the tensor lives: a
    `tfd.TransformedDistribution` asked twice for the log-density at one tensor, with a step of training
    between, answers with a mixture of old and new.

    Args:
      latent_dim: L.
      modules: hold the variables; they become the distribution's.
    """

    def __init__(self, latent_dim: int, modules: Sequence[Any], name: str = "prior") -> None:
        self.latent_dim = latent_dim
        self.modules = list(modules)
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"latent_dim": latent_dim},
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        raise NotImplementedError("This prior has no batch of parameters.")

    def _details(self) -> dict[str, Any]:
        return {"variables": len(self.trainable_variables)}

    def now(self) -> tfd.Distribution:
        """Return the distribution that the variables define now."""
        raise NotImplementedError

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self.latent_dim])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self.latent_dim])

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return self.now().log_prob(z)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return self.now().sample(n, seed=seed)

    def _mean(self) -> tf.Tensor:
        return self.now().mean()

    def _variance(self) -> tf.Tensor:
        return self.now().variance()

    def _covariance(self) -> tf.Tensor:
        return self.now().covariance()
