"""What a model says of the rows of a table, one by one: no number of a row depends on the other rows."""

import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from probvae import objectives
from probvae.model import VAE

BLOCK = 256  # rows that are worked on together; always so many, as sums are rounded by the shape of a batch


class RowModel:
    """A model in TensorFlow and its compiled bound with so many draws of z."""

    def __init__(self, vae: VAE, draws: int) -> None:
        self.vae, self.draws = vae, draws

        def bound(row: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return objectives.iwae(vae, row[0][None], num_samples=draws, seed=row[1])[0]

        self._bounds = tf.function(
            lambda x, seeds: tf.map_fn(bound, (x, seeds), fn_output_signature=tf.float32),
            input_signature=[tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([None, 2], tf.int32)],
            autograph=False,
        )

    def bounds(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Return the bound of each row [n, D] by itself, with draws that its values choose; [n] float64."""
        chosen = [zlib.crc32(row.tobytes()) for row in x]
        seeds = np.stack([np.full(len(x), seed), np.array(chosen, np.uint32).view(np.int32)], axis=1)
        return self._bounds(tf.constant(x), tf.constant(seeds, tf.int32)).numpy().astype(np.float64)


def in_blocks(function: Callable[[tf.Tensor], tf.Tensor], x: np.ndarray) -> np.ndarray:
    """Apply a function of rows to blocks of `BLOCK`, the last one filled up with its last row."""
    more = -len(x) % BLOCK
    x = np.concatenate([x, np.repeat(x[-1:], more, axis=0)])
    parts = [function(tf.constant(x[i : i + BLOCK])).numpy() for i in range(0, len(x), BLOCK)]
    return np.concatenate(parts)[: len(x) - more]


def assign(vae: VAE, weights: list[np.ndarray]) -> None:
    """Set the variables of a model, in the order of `vae.variables`."""
    for variable, value in zip(vae.variables, weights, strict=True):
        variable.assign(value)
