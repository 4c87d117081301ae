"""The y of conditional models: classes, their names, or floats."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.arguments import class_of, known
from probvae.errors import InputError


def context(
    y: Any, size: int, *, lowest: int = 0, class_index: Callable[[Any], int] | None = None
) -> tf.Tensor:
    """Return y as floats [..., C]: integers are classes and become one-hot, floats stay.

    The values of a tensor that is known at run time only, within a `tf.function`, are not checked.

    Args:
      y: Classes [...], floats [..., C], or names of classes [...].
      size: C, the size of y.
      lowest: Smallest class that is allowed: 0, or -1 for an unknown class.
      class_index: Function from the name of a class to its number; None where the model knows no names.

    Raises:
      InputError: y is none of these, there is no such class, or a value is not finite.

    >>> context([1, 0], 3).numpy().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """

    def refusal(got: str) -> InputError:
        return InputError(
            f"y must be floats of shape [..., {size}], or integers from {lowest} to {size - 1}, which are "
            f"classes; got {got}."
        )

    y = _numbers(y, class_index, refusal)
    values = known(y)
    if y.dtype.is_integer:
        if values is not None and values.size and not lowest <= values.min() <= values.max() < size:
            low, high = values.min(), values.max()
            found = f"{low}" if low == high else f"{low} to {high}"
            raise InputError(f"Classes are integers from {lowest} to {size - 1}; got {found}.")
        return tf.one_hot(y, size)
    if y.shape.rank == 0 and values is not None:
        raise refusal(repr(values.item()))
    if y.dtype.is_complex or y.shape.rank == 0 or (y.shape.rank and y.shape[-1] != size):
        raise refusal(f"{y.dtype.name} of shape {y.shape.as_list()}")
    if y.dtype.is_floating and values is not None and not np.all(np.isfinite(values)):
        number = int(np.sum(~np.isfinite(values)))
        share = f"{number:,} of {values.size:,}"
        raise InputError(
            f"y must be finite; it holds infinite values or NaN, {share}: mend them, or leave them out."
        )
    return tf.cast(y, tf.float32)


def _numbers(
    y: Any, class_index: Callable[[Any], int] | None, refusal: Callable[[str], InputError]
) -> tf.Tensor:
    """Return y as a tensor of numbers; names of classes become their numbers."""
    if isinstance(y, tf.Variable) or not tf.is_tensor(y):
        try:
            y = np.asarray(y)
        except ValueError:  # a sequence of sequences of different lengths
            raise refusal(f"{class_of(y)} of different shapes") from None
        if y.size and y.dtype.kind in "UO" and all(isinstance(name, str) for name in y.flat):
            if class_index is None:
                name = str(y.flat[0])
                raise InputError(f"The model knows no names of classes, only numbers; got {name!r}.")
            y = np.vectorize(class_index, otypes=[np.int32])(y)
        if y.dtype.kind not in "biufc":
            raise refusal(f"values of type {y.dtype.name}" if y.ndim else repr(y.item()))
        y = tf.convert_to_tensor(y)
    if not isinstance(y, tf.Tensor):  # ragged, sparse, or an input of Keras
        raise refusal(class_of(y))
    if not (y.dtype.is_integer or y.dtype.is_floating or y.dtype.is_complex or y.dtype.is_bool):
        raise refusal(f"a tensor of {y.dtype.name}")
    return y
