"""The command class of all commands: errors of one line, exit codes."""

import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from probvae.errors import InputError, one_line
from probvae.training import cluster
from probvae.training.cluster import WorkerLostError

COMMAND_LINE = "probvae.command_line"  # of a context: the line that was typed, in `meta`


class Failure(click.ClickException):
    """An error that the user can mend: one line on standard error, exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class TryAgain(click.ClickException):
    """A failure that is not the run's: the same command with --resume may do."""

    exit_code = cluster.WORKER_LOST_EXIT_CODE


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
