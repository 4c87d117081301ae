"""Columns of a table in the units of their data, as tensors of a TensorFlow graph.

`Table` computes in a graph what `Schema.encode`, `decode`, `centers` and `log_slope` compute in NumPy.
"""

import keyword
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.data.coding import LARGEST, Column
from probvae.data.kinds import NUMBERS
from probvae.data.schema import Schema
from probvae.export.values import Coded, Outputs, spec


def _is_count(values: tf.Tensor) -> tf.Tensor:
    return (values >= 0) & (values == tf.round(values))


def _is_positive(values: tf.Tensor) -> tf.Tensor:
    return values > 0


# Each key is one of `NUMBERS`, whose function `contains` the value computes in a graph.
SUPPORT: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "normal": tf.math.is_finite,
    "normal_shared": tf.math.is_finite,
    "student_t": tf.math.is_finite,
    "lognormal": _is_positive,
    "log_student_t": _is_positive,
    "size": _is_positive,
    "continuous_bernoulli": lambda v: (v >= 0) & (v <= 1),
    "poisson": _is_count,
    "negative_binomial": _is_count,
    "zero_inflated_negative_binomial": _is_count,
}
# Types whose levels are texts: functions from a level to the texts read as it, the written one first.
TEXTS: dict[str, Callable[[Any], tuple[str, ...]]] = {
    "text": lambda level: (str(level),),
    "boolean": lambda level: ("true", "True", "TRUE", "1") if level else ("false", "False", "FALSE", "0"),
}
WHOLE = ("integer", "date")  # types whose numbers are whole
RESERVED = ("z", "num_samples", "seed", "self")  # other tensors of `sample` and `log_prob`; of Python


def tensor_names(schema: Schema) -> tuple[str, ...]:
    """Return the names of the tensors of columns, in the order of x.

    TensorFlow takes names of ASCII letters, digits and underscores that begin with a letter, and ignores
    case. Other characters become underscores, names that are taken get `column_` before or a number after
    them.

    >>> columns = (Column("2020", "normal"), Column("age", "normal"), Column("age %", "normal"))
    >>> tensor_names(Schema((3,), "table", columns=columns))
    ('column_2020', 'age', 'age_2')
    """
    names: dict[str, str] = {}
    taken = set(RESERVED)
    clean = {name: re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") for name in schema.names}
    for name in sorted(schema.names, key=lambda name: clean[name] != name):  # names that can stay come first
        base = clean[name]
        if not re.match("[A-Za-z]", base) or base.lower() in RESERVED or keyword.iskeyword(base):
            base = f"column_{base}".rstrip("_")
        candidate, count = base, 1
        while candidate.lower() in taken:
            count += 1
            candidate = f"{base}_{count}"
        taken.add(candidate.lower())
        names[name] = candidate
    return tuple(names[name] for name in schema.names)


class Table:
    """Columns of a table as tensors [B] in the units of the data.

    Texts and booleans are strings, "" where missing; numbers and dates are float64, NaN where missing. A date
    is a number of its unit since 1970-01-01.

    Args:
      schema: Schema of a table.

    Attributes:
      specs: Specification of each tensor by its name, in the order of the data.
      resources: Tables that find the codes of texts, which a SavedModel must hold.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._names = tensor_names(schema)
        self.specs = {
            self._names[i]: spec([None], tf.string if _is_text(column) else tf.float64, self._names[i])
            for i, column in schema.in_place
        }
        self._places = _places(schema.columns)
        self._groups: list[_Group] = [
            make(*(schema.columns[i] for i in places)) for make, places in self._places
        ]
        self.resources = [group.resource for group in self._groups if group.resource is not None]
        self._may_be_missing = np.array([schema.missing and not column.is_size for column in schema.columns])
        allowed = zip(schema.columns, self._may_be_missing, strict=True)
        self._expected = [_expected(column, missing) for column, missing in allowed]

    def encode(self, cells: dict[str, tf.Tensor], seed: tf.Tensor) -> Coded:
        """Return the codes of columns, and what is wrong in each row; `seed` is not used."""
        parts = [
            group.read(tf.stack([cells[self._names[i]] for i in places], axis=1))
            for group, (_, places) in zip(self._groups, self._places, strict=True)
        ]
        back = np.argsort(np.concatenate([places for _, places in self._places]))
        codes, good, missing, slopes = (
            tf.gather(tf.concat(part, axis=1), back, axis=1) for part in zip(*parts, strict=True)
        )
        bad = (~good | missing) & ~(missing & self._may_be_missing)
        x = tf.where(bad, np.float32(0), tf.where(missing, np.float32(np.nan), codes))  # 0 is always a code
        first = tf.argmax(tf.cast(bad, tf.int8), axis=1)
        problem = tf.where(tf.reduce_any(bad, axis=1), tf.gather(tf.constant(self._expected), first), "")
        slope = tf.reduce_sum(tf.where(missing, np.float64(0), slopes), axis=1)
        return Coded(x, problem, slope)

    def decode(self, x: tf.Tensor) -> Outputs:
        """Return the columns of draws x [N, D]."""
        return self._columns(lambda group, own: group.write(own(x)))

    def centers(self, decoded: Outputs) -> Outputs:
        """Return the means of numbers and the most probable levels; `decoded` holds tensors [N, D]."""
        parts = [decoded[name] for name in ("mean", "stddev", "mode")]
        return self._columns(lambda group, own: group.center(*map(own, parts)))

    def _columns(self, values_of: Callable[..., tf.Tensor]) -> Outputs:
        columns: dict[int, tf.Tensor] = {}
        for group, (_, places) in zip(self._groups, self._places, strict=True):
            values = values_of(group, partial(tf.gather, indices=places, axis=1))
            columns |= dict(zip(places, tf.unstack(values, num=len(places), axis=1), strict=True))
        return {self._names[i]: columns[i] for i, _ in self._schema.in_place}


# ---- groups of columns that are coded alike --------------------------------------------------------


class _Group:
    """Columns, n of them, that are coded alike.

    Attributes:
      resource: Table that finds the codes of texts; None for other columns.
    """

    resource: Any = None

    def __init__(self, *columns: Column) -> None:
        raise NotImplementedError

    def read(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return codes of values [B, n], whether these are right, are missing, and log |d code / d value|."""
        raise NotImplementedError

    def write(self, codes: tf.Tensor) -> tf.Tensor:
        """Return the values of draws [N, n]."""
        raise NotImplementedError

    def center(self, mean: tf.Tensor, stddev: tf.Tensor, mode: tf.Tensor) -> tf.Tensor:
        """Return the central values of distributions of codes, from their moments [N, n]."""
        return self.write(mode)


class _Numbers(_Group):
    """Columns of numbers of one kind."""

    def __init__(self, *columns: Column) -> None:
        self._kind, self._logarithm = columns[0].kind, columns[0].logarithm
        self._loc, self._scale = (np.array([getattr(c, name) for c in columns]) for name in ("loc", "scale"))
        self._whole = np.array([c.type in WHOLE for c in columns])
        self._least = np.array([1.0 if c.is_positive_whole else -np.inf for c in columns])
        self._constant = np.array([c.is_constant for c in columns])
        self._low = np.array([c.low or 0 for c in columns], np.float64)

    def read(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        inside = SUPPORT[self._kind](values)
        numbers = tf.where(inside, values, np.float64(1))
        numbers = tf.math.log(numbers) if self._logarithm else numbers
        codes = (numbers - self._loc) / self._scale
        good = inside & (tf.abs(codes) <= LARGEST)
        slopes = tf.zeros_like(codes) - np.log(self._scale) - (numbers if self._logarithm else 0)
        codes = tf.cast(tf.where(good, codes, np.float64(0)), tf.float32)
        return codes, good, tf.math.is_nan(values), slopes

    def write(self, codes: tf.Tensor) -> tf.Tensor:
        numbers = tf.cast(codes, tf.float64) * self._scale + self._loc
        numbers = tf.exp(numbers) if self._logarithm else numbers
        return tf.where(
            self._constant,
            self._low,
            tf.maximum(tf.where(self._whole, tf.round(numbers), numbers), self._least),
        )

    def center(self, mean: tf.Tensor, stddev: tf.Tensor, mode: tf.Tensor) -> tf.Tensor:
        numbers = tf.cast(mean, tf.float64) * self._scale + self._loc
        if self._logarithm:  # the mean of a lognormal variable, or the median of one without a mean
            variance = tf.square(tf.cast(stddev, tf.float64) * self._scale)
            numbers = tf.exp(numbers + (variance / 2 if NUMBERS[self._kind].has_moments else 0))
        return tf.where(self._constant, self._low, numbers)


class _Texts(_Group):
    """Columns of texts and booleans; one table holds the texts of all, after the number of their column."""

    def __init__(self, *columns: Column) -> None:
        texts = [[TEXTS[c.type](level) for level in c.levels] for c in columns]
        self._number = np.array([f"{i} " for i in range(len(columns))])
        keys = {
            f"{i} {text}": code
            for i, levels in enumerate(texts)
            for code, level in enumerate(levels)
            for text in level
        }
        initializer = tf.lookup.KeyValueTensorInitializer(
            list(keys), list(keys.values()), tf.string, tf.int64
        )
        self.resource = tf.lookup.StaticHashTable(initializer, default_value=-1)
        self._texts = np.array([level[0] for levels in texts for level in levels])
        self._count = np.array([len(levels) for levels in texts])
        self._start = np.cumsum(self._count) - self._count

    def read(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        index = self.resource.lookup(tf.constant(self._number) + values)
        codes = tf.cast(tf.maximum(index, 0), tf.float32)
        return codes, index >= 0, tf.strings.strip(values) == "", tf.zeros_like(codes, tf.float64)

    def write(self, codes: tf.Tensor) -> tf.Tensor:
        index = tf.clip_by_value(tf.cast(tf.round(codes), tf.int64), 0, self._count - 1)
        return tf.gather(tf.constant(self._texts), index + self._start)


class _Levels(_Group):
    """One column whose levels are numbers."""

    def __init__(self, *columns: Column) -> None:
        self._levels = np.array(columns[0].levels, np.float64)
        self._order = np.argsort(self._levels)

    def read(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        ordered = self._levels[self._order]
        place = tf.searchsorted(ordered, tf.reshape(values, [-1]))
        place = tf.reshape(tf.minimum(place, len(ordered) - 1), tf.shape(values))
        good, codes = tf.gather(ordered, place) == values, tf.gather(np.float32(self._order), place)
        return codes, good, tf.math.is_nan(values), tf.zeros_like(values)

    def write(self, codes: tf.Tensor) -> tf.Tensor:
        index = tf.clip_by_value(tf.cast(tf.round(codes), tf.int32), 0, len(self._levels) - 1)
        return tf.gather(self._levels, index)


def _places(columns: Sequence[Column]) -> list[tuple[type[_Group], list[int]]]:
    """Return the groups of columns, each with the indices of its columns."""
    groups: dict[Any, tuple[type[_Group], list[int]]] = {}
    for i, column in enumerate(columns):
        group: tuple[Any, type[_Group]] = ((column.kind, column.logarithm), _Numbers)
        if column.levels:
            group = ("texts", _Texts) if _is_text(column) else (i, _Levels)
        key, make = group
        groups.setdefault(key, (make, []))[1].append(i)
    return list(groups.values())


def _is_text(column: Column) -> bool:
    return bool(column.levels) and column.type in TEXTS


def _expected(column: Column, missing: bool) -> str:
    what = "one of its levels" if column.levels else NUMBERS[column.kind].support
    allowed = " or be missing" if missing else ", and no value may be missing"
    return f"Column {column.name!r} must hold {what}{allowed}."


def column_specs(schema: Schema) -> dict[str, tuple[str, str]]:
    """Return by the name of each column that of its tensor and its dtype, in the order of the data."""
    names = tensor_names(schema)
    return {c.name: (names[i], "string" if _is_text(c) else "float64") for i, c in schema.in_place}
