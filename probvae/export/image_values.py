"""Images with the grey levels of their data, as tensors of a TensorFlow graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.data.schema import Schema
from probvae.export.values import Coded, Outputs, spec


def _above_half(grey: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.cast(grey > 0.5, tf.float32)


def _drawn(grey: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.random.stateless_uniform(tf.shape(grey), seed) < grey, tf.float32)


# Each key is one of `BINARIZATIONS`; the values compute x of grey levels and a seed in a graph.
BINARIZE: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "threshold": _above_half,
    "static": _drawn,
    "dynamic": _drawn,
    "none": lambda grey, seed: grey,
}


class Images:
    """Images [B, H, W, C]: uint8 from 0 to 255, or float32 from 0 to 1, as the schema has them.

    Args:
      schema: Schema of images.

    Attributes:
      specs: Specification of the tensor `images`.
      resources: None.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.resources: list[Any] = []
        dtype = tf.float32 if schema.white == 1 else tf.uint8
        self.specs = {"images": spec([None, *schema.event_shape], dtype, "images")}

    def encode(self, cells: dict[str, tf.Tensor], seed: tf.Tensor) -> Coded:
        """Return x of images, and what is wrong with each; `seed` is that of a binarization that draws."""
        grey = tf.cast(cells["images"], tf.float32)
        good = (grey >= 0) & (grey <= self._schema.white)
        missing = tf.math.is_nan(grey)
        good = good | missing if self._schema.missing else good
        grey = tf.where(good, grey, np.float32(0)) / self._schema.divisor
        x = tf.where(missing & good, grey, BINARIZE[self._schema.binarization](grey, seed))
        is_right = tf.reduce_all(good, axis=[1, 2, 3])
        allowed = "" if self._schema.missing else ", and no value may be missing"
        problem = tf.where(is_right, "", f"Images must hold values from 0 to {self._schema.white}{allowed}.")
        return Coded(x, problem, tf.zeros(tf.shape(x)[:1], tf.float64))

    def decode(self, x: tf.Tensor) -> Outputs:
        """Return the images of draws x [N, H, W, C]."""
        grey = x * self._schema.divisor
        if self._schema.white > 1:
            grey = tf.cast(tf.clip_by_value(tf.round(grey), 0, self._schema.white), tf.uint8)
        return {"images": tf.identity(grey)}

    def centers(self, decoded: Outputs) -> Outputs:
        """Return the means of p(x|z) as grey levels, float32, which are not rounded."""
        return {"images": decoded["mean"] * self._schema.divisor}
