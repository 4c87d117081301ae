"""Base classes of the library's own distributions."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae import arguments
from probvae.display import ReprMixin
from probvae.seeds import Seed


def unwrap(distribution: tfd.Distribution) -> tfd.Distribution:
    """Return the distribution inside the output of a distribution layer, whose type that output hides.

    Any other distribution is returned unchanged.
    """
    return getattr(distribution, "tensor_distribution", distribution)


def at_rows(distribution: tfd.Distribution, x: tf.Tensor) -> tfd.Distribution:
    """Return p(x'|z) whose counts have the rates of rows x, as the size of these multiplies them.

    The distributions of the values of x' are then independent, and its log-density at x is unchanged. A
    distribution of anything but rows with a size is returned as it is.

    Args:
      distribution: p(x'|z), batch [...].
      x: Rows, [..., D], whose batch broadcasts to that of the distribution.
    """
    p: Any = unwrap(distribution)
    if hasattr(p, "at_rows"):
        return p.at_rows(x)
    if not hasattr(p, "reinterpreted_batch_ndims"):
        return distribution
    inner = at_rows(p.distribution, x)
    if inner is p.distribution:
        return distribution
    return tfd.Independent(inner, p.reinterpreted_batch_ndims)


class LibraryDistribution(ReprMixin, tfd.Distribution):
    """Base class of the distributions that do not extend a distribution of TFP.

    A subclass defines `_shapes`, and `_shape_tensors` if a size may be known at run time only, instead of the
    four shape methods of TFP.

    Args:
      parameters: Arguments of the subclass's constructor.
      name: Name of the distribution.
      dtype: Type of the values.
      reparameterization_type: Whether draws have gradients.
      allow_nan_stats: Whether an undefined statistic is nan rather than an error.
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
        """Return batch and event shape, with None for a size that is known at run time only."""
        raise NotImplementedError

    def _shape_tensors(self) -> tuple[Any, Any]:
        """Return batch and event shape, as tensors or as sequences of integers."""
        return self._shapes()

    def _call_sample_n(self, sample_shape: Any, seed: Seed, **kwargs: Any) -> tf.Tensor:
        arguments.sample_shape(sample_shape)
        return super()._call_sample_n(sample_shape, seed, **kwargs)

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._shapes()[0])

    def _batch_shape_tensor(self, **parameters: Any) -> tf.Tensor:
        return tf.convert_to_tensor(self._shape_tensors()[0], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._shapes()[1])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.convert_to_tensor(self._shape_tensors()[1], tf.int32)


class Wrapper(LibraryDistribution):
    """Base class of distributions with the dtype, batch and event shape of another distribution.

    Args:
      distribution: Wrapped distribution.
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
    """Base class of trained distributions, rebuilt by `now()` from the variables at every call.

    A flow needs this because TFP caches the values of a bijector at a tensor as long as the tensor lives: the
    log-densities of a `tfd.TransformedDistribution` at one tensor, before and after a training step, would
    mix old and new values.

    Args:
      latent_dim: L, the size of an event.
      modules: Modules whose variables are those of the distribution.
      name: Name of the distribution.
    """

    def __init__(self, latent_dim: int, modules: Sequence[Any], name: str = "prior") -> None:
        self.latent_dim = latent_dim
        self.modules = list(modules)
        super().__init__({"latent_dim": latent_dim}, name)

    def _details(self) -> dict[str, Any]:
        return {"variables": len(self.trainable_variables)}

    def now(self) -> tfd.Distribution:
        """Return the distribution at the current values of the variables."""
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
