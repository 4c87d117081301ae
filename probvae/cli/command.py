"""The class of all commands, which turns errors into one line and an exit code."""

import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from probvae.errors import InputError, one_line
from probvae.training import cluster
from probvae.training.cluster import WorkerLostError

COMMAND_LINE = "probvae.command_line"  # key of the typed command line in `Context.meta`


class Failure(click.ClickException):
    """An error that the user can correct: one line on standard error, exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class LostWorkerFailure(click.ClickException):
    """The loss of a worker, after which the same command with --resume may succeed."""

    exit_code = cluster.WORKER_LOST_EXIT_CODE


class Command(click.Command):
    """A command that reports bad input and a full or read-only disk in one line, without a traceback.

    Any other error is a bug: the command prints a traceback and a line for the report, with exit code 1.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Any:
        """Run the command and end the process."""
        typed = shlex.join([str(self.name), *(sys.argv[1:] if args is None else args)])
        try:
            return super().main(args, *rest, **kwargs)
        except click.ClickException:  # raised with standalone_mode=False
            raise
        except Exception as error:
            from probvae.cli import bugs

            traceback.print_exc()
            click.echo(bugs.advice(error, typed), err=True)
            sys.exit(1)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the options, and report a mistake in them in one line."""
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
            raise LostWorkerFailure(str(error)) from None
