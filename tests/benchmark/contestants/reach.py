"""Training from new weights until the test images' ELBO is reached: seconds, evaluations left out."""

import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmark.cases import TARGET, TEST, Work

CHECK = 20_000  # examples between two looks at the ELBO, a third of an epoch
CHECKS = 75  # looks, after which there is no hope

Training = tuple[Callable[[np.ndarray], None], Callable[[], float]]


def prepare(start: Callable[[int], Training], images: np.ndarray, batch: int) -> Work:
    """Return what trains a number of models, each with a seed of its own, and returns the seconds in all.

    Args:
      start: builds a model from a seed; returns what takes steps on images of the given indices [steps, B],
        and what returns the mean ELBO of the test images, nats.
      images: of the training set, and `TEST` of the test set after them.
      batch: B.
    """
    seeds = itertools.count()

    def work(number: int) -> float:
        return sum(_seconds(start, next(seeds), len(images) - TEST, batch) for _ in range(number))

    return work


def _seconds(start: Callable[[int], Training], seed: int, size: int, batch: int) -> float:
    """Train one model; nan where it does not reach the target."""
    spent = -time.perf_counter()
    train, elbo = start(seed)
    batches = _batches(size, batch, seed)
    for _ in range(CHECKS):
        train(np.stack(list(itertools.islice(batches, CHECK // batch))))
        spent += time.perf_counter()
        if elbo() >= TARGET:
            return spent
        spent -= time.perf_counter()
    return math.nan


def _batches(size: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of indices [B], int32; an epoch holds whole ones, in a new order."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(size).astype(np.int32)
        yield from order[: size - size % batch].reshape(-1, batch)
