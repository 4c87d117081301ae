"""The start of a command: TensorFlow loaded quietly, devices, Ctrl-C."""

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import click

from probvae.errors import InputError
from probvae.training.cluster import WorkerLostError

AT_LEAST_ONE = click.IntRange(min=1)


def thread_options(command: Any) -> Any:
    """Give a command the options --threads and --inter-threads."""
    operations = click.option(
        "--inter-threads", type=AT_LEAST_ONE, metavar="N", help="Operations at the same time. [all]"
    )
    threads = click.option("--threads", type=AT_LEAST_ONE, metavar="N", help="That one operation uses. [all]")
    return threads(operations(command))


@contextlib.contextmanager
def quiet_start(setup: Callable[[], Any] = lambda: None) -> Iterator[Any]:
    """Load TensorFlow without what its C++ parts print; where loading fails, show it after all.

    Args:
      setup: called before TensorFlow starts the devices, which it may configure; `with` gives its result.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as noise, _stderr_into(noise.fileno()) as stderr:
        try:
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            found = setup()
            tf.zeros([])  # the first operation starts the devices, which print too
            yield found
        except (InputError, WorkerLostError):
            raise
        except BaseException:
            noise.seek(0)
            os.write(stderr, noise.read())
            raise


def make_strategy(name: str, threads: int | None, inter_threads: int | None, parts: int | None = 1) -> Any:
    """Make the strategy and configure the devices, for `parts` side by side or, None, as many as cores.

    It is a `setup` of `quiet_start`.
    """
    from probvae.environment import cores
    from probvae.training import strategies

    parts = cores() if parts is None else parts
    return strategies.make(name, threads=threads, inter_threads=inter_threads, parts=parts)


@contextlib.contextmanager
def _stderr_into(target: int) -> Iterator[int]:
    original = os.dup(2)
    os.dup2(target, 2)
    try:
        yield original
    finally:
        os.dup2(original, 2)
        os.close(original)


class StopOnSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish that the work looks at; the second one kills.

    Args:
      on_stop: Function that is called at the first signal.
    """

    SIGNALS: ClassVar = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.on_stop = on_stop
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self.received is not None

    def begin(self) -> None:
        """Take the signals over."""
        self.before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}

    def end(self) -> None:
        """Give the signals back to what had them before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        self.end()
        self.on_stop()
