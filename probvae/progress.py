"""Where a training stands: the rows of its history, its state, and the pieces that an epoch is cut into."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from probvae.steps import Tally

CHUNK_SECONDS = 0.5  # of training between two looks at the clock, the bar and Ctrl-C


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
      tally: of that part, the fields of `probvae.steps.Tally`.
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


# ---- an epoch in pieces --------------------------------------------------------------------------


def epoch_batches(num_examples: int, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the order of an epoch, [num_examples] int32, a permutation that (seed, epoch) fixes."""
    rng = np.random.default_rng([seed, 2, epoch])
    return rng.permutation(num_examples).astype(np.int32)


class Pace:
    """Chooses how many steps a call of the compiled function takes, for about `CHUNK_SECONDS`."""

    def __init__(self, *, fixed: int | None = None) -> None:
        self.fixed = fixed
        self.steps = fixed or 8

    def timed(self, steps: int, seconds: float) -> None:
        """Learn from the time that the last call took."""
        if self.fixed is None and steps == self.steps:
            self.steps = max(1, min(2 * self.steps, int(self.steps * CHUNK_SECONDS / seconds)))

    def chunks(
        self, order: np.ndarray, batch_size: int, *, start: int = 0, every: int | None = None, before: int = 0
    ) -> Iterator[np.ndarray]:
        """Cut an epoch's order into index arrays [steps, batch size], and a smaller last batch.

        Args:
          order: of the examples.
          batch_size: examples a step.
          start: how many of them are done.
          every: end a piece wherever the number of steps is a multiple of this.
          before: steps of earlier epochs, for `every`.
        """
        whole = len(order) - len(order) % batch_size
        while start < whole:
            steps = self.steps
            if every is not None:
                steps = min(steps, every - (before + start // batch_size) % every)
            stop = min(whole, start + batch_size * steps)
            yield order[start:stop].reshape(-1, batch_size)
            start = stop
        if start < len(order):
            yield order[None, start:]
