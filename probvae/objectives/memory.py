"""Memory of calls that grow with the number of rows: blocks of rows, and refusals.

A row is one z with its x. Where no gradient is recorded, rows are worked on in blocks whose values take at
most about `BUDGET` bytes. A gradient needs the values of all rows, so what cannot fit is refused before it
starts. What a row takes is counted in the graph of its function, if there are enough rows for it to matter.
"""

import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from probvae.environment import available_memory
from probvae.errors import InputError
from probvae.objectives.graphs import Function, graph_of, peak_bytes, total_bytes
from probvae.seeds import fold_in

BUDGET = 2**30  # bytes of the values of a block of rows, about
# Memory of a gradient that is recorded eagerly, relative to all values of the forward pass.
EAGER_GRADIENT = 0.8
FREE_SHARE = 0.9  # fraction of the free memory that a gradient may take
PARAMETERS_PER_SEED = 2**26  # parameters of distributions that are drawn from with one seed
UNKNOWN_ROWS = 2**31 - 1  # number of rows where it is not known
VALUES = 500  # values that a network computes for each of its inputs and outputs, at most about


def is_recorded() -> bool:
    """Return whether operations are recorded, for a gradient or in the graph of a `tf.function`."""
    return not tf.executing_eagerly() or record.could_possibly_record()


# ---- what a row takes ----------------------------------------------------------------------------

# What is known of the functions of a model, by their names; a model is forgotten with its last reference.
_KNOWN: weakref.WeakKeyDictionary[Any, dict[str, int]] = weakref.WeakKeyDictionary()


class Cost(NamedTuple):
    """Memory that a function of rows takes for each row.

    Attributes:
      owner: Model that the function belongs to, which remembers the result.
      name: Name of the function among those of the model.
      function: Function of a tensor of rows [N, *shape].
      shape: Shape of a row.
      dtype: Type of its values.
      values: Number of values of a row that the function takes and gives.
      variables: Object whose `variables` the function uses.
    """

    owner: Any
    name: str
    function: Function
    shape: Sequence[int]
    dtype: Any
    values: int
    variables: Any

    @property
    def most(self) -> int:
        """Upper limit of the bytes of a row, by a rule of thumb."""
        known, name = self._memory(), f"{self.name}, at most"
        if name not in known:
            weights = sum(int(np.prod(v.shape)) for v in getattr(self.variables, "variables", ()))
            known[name] = 4 * (VALUES * self.values + weights)
        return known[name]

    def of_row(self, rows: int, budget: float) -> float:
        """Return the bytes of a row; if `rows` rows certainly take less than the budget, an upper limit."""
        known = self._memory()
        if self.name in known:
            return known[self.name]
        if rows * self.most <= budget:
            return self.most
        try:
            graphs = (graph_of(self.function, (n, *self.shape), self.dtype) for n in (8, 16))
            few, more = map(total_bytes, graphs)
            known[self.name] = max(1, (more - few) // 8)
        except Exception:  # a function of the caller's own that runs eagerly only
            known[self.name] = self.most
        return known[self.name]

    def rows_at_once(self, rows: int) -> int:
        """Return how many of `rows` rows are worked on at once."""
        return int(np.clip(BUDGET // self.of_row(rows, BUDGET), 1, max(rows, 1)))

    def _memory(self) -> dict[str, int]:
        try:
            return _KNOWN.setdefault(self.owner, {})
        except TypeError:  # a model of the caller's own without a hash or weak references
            return {}


# ---- blocks --------------------------------------------------------------------------------------

Bounds = Any  # the first row of a block and the row after its last: ints, or scalar tensors in a loop


def in_row_blocks(function: Callable[[Bounds, Bounds], Any], rows: int, size: int) -> Any:
    """Join the results of a function of blocks of at most `size` of `rows` rows.

    Args:
      function: Function from the first row of a block, and the row after its last, to a tensor or a structure
        of tensors [rows of the block, ...].
      rows: Number of rows.
      size: Largest number of rows in a block.

    >>> in_row_blocks(lambda start, stop: tf.range(start, stop), 5, 2).numpy().tolist()
    [0, 1, 2, 3, 4]
    """
    if rows <= size:
        return function(0, rows)
    blocks = [function(start, min(start + size, rows)) for start in range(0, rows, size)]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *blocks)


def in_loop(function: Callable[[Bounds, Bounds], Any], rows: tf.Tensor, size: int) -> Any:
    """Join the results of a function of blocks of rows, in a loop of a graph, which has no gradient.

    The arguments are those of `in_row_blocks`; the number of rows is a tensor.

    >>> tf.function(lambda rows: in_loop(tf.range, rows, 2))(tf.constant(5)).numpy().tolist()
    [0, 1, 2, 3, 4]
    """
    block = tf.function(function, autograph=False)  # one graph, for the first block and for the others
    first = block(tf.zeros([], tf.int32), tf.minimum(rows, size))
    parts = [
        tf.TensorArray(
            part.dtype,
            tf.maximum(-(-rows // size), 1),
            clear_after_read=True,
            infer_shape=False,
            element_shape=tf.TensorShape([None]).concatenate(part.shape[1:]),
        ).write(0, part)
        for part in tf.nest.flatten(first)
    ]

    def step(i: tf.Tensor, parts: list[tf.TensorArray]) -> Any:
        values = tf.nest.flatten(block(i * size, tf.minimum(rows, (i + 1) * size)))
        return i + 1, [part.write(i, value) for part, value in zip(parts, values, strict=True)]

    last = parts[0].size()
    _, parts = tf.while_loop(lambda i, parts: i < last, step, (tf.constant(1), parts), parallel_iterations=1)
    return tf.nest.pack_sequence_as(first, [part.concat() for part in parts])


def by_rows(
    function: Callable[..., tf.Tensor],
    cost: Cost,
    z: tf.Tensor,
    x: tf.Tensor | None = None,
    *,
    event_ndims: int = 0,
    loop: bool = False,
) -> tf.Tensor:
    """Return function(z, x) [...], or function(z), in blocks of rows where no gradient is recorded.

    Args:
      function: Function that works on each row by itself.
      cost: Memory of the function for each row.
      z: Rows [..., L].
      x: Data whose axes, before the last `event_ndims`, are the last before L of z; None for no data.
      event_ndims: Number of axes of one x.
      loop: Whether a graph works in blocks too, in a loop, which has no gradient.
    """
    data = () if x is None else (x,)
    if is_recorded() and not loop:
        return function(z, *data)
    leading = tf.shape(z)[:-1] if loop else z.shape[:-1].as_list()
    rows = tf.reduce_prod(leading) if loop else int(np.prod(leading))
    size = cost.rows_at_once(UNKNOWN_ROWS if loop else rows)
    if not loop and (size >= rows or not _matches(x, event_ndims, leading)):
        return function(z, *data)
    flat_z = tf.reshape(z, [-1, z.shape[-1]])
    flat_x = [tf.reshape(each, [-1, *each.shape[each.shape.rank - event_ndims :]]) for each in data]

    def block(start: Bounds, stop: Bounds) -> tf.Tensor:
        places = tf.range(start, stop)
        return function(flat_z[start:stop], *(tf.gather(x, places % tf.shape(x)[0]) for x in flat_x))

    values = in_loop(block, rows, size) if loop else in_row_blocks(block, rows, size)
    return tf.reshape(values, leading)


def draw_in_blocks(
    draw: Callable[[Bounds, Bounds, tf.Tensor], Any],
    rows: Any,
    numbers: int,
    seed: tf.Tensor,
    *,
    loop: bool = False,
) -> Any:
    """Draw rows in blocks of `PARAMETERS_PER_SEED` parameters, each with a seed of its own.

    The first block has the seed itself. The blocks do not depend on the budget, so the same seed gives the
    same draws.

    Args:
      draw: Function from the first row of a block, the row after its last, and a seed to draws of its rows.
      rows: Number of rows, an int or a scalar tensor; a tensor without a loop is one block.
      numbers: Number of parameters of a row.
      seed: Seed, an int32 pair.
      loop: Whether the blocks are drawn in a loop of a graph.
    """
    size = max(1, PARAMETERS_PER_SEED // numbers)
    if loop:
        return in_loop(
            lambda start, stop: draw(start, stop, tf.where(start == 0, seed, fold_in(seed, start))),
            rows,
            size,
        )
    if tf.is_tensor(rows):
        return draw(0, rows, seed)
    return in_row_blocks(
        lambda start, stop: draw(start, stop, fold_in(seed, start) if start else seed), rows, size
    )


def _matches(x: tf.Tensor | None, event_ndims: int, leading: list[int]) -> bool:
    """Return whether the axes of x before its event are the last of `leading`."""
    if x is None:
        return True
    batch = x.shape[: x.shape.rank - event_ndims].as_list()
    return batch == leading[len(leading) - len(batch) :]


# ---- refusals ------------------------------------------------------------------------------------


def refuse_gradient(cost: Cost, num_samples: int, batch_size: int) -> None:
    """Refuse a gradient that is being recorded eagerly, if it does not fit.

    Args:
      cost: Memory of a row.
      num_samples: Number of draws of z for each example.
      batch_size: Number of examples.

    Raises:
      InputError: It does not fit; the message says how many draws would.
    """
    if not tf.executing_eagerly() or not record.could_possibly_record():
        return
    rows = num_samples * batch_size
    values = rows * cost.of_row(rows, BUDGET)
    if values > BUDGET:
        _refuse(EAGER_GRADIENT * values, num_samples, batch_size)


def refuse_step(
    vae: Any, objective: Callable[..., tf.Tensor], batch_size: int, *, groups: int | None = None
) -> None:
    """Refuse a training step that does not fit into the memory that is free.

    What it needs is read from its graph, which is made only if the step is large.

    Args:
      vae: Model.
      objective: Function `(vae, x, *, seed) -> [B]`; the number of its draws is its default `num_samples`.
      batch_size: B, the number of examples in a step.
      groups: Number of groups of draws; None for the default `groups` of the objective.

    Raises:
      InputError: It does not fit; the message says how many draws, or examples, would.
    """
    num_samples, event = _default_of(objective, "num_samples"), vae.event_shape
    groups = _default_of(objective, "groups") if groups is None else groups
    rows = batch_size * num_samples * groups

    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(objective(vae, x, seed=tf.constant([0, 0])))
        return [g for g in tape.gradient(loss, vae.trainable_variables) if g is not None]

    values = int(np.prod(event)) + vae.latent_dim
    if rows * Cost(vae, "step", step, event, vae.prior.dtype, values, vae).most > BUDGET:
        needed = peak_bytes(graph_of(step, [batch_size, *event], vae.prior.dtype))
        _refuse(needed, num_samples, batch_size, groups)


def refuse_values(name: str, number: Any, size: int) -> None:
    """Refuse a number of draws whose values alone do not fit into memory.

    Args:
      name: Name of the argument that is the number, for the message.
      number: Number of draws, an int or a tensor, which is not checked.
      size: Number of values of a draw, of four bytes each.

    Raises:
      InputError: They do not fit; the message says how many do.
    """
    if tf.is_tensor(number) or 4 * number * size <= BUDGET:
        return
    free = available_memory()
    if free is not None and 4 * number * size > free:
        most = int(FREE_SHARE * free / (4 * size))
        advice = f"use at most {most:,}" if most else "use fewer examples at once"
        raise InputError(
            f"{name}={number:,} needs at least {_gigabytes(4 * number * size)} of memory, and "
            f"{_gigabytes(free)} are free: {advice}."
        )


def _default_of(objective: Callable[..., tf.Tensor], name: str) -> int:
    """Return the default of an argument of an objective that is a number, 1 if it has none."""
    parameter = inspect.signature(objective).parameters.get(name)
    default = None if parameter is None else parameter.default
    return int(default) if isinstance(default, int | np.integer) else 1


def _refuse(needed: float, num_samples: int, batch_size: int, groups: int = 1) -> None:
    """Refuse a gradient that needs more bytes than are free; a GPU has memory of its own."""
    free = available_memory()
    if free is None or tf.config.list_physical_devices("GPU") or needed <= FREE_SHARE * free:
        return
    share = FREE_SHARE * free / needed
    draws, examples = int(share * num_samples), max(1, int(share * batch_size))
    what = f"{batch_size:,} examples"
    advice = f"use a batch of at most {examples:,}"
    if draws >= 1:
        several = f"{groups:,} groups of " if groups > 1 else ""
        what = f"{several}{num_samples:,} draws for each of {what}"
        advice = f"use at most {draws:,} draws (num_samples), or a smaller batch"
    raise InputError(
        f"A gradient with {what} needs about {_gigabytes(needed)} of memory, and {_gigabytes(free)} are "
        f"free: {advice}."
    )


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
