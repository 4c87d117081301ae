"""`DataSet`, the data of every source, and `Options`, the choices in reading them."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from probvae.data.arrays import Array, Rows, chunks
from probvae.data.schema import Schema
from probvae.errors import InputError

KINDS = ("auto", "image", "series", "vector")
COLORS = ("auto", "rgb", "grey")
DECIMALS = ("auto", ".", ",")


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
    """A training set, a test set and perhaps a validation set of images, series, vectors or a table.

    `E` is the event shape: [H, W, C] of images, [T, C] of series, [D] of vectors and of tables. Values
    that are missing are NaN.

    Attributes:
      name: Name that the user gave.
      train, test: [N, *E], uint8 or float32, or `Rows` of a file, or `Stored` rows of a large table;
        divided by `levels` images lie in [0, 1].
      train_labels, test_labels: [N] int, or None.
      levels: 255 for 8-bit images, 1 for values that are taken as they are.
      validation, validation_labels: Part of the training set that no run trains on, or None.
      missing: Whether some values are NaN.
      skipped: Names of the files that cannot be read as images and are left out.
      schema: Meaning of the values; by default that of arrays without names and units.
      num_missing: Numbers of missing cells of the columns of a table, in the order of x; empty for others.
      remarks: Sentences on the data for the user.
      reasons: Reasons of the kinds of the columns of a table, in the order of x; empty for other data, and
        where the schema of a model decides.
    """

    name: str
    train: Array
    test: Array
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    levels: int
    validation: Array | None = None
    validation_labels: np.ndarray | None = None
    missing: bool = False
    skipped: tuple[str, ...] = ()
    schema: Schema = None  # type: ignore[assignment]  # set below
    num_missing: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.schema is None:
            schema = Schema.of_arrays(self.event_shape, self.levels, missing=self.missing)
            object.__setattr__(self, "schema", schema)

    def __repr__(self) -> str:
        """Name, numbers of examples and schema; not the values."""
        sizes = f"{len(self.train):,} examples for training, {len(self.test):,} for testing"
        return f"<probvae DataSet {self.name!r}: {sizes}>\n{self.schema}"

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, ...; empty if the labels stand for themselves."""
        return self.schema.classes

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the D columns of a table, in the order of x; empty for other data."""
        return self.schema.names

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the columns of x, `Architecture.columns`; empty for other data."""
        return self.schema.likelihoods

    @property
    def event_shape(self) -> tuple[int, ...]:
        """E, the shape of one example."""
        return tuple(self.train.shape[1:])

    def fingerprint(self) -> str:
        """SHA-256 over the schema, values and labels: two runs with the same one saw the same data.

        Read chunk by chunk, at the first call; a file of which the sets are `Rows` is read once, in its own
        order.
        """
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self.schema.of_data.sha256().encode())
        self._hash_values(digest)
        return digest.hexdigest()

    def agrees_with(self, fingerprint: str | None) -> bool:
        """Return whether a fingerprint, if there is one, is that of these data, as now or as in format 2."""
        if fingerprint is None or fingerprint == self.fingerprint():
            return True
        return fingerprint == self.old_fingerprint()

    def old_fingerprint(self) -> str:
        """The fingerprint of runs with a config.json of format 2, which did not hash units."""
        digest = hashlib.sha256()
        self._hash_values(digest)
        if self.columns:
            named = {c.name: c.levels for c in self.schema.columns if c.levels != tuple(range(len(c.levels)))}
            levels = sorted((name, tuple(map(_old_name, values))) for name, values in named.items())
            digest.update(repr((self.columns, self.kinds, levels)).encode())
        return digest.hexdigest()

    def _hash_values(self, digest: Any) -> None:
        base: Any = None
        for part in (self.train, self.test, self.validation):
            if part is None:
                continue
            digest.update(f"{part.dtype}{part.shape}{self.levels}".encode())
            if isinstance(part, Rows):
                for chunk in chunks(part.indices):
                    digest.update(np.ascontiguousarray(chunk, np.int64).data)
            values = part.array if isinstance(part, Rows) else part
            if values is not base:
                for chunk in chunks(values):
                    digest.update(np.ascontiguousarray(chunk).data)
            base = values
        for labels in (self.train_labels, self.test_labels, self.validation_labels):
            for chunk in () if labels is None else chunks(labels):
                digest.update(np.ascontiguousarray(chunk, np.int64).data)


def _old_name(level: Any) -> str:
    """Return the name of a level in an old fingerprint."""
    if isinstance(level, str):
        return level
    return str(int(level)) if level == int(level) else repr(float(level))


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of `probvae.data.load`, checked.

    Attributes:
      missing_in_tables: Whether cells of tables may be missing, where `missing` is False.
      schema: Schema that the data are read by, in place of one that is fitted to them.
      old_coding: Whether the columns of a table are coded as in runs of format 2.
      labels: Whether labels are read.

    Raises:
      InputError: A choice is unknown, or a number out of range.

    >>> Options(image_size=32).image_size
    (32, 32)
    """

    seed: int = 0
    kind: str = "auto"
    image_size: Any = None
    crop: str = "center"
    color: str = "auto"
    missing: bool = False
    validation: float = 0.0
    label: str | None = None
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    schema: Schema | None = None
    old_coding: bool = False
    delimiter: str = ""
    decimal: str = "auto"
    na: tuple[str, ...] = ()
    labels: bool = True
    missing_in_tables: bool = False

    def __post_init__(self) -> None:
        delimiter = {"tab": "\t", r"\t": "\t"}.get(self.delimiter, self.delimiter)
        if len(delimiter) > 1 or delimiter in ('"', "\r", "\n", "\0"):
            raise InputError(f"delimiter must be one character, or tab; got {self.delimiter!r}.")
        object.__setattr__(self, "delimiter", delimiter)
        choices_of = {"decimal": DECIMALS, "kind": KINDS, "color": COLORS}
        for name, choices in choices_of.items():
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")
        for name in ("missing", "old_coding", "labels"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InputError(f"{name} must be True or False; got {getattr(self, name)!r}.")
        if not isinstance(self.validation, int | float) or not 0 <= self.validation < 1:
            raise InputError(
                "validation must be a fraction of the training set, from 0 to below 1; got "
                f"{self.validation}."
            )
        if self.image_size is not None:
            size = self.image_size
            size = (size, size) if isinstance(size, int) else tuple(size)
            if len(size) != 2 or not all(isinstance(n, int) and 1 <= n <= 4096 for n in size):
                raise InputError(
                    "image_size must be a number of pixels from 1 to 4,096, or a pair (height, width); got "
                    f"{self.image_size!r}."
                )
            object.__setattr__(self, "image_size", size)

    def refuse(self, name: str, what: str, *fields: str) -> None:
        """Refuse options that do not apply; those of a run may do so to the data of its training only.

        Args:
          name: Name of the data, for messages.
          what: Name of the data that the options are for, for messages.
          fields: Names of options that must have their defaults.

        Raises:
          InputError: One of them differs from its default.
        """
        for field in fields:
            if self.schema is None and getattr(self, field) != getattr(_DEFAULTS, field):
                raise InputError(f"{field} is for {what}; {name} is none: leave it out.")


_DEFAULTS = Options()
