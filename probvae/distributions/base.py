"""Bases of the library's own distributions."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.display import ReprMixin
from probvae.seeds import Seed


def unwrap(distribution: tfd.Distribution) -> tfd.Distribution:
    """Return the distribution inside the output of a distribution layer; any other as it is.

    The output of a layer hides its type from `isinstance`.
    """
    return getattr(distribution, "tensor_distribution", distribution)


class LibraryDistribution(ReprMixin, tfd.Distribution):
    """Base of the distributions that are no variant of one of TFP's.

    A subclass has `_shapes`, and `_shape_tensors` where a size may be known only at run time, in place of the
    four methods that TFP asks for.

    Args:
      parameters: Arguments of the subclass's constructor.
      name: Name of the distribution.
      dtype: Type of the values.
      reparameterization_type: Whether draws have gradients.
      allow_nan_stats: Whether an undefined statistic is nan, or an error.
    """

    def __init__(
        self,
        parameters: dict[str, Any],
        name: str,
        *,
        dtype: Any = tf.float32,
        reparameterization_type: Any = tfd.NOT_REPARAMETERIZED,
        allow_nan_stats: bool = True,
    ) -> None:
        super().__init__(
            dtype=dtype,
            reparameterization_type=reparameterization_type,
            validate_args=False,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        raise NotImplementedError(f"The batch shape of a {cls.__name__} is not inferred from its parameters.")

    def _shapes(self) -> tuple[Any, Any]:
        """Return batch and event shape, a size that is known only at run time being None."""
        raise NotImplementedError

    def _shape_tensors(self) -> tuple[Any, Any]:
        """Return batch and event shape, as tensors or as sequences of integers."""
        return self._shapes()

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._shapes()[0])

    def _batch_shape_tensor(self, **parameters: Any) -> tf.Tensor:
        return tf.convert_to_tensor(self._shape_tensors()[0], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._shapes()[1])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.convert_to_tensor(self._shape_tensors()[1], tf.int32)


class Wrapper(LibraryDistribution):
    """A distribution with type, batch and event shape of `distribution`; subclasses define what differs.

    Args:
      distribution: Distribution inside.
      parameters: Arguments of the subclass's constructor.
      name: Name of the distribution.
    """

    wraps = True

    def __init__(self, distribution: tfd.Distribution, parameters: dict[str, Any], name: str) -> None:
        self.distribution = distribution
        super().__init__(
            parameters,
            name,
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            allow_nan_stats=distribution.allow_nan_stats,
        )

    def _shapes(self) -> tuple[Any, Any]:
        return self.distribution.batch_shape, self.distribution.event_shape

    def _shape_tensors(self) -> tuple[Any, Any]:
        return self.distribution.batch_shape_tensor(), self.distribution.event_shape_tensor()


class LazyDistribution(LibraryDistribution):
    """A distribution that `now()` makes at every call, from variables as they are then.

    A flow needs that because TFP keeps what a bijector computed at a tensor as long as the tensor lives: a
    `tfd.TransformedDistribution` asked twice for the log-density at one tensor, with a step of training
    between, answers with a mixture of old and new.

    Args:
      latent_dim: L, the size of an event.
      modules: Holders of the variables, which become the distribution's.
      name: Name of the distribution.
    """

    def __init__(self, latent_dim: int, modules: Sequence[Any], name: str = "prior") -> None:
        self.latent_dim = latent_dim
        self.modules = list(modules)
        super().__init__({"latent_dim": latent_dim}, name)

    def _details(self) -> dict[str, Any]:
        return {"variables": len(self.trainable_variables)}

    def now(self) -> tfd.Distribution:
        """Return the distribution that the variables define now."""
        raise NotImplementedError

    def _shapes(self) -> tuple[Any, Any]:
        return [], [self.latent_dim]

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
