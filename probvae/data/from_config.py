"""The data of a run: from its configuration to what its model sees."""

from typing import Any

import numpy as np

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data import binarization, labels, loading
from probvae.data.binarization import Prepared
from probvae.data.dataset import DataSet
from probvae.data.labels import forget_labels
from probvae.errors import InputError
from probvae.likelihoods import likelihood_of


def read(training: Training, *, missing: bool, source: str | None = None) -> DataSet:
    """Load a run's data, or other data read in the same way.

    Args:
      training: says how.
      missing: whether values may be missing.
      source: in place of the run's own.

    Raises:
      InputError: as `probvae.data.loading.load`.
    """
    return loading.load(
        source or training.data,
        kind=training.kind,
        image_size=training.image_size or None,
        crop=training.crop,
        color=training.color,
        missing=missing,
        validation=training.validation,
        label=training.label or None,
        kinds=dict(kind.split("=") for kind in training.column_kinds),
    )


def shape_fields(examples: DataSet, training: Training, likelihood: str) -> dict[str, Any]:
    """Return the fields of `Architecture` that the data decide.

    Raises:
      InputError: labels are asked for and the data have none.
    """
    fields: dict[str, Any] = {"event_shape": examples.event_shape}
    if likelihood == "mixed":
        if not examples.kinds:
            raise InputError(
                f"The likelihood mixed is for tables, .csv or .parquet files; {examples.name} is none."
            )
        fields["columns"] = examples.kinds
    if training.labels != "none":
        fields |= {"context_dim": _num_classes(examples), "classifier": training.labels == "semi"}
    return fields


def prepare(examples: DataSet, training: Training, architecture: Architecture) -> Prepared:
    """Turn examples into what the model sees: binarized as asked, joined with their labels where it has y.

    Raises:
      InputError: values outside the likelihood's support; labels that are absent or of other classes.
    """
    a = architecture
    prepared = binarization.prepare(
        examples, binarize=training.binarize, likelihood=a.likelihood, classes=a.classes
    )
    if not a.context_dim:
        return prepared
    found = _num_classes(examples)
    if found > a.context_dim:
        raise InputError(
            f"The model knows {a.context_dim} classes; {examples.name} holds labels up to {found - 1}."
        )
    train, test = (
        labels.one_hot(np.asarray(y), a.context_dim) for y in (examples.train_labels, examples.test_labels)
    )
    if training.labels == "semi":
        train = forget_labels(train, training.labelled)
    joined = labels.join_prepared(prepared, train, test)
    if prepared.validation is None:
        return joined
    y = labels.one_hot(np.asarray(examples.validation_labels), a.context_dim)
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
    """Return the likelihood and the network for data of this shape, where nobody chose them."""
    rank = len(examples.event_shape)
    likelihood = {1: "normal", 2: "normal", 3: "bernoulli"}[rank]
    network = {1: "mlp", 2: "conv1d", 3: "conv"}[rank]
    return {"likelihood": "mixed" if examples.kinds else likelihood, "network": network}


def default_binarize(architecture: Architecture) -> str:
    """Return how images are binarized where nobody chose: as the tutorial for Bernoulli pixels, else not."""
    binary = len(architecture.event_shape) == 3 and likelihood_of(architecture).kind.binary
    return "threshold" if binary else "none"


def describe(examples: DataSet) -> str:
    """Say in a few words how many examples there are, and of what shape.

    >>> describe(data.load("digits"))
    'digits: 1,500 training and 297 test images of 28x28x1'
    """
    what = {1: "rows", 2: "series", 3: "images"}[len(examples.event_shape)]
    shape = "x".join(str(n) for n in examples.event_shape)
    validation = "" if examples.validation is None else f", {len(examples.validation):,} validation"
    return (
        f"{examples.name}: {len(examples.train):,} training{validation} and {len(examples.test):,} test "
        f"{what} of {shape}"
    )
