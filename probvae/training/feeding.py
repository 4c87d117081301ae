"""Input of the compiled training steps, on one device or on replicas."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from probvae.config.training import Training
from probvae.data.arrays import chunks
from probvae.data.binarization import Prepared
from probvae.distributions import traces
from probvae.models.vae import VAE
from probvae.seeds import Seed, as_seed, fold_in
from probvae.training.state import EpochSums

RESIDENT_BYTES = 2 << 30  # size of the largest training set held in memory; one in a file is streamed
STEPS_PER_CALL = 16  # number of steps in a call on replicas, the same for all processes

PROBE = 500  # number of training examples that are checked where not all are
CompiledLoop = Callable[[np.ndarray, EpochSums], Any]
Loop = Callable[..., Any]


def refuse_other_data(vae: VAE, data: Prepared, training: Training) -> None:
    """Check that a model takes the data: all examples in memory, and the first training examples of a file.

    Training examples are checked as a step sees them. Where each step draws them, as in dynamic binarization,
    the examples themselves are checked, and what a step sees for the first.

    Raises:
      InputError: It does not: the shape is another, or values are not in the support of p(x|z).
    """
    contract = vae.contract
    for what, x in (("The test set", data.test), ("The validation set", data.validation)):
        if x is not None:
            contract.accept(x, what, batch=True)
    contract = vae.training_contract if training.is_semisupervised else contract
    contract.refuse_shape(data.train.shape, "The training set", batch=True)
    refuse = getattr(data.feed, "refuse", None)
    in_memory = data.train if _is_plain(data.train) else data.train[:PROBE]
    if refuse is not None:
        for examples in chunks(in_memory):
            refuse(examples, "The training set")
    for examples in chunks(in_memory if refuse is None else in_memory[:PROBE]):
        x = data.feed(tf.constant(examples), fold_in(0, 0))
        contract.accept(x, "The training set", batch=True)


def share(indices: np.ndarray, replica: int, replicas: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a replica in batches [steps, B], and weights: 0 for padding, otherwise 1.

    >>> share(np.arange(5)[None], 1, 2)[0].tolist(), share(np.arange(5)[None], 1, 2)[1].tolist()
    ([[3, 4, 4]], [[1.0, 1.0, 0.0]])
    """
    size = indices.shape[1]
    each = math.ceil(size / replicas)
    places = replica * each + np.arange(each)
    weights = np.broadcast_to(places < size, (len(indices), each)).astype(np.float32)
    return indices[:, np.minimum(places, size - 1)], weights


class Form(NamedTuple):
    """What a compiled loop needs to know of a training set before it is there.

    Attributes:
      resident: Whether TensorFlow holds it in memory; otherwise it is read chunk by chunk.
      event_shape: E, the shape of an example.
      dtype: Type of its values.
    """

    resident: bool
    event_shape: tuple[int, ...]
    dtype: Any

    @classmethod
    def of(cls, train: Any) -> "Form":
        """Return the form of a training set [N, *E]."""
        resident = _is_plain(train) and train.nbytes <= RESIDENT_BYTES
        return cls(resident, tuple(train.shape[1:]), tf.as_dtype(train.dtype))


def _is_plain(array: Any) -> bool:
    """Return whether an array lies in memory, not in a file."""
    return isinstance(array, np.ndarray) and not isinstance(array, np.memmap)


def _rows(data: Prepared, indices: np.ndarray) -> np.ndarray:
    """Read the examples with indices [steps, B] from their file."""
    rows = data.train[indices.ravel()]
    return rows.reshape(*indices.shape, *data.train.shape[1:])


def _padded(values: np.ndarray) -> tf.Tensor:
    """Pad values [steps, ...] with zeros to a multiple of `STEPS_PER_CALL`, as each length is compiled."""
    padding = -len(values) % STEPS_PER_CALL
    return tf.constant(np.pad(values, [(0, padding), *[(0, 0)] * (values.ndim - 1)]))


def compile_on_one_device(form: Form, strategy: Any, loop: Loop) -> Callable[[Prepared, Seed], CompiledLoop]:
    """Compile a loop over steps whose input is the whole batch; the strategy is not used.

    Args:
      form: Form of the training sets that the loop can take.
      strategy: Strategy of one device.
      loop: Function `(number, size, seed, sums, batch) -> (number done, sums)`, where `batch(i)` returns the
        examples of step i and their weights.

    Returns:
      A function from data of this form and the seed of a training to its compiled loop. All share one graph,
      which holds neither.
    """
    sums = EpochSums(*[tf.TensorSpec([], tf.float64)] * len(EpochSums._fields))
    images = tf.TensorSpec([None, *form.event_shape], form.dtype)
    batches = tf.TensorSpec([None, None], tf.int32)
    if not form.resident:
        images, batches = tf.TensorSpec([], tf.int32), tf.TensorSpec([None, *images.shape], form.dtype)

    @traces.once
    @tf.function(input_signature=[images, batches, tf.TensorSpec([2], tf.int32), sums], autograph=False)
    def compiled(images: tf.Tensor, batches: tf.Tensor, seed: tf.Tensor, sums: EpochSums) -> Any:
        def batch(i: tf.Tensor) -> tuple[tf.Tensor, None]:
            return (tf.gather(images, batches[i]) if form.resident else batches[i]), None

        with traces.forgotten():
            return loop(tf.shape(batches)[0], tf.shape(batches)[1], seed, sums, batch)

    def bind(data: Prepared, seed: Seed) -> CompiledLoop:
        held, pair = tf.constant(data.train if form.resident else 0), as_seed(seed)

        def run(indices: np.ndarray, sums: EpochSums) -> Any:
            batches = tf.constant(indices if form.resident else _rows(data, indices))
            return compiled(held, batches, pair, sums)

        return run

    return bind


def compile_on_replicas(form: Form, strategy: Any, loop: Loop) -> Callable[[Prepared, Seed], CompiledLoop]:
    """Compile a loop over steps whose input on a replica is its part of the batch.

    `form` and `loop` are as for `compile_on_one_device`; examples and weights are values per replica.
    """
    replicas = strategy.num_replicas_in_sync
    per_replica = strategy.experimental_distribute_values_from_function

    @tf.function(autograph=False, reduce_retracing=True)
    def compiled(
        images: Any,
        parts: Any,
        weights: Any,
        size: tf.Tensor,
        number: tf.Tensor,
        seed: tf.Tensor,
        sums: EpochSums,
    ) -> Any:
        def pick(
            images: Any, part: tf.Tensor, weights: tf.Tensor, i: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            return (part[i] if images is None else tf.gather(images, part[i])), weights[i]

        def batch(i: tf.Tensor) -> Any:
            return strategy.run(pick, args=(images, parts, weights, i))

        with traces.forgotten():
            return loop(number, size, seed, sums, batch)

    def bind(data: Prepared, seed: Seed) -> CompiledLoop:
        images = per_replica(lambda context: tf.constant(data.train)) if form.resident else None

        def run(indices: np.ndarray, sums: EpochSums) -> Any:
            def part(context: Any) -> tf.Tensor:
                own, _ = share(indices, context.replica_id_in_sync_group, replicas)
                return _padded(own if form.resident else _rows(data, own))

            def weight(context: Any) -> tf.Tensor:
                return _padded(share(indices, context.replica_id_in_sync_group, replicas)[1])

            number, size = (tf.constant(n) for n in indices.shape)
            return compiled(images, per_replica(part), per_replica(weight), size, number, as_seed(seed), sums)

        return run

    return bind
