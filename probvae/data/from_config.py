"""The data of a run, read and prepared as its configuration says."""

import dataclasses
from typing import Any

import numpy as np

from probvae.config.architecture import Architecture
from probvae.config.choices import OF_TABLES
from probvae.config.training import Training, parse_kinds
from probvae.data import binarization, labels, loading
from probvae.data.binarization import Prepared
from probvae.data.dataset import DataSet, Options
from probvae.data.labels import forget_labels
from probvae.data.schema import Schema
from probvae.errors import InputError
from probvae.likelihoods import likelihood_of


def read(
    training: Training,
    *,
    missing: bool | None,
    source: str | None = None,
    schema: Schema | None = None,
    old_coding: bool = False,
    labels: bool = True,
) -> DataSet:
    """Load the data of a run, or other data in the same way.

    Args:
      training: Configuration of the run.
      missing: Whether values may be missing; None for tables only.
      source: Name or path of other data, in place of the run's own.
      schema: Schema of the run, by which the data are read; None fits one to the data.
      old_coding: Whether columns are coded as in runs of format 2.
      labels: Whether labels are read; without them the data may have other classes.

    Raises:
      InputError: As for `probvae.data.load`.
    """
    options = options_of(training, missing=missing, schema=schema, old_coding=old_coding, labels=labels)
    return loading.read(source or training.data, options)


def options_of(
    training: Training,
    *,
    missing: bool | None,
    schema: Schema | None = None,
    old_coding: bool = False,
    labels: bool = True,
) -> Options:
    """Return the options by which the data of a run are read; the arguments are those of `read`."""
    if schema is not None and not labels:
        schema = dataclasses.replace(schema, label="")
    return Options(
        kind=training.kind,
        image_size=training.image_size or None,
        crop=training.crop,
        color=training.color,
        missing=bool(missing),
        missing_in_tables=missing is None,
        validation=training.validation,
        label=training.label if training.label and labels else None,
        kinds=parse_kinds(training.column_kinds),
        delimiter=training.delimiter,
        decimal=training.decimal,
        na=training.na,
        schema=schema,
        old_coding=old_coding,
        labels=labels,
    )


def schema_of(examples: DataSet, training: Training, architecture: Architecture) -> Schema:
    """Return the schema of a model of these examples, with its binarization and its number of classes."""
    schema, whole = examples.schema, likelihood_of(architecture).kind.whole
    divisor = 1 if whole else schema.white
    return dataclasses.replace(schema, binarization=training.binarize, divisor=divisor)


def shape_fields(examples: DataSet, training: Training, likelihood: str) -> dict[str, Any]:
    """Return the fields of `Architecture` that the data decide.

    Raises:
      InputError: The run uses labels and the data have none.
    """
    fields: dict[str, Any] = {"event_shape": examples.event_shape}
    if likelihood in OF_TABLES:
        if not examples.kinds:
            raise InputError(
                f"The likelihood mixed is for tables, .csv or .parquet files; {examples.name} is none."
            )
        fields["columns"] = examples.kinds
    if training.labels != "none":
        fields |= {"context_dim": _num_classes(examples), "classifier": training.labels == "semi"}
    return fields


def prepare(examples: DataSet, training: Training, architecture: Architecture) -> Prepared:
    """Binarize examples as configured, and join them with their labels if the model is conditional.

    Raises:
      InputError: Values lie outside the support of the likelihood, or labels are absent or of other classes.
    """
    prepared = binarization.prepare(
        examples, binarize=training.binarize, likelihood=architecture.likelihood, classes=architecture.classes
    )
    num_classes = architecture.context_dim
    if not num_classes:
        return prepared
    labelled = _num_classes(examples)
    if labelled > num_classes:
        raise InputError(
            f"The model knows {num_classes} classes; {examples.name} holds labels up to {labelled - 1}."
        )
    train, test = (
        labels.one_hot(np.asarray(y), num_classes) for y in (examples.train_labels, examples.test_labels)
    )
    if training.labels == "semi":
        train = forget_labels(train, training.labelled, seed=training.label_seed)
    joined = labels.join_prepared(prepared, train, test)
    if prepared.validation is None:
        return joined
    y = labels.one_hot(np.asarray(examples.validation_labels), num_classes)
    return joined._replace(validation=labels.join_rows(prepared.validation, y))


def _num_classes(examples: DataSet) -> int:
    if examples.train_labels is None or examples.test_labels is None:
        raise InputError(
            f"labels needs labelled data; {examples.name} has none: name them y_train and y_test in an .npz "
            "file, set label to a table's column, or put each class of images into a folder of its own."
        )
    labels = np.concatenate([examples.train_labels, examples.test_labels])
    if labels.min() < 0:
        raise InputError(f"Labels must be 0, 1, 2, ...; {examples.name} holds {labels.min()}.")
    return max(2, int(labels.max()) + 1)


def defaults(examples: DataSet) -> dict[str, str]:
    """Return the default likelihood and network for data of this shape."""
    rank = len(examples.event_shape)
    likelihood = {1: "normal", 2: "normal", 3: "bernoulli"}[rank]
    network = {1: "mlp", 2: "conv1d", 3: "conv"}[rank]
    return {"likelihood": "mixed" if examples.kinds else likelihood, "network": network}


def default_binarize(architecture: Architecture) -> str:
    """Return the default binarization: the tutorial's threshold for Bernoulli pixels, else none."""
    binary = len(architecture.event_shape) == 3 and likelihood_of(architecture).kind.binary
    return "threshold" if binary else "none"


def describe(examples: DataSet) -> str:
    """Return a short text on the numbers of examples and their shape.

    >>> describe(loading.load("digits"))
    'digits: 1,500 training and 297 test images of 28x28x1'
    """
    what = {1: "rows", 2: "series", 3: "images"}[len(examples.event_shape)]
    shape = "x".join(str(n) for n in examples.event_shape)
    validation = "" if examples.validation is None else f", {len(examples.validation):,} validation"
    return (
        f"{examples.name}: {len(examples.train):,} training{validation} and {len(examples.test):,} test "
        f"{what} of {shape}"
    )
