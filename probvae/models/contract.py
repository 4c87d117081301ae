"""Contracts of models: the shape, type and values of x, checked before anything is computed."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from probvae.arguments import class_of, known
from probvae.config.architecture import Architecture
from probvae.data.arrays import chunks
from probvae.distributions.support import Support
from probvae.errors import InputError
from probvae.likelihoods import likelihood_of

Shape = tuple[int, ...]
TYPES = {"U": "text", "S": "text", "O": "objects"}  # names of types that are no numbers, by their kind


class Contract(NamedTuple):
    """Shape, type and values of the examples that a model takes.

    Attributes:
      event_shape: E, the shape of one example.
      dtype: Type of the values of the model, a `tf.DType`.
      support: Description of the values that are allowed.
      contains: Function from x [..., *E], an array or a tensor, to a mask of the values that are allowed.
      describe: Function from an array of finite x to a description of values that are not allowed.
      advice: Last sentence of the message about such values; none if it is empty.
      alone: Shape of the x of an example without its y; None for a model without y.
      has_schema: Whether the model has a schema, which encodes tables.
    """

    event_shape: Shape
    dtype: tf.DType
    support: str
    contains: Callable[[Any], Any]
    describe: Callable[[np.ndarray], str]
    advice: str = "Give x as in training, or choose another likelihood."
    has_schema: bool = False
    alone: Shape | None = None

    @property
    def may_be_missing(self) -> np.ndarray:
        """The mask of the values that may be missing, NaN, bool [*E]."""
        return np.asarray(self.contains(np.full([1, *self.event_shape], np.nan, np.float32))[0], bool)

    @property
    def missing(self) -> bool:
        """True if values of x may be missing; False for examples that hold y, too."""
        return self.alone is None and bool(np.any(self.may_be_missing))

    def check(self, x: Any, what: str = "x", *, batch: bool = False) -> Any:
        """Check examples, and return them as numbers of the model's type.

        The values of a tensor that is known at run time only, within a `tf.function`, are not checked.

        Args:
          x: Examples [..., *E], an array, a sequence or a tensor.
          what: Name of x in messages.
          batch: Whether x must have exactly one axis of examples, [N, *E].

        Returns:
          A tensor for a tensor, otherwise an array.

        Raises:
          InputError: x has another shape or type, holds no example, or holds a value that is not allowed.
        """
        x = self.accept(x, what, batch=batch)
        if tf.is_tensor(x):
            leading = x.shape[: x.shape.rank - len(self.event_shape)]
            if not x.shape[len(leading) :].is_fully_defined():  # as in a batch of a generator
                x = tf.ensure_shape(x, leading.concatenate(self.event_shape))
            return x if x.dtype == self.dtype else tf.cast(x, self.dtype)
        x = np.asarray(x)  # rows of a file, too
        return x if x.dtype == self.dtype.as_numpy_dtype else x.astype(self.dtype.as_numpy_dtype)

    def accept(self, x: Any, what: str = "x", *, batch: bool = False) -> Any:
        """Check examples as `check` does, and return them with the type that they have.

        An array of a file, such as `data.Rows`, is read chunk by chunk and returned as it is.
        """
        x = self.numbers(x, what)
        self.refuse_shape(x.shape, what, batch)
        values = known(x)
        if values is not None:
            self.refuse_values(values, what)
        return x

    def numbers(self, x: Any, what: str) -> Any:
        """Return x as an array or a tensor of numbers."""
        if hasattr(x, "columns") and hasattr(x, "dtypes"):
            advice = "frame.to_numpy() of numeric columns in the order of the training"
            if self.has_schema:
                advice = "vae.schema.encode(frame), or an array of numbers"
            raise InputError(
                f"{what} must be an array of examples as the model takes them; got {class_of(x)}: "
                f"give {advice}."
            )
        if isinstance(x, tf.Variable):
            x = tf.convert_to_tensor(x)
        if tf.is_tensor(x) and not isinstance(x, tf.Tensor):  # ragged, sparse, or an input of Keras
            raise InputError(f"{what} must be an array or a dense tf.Tensor; got {class_of(x)}.")
        if not (tf.is_tensor(x) or (hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "nbytes"))):
            x = _as_array(x, what)
        kind = np.dtype(x.dtype.as_numpy_dtype if tf.is_tensor(x) else x.dtype)
        if kind.kind not in "biuf" and kind.name != "bfloat16":
            raise InputError(f"{what} must hold numbers; it holds {TYPES.get(kind.kind, kind.name)}.")
        return x

    def refuse_shape(self, shape: Any, what: str, batch: bool, *, empty: bool = False) -> None:
        """Refuse a wrong shape, as far as it is known, and an x without examples unless `empty` is true."""
        expected = ", ".join(map(str, self.event_shape))
        axes = f"[N, {expected}]" if batch else f"[..., {expected}]"
        shape = tf.TensorShape(shape)
        if shape.rank is None:
            raise InputError(f"{what} must have the shape {axes}; the number of its axes is not known.")
        sizes, number = shape.as_list(), shape.rank - len(self.event_shape)  # number of axes of the batch
        fits = number == 1 if batch else number >= 0
        if not fits or not shape[number:].is_compatible_with(self.event_shape):
            one = batch and tuple(sizes) == self.event_shape
            hint = " Add an axis for the batch: x[None]." if one else ""
            if self.alone is not None and tuple(sizes[1:]) == self.alone:
                hint = " These are x without y: give vae.join(x, y), or y too, as in fit(x, y)."
            elif tuple(sizes[1:]) == self.event_shape[:-1] and self.event_shape[-1:] == (1,):
                hint = " Add the axis of the channel: x[..., None]."
            raise InputError(f"{what} must have the shape {axes}; got {sizes}.{hint}")
        if not empty and 0 in sizes[:number]:
            raise InputError(f"{what} must hold one example or more; its shape is {sizes}.")

    def refuse_values(self, x: np.ndarray, what: str) -> None:
        """Refuse values that are not allowed: missing, infinite, or outside the support."""
        rows = x if x.ndim > len(self.event_shape) else x[None]
        for part in chunks(rows):
            part = part if part.dtype.kind == "f" else part.astype(np.float64)
            good = self.contains(part)
            if np.all(good):
                continue
            infinite, missing = int(np.sum(np.isinf(part))), int(np.sum(np.isnan(part)))
            if infinite:
                share = f"{infinite:,} of {part.size:,}"
                raise InputError(f"{what} must be finite; it holds infinite values, {share}: mend them.")
            if missing and not np.any(self.may_be_missing):
                share = f"{missing:,} of {part.size:,}"
                raise InputError(
                    f"{what} has missing values (NaN), {share}, and the model takes none: fill them in, or "
                    "train a model with missing=True."
                )
            raise InputError(f"{what} must hold {self.support}; {self.describe(part)}. {self.advice}".strip())


def _as_array(x: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(x)
    except ValueError:  # a sequence of arrays of different shapes
        raise InputError(f"{what} must be one array; got {class_of(x)} of different shapes.") from None
    if array.dtype.kind == "O":
        raise InputError(f"{what} must be an array of numbers; got {class_of(x)}.")
    return array


def contract_of(
    architecture: Architecture | None, shape: Shape, dtype: tf.DType, support: Support
) -> Contract:
    """Return the contract of the x of a model.

    Args:
      architecture: Architecture of the model, which says what values are allowed; None for networks of the
        caller's own.
      shape: E, the shape of x.
      dtype: Type of x.
      support: Support of p(x|z), which says so without an architecture.
    """
    if architecture is None:
        text = f"{support.text}, the support of p(x|z)"
        return Contract(shape, dtype, text, support.contains, _range)
    likelihood = likelihood_of(architecture)
    text = f"{likelihood.kind.support} for the {architecture.likelihood} likelihood"
    return Contract(shape, dtype, text, likelihood.contains, likelihood.describe)


def joined_contract(x: Contract, y: Contract) -> Contract:
    """Return the contract of examples [..., D + C], the flattened x followed by y [..., C]."""
    size = math.prod(x.event_shape)

    def x_of(example: Any) -> Any:
        flat = example[..., :size]
        if isinstance(example, np.ndarray):
            return flat.reshape([*example.shape[:-1], *x.event_shape])
        return tf.reshape(flat, tf.concat([tf.shape(example)[:-1], x.event_shape], 0))

    def contains(example: Any) -> Any:
        of_x, of_y = x.contains(x_of(example)), y.contains(example[..., size:])
        if isinstance(example, np.ndarray):
            return np.concatenate([of_x.reshape([*example.shape[:-1], size]), of_y], axis=-1)
        return tf.concat([tf.reshape(of_x, tf.shape(example[..., :size])), of_y], axis=-1)

    def describe(example: np.ndarray) -> str:
        if not np.all(x.contains(x_of(example))):
            return f"{x.describe(x_of(example))}. {x.advice}".removesuffix(".")
        text = f"y must hold {y.support}, and {y.describe(example[..., size:])}. {y.advice}"
        return text.strip().removesuffix(".")

    shape = (size + y.event_shape[0],)
    return Contract(
        shape, x.dtype, f"{x.support}, and y beside it", contains, describe, "", x.has_schema, x.event_shape
    )


def class_contract(classes: int, dtype: tf.DType, *, may_be_unknown: bool = False) -> Contract:
    """Return the contract of classes y [..., C], one-hot; y of an unknown class is all zeros."""

    def contains(y: Any) -> Any:
        total = np.sum if isinstance(y, np.ndarray) else tf.reduce_sum
        number = total(y, axis=-1, keepdims=True)
        return ((y == 0) | (y == 1)) & ((number == 1) | ((number == 0) & may_be_unknown))

    def describe(y: np.ndarray) -> str:
        unknown = int(np.sum(np.all(y == 0, axis=-1)))
        if unknown and not may_be_unknown:
            share = f"{unknown:,} of {math.prod(y.shape[:-1]):,}"
            return f"the class of {share} is unknown. Leave these out; objectives.m2 alone takes them"
        return _range(y)

    text = f"{'a class or zeros' if may_be_unknown else 'the class'} for every example, one-hot"
    return Contract((classes,), dtype, text, contains, describe, advice="")


def check_latents(z: Any, latent_dim: int, dtype: Any) -> tf.Tensor:
    """Check z [..., L], and return it as a tensor; values are not checked, so those of a broken model pass.

    Raises:
      InputError: z has another shape or type.
    """
    contract = Contract((latent_dim,), tf.as_dtype(dtype), "", lambda z: z == z, _range)
    z = contract.numbers(z, "z")
    contract.refuse_shape(z.shape, "z", batch=False, empty=True)
    return tf.cast(z, contract.dtype)


def _range(x: np.ndarray) -> str:
    return f"found values from {np.nanmin(x):g} to {np.nanmax(x):g}"
