"""Training state, rows of the history, and sums over an epoch."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the history: the state after an epoch, or after a part of it.

    ELBO, log-likelihood (reconstruction term) and KL are means over examples in nats, by Monte Carlo with one
    draw of z; `train_elbo` is the mean of the objective over the epoch, in training mode, while the weights
    change; `validation_elbo` is None without a validation set. Skipped steps were not finite; clipped steps
    had a gradient above the limit of its norm.
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
    """Sums over the steps of an epoch, in float64, independent of the division of the epoch into calls."""

    objective: Any = 0.0  # sum of the objective over examples, nats
    examples: Any = 0.0  # number of examples in the steps taken
    skipped: Any = 0.0  # number of skipped steps, which were not finite
    in_a_row: Any = 0.0  # number of skipped steps since the last step taken
    clipped: Any = 0.0  # number of steps with a clipped gradient


@dataclasses.dataclass(frozen=True)
class State:
    """Training state, from which training continues as if it had not been interrupted.

    Attributes:
      weights: Variables of the model, in the order of `vae.variables`.
      optimizer: Variables of the optimizer, with its number of steps first.
      best: Weights of the epoch with the best ELBO on the validation set; empty without a validation set.
      best_elbo: Best ELBO on the validation set; None without a validation set.
      stale: Number of epochs since the best epoch.
      epoch: Number of completed epochs.
      position: Number of examples already used in the current epoch.
      tally: Sums over this part of the epoch.
      seconds: Time of this part of the epoch.
      history: Rows of the completed epochs.
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
        """Number of steps of the optimizer."""
        return int(self.optimizer[0])


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Assign values to variables in the same order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
