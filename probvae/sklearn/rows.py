"""Rows: their training data, and a model that gives each row a bound of its own."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae import objectives
from probvae.config.training import Training
from probvae.data.binarization import Prepared
from probvae.data.splits import split_off
from probvae.distributions import traces
from probvae.distributions.base import unwrap
from probvae.distributions.missing import IN_SUPPORT
from probvae.errors import InputError
from probvae.inference.blocks import in_blocks, padded
from probvae.models.vae import VAE

BLOCK = 256  # number of rows in a block, a constant because the rounding of sums depends on the batch shape


def prepared(x: np.ndarray, training: Training) -> Prepared:
    """Return training data with rows held out for validation, in an order determined by the seed."""
    if not training.validation:
        return Prepared(x, x[:1], _identity, None)
    rest, held = split_off(len(x), training.validation, [training.seed, 4])
    if not len(rest):
        raise InputError(f"validation of {training.validation} leaves no row of {len(x)} to train on.")
    return Prepared(x[np.sort(rest)], x[held], _identity, x[held])


def _identity(batch: tf.Tensor, seed: Any) -> tf.Tensor:
    return batch


class RowModel:
    """A model in TensorFlow, and its compiled bound from `draws` draws of z for each row."""

    def __init__(self, vae: VAE, draws: int) -> None:
        self.vae, self.draws = vae, draws

        def bound(row: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return objectives.iwae(vae, row[0][None], num_samples=draws, seed=row[1])[0]

        def bounds(x: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
            with traces.forgotten():
                return tf.map_fn(bound, (x, seeds), fn_output_signature=tf.float32)

        signature = [tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([None, 2], tf.int32)]
        self._bounds = traces.once(tf.function(bounds, input_signature=signature, autograph=False))

    def bounds(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Return the bound of each row [n, D], [n] float64, with draws that depend on its values."""
        return self._bounds(tf.constant(x), _seeds(x, seed)).numpy().astype(np.float64)


class RowParts:
    """A model in TensorFlow, and the bound of `RowModel` with its error and the parts of the columns."""

    def __init__(self, vae: VAE, draws: int) -> None:
        self.vae, self.draws = vae, draws

        def parts(row: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            x = row[0][None]
            terms = objectives.log_terms(vae, x, num_samples=draws, seed=row[1])
            log_w = terms.log_weights[:, 0]  # [K]
            share = tf.nn.softmax(log_w)  # the share of each draw in p(z|x)
            spread = tf.reduce_sum(tf.square(share - 1 / draws)) * draws / max(1, draws - 1)
            columns = tf.reduce_sum(share[:, None] * _by_column(vae, x, terms.z)[:, 0], axis=0)  # [D]
            return tf.reduce_logsumexp(log_w) - np.log(draws), tf.sqrt(spread), columns

        def all_parts(x: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            with traces.forgotten():
                return tf.map_fn(parts, (x, seeds), fn_output_signature=(tf.float32,) * 3)

        signature = [tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([None, 2], tf.int32)]
        self._parts = traces.once(tf.function(all_parts, input_signature=signature, autograph=False))

    def parts(self, x: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the bound of each row, its Monte Carlo error, and the parts of its columns.

        The bound is log (1/K) sum_k w_k, and its standard error is that of the mean of the weights w over
        their mean. The part of a column is the mean of log p(x_d|z) over draws weighted by w, those of
        p(z|x).

        Args:
          x: Coded rows [n, D].
          seed: Seed; the draws of a row depend on its values, too.

        Returns:
          [n] and [n], and [n, D], float64, in nats.
        """
        bound, error, columns = self._parts(tf.constant(x), _seeds(x, seed))
        return tuple(part.numpy().astype(np.float64) for part in (bound, error, columns))


def _by_column(vae: VAE, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Return log p(x_d|z) of each column, 0 where it is missing, [K, B, D], for draws z [K, B, L]."""
    p = unwrap(vae.likelihood(z))  # p(x|z)
    factors = getattr(p, "distribution", p)
    while hasattr(factors, "reinterpreted_batch_ndims"):  # below the mask of missing values
        factors = factors.distribution
    missing = tf.math.is_nan(x)
    return tf.where(missing, 0.0, factors.log_prob(tf.where(missing, IN_SUPPORT, x)))


def _seeds(x: np.ndarray, seed: int) -> tf.Tensor:
    """Return a pair of seeds for each row, from its values and a seed, [n, 2]."""
    hashes = [zlib.crc32(row.tobytes()) for row in x]
    pairs = np.stack([np.full(len(x), seed), np.array(hashes, np.uint32).view(np.int32)], axis=1)
    return tf.constant(pairs, tf.int32)


def in_whole_blocks(function: Callable[[tf.Tensor], Any], x: np.ndarray) -> Any:
    """Apply a function of rows to blocks of `BLOCK` rows, the last one padded with its last row."""

    def block(rows: slice) -> Any:
        values, size = function(tf.constant(padded(x[rows], BLOCK))), rows.stop - rows.start
        return [part[:size] for part in values] if isinstance(values, list) else values[:size]

    return in_blocks(block, len(x), BLOCK)
