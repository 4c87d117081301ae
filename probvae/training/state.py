"""The state of a training, the rows of its history and the sums of its epoch."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the history: the state after an epoch, or after the part of one that was done.

    ELBO, log-likelihood (reconstruction term) and KL are means over examples in nats, by Monte Carlo
    with one draw of z; `train_elbo` is the mean of the objective while the weights were changing;
    `validation_elbo` is None where no validation set was held out. Steps are skipped where something was not
    finite, and clipped where the gradient was cut to a norm.
    """

    epoch: float
    test_elbo: float
    test_log_likelihood: float
    test_kl: float
    train_elbo: float
    seconds: float
    images_per_second: float
    validation_elbo: float | None = None
    learning_rate: float = 0.0
    skipped_steps: int = 0
    clipped_steps: int = 0


class EpochSums(NamedTuple):
    """Sums over the steps of an epoch, in float64, so that they do not depend on how it is cut into calls.

    Attributes:
      objective: Sum of the objective over examples, nats.
      examples: Number of examples in the steps that were taken.
      skipped: Number of steps that were not taken, because something was not finite.
      in_a_row: Number of skipped steps since the last step that was taken.
      clipped: Number of steps whose gradient was cut to the norm.
    """

    objective: Any = 0.0
    examples: Any = 0.0
    skipped: Any = 0.0
    in_a_row: Any = 0.0
    clipped: Any = 0.0


@dataclasses.dataclass(frozen=True)
class State:
    """The state of a training: all that it needs to go on as if it had never stopped.

    Attributes:
      weights: Variables of the model, in the order of `vae.variables`.
      optimizer: Variables of the optimizer, its number of steps first.
      best: Weights of the epoch that was best on the validation set; empty without one.
      best_elbo: ELBO of that epoch on the validation set; None without one.
      stale: Number of epochs since then.
      epoch: Number of whole epochs done.
      position: Number of examples of the next epoch that are done.
      tally: Sums over that part of it.
      seconds: Time that it took.
      history: Rows of the whole epochs.
    """

    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray] = dataclasses.field(default_factory=list)
    best_elbo: float | None = None
    stale: int = 0
    epoch: int = 0
    position: int = 0
    tally: EpochSums = dataclasses.field(default_factory=EpochSums)
    seconds: float = 0.0
    history: tuple[Row, ...] = ()

    @property
    def step(self) -> int:
        """Number of steps that the optimizer has done."""
        return int(self.optimizer[0])


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Set variables to values of the same number and order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
