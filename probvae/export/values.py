"""The tensors of the main signatures of an export: values in the units of the data."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

Outputs = dict[str, tf.Tensor]


class Coded(NamedTuple):
    """Examples in the coding of a model.

    Attributes:
      x: Codes [B, *E], float32; those of wrong values are 0.
      problem: What is wrong with each example, [B] strings, "" for nothing.
      log_slope: log |d x / d value| of each example, [B] float64, in nats.
    """

    x: tf.Tensor
    problem: tf.Tensor
    log_slope: tf.Tensor


class Values(Protocol):
    """Examples in the units of the data, as named tensors.

    Attributes:
      specs: Specification of each tensor by its name.
      resources: Tables that its graphs use, which a SavedModel must hold.
    """

    specs: dict[str, tf.TensorSpec]
    resources: list[Any]

    def encode(self, cells: dict[str, tf.Tensor], seed: tf.Tensor) -> Coded:
        """Return the codes of examples; `seed` is that of a binarization that draws."""

    def decode(self, x: tf.Tensor) -> Outputs:
        """Return the values of draws x [N, *E]."""

    def centers(self, decoded: Outputs) -> Outputs:
        """Return the central values of p(x|z), from its `mean` and, for tables, `stddev` and `mode`."""


def spec(shape: Sequence[int | None], dtype: tf.DType, name: str) -> tf.TensorSpec:
    """Return the specification of a tensor."""
    return tf.TensorSpec(list(shape), dtype, name)
