"""The way of the examples into the compiled training steps, on one device or on replicas."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.data.binarization import Prepared
from probvae.training.state import Tally

RESIDENT_BYTES = 2 << 30  # a larger training set is streamed
STEPS = 16  # a call on replicas: several processes must take the same number


def _share(indices: np.ndarray, replica: int, replicas: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a replica's part of batches [steps, B], and weights: 0 for what fills a part up, else 1.

    >>> _share(np.arange(5)[None], 1, 2)[0].tolist(), _share(np.arange(5)[None], 1, 2)[1].tolist()
    ([[3, 4, 4]], [[1.0, 1.0, 0.0]])
    """
    size = indices.shape[1]
    each = math.ceil(size / replicas)
    places = replica * each + np.arange(each)
    weights = np.broadcast_to(places < size, (len(indices), each)).astype(np.float32)
    return indices[:, np.minimum(places, size - 1)], weights


def _is_resident(data: Prepared) -> bool:
    """Whether the training set is held in memory by TensorFlow, or read chunk by chunk."""
    plain = isinstance(data.train, np.ndarray) and not isinstance(data.train, np.memmap)
    return plain and data.train.nbytes <= RESIDENT_BYTES


def _rows(data: Prepared, indices: np.ndarray) -> np.ndarray:
    """Read the examples of indices [steps, B] from their file."""
    rows = data.train[indices.ravel()]
    return rows.reshape(*indices.shape, *data.train.shape[1:])


def _longer(values: np.ndarray) -> tf.Tensor:
    """Fill values [steps, ...] up with zeros to a multiple of `STEPS`: each length is compiled anew."""
    more = -len(values) % STEPS
    return tf.constant(np.pad(values, [(0, more), *[(0, 0)] * (values.ndim - 1)]))


Run = Callable[[np.ndarray, Tally], Any]


def _on_one_device(data: Prepared, strategy: Any, loop: Callable[..., Any]) -> Run:
    tally = Tally(*[tf.TensorSpec([], tf.float64)] * len(Tally._fields))
    resident = _is_resident(data)
    images = tf.constant(data.train) if resident else None
    event_shape, dtype = ((), tf.int32) if resident else (data.train.shape[1:], data.train.dtype)

    @tf.function(input_signature=[tf.TensorSpec([None, None, *event_shape], dtype), tally], autograph=False)
    def compiled(batches: tf.Tensor, tally: Tally) -> Any:
        def batch(i: tf.Tensor) -> tuple[tf.Tensor, None]:
            return (batches[i] if images is None else tf.gather(images, batches[i])), None

        return loop(tf.shape(batches)[0], tf.shape(batches)[1], tally, batch)

    return lambda indices, tally: compiled(tf.constant(indices if resident else _rows(data, indices)), tally)


def _on_replicas(data: Prepared, strategy: Any, loop: Callable[..., Any]) -> Run:
    replicas = strategy.num_replicas_in_sync
    per_replica = strategy.experimental_distribute_values_from_function
    resident = _is_resident(data)
    images = per_replica(lambda context: tf.constant(data.train)) if resident else None

    @tf.function(autograph=False, reduce_retracing=True)
    def compiled(
        images: Any, parts: Any, weights: Any, size: tf.Tensor, number: tf.Tensor, tally: Tally
    ) -> Any:
        def pick(
            images: Any, part: tf.Tensor, weights: tf.Tensor, i: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            return (part[i] if images is None else tf.gather(images, part[i])), weights[i]

        def batch(i: tf.Tensor) -> Any:
            return strategy.run(pick, args=(images, parts, weights, i))

        return loop(number, size, tally, batch)

    def run(indices: np.ndarray, tally: Tally) -> Any:
        def part(context: Any) -> tf.Tensor:
            mine, _ = _share(indices, context.replica_id_in_sync_group, replicas)
            return _longer(mine if resident else _rows(data, mine))

        def weight(context: Any) -> tf.Tensor:
            return _longer(_share(indices, context.replica_id_in_sync_group, replicas)[1])

        number, size = (tf.constant(n) for n in indices.shape)
        return compiled(images, per_replica(part), per_replica(weight), size, number, tally)

    return run
