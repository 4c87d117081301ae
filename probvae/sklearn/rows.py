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
        hashes = [zlib.crc32(row.tobytes()) for row in x]
        seeds = np.stack([np.full(len(x), seed), np.array(hashes, np.uint32).view(np.int32)], axis=1)
        return self._bounds(tf.constant(x), tf.constant(seeds, tf.int32)).numpy().astype(np.float64)


def in_whole_blocks(function: Callable[[tf.Tensor], Any], x: np.ndarray) -> Any:
    """Apply a function of rows to blocks of `BLOCK` rows, the last one padded with its last row."""

    def block(rows: slice) -> Any:
        values, size = function(tf.constant(padded(x[rows], BLOCK))), rows.stop - rows.start
        return [part[:size] for part in values] if isinstance(values, list) else values[:size]

    return in_blocks(block, len(x), BLOCK)
