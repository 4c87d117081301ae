"""The schema of a run, from schema.json or the data file of a run of format 2, and the data read by it."""

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data import from_config
from probvae.data.arrays import chunks
from probvae.data.dataset import DataSet
from probvae.data.schema import Schema
from probvae.data.schema_text import levels_or_range
from probvae.data.splits import refuse_other_shape
from probvae.errors import InputError

TABLES = (".csv", ".tsv", ".parquet")
FEW_EXAMPLES = "few_examples.*"  # file of a model that comes with the package


class _Run(Protocol):
    """The attributes of `Run` that say where its data are and what they were."""

    folder: Path
    source: str | None
    architecture: Architecture
    training: Training
    schema_sha256: str | None

    @property
    def saved_schema(self) -> Schema | None: ...

    @property
    def fingerprint(self) -> str | None: ...

    @property
    def metrics(self) -> dict[str, Any]: ...


class Known(NamedTuple):
    """The schema of a run, None if it is unknown; and the data that it was read from, with their place."""

    schema: Schema | None
    examples: DataSet | None = None
    source: str = ""


def known_of(run: _Run) -> Known:
    """Return the schema of a run.

    A run of format 2 has no schema.json. Where its data file is still the same, the schema is fitted to that
    as the run did, in the coding of format 2. Otherwise that of a table is unknown; other data have no units.
    """
    if run.schema_sha256 is not None:
        return Known(run.saved_schema)
    architecture, training = run.architecture, run.training
    for source in dict.fromkeys((training.data, run.source or training.data)):
        try:
            examples = from_config.read(
                training, missing=architecture.missing, source=source, old_coding=True
            )
        except InputError:
            continue
        if examples.event_shape != architecture.event_shape:
            continue
        if run.fingerprint in (None, examples.old_fingerprint()):
            schema = from_config.schema_of(examples, training, architecture)
            if schema.is_table:
                remark = f"read from {source} on {date.today():%Y-%m-%d}; units not verified"
                schema = dataclasses.replace(schema, remark=remark)
            return Known(schema, dataclasses.replace(examples, schema=schema), source)
    return Known(None)


def read_examples(run: _Run, known: Known, source: str | None, *, labels: bool = True) -> DataSet:
    """Read the data of a run by its schema.

    Args:
      run: Run.
      known: Result of `known_of` for the run.
      source: Name or path of other data; None for the run's own.
      labels: Whether their labels are read, too.

    Raises:
      InputError: The data cannot be read, do not fit the schema, or need a schema that is unknown.

    A model that comes with the package has a few examples beside it, for where its data cannot be read.
    """
    if known.examples is not None and known.source == (source or run.training.data):
        return known.examples
    if known.schema is None and _may_be_table(run):
        raise InputError(
            f"{run.folder} was written by an older version of probvae, which kept no names, levels and units "
            f"of its table; they are read from {run.training.data!r} alone, which is absent or has changed. "
            "Bring that file back, or train anew: no rows can be coded or scored until then."
        )

    def read(place: str | None) -> DataSet:
        return from_config.read(
            run.training, missing=run.architecture.missing, schema=known.schema, source=place, labels=labels
        )

    try:
        examples = read(source)
    except InputError as error:
        few = next(iter(run.folder.glob(FEW_EXAMPLES)), None)
        if source is None and few is not None:
            return dataclasses.replace(read(str(few)), name=f"a few examples of {run.training.data}")
        where = f" The run was trained on {run.training.data!r}; --data says where that is now."
        raise InputError(f"{error}{'' if source else where}") from None
    refuse_other_shape(examples.name, run.architecture.event_shape, examples.event_shape)
    return examples


def _may_be_table(run: _Run) -> bool:
    return bool(run.architecture.columns) or Path(run.training.data).suffix.lower() in TABLES


def differences(run: _Run, examples: DataSet) -> str:
    """Describe in what examples differ from the data of a run; empty if they are the same."""
    try:
        fingerprint, trained = run.fingerprint, run.metrics.get("data", {})
    except InputError:  # damaged metrics
        return ""
    if examples.agrees_with(fingerprint):
        return ""
    parts = []
    sizes = trained.get("train_images"), trained.get("test_images")
    mine = len(examples.train), len(examples.test)
    if sizes != mine and None not in sizes:
        parts.append(f"{mine[0]:,} + {mine[1]:,} examples, trained on {sizes[0]:,} + {sizes[1]:,}")
    parts += _ranges(examples)
    return "; ".join(parts) or "other values"


def _ranges(examples: DataSet, most: int = 3) -> list[str]:
    """Describe the columns of numbers whose test values are far from the range of the training."""
    beyond = []
    for i, column in examples.schema.in_place:
        if column.levels or column.low is None or column.high is None:
            continue
        codes = np.concatenate([rows[:, i] for rows in chunks(examples.test)])
        if np.isnan(codes).all():
            continue
        numbers = column.unscaled(codes)
        low, middle, high = (float(np.nanquantile(numbers, q)) for q in (0, 0.5, 1))
        width = column.high - column.low
        far = low < column.low - width or high > column.high + width
        if far or not column.low <= middle <= column.high:
            ends = (low, high) if column.type == "number" else (round(low), round(high))
            present = dataclasses.replace(column, low=ends[0], high=ends[1])
            ranges = f"from {levels_or_range(present)}, trained on {levels_or_range(column)}"
            beyond.append(f"column {column.name!r} {ranges}")
    more = [f"{len(beyond) - most} more columns"] if len(beyond) > most else []
    return beyond[:most] + more
