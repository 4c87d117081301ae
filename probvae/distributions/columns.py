"""Distribution of table rows, p(x|z): a product over columns of different kinds.

A kind is a string: a key of `KINDS`, a key of `SIZED` with a number of levels, such as "categorical:K" for
classes 0 to K - 1, or a key of `SCALED` with a scale, such as "size:0.5" for the size of a row, whose
logarithm is in units of 0.5.
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
# Kinds with a number of levels K behind a colon.
SIZED: dict[str, Callable[[int], Elementwise]] = {
    "categorical": values.categorical,
    "ordinal": values.ordinal,
}
# Kinds with a scale behind a colon.
SCALED: dict[str, Callable[[float], Elementwise]] = {"size": values.size}


def kind_of(name: str) -> Elementwise:
    """Return the distribution of a kind of column.

    Raises:
      InputError: The kind is unknown.

    >>> kind_of("categorical:3").n
    3
    """
    if name in KINDS:
        return KINDS[name]
    family, _, words = name.partition(":")
    if family in SIZED and words.isdecimal() and int(words) >= 2:
        return SIZED[family](int(words))
    if family in SCALED and _scale(words):
        return SCALED[family](_scale(words))
    sized = ", ".join(f"{family}:K" for family in SIZED)
    scaled = " or ".join(f"{family}:SCALE" for family in SCALED)
    raise InputError(
        f"The kind of a column must be one of {', '.join(KINDS)}, {sized} with K of 2 or more levels, or "
        f"{scaled} with a SCALE above 0; got {name!r}."
    )


def _scale(words: str) -> float:
    """Return the scale behind the name of a kind; 0 if there is none."""
    try:
        scale = float(words)
    except ValueError:
        return 0.0
    return scale if 0 < scale < np.inf else 0.0


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

    @property
    def size_index(self) -> int | None:
        """Index of the column that is the size of its row; None without one, or where the size is given."""
        return None

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
        part, place = self._part_of(index)
        ndims = self.batch_shape.rank - 1
        values = tf.reshape(values, [*values.shape, *[1] * (ndims + 1 - values.shape.rank)])
        return getattr(part, name)(values[..., tf.newaxis])[..., place]

    def moment_of_column(self, index: int, name: str) -> tf.Tensor:
        """Return the mean or stddev of one column, [...]."""
        part, place = self._part_of(index)
        return getattr(part, name)()[..., place]

    def _part_of(self, index: int) -> tuple[tfd.Distribution, int]:
        """Return the part that holds a column, and the place of the column in it."""
        pairs = zip(self.parts, self.places, strict=True)
        return next((part, places.index(index)) for part, places in pairs if index in places)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        seeds = split(seed, len(self.parts))
        return self._joined([part.sample(n, seed=s) for part, s in zip(self.parts, seeds, strict=True)])

    def _mean(self) -> tf.Tensor:
        return self._joined([part.mean() for part in self.parts])

    def _mode(self) -> tf.Tensor:
        return self._joined([part.mode() for part in self.parts])

    def _variance(self) -> tf.Tensor:
        return self._joined([part.variance() for part in self.parts])


class SizedColumns(Columns):
    """Columns of which one holds the size of its row, which multiplies the rates of counts.

    p(x|z) = p(size|z) prod_d p(x_d|z, size), where the logarithm of the size is added to the first parameter
    of a count, the logarithm of its rate. Batch member d of `log_prob` is log p(x_d|z, size) at the size in
    x. `sample` draws the size first. The mean and the variance of a count are taken over all sizes; the mode
    of a count is taken at the mode of the logarithm of the size.

    Args:
      kinds: Families of the columns, one for each part; one of them is a size.
      params: Parameters of the parts, [..., D_i, n_i] each.
      places: Indices of the columns of each part.
    """

    def __init__(
        self,
        kinds: Sequence[Elementwise],
        params: Sequence[tf.Tensor],
        places: Sequence[Sequence[int]],
        name: str = "sized_columns",
    ) -> None:
        self._kinds, self._params = list(kinds), list(params)
        [self._own] = [i for i, family in enumerate(self._kinds) if family.log_size]
        super().__init__(
            [family.make(p) for family, p in zip(self._kinds, self._params, strict=True)], places, name
        )

    @property
    def size_index(self) -> int:
        """Index of the column that is the size of its row."""
        return self.places[self._own][0]

    @property
    def needed(self) -> tf.Tensor:
        """Mask of the columns that are never missing, [D]."""
        return tf.range(len(self._order)) == self.size_index

    def _of_size(self, x: tf.Tensor) -> list[tfd.Distribution]:
        """Return the parts at the sizes of rows, where x [...] is the column of the size."""
        log_size = (x * self._kinds[self._own].log_size)[..., tf.newaxis, tf.newaxis]
        return [
            family.make(p + log_size * tf.one_hot(0, family.n, dtype=p.dtype)) if family.takes_size else part
            for family, p, part in zip(self._kinds, self._params, self.parts, strict=True)
        ]

    def at_rows(self, x: tf.Tensor) -> Columns:
        """Return the independent columns at the size of rows x [..., D], see `base.at_rows`."""
        x = tf.convert_to_tensor(x, self.dtype)
        return Columns(self._of_size(x[..., self.size_index]), self.places)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return self.at_rows(x).log_prob(x)

    def _part_of(self, index: int) -> tuple[tfd.Distribution, int]:
        """Return the part that holds a column, and its place; refuse counts, which need a size."""
        [family] = [f for f, place in zip(self._kinds, self.places, strict=True) if index in place]
        if family.takes_size:
            raise InputError("The counts of a row depend on its size: give rows with their size to at_rows.")
        return super()._part_of(index)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        seeds = split(seed, len(self.parts))
        size = self.parts[self._own].sample(n, seed=seeds[self._own])  # p(size|z)
        parts = self._of_size(size[..., 0])
        drawn = [
            size if family.log_size else part.sample(() if family.takes_size else n, seed=own)
            for family, part, own in zip(self._kinds, parts, seeds, strict=True)
        ]
        return self._joined(drawn)

    def _sizes(self) -> tfd.Distribution:
        """Return the distribution of the size, batch [..., 1]."""
        factor, own = self._kinds[self._own].log_size, self.parts[self._own]
        return tfd.LogNormal(factor * own.mean(), factor * own.stddev())

    def _mean(self) -> tf.Tensor:
        size = self._sizes().mean()
        means = [part.mean() for part in self.parts]
        return self._joined(
            [m * size if family.takes_size else m for family, m in zip(self._kinds, means, strict=True)]
        )

    def _variance(self) -> tf.Tensor:
        """Return variances; a count is a Poisson variable of rate s R, where s is the size.

        R is the rate at size 1, a random variable in overdispersed kinds. The variance of the count is
        E[s] E[R] + E[s^2] Var[R] + Var[s] E[R]^2.
        """
        sizes = self._sizes()
        first, spread = sizes.mean(), sizes.variance()

        def variance(family: Elementwise, part: tfd.Distribution) -> tf.Tensor:
            if not family.takes_size:
                return part.variance()
            mean = part.mean()
            of_rate = part.variance() - mean
            return first * mean + (spread + tf.square(first)) * of_rate + spread * tf.square(mean)

        return self._joined([variance(*pair) for pair in zip(self._kinds, self.parts, strict=True)])

    def _mode(self) -> tf.Tensor:
        parts = self._of_size(self.parts[self._own].mode()[..., 0])
        return self._joined([part.mode() for part in parts])


def params_size(columns: Sequence[str]) -> int:
    """Return the number of parameters of a row, including those that are trained for a whole column.

    >>> params_size(("normal", "bernoulli", "categorical:4"))
    7
    """
    return sum(kind_of(name).n for name in columns)


def columns_of(params: tf.Tensor, columns: Sequence[str]) -> Columns:
    """Build p(x|z) of the columns, batch [..., D], from parameters [..., params_size] in their order.

    Columns of the same kind share one distribution, so a wide table takes few operations.
    """
    starts = np.cumsum([0, *(kind_of(name).n for name in columns)])
    kinds = {name: kind_of(name) for name in columns}
    places = [[i for i, other in enumerate(columns) if other == name] for name in kinds]
    own = []
    for family, place in zip(kinds.values(), places, strict=True):
        indices = starts[place][:, None] + np.arange(family.n)  # [D_i, n]
        own.append(tf.gather(params, indices, axis=-1))
    if any(family.log_size for family in kinds.values()):
        return SizedColumns(list(kinds.values()), own, places)
    return Columns([family.make(p) for family, p in zip(kinds.values(), own, strict=True)], places)


def inputs(x: tf.Tensor, columns: Sequence[str]) -> tf.Tensor:
    """Encode rows [..., D] for an encoder: log(1 + count), classes one-hot, ordered levels by steps.

    Returns:
      [..., D'], where a categorical column takes K entries, an ordinal column K - 1, and any other column one
      entry. A missing value (nan) is nan in all its entries. Between two levels the encoding is linear, so
      that pseudo-inputs have gradients.
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
    """Describe the first column with an observed value outside its support; "" if all values fit.

    >>> first_misfit(np.array([[0.0, 1.0], [np.nan, 2.0]]), ("poisson", "bernoulli"))
    'column 1 (bernoulli: 0 or 1) with values from 1 to 2'
    """
    if x.shape[-1] != len(columns):
        return f"{x.shape[-1]} columns for {len(columns)} kinds"
    for i, name in enumerate(columns):
        seen = x[..., i][~np.isnan(x[..., i])]
        kind = kind_of(name)
        if kind.log_size and seen.size < x[..., i].size:
            return f"column {i}, the size of the rows, which no row may lack, with missing values"
        if not np.all(kind.contains(seen)):
            return f"column {i} ({name}: {kind.support}) with values from {seen.min():g} to {seen.max():g}"
    return ""
