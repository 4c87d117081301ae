"""Distribution layer of the rows of a table, with parameters of columns that do not depend on z."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from probvae.distributions.columns import columns_of, kind_of
from probvae.distributions.layers import DistributionLambda
from probvae.distributions.missing import SeenValues


def decoded_size(columns: Sequence[str]) -> int:
    """Return the number of parameters of a row that a decoder gives, which are those of z.

    >>> decoded_size(("normal", "student_t", "ordinal:5"))
    5
    """
    return sum(kind.n - len(kind.trained) for kind in map(kind_of, columns))


class Rows(DistributionLambda):
    """Distribution layer of rows [D], from the parameters of z, [..., `decoded_size`].

    The others, thresholds of ordinals and degrees of freedom of Student t, are a trained variable.

    Args:
      columns: Kinds of the columns, D of them.
      missing: Whether `log_prob` leaves out values that are nan.
      **kwargs: Keyword arguments of the Keras layer.

    Attributes:
      of_columns: Trained parameters of the columns, in their order; None if there are none.
    """

    def __init__(self, columns: Sequence[str], *, missing: bool = False, **kwargs: Any) -> None:
        kinds = [kind_of(name) for name in columns]
        start = [value for kind in kinds for value in kind.trained]
        order = _order([(kind.n - len(kind.trained), len(kind.trained)) for kind in kinds])

        def new(params: tf.Tensor) -> tfd.Distribution:
            if start:
                shape = tf.concat([tf.shape(params)[:-1], [len(start)]], axis=0)
                own = tf.broadcast_to(tf.cast(self.of_columns, params.dtype), shape)
                params = tf.gather(tf.concat([params, own], axis=-1), order, axis=-1)
            p = tfd.Independent(columns_of(params, columns), reinterpreted_batch_ndims=1)  # p(x|z)
            return SeenValues(p) if missing else p

        super().__init__(new, convert_to_tensor_fn=tfd.Distribution.mean, **kwargs)
        self.of_columns = None
        if start:
            constant = tf_keras.initializers.Constant(start)
            self.of_columns = self.add_weight(name="of_columns", shape=[len(start)], initializer=constant)


def _order(sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the places of all parameters, column after column, in those of z and the trained ones after."""
    of_z, own = 0, sum(decoded for decoded, _ in sizes)
    order: list[int] = []
    for decoded, trained in sizes:
        order += [*range(of_z, of_z + decoded), *range(own, own + trained)]
        of_z, own = of_z + decoded, own + trained
    return np.array(order)
