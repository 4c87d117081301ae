"""The schema of data: what one example is, and how its values become x and x becomes values again."""

import dataclasses
import hashlib
import json
import numbers
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from probvae.data import schema_text
from probvae.data.binarizations import BINARIZATIONS
from probvae.data.coding import Column, encoded
from probvae.data.column_json import as_tuple, columns_of
from probvae.data.kinds import NUMBERS, kind_of_codes
from probvae.data.value_types import as_float32, as_numbers
from probvae.errors import InputError
from probvae.files import strict_json

FORMAT = 1  # version of schema.json
MAX_SCHEMA = 64_000_000  # bytes of schema.json, enough for 100,000 columns or 1,000 levels in each of 1,000


@dataclasses.dataclass(frozen=True, repr=False)
class Schema:
    """The shape of x and the meaning of its values, as a model knows them of its data.

    `encode` turns values in the units of the data into x, `decode` turns x into values, and `check` refuses
    an x that the data cannot have. The columns of a table are in the order of their names in x, and in their
    own order in what `decode` returns.

    Attributes:
      event_shape: E, the shape of one x: [H, W, C], [T, C] or [D].
      kind: Kind of an example, a key of `EXAMPLES`: image, series, vector or table.
      white: Largest value of images in the data: 255, or 1.
      divisor: Number that x divides the values of images by: `white`, or 1 for counts and classes.
      crop: Crop that brings images of other sizes to this one; empty if these are refused.
      binarization: Binarization of images, a key of `BINARIZATIONS`.
      columns: Columns of a table, in the order of x.
      missing: Whether values may be missing, NaN.
      missing_cells: Texts of a file that stand for missing values, besides empty cells.
      label: Name of the column of a table that holds the classes; empty for none.
      classes: Names of the classes 0, 1, ...; empty if the numbers stand for themselves.
      remark: Origin of the schema, if it was not written with the model; else empty.
    """

    event_shape: tuple[int, ...]
    kind: str
    white: int = 1
    divisor: int = 1
    crop: str = ""
    binarization: str = "none"
    columns: tuple[Column, ...] = ()
    missing: bool = False
    missing_cells: tuple[str, ...] = ()
    label: str = ""
    classes: tuple[str, ...] = ()
    remark: str = ""

    @classmethod
    def of_arrays(cls, event_shape: tuple[int, ...], white: int = 1, **fields: Any) -> "Schema":
        """Return the schema of arrays of examples, whose kind their number of axes decides."""
        kind = {3: "image", 2: "series", 1: "vector"}.get(len(event_shape), "vector")
        return cls(tuple(event_shape), kind, white=white, divisor=white, **fields)

    def __repr__(self) -> str:
        return schema_text.as_text(self)

    def _repr_html_(self) -> str:
        return schema_text.as_html(self)

    # ---- columns ---------------------------------------------------------------------------------

    @property
    def is_table(self) -> bool:
        """True for a table, whose columns have names and kinds."""
        return bool(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in the order of x."""
        return tuple(column.name for column in self.columns)

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Kinds of the columns of x, as `Architecture.columns`."""
        return tuple(column.likelihood for column in self.columns)

    @property
    def in_place(self) -> list[tuple[int, Column]]:
        """Columns in the order of the data, each with its index in x."""
        return sorted(enumerate(self.columns), key=lambda pair: pair[1].place)

    # ---- values and x ----------------------------------------------------------------------------

    def encode(self, raw: Any, *, seed: int = 0) -> np.ndarray:
        """Return x of values in the units of the data.

        Args:
          raw: Images, series or vectors, an array [N, *E]; or the columns of a table by name, a mapping to
            arrays [N] or a pandas DataFrame, of which columns that the model does not know are ignored.
          seed: Seed of the binarization, where this draws.

        Returns:
          x [N, *E], float32; NaN where a value is missing.

        Raises:
          InputError: A column is missing, a level unknown, a value out of range, or the shape another.
        """
        x = EXAMPLES[self.kind].encode(self, raw, np.random.default_rng([seed, 1]))
        if not self.missing and np.isnan(x).any():
            where = tuple(int(i) for i in np.argwhere(np.isnan(x))[0])
            what = f"column {self.names[where[-1]]!r}, row {where[0] + 1:,}" if self.is_table else f"{where}"
            raise InputError(
                f"The model takes no missing values; there is one at {what}: fill it in, or train with "
                "--missing (missing=True)."
            )
        return x

    def decode(self, x: Any) -> Any:
        """Return the values of x in the units of the data.

        Args:
          x: Values or draws [..., *E] in the coding of the model. Means of draws have no values of their own
            for levels or logarithms: decode draws, and take their means.

        Returns:
          Array [..., *E]; or the columns of a table by name, in the order of the data, arrays [...].

        Raises:
          InputError: x has another shape.
        """
        x = as_numbers(x)
        self._refuse_shape(x.shape[max(0, x.ndim - len(self.event_shape)) :])
        return EXAMPLES[self.kind].decode(self, x)

    def centers(self, mean: Any, stddev: Any, mode: Any) -> dict[str, np.ndarray]:
        """Return the central values of the columns of a table, in the units of the data.

        Args:
          mean: Means of p(x|z), [..., D].
          stddev: Standard deviations of p(x|z), [..., D].
          mode: Modes of p(x|z), [..., D].

        Returns:
          Columns by name, in the order of the data: means of numbers and dates, and the most probable levels.
        """
        mean, stddev, mode = (np.asarray(values) for values in (mean, stddev, mode))
        return {
            column.name: column.decode(mode[..., i])
            if column.levels or column.is_constant
            else column.center(mean[..., i], stddev[..., i])
            for i, column in self.in_place
        }

    def check(self, x: Any) -> None:
        """Check that x [N, *E] has the shape and values of the coding; missing values are allowed or not.

        Raises:
          InputError: It does not.
        """
        x = as_numbers(x)
        self._refuse_shape(x.shape[1:])
        missing = np.isnan(x)
        if missing.any() and not self.missing:
            raise InputError("x must have no missing values (NaN); train with --missing (missing=True).")
        if not np.all(np.isfinite(np.where(missing, 0, x))):
            raise InputError("x must be finite; it holds infinite values.")
        EXAMPLES[self.kind].check(self, x)

    def _refuse_shape(self, shape: tuple[int, ...]) -> None:
        if tuple(shape) != self.event_shape:
            raise InputError(
                f"The model takes x of shape {list(self.event_shape)}; got examples of {list(shape)}."
            )

    def log_slope(self, x: Any) -> np.ndarray:
        """Return the logarithm of |d x / d value| of each example, [N] float64, in nats.

        log p(x) plus this is the log-density of the values in the units of the data. It is 0 but for tables.

        Args:
          x: Examples [N, *E]; missing values do not count.
        """
        x = as_numbers(x)
        total = np.zeros(len(x))
        for i, column in enumerate(self.columns):
            total += column.log_slope(x[:, i])
        return total

    @property
    def has_units(self) -> bool:
        """True if a density of x differs from that of values in the units of the data."""
        return any(column.logarithm or column.scale != 1 for column in self.columns)

    # ---- classes ---------------------------------------------------------------------------------

    def class_name(self, index: int) -> str:
        """Return the name of a class; its number if the classes have no names."""
        return self.classes[index] if 0 <= index < len(self.classes) else str(index)

    def named(self, labels: np.ndarray | None) -> np.ndarray | None:
        """Return labels [N] as the names of their classes, for legends; unchanged without names."""
        if labels is None or not self.classes:
            return labels
        return np.array([self.class_name(int(label)) if label >= 0 else "unknown" for label in labels])

    def class_index(self, label: str | int) -> int:
        """Return the number of a class that is given by its name or its number.

        An integer is a number. A text is a name; digits are a number where no name consists of digits.

        Raises:
          InputError: There is no such class.
        """
        text, most = str(label), len(self.classes) or 2**31
        if isinstance(label, numbers.Integral):
            if 0 <= label < most:
                return int(label)
        elif text in self.classes:
            return self.classes.index(text)
        elif text.isdecimal() and int(text) < most and not any(map(str.isdecimal, self.classes)):
            return int(text)
        names = ", ".join(self.classes) if self.classes else "numbers 0, 1, ..."
        raise InputError(f"The classes are {names}; got {label!r}.")

    # ---- files -----------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the text of schema.json."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """Read the text of schema.json.

        Raises:
          InputError: The text is no JSON, or holds other keys or values.

        >>> schema = Schema.of_arrays((3,))
        >>> Schema.from_json(schema.to_json()) == schema
        True
        """
        content = strict_json.parse(text, "schema.json", levels=4)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise InputError(
                f"schema.json must be an object of format {FORMAT}: use the version of probvae that wrote it."
            )
        columns = content.pop("columns", [])
        try:
            columns = columns_of(columns)
            schema = cls(**{k: as_tuple(v) for k, v in content.items()}, columns=columns)
            schema._refuse_damage()
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"schema.json is damaged ({error}): save the model again.") from None
        return schema

    def _refuse_damage(self) -> None:
        """Raise ValueError if a field has a value that `to_json` does not write."""
        for field in dataclasses.fields(self):
            if type(getattr(self, field.name)) is not (typing.get_origin(field.type) or field.type):
                raise ValueError(f"{field.name} is {getattr(self, field.name)!r}")
        if not self.event_shape or not all(type(n) is int and n > 0 for n in self.event_shape):
            raise ValueError(f"event_shape is {self.event_shape}")
        texts = (*self.classes, *self.missing_cells)
        if self.kind not in EXAMPLES or self.white not in (1, 255) or not all(type(t) is str for t in texts):
            raise ValueError("kind, white, classes or missing_cells")
        if self.divisor not in (1, self.white):
            raise ValueError(f"divisor is {self.divisor}")
        if self.binarization not in BINARIZATIONS or (self.kind == "table") != self.is_table:
            raise ValueError("binarization or columns")
        if self.is_table and self.event_shape != (len(self.columns),):
            raise ValueError(f"{len(self.columns)} columns for x of shape {self.event_shape}")
        if len(set(self.names)) < len(self.names) or len(set(self.classes)) < len(self.classes):
            raise ValueError("two columns or classes have one name")

    def sha256(self) -> str:
        """Return the SHA-256 of schema.json."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def of_data(self) -> "Schema":
        """The schema of the data alone, without what a model makes of them."""
        columns = tuple(dataclasses.replace(c, categories=(), ordered=False, dtype="") for c in self.columns)
        return dataclasses.replace(
            self, binarization="none", divisor=self.white, remark="", columns=columns, missing_cells=()
        )


# ---- kinds of examples -----------------------------------------------------------------------------


class _Kind(NamedTuple):
    """A kind of examples.

    Attributes:
      encode: Function (schema, raw, generator) -> x.
      decode: Function (schema, x) -> raw.
      check: Function (schema, x) that refuses values of x out of their range.
    """

    encode: Callable[[Schema, Any, np.random.Generator], np.ndarray]
    decode: Callable[[Schema, np.ndarray], Any]
    check: Callable[[Schema, np.ndarray], None]


def _array(schema: Schema, raw: Any) -> np.ndarray:
    if isinstance(raw, Mapping) or hasattr(raw, "columns"):
        raise InputError(f"The model takes arrays {['N', *schema.event_shape]}; got a table.")
    array = np.asarray(raw)
    if array.dtype.kind not in "biuf":
        raise InputError(f"The model takes numbers; got an array of {array.dtype}.")
    schema._refuse_shape(array.shape[1:])
    return array


def _encode_images(schema: Schema, raw: Any, rng: np.random.Generator) -> np.ndarray:
    images = _array(schema, raw)
    low, high = np.nanmin(images, initial=0), np.nanmax(images, initial=0)
    whole = images.dtype.kind in "iu"  # True and False are 1 and 0
    if low < 0 or high > schema.white or (schema.white > 1 and not whole):
        raise InputError(
            f"The model knows images {_range(schema.white)}; got {images.dtype} from {low:g} to {high:g}: "
            "rescale them."
        )
    grey = np.divide(images, schema.divisor, dtype=np.float32)
    binarize = BINARIZATIONS[schema.binarization].test
    if binarize is None:
        return grey
    return np.where(np.isnan(grey), grey, binarize(grey, rng).astype(np.float32))


def _range(white: int) -> str:
    return "of integers from 0 to 255" if white == 255 else "from 0 to 1"


def _decode_images(schema: Schema, x: np.ndarray) -> np.ndarray:
    values = np.asarray(x, np.float32) * np.float32(schema.divisor)
    if schema.white == 1 or np.isnan(x).any():
        return values
    return np.clip(np.rint(values), 0, schema.white).astype(np.uint8)


def _check_images(schema: Schema, x: np.ndarray) -> None:
    low, high = np.nanmin(x, initial=0), np.nanmax(x, initial=0)
    if low < 0 or high > schema.white / schema.divisor:
        raise InputError(
            f"x of images must lie from 0 to {schema.white // schema.divisor}; got {low:g} to {high:g}."
        )


def _encode_table(schema: Schema, raw: Any, rng: np.random.Generator) -> np.ndarray:
    names = list(raw) if isinstance(raw, Mapping) else list(getattr(raw, "columns", ()))
    if not names:
        raise InputError(
            "The model takes a table, columns by name (a DataFrame, or a mapping of arrays); got "
            f"{type(raw).__name__}."
        )
    if absent := [name for name in schema.names if name not in names]:
        raise InputError(
            f"The model needs the columns {_some(schema.names)}; {_some(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} missing among {_some(names)}."
        )
    return encoded(schema.columns, raw)


def _some(names: Sequence[Any], most: int = 12) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def _decode_table(schema: Schema, x: np.ndarray) -> dict[str, np.ndarray]:
    return {column.name: column.decode(x[..., i]) for i, column in schema.in_place}


def _check_table(schema: Schema, x: np.ndarray) -> None:
    for i, column in enumerate(schema.columns):
        seen = x[:, i] if column.is_size else x[:, i][~np.isnan(x[:, i])]
        if column.levels:
            good = np.isin(seen, np.arange(len(column.levels)))
            expected = f"the index of a level, 0 to {len(column.levels) - 1}"
        else:
            kind = NUMBERS[kind_of_codes(column.kind, column.logarithm)]
            good, expected = kind.contains(seen), kind.support
        if not np.all(good):
            raise InputError(f"x of column {column.name!r} must hold {expected}; got {seen[~good][0]:g}.")


def _free(schema: Schema, x: np.ndarray) -> None:
    """Take any finite values."""


EXAMPLES: dict[str, _Kind] = {
    "image": _Kind(_encode_images, _decode_images, _check_images),
    "series": _Kind(lambda s, raw, rng: as_float32(_array(s, raw)), lambda s, x: x, _free),
    "vector": _Kind(lambda s, raw, rng: as_float32(_array(s, raw)), lambda s, x: x, _free),
    "table": _Kind(_encode_table, _decode_table, _check_table),
}
