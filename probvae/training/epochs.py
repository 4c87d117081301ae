"""Order of the examples in an epoch, and the chunks of steps for calls of the compiled function."""

from collections.abc import Iterator

import numpy as np

from probvae.data.arrays import permutation

CHUNK_SECONDS = 0.5  # target time of a chunk; progress and stop requests are handled between chunks


def epoch_order(num_examples: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the examples in an epoch, [num_examples] int32, determined by (seed, epoch)."""
    return permutation(np.random.default_rng([seed, 2, epoch]), num_examples).astype(np.int32, copy=False)


class ChunkSize:
    """Number of steps in a call of the compiled function, fixed or adapted to take about `CHUNK_SECONDS`."""

    def __init__(self, *, fixed: int | None = None) -> None:
        self.fixed = fixed
        self.steps = fixed or 8

    def adapt(self, steps: int, seconds: float) -> None:
        """Adapt the size to the time of the last call."""
        if self.fixed is None and steps == self.steps:
            self.steps = max(1, min(2 * self.steps, int(self.steps * CHUNK_SECONDS / seconds)))

    def chunks(
        self, order: np.ndarray, batch_size: int, *, start: int = 0, every: int | None = None, before: int = 0
    ) -> Iterator[np.ndarray]:
        """Cut the order of an epoch into index arrays [steps, batch size], and a smaller last batch.

        The first `start` examples are already used. A chunk ends at each multiple of `every` steps, counted
        from the first epoch, with `before` steps in earlier epochs.
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
