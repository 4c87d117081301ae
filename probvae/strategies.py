"""Where a training runs: on one device, on all devices of a machine, or on several machines.

Each entry of `STRATEGIES` is a function `() -> tf.distribute.Strategy`.
"""

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from probvae import cluster
from probvae.cluster import WorkerLostError
from probvae.config import WHOLE_BATCH, Training
from probvae.errors import InputError

PART = 16  # examples of a batch, at least, that a core works on by itself
LOST = (  # what TensorFlow raises where another process does not answer
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def none() -> Any:
    """Return the strategy of one device."""
    return tf.distribute.get_strategy()


def mirrored() -> Any:
    """Return the strategy of all GPUs of this machine or, without any, all of its CPU devices."""
    if gpus := tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy([device.name for device in gpus])
    cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(cpus, cross_device_ops=tf.distribute.ReductionToOneDevice())


def multi_worker() -> Any:
    """Return the strategy of the processes that TF_CONFIG names; `cluster.wait_for_all` comes before it.

    Raises:
      InputError: TF_CONFIG is absent or malformed.
      WorkerLostError: another process has not come, or has ended.
    """
    cluster.parse(os.environ.get(cluster.VARIABLE))
    try:
        with _signals_end_it():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except LOST:
        raise WorkerLostError from None


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let Ctrl-C end the process while TensorFlow starts in C++.

    Afterwards SIGTERM ends it as usual, in place of TensorFlow's handler, which swallows it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


STRATEGIES: dict[str, Callable[[], Any]] = {
    "none": none,
    "mirrored": mirrored,
    "multi_worker": multi_worker,
}


def default_parts(training: Training, name: str) -> int:
    """Return how many parts of a batch are worked on side by side where nobody chose: a core each.

    A part has 16 examples or more. There is one on a GPU, with replicas, and where the objective looks at the
    batch as a whole.
    """
    if name != "none" or training.objective in WHOLE_BATCH or tf.config.list_physical_devices("GPU"):
        return 1
    return max(1, min(cores(), training.batch_size // PART))


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make(name: str, *, threads: int | None = None, inter_threads: int | None = None, parts: int = 1) -> Any:
    """Configure the devices and make a strategy, before TensorFlow has done anything else.

    Args:
      name: of the strategy.
      threads: that one operation may use; None leaves it to TensorFlow.
      inter_threads: operations that may run at the same time, likewise.
      parts: of a batch that are worked on side by side; they share the cores out where `threads` is None.

    Raises:
      InputError: as `multi_worker`.
      WorkerLostError: as `multi_worker`.
    """
    if parts > 1 and threads is None:
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already, in a test or a notebook
            tf.config.threading.set_intra_op_parallelism_threads(max(1, cores() // parts))
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    if inter_threads is not None:
        tf.config.threading.set_inter_op_parallelism_threads(inter_threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()  # which processors have in any case
        with contextlib.suppress(RuntimeError, ValueError):  # it runs already, or is divided
            tf.config.experimental.set_memory_growth(gpu, True)
    return STRATEGIES[name]()


def refuse_unless_shared(training: Training, replicas: int) -> None:
    """Refuse a training that cannot be shared out over so many replicas.

    Raises:
      InputError: an objective over the batch as a whole; fewer examples in a batch than replicas.
    """
    if replicas == 1:
        return
    if training.objective in WHOLE_BATCH:
        raise InputError(
            f"The objective {training.objective} looks at a batch as a whole, and each of {replicas} "
            "replicas sees its own part: train on one device, or choose another objective, such as elbo."
        )
    if training.batch_size < replicas:
        raise InputError(
            f"A batch of {training.batch_size} examples cannot be shared out over {replicas} replicas: set "
            f"--batch-size to {replicas} or more, or use fewer."
        )


class Workers:
    """The processes of a strategy, each of which calls these methods in the same order.

    A process that trains alone agrees with itself.

    Args:
      strategy: the training's.
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
    except LOST:
        if number == 1:
            raise
        raise WorkerLostError from None
