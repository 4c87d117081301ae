"""Distribution layers that several threads may call at the same time."""

import contextlib
import threading
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.distributions.base import unwrap
from probvae.errors import InputError

_LAYERS = threading.local()  # `inside`, the ids of the layers that this thread is calling


class ThreadSafe:
    """Mixin of distribution layers: the state of a call, which TFP keeps in the layer, is a thread's."""

    @property
    def _enter_dunder_call(self) -> bool:
        return id(self) in vars(_LAYERS).get("inside", ())

    @_enter_dunder_call.setter
    def _enter_dunder_call(self, inside: bool) -> None:
        layers = vars(_LAYERS).setdefault("inside", set())
        (layers.add if inside else layers.discard)(id(self))


class DistributionLambda(ThreadSafe, tfpl.DistributionLambda):
    """`tfp.layers.DistributionLambda` for several threads, saved with the variables of its networks."""

    def save_own_variables(self, store: Any) -> None:
        """Save all variables; Keras by itself leaves out those of networks that are no layers."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Load what `save_own_variables` saved."""
        if len(store.keys()) != len(self.variables):
            raise InputError(
                f"Expected {len(self.variables)} variables of layer {self.name} in the file; found "
                f"{len(store.keys())}: save the weights again."
            )
        for i, variable in enumerate(self.variables):
            variable.assign(store[str(i)])


class MultivariateNormalTriL(ThreadSafe, tfpl.MultivariateNormalTriL):
    """`tfp.layers.MultivariateNormalTriL` for several threads."""


class OneHotCategorical(ThreadSafe, tfpl.OneHotCategorical):
    """`tfp.layers.OneHotCategorical` for several threads."""


class SharedHead(DistributionLambda):
    """A distribution layer that returns the distributions of another; a Keras layer can end only one graph.

    Args:
      head: Other layer, whose variables are also those of this one.
      **kwargs: Keyword arguments of the Keras layer.
    """

    def __init__(self, head: tfpl.DistributionLambda, **kwargs: Any) -> None:
        super().__init__(
            lambda params: unwrap(distribution_at(head, params)),
            convert_to_tensor_fn=head._convert_to_tensor_fn,
            **kwargs,
        )
        self.head = head


def is_function(layer: Any) -> bool:
    """Return whether a layer is a distribution layer whose calls are those of its function.

    A layer of the caller's own with another `call`, or with a regularizer, is not.
    """
    own = tfpl.DistributionLambda
    return (
        isinstance(layer, own)
        and type(layer).__call__ is own.__call__
        and type(layer).call is own.call
        and layer.activity_regularizer is None
    )


_LOCK = threading.RLock()


def one_at_a_time() -> contextlib.AbstractContextManager[Any]:
    """Return a context that one thread at a time can enter, for calls of models that are not thread-safe.

    Replicas take turns by themselves, and wait for each other within a call.
    """
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    return _LOCK if alone else contextlib.nullcontext()


def distribution_at(layer: tfpl.DistributionLambda, params: Any) -> tfd.Distribution:
    """Return the distribution of a layer at parameters, as its `__call__` does, which is not thread-safe."""
    if not is_function(layer):
        with one_at_a_time():
            return layer(params)
    dtype = layer.compute_dtype
    distribution, _ = layer.function(params if dtype is None else tf.cast(params, dtype))
    return distribution
