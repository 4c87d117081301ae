"""Where a training stands: the rows of its history, its state, and the pieces that an epoch is cut into."""

import dataclasses
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


class Tally(NamedTuple):
    """What an epoch has come to so far; sums are float64, so that they do not depend on how it is cut.

    Attributes:
      objective: summed over examples, nats.
      examples: in steps that were taken.
      skipped: steps that were not, because something was not finite.
      in_a_row: of these, the last ones without one that was taken.
      clipped: steps whose gradient was cut to the norm.
    """

    objective: Any = 0.0
    examples: Any = 0.0
    skipped: Any = 0.0
    in_a_row: Any = 0.0
    clipped: Any = 0.0


@dataclasses.dataclass(frozen=True)
class State:
    """Where a training stands.

    Attributes:
      weights: of the model, in the order of `vae.variables`.
      optimizer: its variables.
      best: the weights of the epoch that was best on the validation set; empty without one.
      best_elbo: on the validation set; None without one.
      stale: epochs since then.
      epoch: whole epochs done.
      position: examples of the next one that are done.
      tally: of that part, the fields of `probvae.training.state.Tally`.
      seconds: that it took.
      history: a row for every whole epoch.
    """

    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray] = dataclasses.field(default_factory=list)
    best_elbo: float | None = None
    stale: int = 0
    epoch: int = 0
    position: int = 0
    tally: tuple[float, ...] = tuple(Tally())
    seconds: float = 0.0
    history: tuple[Row, ...] = ()

    @property
    def step(self) -> int:
        """Steps of the optimizer that are done."""
        return int(self.optimizer[0])
