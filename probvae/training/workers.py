"""Agreement between the processes that train together, and the loss of a process."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.errors import InputError
from probvae.training.cluster import WorkerLostError

LOST_WORKER_ERRORS = (  # errors of TensorFlow for another process that does not answer
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Workers:
    """Processes of a strategy, which all call these methods in the same order."""

    def __init__(self, strategy: Any) -> None:
        self.number = int(getattr(strategy.extended, "_num_workers", 1))
        resolver = strategy.cluster_resolver if self.number > 1 else None
        self.index = 0 if resolver is None else int(resolver.task_id)
        self.is_chief = self.index == 0
        self._sum = _compile_sum(strategy, self.number)

    def gather(self, value: float) -> np.ndarray:
        """Return the values of all processes, [number]."""
        if self.number == 1:
            return np.array([value])
        values = np.zeros(self.number)
        values[self.index] = value
        return np.asarray(self._sum(tf.constant(values)))

    def anyone(self, value: bool) -> bool:
        """Return whether the value is true in any process."""
        return bool(np.any(self.gather(float(value)) > 0))

    def wait(self) -> None:
        """Wait until all processes call this method."""
        self.gather(0.0)

    def refuse_unless_same(self, what: str, value: Any) -> None:
        """Refuse processes with different values, of a type with a complete `repr`."""
        digest = hashlib.sha256(repr(value).encode()).hexdigest()
        if len(set(self.gather(int(digest[:12], 16)))) > 1:  # below 2^53, exact in float64
            raise InputError(f"The workers differ in {what}: start all of them with the same.")

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """Raise an error in all processes if the body raises one in any process."""
        failure: Exception | None = None
        try:
            yield
        except (InputError, OSError) as error:
            failure = error
        places = np.flatnonzero(self.gather(float(failure is not None)))
        if failure is not None:
            raise failure
        if places.size:
            raise InputError(f"Worker {places[0]} cannot train: fix its error, and start all workers again.")


def _compile_sum(strategy: Any, number: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compile the sum of a vector [number] over processes."""

    @tf.function(input_signature=[tf.TensorSpec([number], tf.float64)], autograph=False)
    def over_workers(value: tf.Tensor) -> tf.Tensor:
        def add(value: tf.Tensor) -> tf.Tensor:
            copy = tf.identity(value)  # on the device of the replica
            return tf.distribute.get_replica_context().all_reduce("SUM", copy)

        total = strategy.experimental_local_results(strategy.run(add, args=(value,)))[0]
        return total * number / strategy.num_replicas_in_sync  # every replica of a process adds

    return over_workers


@contextlib.contextmanager
def watched(number: int) -> Iterator[None]:
    """Turn errors of TensorFlow after the loss of one of `number` processes into `WorkerLostError`."""
    try:
        yield
    except LOST_WORKER_ERRORS:
        if number == 1:
            raise
        raise WorkerLostError from None
