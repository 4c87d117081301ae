"""Processing of examples in blocks, with progress and early stopping."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.arguments import count
from probvae.distributions import traces
from probvae.objectives.bound import Model, as_model
from probvae.seeds import Seed, as_seed, fold_in

DECODES = 1000  # largest number of values of z in a chunk
VALUES = 50_000  # values of x decoded in a chunk on a CPU, about what the cache of a core holds
Progress = Callable[[float], None]


class Stopped(Exception):  # noqa: N818
    """Raised by an `on_progress` to end an estimator, which then returns the finished examples."""


def decodes_at_once(vae: Model) -> int:
    """Return the number of z that a device, or a core of a processor, decodes at once."""
    if tf.config.list_physical_devices("GPU"):
        return DECODES
    return int(np.clip(VALUES // np.prod(vae.event_shape), 16, DECODES))


def until_stopped(
    work: Callable[[Any], Any], blocks: Iterable[Any], after: Callable[[Any], None] = lambda block: None
) -> list[Any]:
    """Collect `work(block)` for each block until it or `after(block)` raises `Stopped`.

    A block in which `work` raises it is left out; if no block is finished, it is raised again.
    """
    parts: list[Any] = []
    for block in blocks:
        try:
            parts.append(work(block))
            after(block)
        except Stopped:
            if not parts:
                raise
            break
    return parts


def in_blocks(
    work: Callable[[slice], Any],
    total: int,
    size: int,
    *,
    axes: Sequence[int] = (),
    on_progress: Progress = lambda fraction: None,
) -> Any:
    """Call a function on blocks of at most `size` of `total` examples, and join its results.

    `work` takes the rows of a block, from whose start it may derive a seed, and returns an array or a
    sequence of arrays; `axes` are the axes of the examples in these, if not the first. After each block,
    `on_progress` is called with the fraction done. If it raises `Stopped`, the result is that of the finished
    examples.

    >>> in_blocks(lambda rows: np.arange(5)[rows] ** 2, 5, 2)
    array([ 0,  1,  4,  9, 16])
    """
    blocks = [slice(start, min(start + size, total)) for start in range(0, max(total, 1), size)]
    parts = until_stopped(work, blocks, lambda rows: on_progress(rows.stop / max(total, 1)))
    several = isinstance(parts[0], list | tuple)
    results = zip(*parts, strict=True) if several else [parts]
    joined = [np.concatenate(p, axis) for p, axis in zip(results, chain(axes, repeat(0)), strict=False)]
    return joined if several else joined[0]


def padded(x: np.ndarray, size: int) -> np.ndarray:
    """Repeat the last row of x until there are `size` rows."""
    return x[np.minimum(np.arange(size), len(x) - 1)]


def accepted(vae: Model, x: Any) -> Any:
    """Return x [N, *E], with the type that it has; `InputError` if the model does not take it."""
    contract = getattr(as_model(vae), "contract", None)
    x = np.asarray(x) if contract is None else contract.accept(x, batch=True)
    return x.numpy() if tf.is_tensor(x) else x


def as_data(vae: Model, x: Any) -> np.ndarray:
    """Return x as an array [N, *E] of the model's type; `InputError` if the model does not take it."""
    return np.asarray(accepted(vae, x)).astype(vae.prior.dtype.as_numpy_dtype)


def at_least(**bounds: tuple[int, int]) -> None:
    """Check `name=(value, smallest)` pairs; `InputError` names the first that is too small or not whole."""
    for name, (value, smallest) in bounds.items():
        count(name, value, smallest)


def compiled_in_blocks(
    run: Callable[..., tuple[tf.Tensor, ...]],
    arrays: list[np.ndarray],
    *,
    seed: Seed,
    batch_size: int,
    on_progress: Progress,
) -> list[np.ndarray]:
    """Compile `run` once and call it on blocks of examples of one size, at most `batch_size`.

    `run` takes a block of each array [N, ...] and a seed, `fold_in(seed, i)` for block i, and returns tensors
    [B, ...]. The last block is filled up with copies of the last example, whose results are dropped.
    `on_progress` is as for `in_blocks`.

    >>> double = lambda x, seed: (2 * x,)
    >>> compiled_in_blocks(double, [np.arange(5)], seed=0, batch_size=2, on_progress=print)
    0.4
    0.8
    1.0
    [array([0, 2, 4, 6, 8])]
    """
    at_least(batch_size=(batch_size, 1))
    total = len(arrays[0])
    size = math.ceil(total / math.ceil(total / batch_size))

    def traced(*arguments: Any) -> tuple[tf.Tensor, ...]:
        with traces.forgotten():
            return run(*arguments)

    compiled = traces.once(tf.function(traced, autograph=False))

    def one_block(rows: slice) -> list[np.ndarray]:
        examples = [tf.convert_to_tensor(padded(array[rows], size)) for array in arrays]
        results = compiled(*examples, fold_in(as_seed(seed), rows.start // size))
        return [result.numpy()[: rows.stop - rows.start] for result in results]

    return in_blocks(one_block, total, size, on_progress=on_progress)
