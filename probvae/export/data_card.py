"""The part of a model card about data: what one example is, its units, and how schema.json is applied."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from probvae.data import schema_text
from probvae.data.coding import Column
from probvae.data.kinds import NUMBERS
from probvae.data.schema import Schema
from probvae.data.value_types import UNITS
from probvae.export.markdown import code, table, text
from probvae.export.table_values import TEXTS, column_specs
from probvae.export.units import VALUES
from probvae.files.writing import SCHEMA
from probvae.models.vae import VAE

LONGEST = 400  # characters of the levels of a column, or of the names of the classes, that are shown


class _Binarized(NamedTuple):
    """The text of the card on a binarization of grey levels from 0 to 1.

    Attributes:
      words: End of the sentence on x.
      comparison: Comparison of NumPy that makes x of grey levels; empty for grey levels themselves.
      draws: Whether it draws.
    """

    words: str = ""
    comparison: str = ""
    draws: bool = False


PROBABILITY, DRAW = (
    "; then 1 with this as its probability, else 0, drawn",
    " > np.random.random(images.shape)",
)
# Each key is one of `BINARIZATIONS`.
BINARIZED = {
    "none": _Binarized(),
    "threshold": _Binarized("; then 1 where this is above one half, else 0", " > 0.5"),
    "static": _Binarized(f"{PROBABILITY} once for each image", DRAW, draws=True),
    "dynamic": _Binarized(f"{PROBABILITY} at each step of the training", DRAW, draws=True),
}


class _Kind(NamedTuple):
    """The text of the card on a kind of examples.

    Attributes:
      describe: Function from a schema to paragraphs on an example.
      density: Sentence on the meaning and units of log p(x).
      apply: Function from a schema to paragraphs on how its file is applied to x.
    """

    describe: Callable[[Schema], list[str]]
    density: str
    apply: Callable[[Schema], list[str]] = lambda schema: []


# ---- sections --------------------------------------------------------------------------------------


def describe(vae: VAE) -> str:
    """Return the section on the data of a model."""
    if (schema := vae.schema) is None:
        return (
            "The model has no schema of its data: x are arrays as it was trained on, and their meaning was "
            "not recorded."
        )
    parts = [f"`{SCHEMA}` holds all of this.", *KINDS[schema.kind].describe(schema)]
    if schema.missing:
        parts.append("Values may be missing.")
    if schema.classes:
        names = ", ".join(f"{i} {name}" for i, name in enumerate(schema.classes))
        parts.append(f"The classes: {text(_cut(names))}.")
    if schema.remark:
        parts.append(text(f"The schema: {schema.remark}."))
    return "\n\n".join(parts)


def density(vae: VAE) -> str:
    """Return a sentence on what log p(x) is, and in which units."""
    if vae.schema is None:
        return "log p(x) is that of x as the model takes it, in nats."
    return KINDS[vae.schema.kind].density


def apply(vae: VAE) -> str:
    """Return how schema.json is applied where x is coded; "" where values are x."""
    return "" if vae.schema is None else "\n\n".join(KINDS[vae.schema.kind].apply(vae.schema))


def has_units(vae: VAE) -> bool:
    """Return whether the main signatures of a SavedModel take values in the units of the data."""
    return vae.schema is not None and vae.schema.kind in VALUES


# ---- kinds -----------------------------------------------------------------------------------------


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rstrip(', ')} and so on, see {SCHEMA}"


def _describe_image(schema: Schema) -> list[str]:
    height, width, channels = schema.event_shape
    values = "integers from 0 to 255" if schema.white > 1 else "numbers from 0 to 1"
    grey = f"is the value divided by {schema.divisor}" if schema.divisor > 1 else "is the value"
    binarized = BINARIZED[schema.binarization]
    parts = [
        f"One example is an image of {height} x {width} pixels (height x width) and {channels} "
        f"{'channel' if channels == 1 else 'channels'}, of {values}. x {grey}"
        f"{binarized.words}."
    ]
    if schema.crop:
        parts.append(f"Images of other sizes were brought to this one by the crop {code(schema.crop)}.")
    if binarized.draws:
        parts.append(
            "The SavedModel draws x from images: `log_prob` from its seed, `encode` always alike. Images of "
            "black and white alone leave nothing to draw."
        )
    return parts


def _apply_image(schema: Schema) -> list[str]:
    how = f"(images / {schema.divisor}{BINARIZED[schema.binarization].comparison})"
    return [
        f"x of images: `x = {how}.astype(np.float32)`. Grey levels of the decoder: its output times "
        f"{schema.divisor}."
    ]


def _describe_array(schema: Schema) -> list[str]:
    axes = {"series": "a series of {} steps and {} channels", "vector": "a vector of {} numbers"}
    return [f"One example is {axes[schema.kind].format(*schema.event_shape)}; x are its values."]


def _describe_table(schema: Schema) -> list[str]:
    specs = column_specs(schema)
    rows = [
        (
            text(column.name),
            code(specs[column.name][0]),
            specs[column.name][1],
            text(column.kind),
            column.type,
            _unit(column),
            _range(column),
            f"{column.loc:.9g}" if not column.levels else "",
            f"{column.scale:.9g}" if not column.levels else "",
        )
        for _, column in schema.in_place
    ]
    head = ("column", "tensor", "dtype", "kind", "type", "unit", "levels or range", "location", "scale")
    parts = [
        "One example is a row of a table. In a SavedModel each column is a tensor [B] of the name below; a "
        'missing text is "" and a missing number NaN; booleans are `true` and `false`; dates are numbers of '
        "their unit since 1970-01-01 (UTC). The range is that of the training set, which other values may "
        "leave.",
        table(head, rows),
        "x [B, D], which signatures whose names end in `_x` and ONNX files take and give, holds the columns "
        f"in the order of `{SCHEMA}`, that of their names.",
    ]
    for column in schema.columns:
        if column.is_size:
            parts.append(
                f"The column {code(column.name)} is the size of its row, and never missing. It multiplies "
                "the rates of the counts of its row, relative to exp(location). Means of counts that are "
                "decoded of z are those over all sizes."
            )
    if schema.missing_cells:
        cells = ", ".join(map(code, schema.missing_cells))
        words = f"In files, empty cells and {cells} stood for missing values"
        parts.append(f"{words}; in a SavedModel these texts do not.")
    return parts


def _unit(column: Column) -> str:
    return f"{UNITS[column.unit]} since 1970-01-01" if column.unit else ""


def _range(column: Column) -> str:
    if column.levels:
        written = (TEXTS[column.type](v)[0] if column.type in TEXTS else str(v) for v in column.levels)
        return text(_cut(", ".join(written)))
    return text(schema_text.levels_or_range(column))


EXAMPLE = '''```python
import json
import numpy as np

with open("schema.json", encoding="utf-8") as file:
    columns = json.load(file)["columns"]  # in the order of x


def encode(table):
    """Return x [B, D] of columns by name; None, "" or NaN where missing."""

    def codes(column):
        values = table[column["name"]]
        if column["levels"]:
            known = {level: code for code, level in enumerate(column["levels"])}
            return [np.nan if v in (None, "") or v != v else known[v] for v in values]
        numbers = np.asarray(values, np.float64)
        numbers = np.log(numbers) if column["logarithm"] else numbers
        return (numbers - column["loc"]) / column["scale"]

    return np.stack([codes(column) for column in columns], axis=1).astype(np.float32)


def centers(mean, stddev, mode):
    """Return columns by name from the outputs [B, D] of the decoder."""

    def values(column, mean, stddev, mode):
        if column["levels"]:
            return [column["levels"][int(code)] for code in np.rint(mode)]
        if column["low"] == column["high"]:
            return np.full(len(mean), column["low"])
        numbers = column["loc"] + column["scale"] * mean.astype(np.float64)
        if column["kind"] in WITHOUT_MEAN:
            return np.exp(numbers)  # the median
        if column["logarithm"]:
            return np.exp(numbers + (column["scale"] * stddev) ** 2 / 2)
        return numbers

    parts = zip(columns, mean.T, stddev.T, mode.T)
    return {column["name"]: values(column, *codes) for column, *codes in parts}
```'''.replace("WITHOUT_MEAN", repr([name for name, kind in NUMBERS.items() if not kind.has_moments]))


def _apply_table(schema: Schema) -> list[str]:
    formulas = [
        ("levels", "the index of the level in `levels`, from 0", "`levels[code]`", "0"),
        ("numbers", "(value - `loc`) / `scale`", "`loc` + `scale` · code", "-log `scale`"),
        (
            "numbers with `logarithm`",
            "(log value - `loc`) / `scale`",
            "exp(`loc` + `scale` · code)",
            "-log `scale` - log value",
        ),
    ]
    return [
        f"Each column of `{SCHEMA}` says how its values become a column of x, and back:",
        table(("column", "code", "value of a code", "log-density of value minus that of code"), formulas),
        "A missing value is NaN. Columns of type integer and date round the values of draws, and a column "
        "whose `low` is its `high` has always this value. Levels and logarithms have no value at a "
        "mean code: take the mode, or the mean of the lognormal variable, as here (the median where the "
        "kind has no mean). Values that the kind of the column does not have must be refused; these lines do "
        "so for levels only.",
        EXAMPLE,
    ]


DENSITY_OF_X = "log p(x) is that of x, not of the values before they were coded, in nats."
KINDS = {
    "image": _Kind(_describe_image, DENSITY_OF_X, _apply_image),
    "series": _Kind(_describe_array, "log p(x) is that of the values, in nats."),
    "vector": _Kind(_describe_array, "log p(x) is that of the values, in nats."),
    "table": _Kind(
        _describe_table,
        "log p(x) is the log-density of a row in the units of its columns, in nats: per unit of each column "
        "of numbers (per day or second of dates), while levels and counts have probabilities.",
        _apply_table,
    ),
}


def decoded(vae: VAE, mean: str) -> list[str]:
    """Return the names of the outputs of a decoder; `mean` is that of the mean."""
    is_table = vae.schema is not None and vae.schema.is_table
    return [mean, "stddev", "mode"] if is_table else [mean]


def signatures(vae: VAE) -> str:
    """Return a paragraph on what the signatures of a SavedModel take and give."""
    if not has_units(vae):
        return (
            f"A row an example, float32; `bounds` holds `elbo` and `iwae`. {density(vae)} Where x or z holds "
            "a value that the model does not take, `problem` says so, and the numbers of this row are NaN; "
            'elsewhere `problem` is "".'
        )
    return (
        f"A row an example. `bounds` holds `elbo` and `iwae`, float64. {density(vae)} Where the model "
        "does not know a value (an unknown level, a value that its kind does not have), `problem` says so, "
        'and the numbers of this row are NaN; elsewhere `problem` is "". `encode_x`, `decode_x`, '
        "`log_prob_x` and `sample_x` take and give coded x, and their log p(x) is that of coded x; they "
        "have a `problem` too."
    )


def loading(vae: VAE, mean: str) -> Sequence[str]:
    """Return the lines of Python that use the signatures of a SavedModel; `mean` is the name of the mean."""
    start = [
        "import tensorflow as tf",
        "",
        'model = tf.saved_model.load("saved_model").signatures',
    ]
    numbers = "num_samples=tf.constant(100), seed=tf.constant(0)"
    if not has_units(vae):
        return [
            *start,
            f'drawn = model["sample"](number=tf.constant(16), seed=tf.constant(0))  # z, x, {mean}',
            'encoded = model["encode"](x=drawn["x"])  # loc, scale, problem',
            f'decoded = model["decode"](z=encoded["loc"])  # {mean}, problem',
            f'bounds = model["log_prob"](x=drawn["x"], {numbers})',
        ]
    return [
        *start,
        'drawn = dict(model["sample"](number=tf.constant(16), seed=tf.constant(0)))',
        'z = drawn.pop("z")  # the other tensors are values in the units of the data',
        'encoded = model["encode"](**drawn)  # loc, scale, problem',
        'decoded = model["decode"](z=encoded["loc"])  # central values in the units of the data, problem',
        f'bounds = model["log_prob"](**drawn, {numbers})',
    ]
