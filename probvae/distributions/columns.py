"""Distribution of table rows, p(x|z): a product over columns of different kinds.

A kind is a string: a key of `KINDS`, or one of `SIZED`, such as "categorical:K" for classes 0 to K - 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.display import kind
from probvae.distributions import values
from probvae.distributions.base import LibraryDistribution
from probvae.distributions.values import Elementwise
from probvae.errors import InputError
from probvae.seeds import Seed, split

KINDS: dict[str, Elementwise] = {
    "normal": values.NORMAL,
    "normal_shared": values.NORMAL_SHARED,
    "student_t": values.STUDENT_T,
    "lognormal": values.LOGNORMAL,
    "bernoulli": values.BERNOULLI,
    "continuous_bernoulli": values.CONTINUOUS_BERNOULLI,
    "poisson": values.POISSON,
    "negative_binomial": values.NEGATIVE_BINOMIAL,
    "zero_inflated_negative_binomial": values.ZERO_INFLATED_NEGATIVE_BINOMIAL,
}
# Kinds of K levels, whose number stands behind a colon.
SIZED: dict[str, Callable[[int], Elementwise]] = {
    "categorical": values.categorical,
    "ordinal": values.ordinal,
}


def kind_of(name: str) -> Elementwise:
    """Return the distribution of a kind of column.

    Raises:
      InputError: The kind is unknown.

    >>> kind_of("categorical:3").n
    3
    """
    if name in KINDS:
        return KINDS[name]
    family, _, levels = name.partition(":")
    if family in SIZED and levels.isdecimal() and int(levels) >= 2:
        return SIZED[family](int(levels))
    sized = " or ".join(f"{family}:K" for family in SIZED)
    raise InputError(
        f"The kind of a column must be one of {', '.join(KINDS)} or {sized} with K of 2 or more levels; "
        f"got {name!r}."
    )


class Columns(LibraryDistribution):
    """Independent values in the last batch axis, each of its own distribution: batch [..., D], event [].

    `tfd.Independent(Columns(...), 1)` is a distribution of rows [D].

    Args:
      parts: Distributions of batch [..., D_i] and event []; the D_i sum to D.
      places: Indices of the columns of each part, D_i integers from 0 to D - 1.
    """

    def __init__(
        self, parts: Sequence[tfd.Distribution], places: Sequence[Sequence[int]], name: str = "columns"
    ) -> None:
        parameters = dict(locals())
        self.parts, self.places = tuple(parts), [list(p) for p in places]
        self._order = np.argsort(np.concatenate(self.places))
        super().__init__(parameters, name, dtype=parts[0].dtype)

    def _details(self) -> dict[str, Any]:
        return {
            "columns": ", ".join(f"{len(p)} {kind(q)}" for p, q in zip(self.places, self.parts, strict=True))
        }

    def _shapes(self) -> tuple[Any, Any]:
        return self.parts[0].batch_shape[:-1].concatenate([len(self._order)]), []

    def _shape_tensors(self) -> tuple[Any, Any]:
        return tf.concat([self.parts[0].batch_shape_tensor()[:-1], [len(self._order)]], axis=0), []

    def _joined(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """Join one tensor [..., D_i] for each part in the order of the columns, [..., D]."""
        return tf.gather(tf.concat(values, axis=-1), self._order, axis=-1)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        own = [tf.gather(x, place, axis=-1) for place in self.places]
        return self._joined([part.log_prob(x_i) for part, x_i in zip(self.parts, own, strict=True)])

    def of_column(self, index: int, name: str, values: tf.Tensor) -> tf.Tensor:
        """Return a function of the distribution of one column, [K, ...].

        Args:
          index: Index of the column.
          name: Name of the function: log_prob, cdf or survival_function.
          values: Values of the column, [K], or [K, ...] with the batch of the rows.
        """
        part, place = next((p, places.index(index)) for p, places in self._pairs() if index in places)
        ndims = self.batch_shape.rank - 1
        values = tf.reshape(values, [*values.shape, *[1] * (ndims + 1 - values.shape.rank)])
        return getattr(part, name)(values[..., tf.newaxis])[..., place]

    def moment_of_column(self, index: int, name: str) -> tf.Tensor:
        """Return the mean or stddev of one column, [...]."""
        part, place = next((p, places.index(index)) for p, places in self._pairs() if index in places)
        return getattr(part, name)()[..., place]

    def _pairs(self) -> zip:
        return zip(self.parts, self.places, strict=True)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        seeds = split(seed, len(self.parts))
        return self._joined([part.sample(n, seed=s) for part, s in zip(self.parts, seeds, strict=True)])

    def _mean(self) -> tf.Tensor:
        return self._joined([part.mean() for part in self.parts])

    def _mode(self) -> tf.Tensor:
        return self._joined([part.mode() for part in self.parts])

    def _variance(self) -> tf.Tensor:
        return self._joined([part.variance() for part in self.parts])


def params_size(columns: Sequence[str]) -> int:
    """Return the number of parameters of a row, those that are trained numbers among them.

    >>> params_size(("normal", "bernoulli", "categorical:4"))
    7
    """
    return sum(kind_of(name).n for name in columns)


def columns_of(params: tf.Tensor, columns: Sequence[str]) -> Columns:
    """Build p(x|z) of the columns, batch [..., D], from parameters [..., params_size] in their order.

    Columns of the same kind share one distribution, so a wide table takes few operations.
    """
    starts = np.cumsum([0, *(kind_of(name).n for name in columns)])
    parts, places = [], []
    for name in dict.fromkeys(columns):
        kind = kind_of(name)
        place = [i for i, other in enumerate(columns) if other == name]
        indices = starts[place][:, None] + np.arange(kind.n)  # [D_i, n]
        parts.append(kind.make(tf.gather(params, indices, axis=-1)))
        places.append(place)
    return Columns(parts, places)


def inputs(x: tf.Tensor, columns: Sequence[str]) -> tf.Tensor:
    """Encode rows [..., D] for an encoder: log(1 + count), classes one-hot, ordered levels by steps.

    Returns:
      [..., D'], where a categorical column takes K entries, an ordinal one K - 1 and any other one. A missing
      value (nan) is nan in all its entries. Between two levels the encoding is linear, so pseudo-inputs have
      gradients.
    """

    def column(name: str, value: tf.Tensor) -> tf.Tensor:
        kind = kind_of(name)
        return (kind.spread or kind.inputs)(value)

    return tf.concat([column(name, x[..., i : i + 1]) for i, name in enumerate(columns)], axis=-1)


def to_support(columns: Sequence[str]) -> tfb.Bijector:
    """Return the bijector from R^D to the ranges of the columns, over the last axis."""
    return tfb.Blockwise([kind_of(name).to_support() for name in columns], block_sizes=[1] * len(columns))


def contains(x: Any, columns: Sequence[str]) -> Any:
    """Return the mask of the values of rows [..., D], array or tensor, in the support of their column."""
    masks = [kind_of(name).contains(x[..., i]) for i, name in enumerate(columns)]
    return tf.stack(masks, axis=-1) if tf.is_tensor(x) else np.stack(masks, axis=-1)


def first_misfit(x: np.ndarray, columns: Sequence[str]) -> str:
    """Describe the first column with an observed value outside its support; "" if there is none.

    >>> first_misfit(np.array([[0.0, 1.0], [np.nan, 2.0]]), ("poisson", "bernoulli"))
    'column 1 (bernoulli: 0 or 1) with values from 1 to 2'
    """
    if x.shape[-1] != len(columns):
        return f"{x.shape[-1]} columns for {len(columns)} kinds"
    for i, name in enumerate(columns):
        seen = x[..., i][~np.isnan(x[..., i])]
        kind = kind_of(name)
        if not np.all(kind.contains(seen)):
            return f"column {i} ({name}: {kind.support}) with values from {seen.min():g} to {seen.max():g}"
    return ""
