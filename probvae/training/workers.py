"""Several processes that train together: agreement between them, and the loss of one."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.errors import InputError
from probvae.training.cluster import WorkerLostError

LOST_WORKER_ERRORS = (  # errors that TensorFlow raises where another process does not answer
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Workers:
    """The processes of a strategy, each of which calls these methods in the same order.

    A process that trains alone agrees with itself.

    Args:
      strategy: The `tf.distribute` strategy of the training.
    """

    def __init__(self, strategy: Any) -> None:
        self.number = int(getattr(strategy.extended, "_num_workers", 1))
        resolver = strategy.cluster_resolver if self.number > 1 else None
        self.index = 0 if resolver is None else int(resolver.task_id)
        self.is_chief = self.index == 0
        self._sum = _compile_sum(strategy, self.number)

    def gather(self, value: float) -> np.ndarray:
        """Return every process's value, [number]."""
        if self.number == 1:
            return np.array([value])
        mine = np.zeros(self.number)
        mine[self.index] = value
        return np.asarray(self._sum(tf.constant(mine)))

    def anyone(self, wish: bool) -> bool:
        """Return whether one of the processes wishes it."""
        return bool(np.any(self.gather(float(wish)) > 0))

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.gather(0.0)

    def all_equal(self, value: float) -> bool:
        """Return whether all processes have the same number."""
        return len(set(self.gather(value).tolist())) == 1

    def refuse_unless_same(self, what: str, value: Any) -> None:
        """Refuse values that differ from process to process, of a type with a `repr` that tells all.

        Raises:
          InputError: they do.
        """
        digest = hashlib.sha256(repr(value).encode()).hexdigest()
        if not self.all_equal(int(digest[:12], 16)):  # below 2^53, as float64 holds it
            raise InputError(f"The workers differ in {what}: start all of them with the same.")

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """Do what each process does for itself, and may refuse; where one does, all end.

        Raises:
          InputError: another process has refused.
        """
        refused: Exception | None = None
        try:
            yield
        except (InputError, OSError) as error:
            refused = error
        places = np.flatnonzero(self.gather(float(refused is not None)))
        if refused is not None:
            raise refused
        if places.size:
            raise InputError(
                f"Worker {places[0]} cannot train: mend what it says, and start all of them again."
            )


def _compile_sum(strategy: Any, number: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compile the sum over processes of a vector [number]."""

    @tf.function(input_signature=[tf.TensorSpec([number], tf.float64)], autograph=False)
    def over_workers(value: tf.Tensor) -> tf.Tensor:
        def add(value: tf.Tensor) -> tf.Tensor:
            mine = tf.identity(value)  # on the replica's device
            return tf.distribute.get_replica_context().all_reduce("SUM", mine)

        total = strategy.experimental_local_results(strategy.run(add, args=(value,)))[0]
        return total * number / strategy.num_replicas_in_sync  # each of a process's replicas has added

    return over_workers


@contextlib.contextmanager
def watched(number: int) -> Iterator[None]:
    """Do the work of one of so many processes; where another one is lost, say so.

    Raises:
      WorkerLostError: another process no longer answers.
    """
    try:
        yield
    except LOST_WORKER_ERRORS:
        if number == 1:
            raise
        raise WorkerLostError from None
