"""Training devices: one device, all devices of a machine, or several machines.

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

PART = 16  # smallest number of examples in a part of a batch


def mirrored() -> Any:
    """Return the strategy of all GPUs of this machine, or of all its CPU devices if it has no GPU."""
    if gpus := tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy([device.name for device in gpus])
    cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(cpus, cross_device_ops=tf.distribute.ReductionToOneDevice())


def multi_worker() -> Any:
    """Return the strategy of the processes in TF_CONFIG, after a call of `cluster.wait_for_all`."""
    cluster.parse(os.environ.get(cluster.VARIABLE))
    try:
        with _default_signals():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except LOST_WORKER_ERRORS:
        raise WorkerLostError from None


@contextlib.contextmanager
def _default_signals() -> Iterator[None]:
    """Let Ctrl-C end the process while TensorFlow starts in C++.

    Afterwards the default handler of SIGTERM replaces that of TensorFlow, which ignores the signal.
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
    "none": tf.distribute.get_strategy,  # of one device
    "mirrored": mirrored,
    "multi_worker": multi_worker,
}


def default_parts(training: Training, name: str) -> int:
    """Return the default number of parallel parts of a batch: one for each core.

    A part has 16 examples or more. There is one part on a GPU, with replicas, and for objectives of the whole
    batch.
    """
    if name != "none" or training.whole_batch or tf.config.list_physical_devices("GPU"):
        return 1
    return max(1, min(cores(), training.batch_size // PART))


def make(name: str, *, threads: int | None = None, inter_threads: int | None = None, parts: int = 1) -> Any:
    """Configure the devices and return the strategy of a name, before any other use of TensorFlow.

    `threads` in an operation and `inter_threads`, parallel operations, are left to TensorFlow if None, except
    that the `parts` of a batch then share the cores.
    """
    if parts > 1 and threads is None:
        with contextlib.suppress(RuntimeError):  # TensorFlow is already initialized, in a test or a notebook
            tf.config.threading.set_intra_op_parallelism_threads(max(1, cores() // parts))
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    if inter_threads is not None:
        tf.config.threading.set_inter_op_parallelism_threads(inter_threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()  # CPUs are always deterministic
        with contextlib.suppress(RuntimeError, ValueError):  # the GPU is already initialized, or split
            tf.config.experimental.set_memory_growth(gpu, True)
    return STRATEGIES[name]()


def refuse_unless_shared(training: Training, replicas: int) -> None:
    """Refuse replicas for an objective of the whole batch, or for a batch of fewer examples than replicas."""
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
