"""The base of distributions that are made of one other distribution and have its shapes."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.display import Shown


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
