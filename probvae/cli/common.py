"""What the commands share: errors of one line and a quiet start of TensorFlow."""

import contextlib
import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from probvae import cluster
from probvae.cluster import WorkerLostError
from probvae.errors import InputError, one_line

COMMAND_LINE = "probvae.command_line"  # of a context: the line that was typed, in `meta`
AT_LEAST_ONE = click.IntRange(min=1)


def thread_options(command: Any) -> Any:
    """Give a command the options --threads and --inter-threads."""
    operations = click.option(
        "--inter-threads", type=AT_LEAST_ONE, metavar="N", help="Operations at the same time. [all]"
    )
    threads = click.option("--threads", type=AT_LEAST_ONE, metavar="N", help="That one operation uses. [all]")
    return threads(operations(command))


class Failure(click.ClickException):
    """An error that the user can mend: one line on standard error, exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class TryAgain(click.ClickException):
    """A failure that is not the run's: the same command with --resume may do."""

    exit_code = cluster.LOST


class Command(click.Command):
    """A command that reports bad input and a full or read-only disk in one line, without a traceback.

    An error of any other kind is a bug: a traceback, and a line that says what to report; exit code 1.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Any:
        """Run the command and end the process."""
        typed = shlex.join([str(self.name), *(sys.argv[1:] if args is None else args)])
        try:
            return super().main(args, *rest, **kwargs)
        except click.ClickException:  # where click was asked not to end the process
            raise
        except Exception as error:
            from probvae.cli import bugs

            traceback.print_exc()
            click.echo(bugs.advice(error, typed), err=True)
            sys.exit(1)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the options; a mistake in them is one line too."""
        given = list(args[1] if len(args) > 1 else kwargs["args"])  # parsing empties the list
        try:
            context = super().make_context(*args, **kwargs)
            context.meta[COMMAND_LINE] = shlex.join([str(self.name), *given])
            return context
        except click.UsageError as error:
            message = error.format_message().rstrip(".")
            end = "" if message.endswith("?") else "."
            raise Failure(f"{message}{end} See {self.name} --help.") from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (InputError, ArithmeticError) as error:
            raise Failure(" ".join(str(error).split())) from None
        except MemoryError:
            raise Failure(
                "The memory is not enough: choose a smaller model, batch or number of draws."
            ) from None
        except OSError as error:
            raise Failure(f"{error.strerror or error}: {error.filename or 'file'}.") from None
        except WorkerLostError as error:
            raise TryAgain(str(error)) from None


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
    from probvae import strategies

    parts = strategies.cores() if parts is None else parts
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


def renew_report(folder: Path) -> None:
    """Write report.html into a run folder; what goes wrong is one line and costs nothing else."""
    try:
        from probvae.report.pages import write_report

        write_report(folder)
    except Exception as error:  # a report is never worth a run
        reason = " ".join(str(error).split()) or type(error).__name__
        click.echo(f"Warning: no report was written: {reason}", err=True)


class StopOnSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish that the work looks at; the second one kills."""

    SIGNALS: ClassVar = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.on_stop = on_stop
        self.received: int | None = None

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self.received is not None

    def __enter__(self) -> "StopOnSignal":
        self.before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: Any) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        self._restore()
        self.on_stop()
