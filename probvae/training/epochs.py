"""The batches of an epoch, and the size of the chunks that one call of the compiled function takes."""

from collections.abc import Iterator

import numpy as np

CHUNK_SECONDS = 0.5  # of training between two looks at the clock, the bar and Ctrl-C


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
