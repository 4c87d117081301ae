"""The observer of the progress of training and evaluation. No TensorFlow."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probvae.evaluation.state import Line
    from probvae.runs.job import Job
    from probvae.training.state import Row


class Observer:
    """Base class of the observers of training and evaluation; its methods show nothing.

    A subclass overrides the methods that it needs.
    """

    def begin_training(self, job: "Job", place: str) -> None:
        """Handle the start of training.

        Args:
          job: Model, data, settings and folder of the training.
          place: Step and epoch from which a run is resumed, in words; empty for a new run.
        """

    def chunk(self, epoch: int, examples: int) -> None:
        """Handle the number of examples that were just used, about twice a second."""

    def epoch(self, row: "Row") -> None:
        """Handle the end of an epoch."""

    def begin(self, words: str) -> None:
        """Handle the start of an evaluation or a web page, with its content in words."""

    def stage(self, name: str) -> None:
        """Handle the start of a stage of an evaluation."""

    def progress(self, fraction: float) -> None:
        """Handle the fraction of a stage that is done."""

    def lines(self, lines: "Sequence[Line]") -> None:
        """Handle the lines of the table that a stage has added."""

    def warn(self, message: str) -> None:
        """Handle a message to the user, by default as a Python warning."""
        warnings.warn(message, stacklevel=2)

    def close(self) -> None:
        """Remove the display of progress, before other output or at the end."""


def never() -> bool:
    """Return False, as the default of `should_stop`."""
    return False
