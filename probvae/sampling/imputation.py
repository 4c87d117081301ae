"""Imputation of missing values from p(x_missing | x_seen) of a model, with its uncertainty."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import tensorflow as tf

from probvae.arguments import count, weight
from probvae.config.choices import column_sizes
from probvae.data.kinds import central_levels
from probvae.data.schema import Schema
from probvae.distributions import traces
from probvae.distributions.base import at_rows
from probvae.errors import InputError
from probvae.inference.blocks import as_data, in_blocks
from probvae.models.vae import VAE
from probvae.objectives.bound import log_terms
from probvae.objectives.memory import refuse_values
from probvae.sampling.frame_imputation import (
    FrameImputation,
    draws_needed,
    rows_with_gaps,
    schema_of_frame,
    to_frames,
)
from probvae.seeds import Seed, fold_in, of_rows, split

if TYPE_CHECKING:
    import pandas as pd

FEW = 10  # effective sample size below which an imputation is unreliable
BLOCK = 1 << 20  # number of values of x that are decoded at once
COLOURS = ", and a colour pixel of a likelihood that couples its channels must be missing as a whole"
HELD = 1 << 24  # number of values of x in the draws of a block of examples


class Imputation(NamedTuple):
    """Moments and draws from p(x_missing | x_seen); observed values are unchanged.

    Attributes:
      mean: Mean [N, *E], float32, by self-normalized importance weights; for a column of levels of a table
        the most probable level, or the median if the levels have an order.
      sd: Standard deviation [N, *E]; 0 for observed values.
      draws: Joint draws of the missing values, [R, N, *E], by sampling importance resampling; None for R = 0.
      effective_sample_size: (sum w)^2 / sum w^2, [N], from 1 to K; where it is small (below 10), all of the
        above is unreliable.
      probabilities: Probabilities of the levels, [N, K], by the index of a column of levels; 0 and 1 for
        observed values.
      quantiles: Quantiles of p(x_missing | x_seen) of each value, [Q, N, *E]; None for Q = 0.
    """

    mean: np.ndarray
    sd: np.ndarray
    draws: np.ndarray | None
    effective_sample_size: np.ndarray
    probabilities: dict[int, np.ndarray]
    quantiles: np.ndarray | None = None


@overload
def impute(
    vae: VAE,
    x: np.ndarray,
    *,
    num_samples: int = 1000,
    num_draws: int = 0,
    quantiles: Sequence[float] = (),
    seed: Seed = 0,
) -> Imputation: ...


@overload
def impute(
    vae: VAE,
    x: "pd.DataFrame",
    *,
    num_samples: int = 1000,
    num_draws: int = 0,
    quantiles: Sequence[float] = (),
    seed: Seed = 0,
) -> FrameImputation: ...


def impute(
    vae: VAE,
    x: Any,
    *,
    num_samples: int = 1000,
    num_draws: int = 0,
    quantiles: Sequence[float] = (),
    seed: Seed = 0,
) -> Imputation | FrameImputation:
    """Impute missing values with their uncertainty, from p(x_missing | x_seen) of the model.

    K draws z from q(z|x_seen) have the weights w = p(x_seen|z) p(z) / q(z|x_seen). The mean is the weighted
    mean of E[x|z], the standard deviation is that of draws x ~ p(x|z) with these weights, and the draws come
    from p(x|z) at values of z resampled by weight. All are consistent as K grows, for any q(z|x); the bias is
    of order 1/K. The standard deviation does not include the error of the model. The draws of an example
    follow from its values and the seed, so that other examples and their order do not matter; equal examples
    have equal draws.

    Args:
      vae: Model whose likelihood and encoder take missing values.
      x: Data [N, *E], nan where missing; or a DataFrame, whose columns are those of the model's schema.
      num_samples: K, the number of draws of z for each example.
      num_draws: R, the number of draws of the missing values; above the effective sample size they repeat
        values of z.
      quantiles: Probabilities of the Q quantiles of the missing values, between 0 and 1.
      seed: Seed of the draws, an int or an int32 pair.

    Returns:
      `Imputation`, as the model sees x; for a DataFrame `FrameImputation`, in the units of its columns.

    Raises:
      InputError: x does not have the shape of the model, or the likelihood does not take these missing
        values.

    References:
      Mattei & Frellsen 2019, MIWAE, arXiv:1812.02633, section 2.4.
    """
    options: dict[str, Any] = {"num_samples": num_samples, "quantiles": quantiles, "seed": seed}
    imputer = Imputer(vae)
    if hasattr(x, "columns"):
        schema = schema_of_frame(vae.schema)
        imputed: Any = imputer.impute_frame(schema, x, num_draws=num_draws, **options)
        touched = rows_with_gaps(schema, x)
    else:
        codes = as_data(vae, x)
        imputed = imputer.impute(codes, num_draws=num_draws, **options)
        touched = np.isnan(codes).reshape(len(codes), -1).any(axis=1)
    advice = "Use more num_samples; x may lie far from the training set."
    if words := few_in_words(imputed.effective_sample_size, touched, "examples", advice):
        warnings.warn(words, stacklevel=2)
    return imputed


def few_in_words(sizes: Any, touched: np.ndarray, noun: str, advice: str) -> str:
    """Describe examples with missing values whose effective sample size is too small; empty without them.

    Args:
      sizes: Effective sample sizes [N].
      touched: Mask of the examples with missing values, [N].
      noun: Name of the examples.
      advice: Sentence that ends the description.
    """
    few = int(np.sum(touched & (np.asarray(sizes) < FEW)))
    if not few:
        return ""
    return (
        f"{few:,} of {len(touched):,} {noun} have an effective sample size below {FEW}: what is imputed "
        f"there is not to be trusted. {advice}"
    )


def ends_of_interval(level: Any) -> tuple[float, float]:
    """Return the probabilities of the two ends of an interval with equal tails.

    Raises:
      InputError: The level does not lie between 0 and 1.

    >>> ends_of_interval(0.5)
    (0.25, 0.75)
    """
    value = weight("level", level, above=True)
    low, high = 0.5 - value / 2, 0.5 + value / 2
    if not 0 < low < high < 1:
        raise InputError(f"level must lie between 0 and 1, such as 0.9; got {level!r}.")
    return low, high


class Imputer:
    """A model with its compiled functions that impute; methods have the arguments of `impute`."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self._step, self._redraw = _compile(vae)

    def impute(
        self, x: np.ndarray, *, num_samples: int, num_draws: int = 0, quantiles: Sequence[float], seed: Seed
    ) -> Imputation:
        """Impute the missing values of data [N, *E]."""
        x = as_data(self.vae, x)
        num_samples, num_draws = count("num_samples", num_samples), count("num_draws", num_draws, 0)
        quantiles = [weight("a quantile", q, above=True) for q in quantiles]
        if any(q >= 1 for q in quantiles):
            raise InputError(f"quantiles must lie between 0 and 1; got {max(quantiles):g}.")
        refuse_values("num_samples", num_samples, self.vae.latent_dim + 1)
        refuse_values("num_draws", num_draws, x.size)
        levels, values = _levels(self.vae), int(np.prod(self.vae.event_shape))
        chunk = int(np.clip(BLOCK // values, 1, num_samples))
        sizes = [min(chunk, num_samples - first) for first in range(0, num_samples, chunk)]
        held = values * max(chunk, num_draws, num_samples if quantiles else 0)
        size = int(np.clip(HELD // held, 1, len(x)))
        seeds = of_rows(seed, x)
        redraw = functools.partial(self._redraw, num_draws=tf.constant(num_draws))

        def impute_block(rows: slice) -> list[np.ndarray]:
            return _impute_block(self._step, redraw, x[rows], seeds[rows], sizes, levels, quantiles)

        has = {"has_draws": bool(num_draws), "has_quantiles": bool(quantiles)}
        return imputed_in_blocks(impute_block, len(x), size, [*levels], **has)

    def impute_frame(
        self, schema: Schema, frame: "pd.DataFrame", *, num_draws: int = 0, **options: Any
    ) -> FrameImputation:
        """Impute the missing cells of a DataFrame with the columns of a schema."""
        draws = draws_needed(schema, count("num_draws", num_draws, 0))
        imputed = self.impute(schema.encode(frame), num_draws=draws, **options)
        return to_frames(schema, frame, imputed, num_draws, options["quantiles"])


def imputed_in_blocks(
    impute_block: Callable[[slice], list[np.ndarray]],
    number: int,
    size: int,
    levels: Sequence[int],
    *,
    has_draws: bool,
    has_quantiles: bool,
) -> Imputation:
    """Impute examples in blocks.

    Args:
      impute_block: Function from a block to means, deviations, draws [R, n, *E], effective sample sizes,
        quantiles [Q, n, *E], and the probabilities of each column with levels.
      number: Number of examples.
      size: Number of examples in a block, at most.
      levels: Indices of the columns with levels.
      has_draws: Whether the draws are returned.
      has_quantiles: Whether the quantiles are returned.
    """
    axes = (0, 0, 1, 0, 1, *[0] * len(levels))
    mean, sd, draws, effective, ends, *probabilities = in_blocks(impute_block, number, size, axes=axes)
    return Imputation(
        mean,
        sd,
        draws if has_draws else None,
        effective,
        dict(zip(levels, probabilities, strict=True)),
        ends if has_quantiles else None,
    )


def _levels(vae: VAE) -> dict[int, str]:
    """Return the kinds of the columns of a table that have levels, by their index."""
    if vae.schema is not None and vae.schema.is_table:  # a model of one class has no architecture
        columns = vae.schema.likelihoods
    else:
        columns = () if vae.architecture is None else vae.architecture.columns
    return {i: kind for i, kind in enumerate(columns) if column_sizes(kind).levels}


def _impute_block(
    step: Callable[..., Any],
    redraw: Callable[..., Any],
    x: np.ndarray,
    seeds: np.ndarray,
    sizes: list[int],
    levels: dict[int, str],
    quantiles: Sequence[float],
) -> list[np.ndarray]:
    """Impute a block of examples, with `sizes` the numbers of draws decoded at a time."""
    counts = {i: column_sizes(kind).levels for i, kind in levels.items()}
    moments = _Moments(x.shape, counts)
    log_w, z, drawn = [], [], []
    for i, size in enumerate(sizes):
        parts = step(x, tf.constant(size), seeds, tf.constant(i + 1))  # [N, S, ...]
        log_w_i, z_i, mean, draw = (np.swapaxes(part, 0, 1) for part in parts)
        if not np.all(np.isfinite(log_w_i)):
            raise InputError(
                "log p(x|z) is not finite: x must be missing (nan) or in the support, the model must take "
                f"missing values (missing=True){COLOURS if x.ndim == 4 else ''}."
            )
        moments.add(log_w_i, mean, draw)
        log_w.append(log_w_i)
        z.append(z_i)
        if quantiles:
            drawn.append(draw)
    missing = np.isnan(x)
    mean, sd, effective = moments.result()
    probabilities = moments.probabilities()
    for i, p in probabilities.items():
        seen = ~missing[:, i]
        if counts[i] == 2:
            p[:] = np.stack([1 - mean[:, i], mean[:, i]], axis=1)
        p[seen] = x[seen, i, None] == np.arange(counts[i])
        if counts[i] > 2:  # a mean of the indices of levels means nothing
            mean[:, i] = central_levels(p, levels[i])
    draws = redraw(x, np.concatenate(log_w), np.concatenate(z), seeds).numpy()
    ends = np.empty([0, *x.shape], np.float32)
    if quantiles:
        ends = weighted_quantiles(np.concatenate(drawn), np.concatenate(log_w), quantiles)
    return [
        np.where(missing, mean, x).astype(np.float32),
        np.where(missing, sd, 0.0).astype(np.float32),
        np.where(missing, draws, x),
        effective,
        np.where(missing, ends, x),
        *probabilities.values(),
    ]


class _Moments:
    """Weighted sums over chunks of draws, relative to the largest weight so far."""

    def __init__(self, shape: tuple[int, ...], levels: dict[int, int]) -> None:
        self.counts = {i: np.zeros((shape[0], count)) for i, count in levels.items()}
        self.top = np.full(shape[0], -np.inf)
        self.total, self.squares = np.zeros(shape[0]), np.zeros(shape[0])
        self.mean, self.first, self.second = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, log_w: np.ndarray, mean: np.ndarray, draw: np.ndarray) -> None:
        """Add draws: log-weights [S, N], E[x|z] and draws of x, [S, N, *E]."""
        log_w, draw = log_w.astype(np.float64), draw.astype(np.float64)
        top = np.maximum(self.top, log_w.max(axis=0))
        shrink, w = np.exp(self.top - top), np.exp(log_w - top)
        self.top = top
        self.total = shrink * self.total + w.sum(axis=0)
        self.squares = shrink**2 * self.squares + (w**2).sum(axis=0)
        for i, counts in self.counts.items():
            counts *= shrink[:, None]
            for k in range(counts.shape[1]):
                counts[:, k] += np.sum(w * (draw[..., i] == k), axis=0)
        shrink = shrink.reshape([-1] + [1] * (mean.ndim - 2))
        for name, value in (("mean", mean), ("first", draw), ("second", draw**2)):
            total = np.einsum("sn,sn...->n...", w, value)
            setattr(self, name, shrink * getattr(self, name) + total)

    def probabilities(self) -> dict[int, np.ndarray]:
        """Return the probabilities of the levels, [N, K], by the index of the column."""
        return {i: counts / self.total[:, None] for i, counts in self.counts.items()}

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean, standard deviation and effective sample size."""
        total = self.total.reshape([-1] + [1] * (self.mean.ndim - 1))
        variance = self.second / total - (self.first / total) ** 2
        return self.mean / total, np.sqrt(np.maximum(variance, 0)), self.total**2 / self.squares


def weighted_quantiles(draws: np.ndarray, log_w: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Return quantiles of weighted draws: the least draw up to which the weights reach the probability.

    Args:
      draws: Draws [S, N, *E].
      log_w: Log-weights [S, N].
      quantiles: Q probabilities.

    Returns:
      Array [Q, N, *E].
    """
    w = np.exp(log_w.astype(np.float64) - log_w.max(axis=0))
    w = (w / w.sum(axis=0)).reshape(*w.shape, *[1] * (draws.ndim - 2))
    order = np.argsort(draws, axis=0)
    reached = np.cumsum(np.take_along_axis(np.broadcast_to(w, draws.shape), order, axis=0), axis=0)
    last = len(draws) - 1
    places = [np.minimum((reached < q - 1e-12).sum(axis=0, keepdims=True), last) for q in quantiles]
    return np.take_along_axis(draws, np.take_along_axis(order, np.concatenate(places), axis=0), axis=0)


def _compile(vae: VAE) -> tuple[Callable[..., Any], Callable[..., tf.Tensor]]:
    """Return functions for a block of examples, each with draws of its own seed."""
    batch, pairs = tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([None, 2], tf.int32)
    number = tf.TensorSpec([], tf.int32)

    @tf.function(autograph=False, input_signature=[batch, number, pairs, number])
    def step(x: tf.Tensor, num_samples: tf.Tensor, seeds: tf.Tensor, chunk: tf.Tensor) -> Any:
        def draw(example: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            x, seed = example
            seed_z, seed_x = split(fold_in(seed, chunk), 2)
            terms = log_terms(vae, x[tf.newaxis], num_samples=num_samples, seed=seed_z)  # z ~ q(z|x_seen)
            p = at_rows(vae.likelihood(terms.z), x[tf.newaxis])  # p(x|z), at the size of the row
            parts = (terms.log_weights, terms.z, p.mean(), p.sample(seed=seed_x))
            return tuple(part[:, 0] for part in parts)

        with traces.forgotten():
            return tf.map_fn(draw, (x, seeds), fn_output_signature=4 * (x.dtype,))

    weights, latents = tf.TensorSpec([None, None]), tf.TensorSpec([None, None, vae.latent_dim])

    @tf.function(autograph=False, input_signature=[batch, weights, latents, pairs, number])
    def redraw(
        x: tf.Tensor, log_w: tf.Tensor, z: tf.Tensor, seeds: tf.Tensor, num_draws: tf.Tensor
    ) -> tf.Tensor:
        def draw(example: tuple[tf.Tensor, ...]) -> tf.Tensor:
            x, log_w, z, seed = example
            seed_z, seed_x = split(fold_in(seed, 0), 2)
            chosen = tf.random.stateless_categorical(log_w[tf.newaxis], num_draws, seed_z)[0]  # [R]
            rows = tf.repeat(x[tf.newaxis], num_draws, axis=0)
            return vae.decoded_draws(tf.gather(z, chosen), seed_x, rows=rows, loop=True)  # [R, *E]

        log_w = tf.transpose(log_w - tf.reduce_max(log_w, axis=0))  # [N, K]
        examples = (x, log_w, tf.transpose(z, [1, 0, 2]), seeds)
        with traces.forgotten():
            drawn = tf.map_fn(draw, examples, fn_output_signature=z.dtype)  # [N, R, *E]
        return tf.reshape(tf.einsum("nr...->rn...", drawn), [num_draws, -1, *vae.event_shape])

    return traces.once(step), traces.once(redraw)
