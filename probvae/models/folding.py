"""Keras models that end in a distribution, extended from one batch axis to any number of them."""

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.distributions.base import Wrapper, at_rows
from probvae.distributions.layers import distribution_at, is_function, one_at_a_time
from probvae.objectives import memory
from probvae.seeds import Seed


class Split(NamedTuple):
    """A network from inputs to parameters, and the distribution layer at its end."""

    network: Any  # Keras model
    head: Callable[[tf.Tensor], tfd.Distribution]


class FoldedModel:
    """A Keras model that ends in a distribution, for any number of batch axes.

    A convolution takes one batch axis, so the leading axes [S, B] are folded into one below the
    distribution layer and unfolded above it.

    Several threads may call it at the same time: a distribution layer at the end of a graph makes its
    distribution by its function, and other models are called by one thread at a time.
    """

    def __init__(self, model: tf_keras.Model) -> None:
        self.model = model
        self.split: Split | None = None
        if getattr(model, "inputs", None) and isinstance(model.layers[-1], tfpl.DistributionLambda):
            head = model.layers[-1]
            self.split = Split(tf_keras.Model(model.inputs, head.input), head)
        others = (
            isinstance(layer, tfpl.DistributionLambda)
            for layer in (self.split.network._flatten_layers() if self.split else ())
        )
        self._thread_safe = self.split is not None and is_function(self.split.head) and not any(others)

    def __call__(self, x: tf.Tensor, training: bool, *, event_ndims: int) -> tfd.Distribution:
        """Return the distribution, batch [..., B], for x of `event_ndims` axes after the batch."""
        x = tf.convert_to_tensor(x)
        with contextlib.nullcontext() if self._thread_safe else one_at_a_time():
            if x.shape.rank == event_ndims + 1:
                return self._at_one_axis(x, training)
            leading = tf.shape(x)[: x.shape.rank - event_ndims]
            folded = tf.reshape(x, [-1, *x.shape[x.shape.rank - event_ndims :]])
            if self.split is None:
                return UnfoldedBatch(self.model(folded, training=training), leading)
            params = self._params(self.split.network, folded, training)
            params = tf.reshape(params, tf.concat([leading, params.shape[1:]], 0))
            return distribution_at(self.split.head, params)

    def _at_one_axis(self, x: tf.Tensor, training: bool) -> tfd.Distribution:
        if self.split is None or not self._thread_safe:
            return self.model(x, training=training)
        return distribution_at(self.split.head, self._params(self.split.network, x, training))

    @property
    def params_size(self) -> int | None:
        """Number of parameters of one distribution; None if the model is not a Keras graph."""
        return None if self.split is None else math.prod(self.split.network.output_shape[1:])

    def _params(self, network: Any, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Return the parameters at x [N, ...], computed in blocks where no gradient is recorded."""
        if training or not tf.executing_eagerly():
            return network(x, training=training)
        rows, cost = x.shape[0], self._cost(network, x)
        memory.refuse_gradient(cost, 1, rows)
        size = rows if memory.is_recorded() else cost.rows_at_once(rows)
        return memory.in_row_blocks(lambda start, stop: network(x[start:stop], training=training), rows, size)

    def rows_at_once(self, rows: int) -> int:
        """Return how many of `rows` rows a compiled function should take at once."""
        if self.split is None:
            return rows
        network = self.split.network
        return self._cost(network, tf.TensorSpec(network.input_shape, network.dtype)).rows_at_once(rows)

    def _cost(self, network: Any, x: tf.Tensor) -> memory.Cost:
        row = x.shape[1:]
        values = row.num_elements() + math.prod(network.output_shape[1:])
        return memory.Cost(self, "network", network, row, x.dtype, values, network)

    def in_loop(self, x: tf.Tensor) -> tfd.Distribution:
        """Return the distribution at x [N, ...] in a graph, whose network works in blocks, in a loop."""
        if self.split is None:
            return self.model(x)
        network, head = self.split
        size = self._cost(network, x).rows_at_once(memory.UNKNOWN_ROWS)
        params = memory.in_loop(lambda start, stop: network(x[start:stop]), tf.shape(x)[0], size)
        return distribution_at(head, params)


class UnfoldedBatch(Wrapper):
    """A distribution of one batch axis, its batch reshaped to `leading`.

    `tfd.BatchReshape` neither broadcasts x against the batch nor takes a shape known only at run time.
    """

    def __init__(self, distribution: tfd.Distribution, leading: tf.Tensor) -> None:
        parameters = dict(locals())
        self.leading = leading
        super().__init__(distribution, parameters, "unfolded")

    def _shapes(self) -> tuple[Any, Any]:
        static = tf.get_static_value(self.leading, partial=True)
        leading = [None] * self.leading.shape[0] if static is None else static
        return leading, self.distribution.event_shape

    def _shape_tensors(self) -> tuple[Any, Any]:
        return self.leading, self.distribution.event_shape_tensor()

    def at_rows(self, x: tf.Tensor) -> tfd.Distribution:
        """Return the distribution with the rates of rows x, see `base.at_rows`."""
        full = tf.broadcast_to(x, tf.concat([self.leading, self.event_shape_tensor()], 0))
        inner = at_rows(self.distribution, tf.reshape(full, [-1, *self.event_shape]))
        return self if inner is self.distribution else UnfoldedBatch(inner, self.leading)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        event_shape = self.event_shape_tensor()
        full = tf.broadcast_dynamic_shape(tf.shape(x), tf.concat([self.leading, event_shape], 0))
        samples = full[: tf.size(full) - tf.size(self.leading) - tf.size(event_shape)]
        folded = tf.reshape(tf.broadcast_to(x, full), tf.concat([samples, [-1], event_shape], 0))
        log_prob = self.distribution.log_prob(folded)
        return tf.reshape(log_prob, tf.concat([samples, self.leading], 0))

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return self._unfold(self.distribution.sample(n, seed=seed), [n])

    def _mean(self) -> tf.Tensor:
        return self._unfold(self.distribution.mean())

    def _mode(self) -> tf.Tensor:
        return self._unfold(self.distribution.mode())

    def _variance(self) -> tf.Tensor:
        return self._unfold(self.distribution.variance())

    def _stddev(self) -> tf.Tensor:
        return self._unfold(self.distribution.stddev())

    def _unfold(self, x: tf.Tensor, samples: Any = ()) -> tf.Tensor:
        samples = tf.cast(samples, tf.int32)
        return tf.reshape(x, tf.concat([samples, self.leading, self.event_shape_tensor()], 0))
