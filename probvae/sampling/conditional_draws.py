"""Rows of a table given conditions on any of its columns, by importance sampling."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from probvae.arguments import count, weight
from probvae.data.conditions import Condition, conditions_of
from probvae.data.tables.frames import to_frame
from probvae.errors import InputError
from probvae.inference.estimates import log_mean_exp
from probvae.models.vae import VAE
from probvae.objectives.memory import refuse_values
from probvae.seeds import Seed, as_seed, fold_in, split

BLOCK = 4096  # number of draws of z at a time, half of them from p(z)
FILLS = 16  # number of rows that q(z|x) is taken at, filled with values that meet the conditions
FEWEST = 100.0  # smallest effective sample size
HALVINGS = 50  # number of halvings of the bracket of a draw in a range
REACH = 200.0  # standard deviations to the ends of an open range


class ConditionalDraws(NamedTuple):
    """Rows drawn given conditions, with how well they are drawn.

    Attributes:
      x: Rows, codes [N, D].
      z: Latents [N, L].
      effective_sample_size: (sum w)^2 / sum w^2 over all draws of z.
      log_probability: Logarithm of the probability, or density, of the conditions under the model, nats.
      standard_error: Monte Carlo error of `log_probability`, nats.
    """

    x: np.ndarray
    z: np.ndarray
    effective_sample_size: float
    log_probability: float
    standard_error: float


def sample_given(
    vae: VAE, given: Mapping[str, Any], num_draws: int = 1, *, seconds: float = 10.0, seed: Seed = None
) -> ConditionalDraws:
    """Draw rows from p(x | conditions): any columns given any others.

    z is drawn half from p(z), half from q(z|x) at rows that meet the conditions (if the model takes missing
    values), and weighed by p(z) P(conditions|z) / r(z), r being the density of both halves together; a range
    or a set has its probability under p(x|z). The rows come from z resampled by weight, and the columns in
    ranges and sets from p(x|z) within these; no row is rejected. Draws of z are added until their effective
    sample size is the number of rows, or the time is over. Where a column is the size of the rows, a size
    that meets its condition is drawn with each z, and the counts have their probability given this size.

    Args:
      vae: Model of a table, with its schema.
      given: Conditions by the name of the column, in the units of the data: a value; a pair (low, high) for
        a range, None for an open end; or a list or set of values.
      num_draws: N, the number of rows.
      seconds: Longest time for draws of z; one block of 4,096 is always drawn.
      seed: Seed of the draws, an int or an int32 pair; None for another result each time. Where the time
        decides how many draws of z are made, the same seed can give other rows.

    Returns:
      `ConditionalDraws`; `vae.schema.decode(draws.x)` has the units of the data.

    Raises:
      InputError: A condition fits no column, or fewer than 100 draws of z are effective.
    """
    num_draws = count("num_draws", num_draws)
    seconds = weight("seconds", seconds)
    if vae.schema is None or not vae.schema.is_table:
        raise InputError(
            "Conditions are on the columns of a table, and the model has no schema of one: train it on a "
            "table, or build it with schema=data.load(frame).schema."
        )
    if tuple(vae.event_shape) != tuple(vae.schema.event_shape):
        raise InputError(
            "The model is conditional, and rows given others are those of the model of one class: take that, "
            "as by vae.given(label)."
        )
    conditions = conditions_of(vae.schema, given)
    refuse_values("num_draws", num_draws, vae.latent_dim + len(vae.schema.names))
    seed_fill, seed_z, seed_chosen, seed_x = split(seed, 4)
    fills = _fills(vae, conditions, np.asarray(seed_fill)) if vae.schema.missing else None
    step = _weighted(vae, conditions, fills)
    z: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    log_w: list[np.ndarray] = []
    size, start = 0.0, time.monotonic()
    while size < num_draws and (not z or time.monotonic() - start < seconds):
        drawn = step(fold_in(seed_z, len(z)))
        z.append(drawn.z.numpy())
        sizes.append(drawn.sizes.numpy())
        log_w.append(drawn.log_weights.numpy().astype(np.float64))
        size = _effective(np.concatenate(log_w))
    weights = np.concatenate(log_w)
    if size < FEWEST:
        raise InputError(
            f"Only {size:.0f} of {len(weights):,} draws of z are effective for these conditions, and "
            f"{FEWEST:.0f} are needed: they hold for too few rows of the model, or contradict each other; "
            "give fewer or wider ones, or more seconds."
        )
    log_w_all = tf.constant(weights - weights.max(), tf.float32)[tf.newaxis]
    chosen = tf.random.stateless_categorical(log_w_all, num_draws, seed_chosen)[0].numpy()
    rows = np.concatenate(z)[chosen]
    log_mean = float(log_mean_exp(weights))
    relative = np.exp(weights - log_mean)
    return ConditionalDraws(
        _rows_at(vae, conditions, tf.constant(rows), seed_x, np.concatenate(sizes)[chosen]),
        rows,
        size,
        log_mean,
        float(relative.std(ddof=1) / np.sqrt(len(relative))),
    )


def sample_rows(
    vae: VAE, num_draws: int = 1, given: Mapping[str, Any] | None = None, *, seed: Seed = None
) -> Any:
    """Draw x from the model, given conditions if there are any, in the units of the data.

    Args:
      vae: Model with its schema.
      num_draws: N, the number of draws.
      given: Conditions on the columns of a table, as in `sample_given`; None for draws from p(x).
      seed: Seed of the draws, an int or an int32 pair; None for another result each time.

    Returns:
      `pandas.DataFrame` of N rows for a table; else an array [N, *E].

    Raises:
      InputError: Those of `sample_given`; the model has no schema.
    """
    if given is None:
        x = vae.sample(num_draws, seed=seed).numpy()
    else:
        x = sample_given(vae, given, num_draws, seed=seed).x
    if vae.schema is None:
        raise InputError("The model has no schema, which holds the units of its data: use vae.sample.")
    return to_frame(vae.schema, x) if vae.schema.is_table else vae.schema.decode(x)


def _effective(log_w: np.ndarray) -> float:
    top = log_w.max()
    if not np.isfinite(top):
        return 0.0
    w = np.exp(log_w - top)
    return float(w.sum() ** 2 / np.sum(w**2))


def _fills(vae: VAE, conditions: Sequence[Condition], seed: np.ndarray) -> np.ndarray:
    """Return rows [M, D] that meet the conditions, with the other columns missing."""
    assert vae.schema is not None
    rng = np.random.default_rng(np.abs(seed.astype(np.int64)))
    rows = np.full([FILLS, len(vae.schema.names)], np.nan, np.float32)
    rows[:, [column.is_size for column in vae.schema.columns]] = 0.0  # a typical one; none may be missing
    for condition in conditions:
        if condition.codes is not None:
            codes = np.array(condition.codes)
            rows[:, condition.index] = rng.permutation(codes[np.arange(FILLS) * len(codes) // FILLS])
            continue
        column = vae.schema.columns[condition.index]
        seen = [0.0 if end is None else end for end in (column.low, column.high)]
        first, last = column.codes(np.array(seen, np.float64))
        low, high = max(condition.low, first), min(condition.high, last)
        if low > high:  # the range is outside of the data
            low = high = condition.low if np.isfinite(condition.low) else condition.high
        rows[:, condition.index] = rng.permutation(low + (high - low) * (np.arange(FILLS) + 0.5) / FILLS)
    return rows


class _Weighted(NamedTuple):
    """Draws of z [S, L], codes of the sizes of rows [S], 0 where rows have none, and log-weights [S]."""

    z: tf.Tensor
    sizes: tf.Tensor
    log_weights: tf.Tensor


def _weighted(
    vae: VAE, conditions: Sequence[Condition], fills: np.ndarray | None
) -> Callable[[tf.Tensor], _Weighted]:
    """Return a compiled function from a seed to weighted draws."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([2], tf.int32)])
    def step(seed: tf.Tensor) -> _Weighted:
        seed_p, seed_q = split(seed, 2)
        if fills is None:
            z = vae.prior.sample(BLOCK, seed=seed_p)
            sizes = _sizes(vae, conditions, z, fold_in(seed, 2))
            return _Weighted(z, sizes, log_probability(vae, conditions, z, sizes))
        q = vae.posterior(tf.constant(fills))  # q(z|x) at M rows
        z_q = tf.reshape(q.sample(BLOCK // 2 // FILLS, seed=seed_q), [BLOCK // 2, -1])
        z = tf.identity(tf.concat([vae.prior.sample(BLOCK // 2, seed=seed_p), z_q], axis=0))
        sizes = _sizes(vae, conditions, z, fold_in(seed, 2))
        log_p = vae.prior.log_prob(z)
        log_q = tf.reduce_logsumexp(q.log_prob(z[:, tf.newaxis]), axis=1) - np.log(FILLS)
        log_r = tf.reduce_logsumexp(tf.stack([log_p, log_q]), axis=0) - np.log(2)  # r(z)
        return _Weighted(z, sizes, log_p + log_probability(vae, conditions, z, sizes) - log_r)

    return step


def _sizes(vae: VAE, conditions: Sequence[Condition], z: tf.Tensor, seed: Seed) -> tf.Tensor:
    """Draw codes of sizes [S] from p(size|z), or from p(size | condition, z), at z [S, L].

    Where the columns have no size, the result is 0.
    """
    if vae.schema is None or not any(column.is_size for column in vae.schema.columns):
        return tf.zeros_like(z[:, 0])
    columns = columns_in(vae.likelihood(z))
    own = [condition for condition in conditions if condition.index == columns.size_index]
    return _drawn(columns, own[0], seed) if own else columns.sample(seed=seed)[:, columns.size_index]


def log_probability(vae: VAE, conditions: Sequence[Condition], z: tf.Tensor, sizes: Any = None) -> tf.Tensor:
    """Return log P(conditions|z), [S], at z [S, L]; single values of real columns count by their density.

    Args:
      vae: Model of a table.
      conditions: Conditions on its columns.
      z: Draws [S, L].
      sizes: Codes of the sizes of rows [S], where the columns have one, at which the counts have their
        probability. The mean over sizes from p(size | condition, z) is P(conditions|z).
    """
    columns = columns_in(vae.likelihood(z))
    i = columns.size_index
    parts = [_log_probability(columns, condition) for condition in conditions if condition.index == i]
    if i is not None:
        columns = columns.at_rows(_rows_of_size(columns, sizes))
    parts += [_log_probability(columns, condition) for condition in conditions if condition.index != i]
    return tf.add_n(parts)


def _rows_of_size(columns: Any, sizes: Any) -> tf.Tensor:
    """Return rows [S, D] that hold the codes [S] of their sizes and nothing else."""
    own = tf.one_hot(columns.size_index, columns.batch_shape[-1], dtype=columns.dtype)
    return tf.cast(sizes, columns.dtype)[:, tf.newaxis] * own


def columns_in(distribution: Any) -> Any:
    """Return the `distributions.columns.Columns` within p(x|z).

    Raises:
      InputError: p(x|z) is no product over columns.
    """
    while not hasattr(distribution, "of_column"):
        distribution = getattr(
            distribution, "tensor_distribution", getattr(distribution, "distribution", None)
        )
        if distribution is None:
            raise InputError("Conditions need a likelihood of columns, mixed: train on a table.")
    return distribution


def _log_probability(columns: Any, condition: Condition) -> tf.Tensor:
    if condition.codes is not None:
        codes = tf.constant(condition.codes, columns.dtype)
        return tf.reduce_logsumexp(columns.of_column(condition.index, "log_prob", codes), axis=0)
    below, above = _tails(columns, condition)
    inside = tf.where(_is_upper(columns, condition), above[0] - above[1], below[1] - below[0])
    return tf.math.log(tf.maximum(inside, 0.0))


def _tails(columns: Any, condition: Condition) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the probabilities below and above the two ends of a range, [2, S] each."""
    ends = tf.constant([condition.low, condition.high], columns.dtype)
    below = columns.of_column(condition.index, "cdf", ends)
    return below, columns.of_column(condition.index, "survival_function", ends)


def _is_upper(columns: Any, condition: Condition) -> tf.Tensor:
    """Return where a range lies above the mean, so that the upper tail is the accurate one, [S]."""
    return columns.moment_of_column(condition.index, "mean") < condition.low


def _rows_at(
    vae: VAE, conditions: Sequence[Condition], z: tf.Tensor, seed: Seed, sizes: Any = None
) -> np.ndarray:
    """Return draws of rows [N, D] from p(x | conditions, z, size) at z [N, L] and codes of sizes [N]."""
    columns = columns_in(vae.likelihood(z))
    i = columns.size_index
    given = None if i is None else _rows_of_size(columns, sizes)
    rows = vae.decoded_draws(z, fold_in(seed, -1), rows=given).numpy()
    if i is not None:
        rows[:, i], columns = sizes, columns.at_rows(given)
    for condition in conditions:
        if condition.index != i:
            own = fold_in(as_seed(seed), condition.index)
            rows[:, condition.index] = _drawn(columns, condition, own).numpy()
    return rows


def _drawn(columns: Any, condition: Condition, seed: Seed) -> tf.Tensor:
    """Draw the codes of a column within its condition, [S]."""
    return (_of_codes if condition.codes is not None else _of_range)(columns, condition, seed)


def _of_codes(columns: Any, condition: Condition, seed: Seed) -> tf.Tensor:
    codes = tf.constant(condition.codes, columns.dtype)
    log_p = tf.transpose(columns.of_column(condition.index, "log_prob", codes))  # [N, K]
    return tf.gather(codes, tf.random.stateless_categorical(log_p, 1, seed)[:, 0])


def _of_range(columns: Any, condition: Condition, seed: Seed) -> tf.Tensor:
    """Draw from a column within a range: a uniform part of the probability in it, by bisection."""
    below, above = _tails(columns, condition)
    upper, i = _is_upper(columns, condition), condition.index
    part = tf.random.stateless_uniform(tf.shape(below[0]), seed, dtype=columns.dtype)
    wanted = tf.where(upper, above[0] + part * (above[1] - above[0]), below[0] + part * (below[1] - below[0]))
    mean, deviation = (columns.moment_of_column(i, name) for name in ("mean", "stddev"))
    low = tf.maximum(tf.constant(condition.low, mean.dtype), mean - REACH * deviation)
    high = tf.minimum(tf.constant(condition.high, mean.dtype), mean + REACH * deviation)

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = (low + high) / 2
        lower, higher = (
            columns.of_column(i, name, middle[tf.newaxis])[0] for name in ("cdf", "survival_function")
        )
        right = tf.where(upper, higher > wanted, lower < wanted)  # the draw lies to the right of the middle
        return tf.where(right, middle, low), tf.where(right, high, middle)

    @tf.function(autograph=False)  # to trace one halving takes less time than to run all of them eagerly
    def halved(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ends = tf.while_loop(lambda *_: True, halve, (low, high), maximum_iterations=HALVINGS)
        return ends[0], ends[1]

    low, high = halved(tf.minimum(low, high), tf.maximum(low, high))
    return tf.clip_by_value((low + high) / 2, condition.low, condition.high)
