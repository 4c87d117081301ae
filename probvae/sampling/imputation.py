"""Imputation of missing values from p(x_missing | x_seen) of a model, with its uncertainty."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import tensorflow as tf

from probvae.arguments import count
from probvae.config.choices import column_sizes
from probvae.errors import InputError
from probvae.inference.blocks import as_data, in_blocks
from probvae.models.vae import VAE
from probvae.objectives.bound import log_terms
from probvae.objectives.memory import refuse_values
from probvae.sampling.frame_imputation import FrameImputation, draws_needed, schema_of_frame, to_frames
from probvae.seeds import Seed, fold_in, split

if TYPE_CHECKING:
    import pandas as pd

FEW = 10  # effective sample size below which an imputation is unreliable
BLOCK = 1 << 20  # number of values of x in a block
DRAWN = 1 << 28  # number of values of x in the draws of a block


class Imputation(NamedTuple):
    """Moments and draws from p(x_missing | x_seen); observed values are unchanged.

    Attributes:
      mean: Mean [N, *E], float32, by self-normalized importance weights; for a column of levels of a table
        the most probable level.
      sd: Standard deviation [N, *E]; 0 for observed values.
      draws: Joint draws of the missing values, [R, N, *E], by sampling importance resampling; None for R = 0.
      effective_sample_size: (sum w)^2 / sum w^2, [N], from 1 to K; where it is small (below 10), all of the
        above is unreliable.
      probabilities: Probabilities of the levels, [N, K], by the index of a column of levels; 0 and 1 for
        observed values.
    """

    mean: np.ndarray
    sd: np.ndarray
    draws: np.ndarray | None
    effective_sample_size: np.ndarray
    probabilities: dict[int, np.ndarray]


@overload
def impute(
    vae: VAE, x: np.ndarray, *, num_samples: int = 1000, num_draws: int = 0, seed: Seed = 0
) -> Imputation: ...


@overload
def impute(
    vae: VAE, x: "pd.DataFrame", *, num_samples: int = 1000, num_draws: int = 0, seed: Seed = 0
) -> FrameImputation: ...


def impute(
    vae: VAE, x: Any, *, num_samples: int = 1000, num_draws: int = 0, seed: Seed = 0
) -> Imputation | FrameImputation:
    """Impute missing values with their uncertainty, from p(x_missing | x_seen) of the model.

    K draws z from q(z|x_seen) have the weights w = p(x_seen|z) p(z) / q(z|x_seen). The mean is the weighted
    mean of E[x|z], the standard deviation is that of draws x ~ p(x|z) with these weights, and the draws come
    from p(x|z) at values of z resampled by weight. All are consistent as K grows, for any q(z|x); the bias is
    of order 1/K. The standard deviation does not include the error of the model.

    Args:
      vae: Model whose likelihood and encoder take missing values.
      x: Data [N, *E], nan where missing; or a DataFrame, whose columns are those of the model's schema.
      num_samples: K, the number of draws of z for each example.
      num_draws: R, the number of draws of the missing values; above the effective sample size they repeat
        values of z.
      seed: Seed of the draws, an int or an int32 pair.

    Returns:
      `Imputation`, as the model sees x; for a DataFrame `FrameImputation`, in the units of its columns.

    Raises:
      InputError: x does not have the shape of the model, or the likelihood does not take these missing
        values.

    References:
      Mattei & Frellsen 2019, MIWAE, arXiv:1812.02633, section 2.4.
    """
    num_samples, num_draws = count("num_samples", num_samples), count("num_draws", num_draws, 0)
    if hasattr(x, "columns"):
        schema = schema_of_frame(vae.schema)
        options: dict[str, Any] = {"num_samples": num_samples, "seed": seed}
        draws = draws_needed(schema, num_draws)
        imputed = impute(vae, schema.encode(x), num_draws=draws, **options)
        return to_frames(schema, x, imputed, num_draws)
    x = as_data(vae, x)
    refuse_values("num_samples", num_samples, vae.latent_dim + 1)
    refuse_values("num_draws", num_draws, x.size)
    levels = _levels(vae)
    step, redraw = _compile(vae, num_draws)
    values = int(np.prod(vae.event_shape))
    decodes = int(np.clip(BLOCK // values, 1, 10_000))
    drawn = max(1, DRAWN // (values * max(1, num_draws)))
    size = int(np.clip(BLOCK // num_samples, 1, min(250, decodes, drawn, len(x))))
    chunk = max(1, decodes // size)
    sizes = [min(chunk, num_samples - first) for first in range(0, num_samples, chunk)]

    def impute_block(rows: slice) -> list[np.ndarray]:
        return _impute_block(step, redraw, x[rows], sizes, levels, fold_in(seed, rows.start))

    axes = (0, 0, 1, 0, *[0] * len(levels))
    mean, sd, draws, effective, *probabilities = in_blocks(impute_block, len(x), size, axes=axes)
    few = int(np.sum(effective < FEW))
    if few:
        warnings.warn(
            f"{few:,} of {len(x):,} examples have an effective sample size below {FEW}: what is imputed "
            "there is not to be trusted. Use more num_samples; x may lie far from the training set.",
            stacklevel=2,
        )
    by_column = dict(zip(levels, probabilities, strict=True))
    return Imputation(mean, sd, draws if num_draws else None, effective, by_column)


def _levels(vae: VAE) -> dict[int, int]:
    """Return the number of levels of each column of a table that has levels, by its index."""
    if vae.schema is not None and vae.schema.is_table:  # a model of one class has no architecture
        columns = vae.schema.likelihoods
    else:
        columns = () if vae.architecture is None else vae.architecture.columns
    counts = {i: column_sizes(kind).levels for i, kind in enumerate(columns)}
    return {i: count for i, count in counts.items() if count}


def _impute_block(
    step: Callable[..., Any],
    redraw: Callable[..., Any],
    x: np.ndarray,
    sizes: list[int],
    levels: dict[int, int],
    seed: tf.Tensor,
) -> list[np.ndarray]:
    """Impute a block of examples, with `sizes` the numbers of draws decoded at a time."""
    moments = _Moments(x.shape, levels)
    log_w, z = [], []
    for i, size in enumerate(sizes):
        log_w_i, z_i, mean, draw = (t.numpy() for t in step(x, tf.constant(size), fold_in(seed, i + 1)))
        if not np.all(np.isfinite(log_w_i)):
            raise InputError(
                "log p(x|z) is not finite: x must be missing (nan) or in the support, the model must take "
                "missing values (missing=True), and a colour pixel of a likelihood that couples its channels "
                "must be missing as a whole."
            )
        moments.add(log_w_i, mean, draw)
        log_w.append(log_w_i)
        z.append(z_i)
    missing = np.isnan(x)
    mean, sd, effective = moments.result()
    probabilities = moments.probabilities()
    for i, p in probabilities.items():
        seen = ~missing[:, i]
        if levels[i] == 2:
            p[:] = np.stack([1 - mean[:, i], mean[:, i]], axis=1)
        p[seen] = x[seen, i, None] == np.arange(levels[i])
        if levels[i] > 2:  # a mean of the indices of levels means nothing
            mean[:, i] = p.argmax(axis=1)
    draws = redraw(np.concatenate(log_w), np.concatenate(z), fold_in(seed, 0)).numpy()
    return [
        np.where(missing, mean, x).astype(np.float32),
        np.where(missing, sd, 0.0).astype(np.float32),
        np.where(missing, draws, x),
        effective,
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


def _compile(vae: VAE, num_draws: int) -> tuple[Callable[..., Any], Callable[..., tf.Tensor]]:
    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, *vae.event_shape]),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([2], tf.int32),
        ],
    )
    def step(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        seed_z, seed_x = split(seed, 2)
        terms = log_terms(vae, x, num_samples=num_samples, seed=seed_z)  # z ~ q(z|x_seen)
        p = vae.likelihood(terms.z)  # p(x|z)
        return terms.log_weights, terms.z, p.mean(), p.sample(seed=seed_x)

    @tf.function(autograph=False, reduce_retracing=True)
    def redraw(log_w: tf.Tensor, z: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seed_z, seed_x = split(seed, 2)
        log_w = tf.transpose(log_w - tf.reduce_max(log_w, axis=0))  # [N, K]
        chosen = tf.random.stateless_categorical(log_w, num_draws, seed_z)  # [N, R]
        z = tf.gather(tf.transpose(z, [1, 0, 2]), chosen, batch_dims=1)  # [N, R, L]
        rows = tf.reshape(tf.transpose(z, [1, 0, 2]), [-1, vae.latent_dim])  # [R N, L]
        x = vae.decoded_draws(rows, seed_x, loop=True)
        return tf.reshape(x, [num_draws, -1, *vae.event_shape])  # [R, N, *E]

    return step, redraw
