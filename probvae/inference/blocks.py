"""Work block by block, with its progress and an early stop."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.errors import InputError
from probvae.objectives.bound import Model
from probvae.seeds import Seed, as_seed, fold_in

DECODES = 1000  # values of z in a chunk, at most
VALUES = 50_000  # of x, decoded in a chunk on a CPU, whose cache does not hold more for each core
Progress = Callable[[float], None]


class Stopped(Exception):  # noqa: N818
    """Raised by an `on_progress` that wants an estimator to end; it returns the examples it has finished."""


def decodes_at_once(vae: Model) -> int:
    """Return how many z a device, or a core of a processor, decodes in one piece."""
    if tf.config.list_physical_devices("GPU"):
        return DECODES
    return int(np.clip(VALUES // np.prod(vae.event_shape), 16, DECODES))


def until_stopped(work: Callable[[Any], Any], starts: Iterable[Any]) -> list[Any]:
    """Collect `work(start)` for each start until `Stopped`; raise it on where nothing is finished yet."""
    parts: list[Any] = []
    for start in starts:
        try:
            parts.append(work(start))
        except Stopped:
            if not parts:
                raise
            break
    return parts


def as_data(vae: Model, x: Any) -> np.ndarray:
    """Return x as an array [N, *E] of the model's type; `InputError` where it has another shape."""
    x = np.asarray(x)
    if x.shape[1:] != vae.event_shape or not len(x):
        raise InputError(f"Expected x of shape {('N', *vae.event_shape)} with N at least 1; got {x.shape}.")
    return x.astype(vae.prior.dtype.as_numpy_dtype)


def at_least(**bounds: tuple[int, int]) -> None:
    """Check `name=(value, smallest)` pairs; `InputError` names the first that is too small."""
    for name, (value, smallest) in bounds.items():
        if value < smallest:
            raise InputError(f"Expected {name} of at least {smallest}; got {value}.")


def in_blocks(
    run: Callable[..., tuple[tf.Tensor, ...]],
    arrays: list[np.ndarray],
    *,
    seed: Seed,
    batch_size: int,
    on_progress: Progress,
) -> list[np.ndarray]:
    """Compile `run` once and call it on blocks of examples of one size.

    The last block is filled up with copies of the last example, whose results are dropped.

    Args:
      run: function of one block of each array and of a seed; its results lead with the batch axis.
      arrays: arrays [N, ...].
      seed: block i uses `fold_in(seed, i)`.
      batch_size: the most examples in a block.
      on_progress: called after each block with the fraction done; it may raise `Stopped`.

    Returns:
      The results of `run`, joined, each [N, ...], or as many examples as were finished.

    >>> double = lambda x, seed: (2 * x,)
    >>> in_blocks(double, [np.arange(5)], seed=0, batch_size=2, on_progress=print)
    0.4
    0.8
    1.0
    [array([0, 2, 4, 6, 8])]
    """
    at_least(batch_size=(batch_size, 1))
    total = len(arrays[0])
    size = math.ceil(total / math.ceil(total / batch_size))
    compiled, blocks = tf.function(run, autograph=False), []
    for number, start in enumerate(range(0, total, size)):
        done = min(start + size, total)
        index = np.minimum(np.arange(start, start + size), total - 1)
        block = [tf.convert_to_tensor(array[index]) for array in arrays]
        results = compiled(*block, fold_in(as_seed(seed), number))
        blocks.append([result.numpy()[: done - start] for result in results])
        try:
            on_progress(done / total)
        except Stopped:
            break
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
