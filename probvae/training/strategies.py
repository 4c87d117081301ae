"""Where a training runs: on one device, on all devices of a machine, or on several machines.

Each entry of `STRATEGIES` is a function `() -> tf.distribute.Strategy`.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from probvae.config.training import Training
from probvae.environment import cores
from probvae.errors import InputError
from probvae.training import cluster
from probvae.training.cluster import WorkerLostError
from probvae.training.workers import LOST_WORKER_ERRORS

PART = 16  # examples of a batch, at least, that a core works on by itself


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
    except LOST_WORKER_ERRORS:
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
    if name != "none" or training.whole_batch or tf.config.list_physical_devices("GPU"):
        return 1
    return max(1, min(cores(), training.batch_size // PART))


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
    if training.whole_batch:
        raise InputError(
            f"The objective {training.objective} looks at a batch as a whole, and each of {replicas} "
            "replicas sees its own part: train on one device, or choose another objective, such as elbo."
        )
    if training.batch_size < replicas:
        raise InputError(
            f"A batch of {training.batch_size} examples cannot be shared out over {replicas} replicas: set "
            f"--batch-size to {replicas} or more, or use fewer."
        )
