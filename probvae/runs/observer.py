"""The observer of a training or an evaluation: what it is told while they run. No TensorFlow."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probvae.evaluation.state import Line
    from probvae.runs.job import Job
    from probvae.training.state import Row


class Observer:
    """Receives the progress of a training or an evaluation; this one shows nothing.

    A subclass overrides the methods that it needs.
    """

    def begin_training(self, job: "Job", place: str) -> None:
        """Take note of a training that begins.

        Args:
          job: Model, data, settings and folder of the training.
          place: Step and epoch at which a resumed run goes on, in words; empty for a new run.
        """

    def chunk(self, epoch: int, examples: int) -> None:
        """Take note of the examples of an epoch that were just used, about twice a second."""

    def epoch(self, row: "Row") -> None:
        """Take note of an epoch that has ended."""

    def begin(self, words: str) -> None:
        """Take note of an evaluation that begins, or of a page that is being made: of what, in words."""

    def stage(self, name: str) -> None:
        """Take note of a stage of an evaluation that begins."""

    def progress(self, fraction: float) -> None:
        """Take note of the fraction of a stage that is done."""

    def lines(self, lines: "Sequence[Line]") -> None:
        """Take note of the lines of the table that a stage has added."""

    def warn(self, message: str) -> None:
        """Take note of something that the user should know; by default a Python warning."""
        warnings.warn(message, stacklevel=2)

    def close(self) -> None:
        """End a display of progress, because work has ended or other output comes."""


def never() -> bool:
    """Return False: a `should_stop` that never stops."""
    return False
