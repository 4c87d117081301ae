"""The start of a command: the quiet import of TensorFlow, its devices, and Ctrl-C."""

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import click

from probvae.errors import InputError
from probvae.runs.collection import located
from probvae.training.cluster import WorkerLostError

AT_LEAST_NONE, AT_LEAST_ONE = click.IntRange(min=0), click.IntRange(min=1)


class RunFolder(click.Path):
    """The folder of a run, or the name of a model of the package, which is copied to runs/NAME."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path of the folder."""
        try:
            return located(Path(os.fspath(value)))
        except InputError as error:
            self.fail(str(error), param, ctx)


run_argument = click.argument("run", metavar="RUN_DIR", type=RunFolder())
data_option = click.option(
    "--data", metavar="NAME|PATH", help="Data to use instead of those of the run. [the run's]"
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, metavar="N", help="Seed of all draws. [0]"
)


def thread_options(command: Any) -> Any:
    """Give a command the options --threads and --inter-threads."""
    operations = click.option(
        "--inter-threads", type=AT_LEAST_ONE, metavar="N", help="Number of parallel operations. [all]"
    )
    threads = click.option("--threads", type=AT_LEAST_ONE, metavar="N", help="Threads per operation. [all]")
    return threads(operations(command))


@contextlib.contextmanager
def quiet_start(setup: Callable[[], Any] = lambda: None) -> Iterator[Any]:
    """Load TensorFlow without the output of its C++ parts, which is shown only if loading fails.

    `setup` may configure the devices before TensorFlow starts them; the context manager returns its result.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as noise, _stderr_into(noise.fileno()) as stderr:
        try:
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            result = setup()
            tf.zeros([])  # the first operation starts the devices, which print too
            yield result
        except (InputError, WorkerLostError):
            raise
        except BaseException:
            noise.seek(0)
            os.write(stderr, noise.read())
            raise


def make_strategy(name: str, threads: int | None, inter_threads: int | None, parts: int | None = 1) -> Any:
    """Return the strategy, and configure the devices for parallel parts: as many as cores if None.

    It serves as `setup` of `quiet_start`.
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
    """A request to stop: the first Ctrl-C or SIGTERM calls `on_stop`, and the second ends the process."""

    SIGNALS: ClassVar = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.on_stop = on_stop
        self.received: int | None = None
        self.handlers: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether a signal was received."""
        return self.received is not None

    def begin(self) -> None:
        """Install the handlers of the signals."""
        self.handlers = {number: signal.signal(number, self._receive) for number in self.SIGNALS}

    def end(self) -> None:
        """Restore the earlier handlers of the signals."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        self.end()
        self.on_stop()
