"""Columns of a table in the units of their data, as tensors of a TensorFlow graph.

`Table` computes in a graph what `Schema.encode`, `decode`, `centers` and `log_slope` compute in NumPy.
"""

import keyword
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.data.coding import LARGEST, NUMBERS, Column
from probvae.data.schema import Schema
from probvae.export.values import Coded, Outputs, spec

SUPPORT: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {  # of the keys of NUMBERS
    "normal": tf.math.is_finite,
    "lognormal": lambda v: v > 0,
    "continuous_bernoulli": lambda v: (v >= 0) & (v <= 1),
    "poisson": lambda v: (v >= 0) & (v == tf.round(v)),
    "negative_binomial": lambda v: (v >= 0) & (v == tf.round(v)),
}
# Types whose levels are texts: functions from a level to the texts read as it, the written one first.
TEXTS: dict[str, Callable[[Any], tuple[str, ...]]] = {
    "text": lambda level: (str(level),),
    "boolean": lambda level: ("true", "True", "TRUE", "1") if level else ("false", "False", "FALSE", "0"),
}
WHOLE = ("integer", "date")  # types whose numbers are whole
RESERVED = ("z", "x", "number", "num_samples", "seed", "self", "problem")  # names of other tensors


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
        self._codes = [_Codes(column) if column.levels else None for column in schema.columns]
        self.resources = [c.resource for c in self._codes if c is not None and c.is_text]
        self._groups: dict[tuple[str, bool], list[int]] = {}  # columns of numbers that are coded alike
        for i, column in enumerate(schema.columns):
            if not column.levels:
                self._groups.setdefault((column.kind, column.logarithm), []).append(i)
        fields = ([c.loc, c.scale, c.logarithm, c.type in WHOLE] for c in schema.columns)
        loc, scale, logarithm, whole = np.array(list(fields)).T
        self._loc, self._scale = loc, scale
        self._logarithm, self._whole = logarithm.astype(bool), whole.astype(bool)
        self._expected = [_expected(column, schema.missing) for column in schema.columns]

    # ---- from values to codes ----------------------------------------------------------------------

    def encode(self, cells: dict[str, tf.Tensor], seed: tf.Tensor) -> Coded:
        """Return the codes of columns, and what is wrong in each row; `seed` is not used."""
        parts, order = [], []
        for (kind, logarithm), places in self._groups.items():
            values = tf.stack([cells[self._names[i]] for i in places], axis=1)
            parts.append(self._encode_numbers(values, kind, logarithm, places))
            order += places
        for i, codes in enumerate(self._codes):
            if codes is not None:
                parts.append([tensor[:, None] for tensor in codes.of(cells[self._names[i]])])
                order.append(i)
        back = np.argsort(order)
        found, good, missing = (
            tf.gather(tf.concat(part, axis=1), back, axis=1) for part in zip(*parts, strict=True)
        )
        bad = ~good & ~missing if self._schema.missing else ~good | missing
        known = tf.where(missing, np.float32(np.nan), found)
        x = tf.where(bad, np.float32(0), known)  # 0 is a code of every column
        first = tf.argmax(tf.cast(bad, tf.int8), axis=1)
        problem = tf.where(tf.reduce_any(bad, axis=1), tf.gather(tf.constant(self._expected), first), "")
        return Coded(x, problem, self._log_slope(x))

    def _encode_numbers(
        self, values: tf.Tensor, kind: str, logarithm: bool, places: list[int]
    ) -> list[tf.Tensor]:
        """Return codes, whether they are right, and whether they are missing, each [B, n]."""
        inside = SUPPORT[kind](values)
        numbers = tf.where(inside, values, np.float64(1))
        numbers = tf.math.log(numbers) if logarithm else numbers
        codes = (numbers - self._loc[places]) / self._scale[places]
        good = inside & (tf.abs(codes) <= LARGEST)
        return [tf.cast(tf.where(good, codes, np.float64(0)), tf.float32), good, tf.math.is_nan(values)]

    def _log_slope(self, x: tf.Tensor) -> tf.Tensor:
        """Return log |d x / d value| of rows, [B] float64, in nats."""
        numbers = tf.cast(x, tf.float64) * self._scale + self._loc
        slopes = -np.log(self._scale) - tf.where(self._logarithm, numbers, np.float64(0))
        return tf.reduce_sum(tf.where(tf.math.is_nan(x), np.float64(0), slopes), axis=1)

    # ---- from codes to values ----------------------------------------------------------------------

    def decode(self, x: tf.Tensor) -> Outputs:
        """Return the columns of draws x [N, D]."""
        numbers = tf.cast(x, tf.float64) * self._scale + self._loc
        numbers = tf.where(self._logarithm, tf.exp(numbers), numbers)
        return self._columns(x, tf.where(self._whole, tf.round(numbers), numbers))

    def centers(self, decoded: Outputs) -> Outputs:
        """Return the means of numbers and the most probable levels; `decoded` holds tensors [N, D]."""
        mean, stddev = (tf.cast(decoded[name], tf.float64) for name in ("mean", "stddev"))
        numbers = mean * self._scale + self._loc
        exponent = numbers + tf.square(stddev * self._scale) / 2  # the mean of a lognormal variable
        return self._columns(decoded["mode"], tf.where(self._logarithm, tf.exp(exponent), numbers))

    def _columns(self, codes: tf.Tensor, numbers: tf.Tensor) -> Outputs:
        columns = {}
        for i, column in self._schema.in_place:
            own = self._codes[i]
            if own is not None:
                values = own.levels_at(codes[:, i])
            elif column.is_constant:
                values = tf.fill(tf.shape(codes)[:1], np.float64(column.low))
            else:
                values = numbers[:, i]
            columns[self._names[i]] = values
        return columns


class _Codes:
    """Codes of the levels of a column."""

    def __init__(self, column: Column) -> None:
        self.is_text = _is_text(column)
        if not self.is_text:
            self._levels = np.array(column.levels, np.float64)
            self._order = np.argsort(self._levels)
            return
        texts = [TEXTS[column.type](level) for level in column.levels]
        self._levels = np.array([written for written, *_ in texts])
        pairs = [(text, code) for code, own in enumerate(texts) for text in own]
        keys, codes = (np.array(part) for part in zip(*pairs, strict=True))
        initializer = tf.lookup.KeyValueTensorInitializer(keys, codes, tf.string, tf.int64)
        self.resource = tf.lookup.StaticHashTable(initializer, default_value=-1)

    def of(self, cells: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return codes, whether they are right, and whether they are missing, each [B]."""
        if self.is_text:
            found = self.resource.lookup(cells)
            good, missing = found >= 0, tf.strings.strip(cells) == ""
        else:
            ordered = self._levels[self._order]
            place = tf.minimum(tf.searchsorted(ordered, cells), len(ordered) - 1)
            found, good = tf.gather(self._order, place), tf.gather(ordered, place) == cells
            missing = tf.math.is_nan(cells)
        return tf.cast(tf.where(good, found, tf.zeros_like(found)), tf.float32), good, missing

    def levels_at(self, codes: tf.Tensor) -> tf.Tensor:
        """Return the levels of codes [N]."""
        index = tf.clip_by_value(tf.cast(tf.round(codes), tf.int32), 0, len(self._levels) - 1)
        return tf.gather(tf.constant(self._levels), index)


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
