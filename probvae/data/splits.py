"""Training, validation and test sets: named by the source, or drawn with a seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probvae.data.arrays import permutation, take
from probvae.data.checks import Examples, as_examples, as_labels
from probvae.data.dataset import DataSet, Options
from probvae.data.images import resize
from probvae.data.schema import Schema
from probvae.errors import InputError

HELD_OUT = 0.1  # fraction of the examples that become the test set, if the source names none
PARTS = ("train", "test", "validation")
SHOWN = 8  # arrays that a message lists, at most


def held_out(name: str, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a test set.

    Args:
      name: Name of the data, for messages.
      size: Number of examples.
      seed: Seed of the draw.

    Returns:
      Indices of the training examples and of the test examples (a tenth), in random order.

    Raises:
      InputError: There are fewer than two examples.
    """
    if size < 2:
        raise InputError(f"{name} must hold two examples or more; it holds {size}.")
    return split_off(size, HELD_OUT, seed)


def split_off(size: int, fraction: float, seed: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw a fraction of examples, at least one of them.

    Returns:
      Indices of the examples that are left and of those that were drawn, in random order.
    """
    order = permutation(np.random.default_rng(seed), size)
    cut = max(1, int(size * fraction))
    return order[cut:], order[:cut]


def validation_split(name: str, train: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw a validation set from the indices of a training set.

    Returns:
      The rest of `train` in its order, and the fraction `options.validation` of it in random order, or None
      if that is zero.
    """
    if not options.validation:
        return train, None
    if len(train) < 2:
        raise InputError(f"{name} must have two training examples or more to hold one out for validation.")
    rest, held = split_off(len(train), options.validation, [options.seed, 1])
    return train[np.sort(rest)], train[held]


def assemble(
    name: str,
    arrays: Mapping[str, np.ndarray],
    options: Options,
    *,
    levels: int | None = None,
    label_names: tuple[str, ...] = (),
    skipped: tuple[str, ...] = (),
) -> DataSet:
    """Check arrays and make a data set of them.

    Args:
      name: Name of the data.
      arrays: x_train and x_test, perhaps x_validation, and their labels y_train, y_test, y_validation; or one
        array of examples, and one of labels if any, of which a tenth is held out.
      options: Kind of the arrays and choice of the splits.
      levels: Value of integers that stands for 1, if the source knows it.
      label_names: Names of the labels 0, 1, ...
      skipped: Names of files that were left out.

    Returns:
      `DataSet`. Arrays in files stay there: the sets are `Rows` of them.

    Raises:
      InputError: The arrays cannot be used.
    """
    options.refuse(name, "tables (.csv, .parquet)", "label", "kinds")
    if options.schema is not None and options.schema.is_table:
        raise InputError(
            f"The model takes a table with the columns {', '.join(options.schema.names[:SHOWN])}; {name} "
            "holds arrays, without names: give a .csv, .tsv or .parquet file."
        )
    arrays = _renamed(name, arrays)
    options.refuse(name, ".csv and .tsv files", "delimiter", "decimal", "na")
    if "x_test" in arrays and "x_train" not in arrays:
        raise InputError(f"{name} holds x_test but no x_train: add the training examples under that name.")
    if "x_train" in arrays:
        parts = _named(name, arrays, options, levels)
    else:
        parts = _drawn(name, arrays, options, levels)
    if options.validation and "validation" in parts:
        if options.schema is None:
            raise InputError(f"{name} holds a validation set: leave out --validation.")
    elif options.validation:
        x, y = parts["train"]
        rest, held = validation_split(name, np.arange(len(x.x)), options)
        for part, indices in (("train", rest), ("validation", held)):
            if indices is not None:
                parts[part] = x._replace(x=take(x.x, indices)), None if y is None else y[indices]
    first = parts["train"][0]
    schema = options.schema or _schema_of(first, options, label_names)
    refuse_other_shape(name, schema.event_shape, tuple(first.x.shape[1:]))
    _refuse_other_range(name, schema, first.levels)
    chosen: dict[str, Any] = {part: parts[part][0].x for part in PARTS if part in parts}
    labels: dict[str, Any] = {
        f"{part}_labels": by_name(name, parts[part][1] if options.labels else None, label_names, schema)
        for part in PARTS
        if part in parts
    }
    return DataSet(
        name=name,
        levels=first.levels,
        missing=any(examples.missing for examples, _ in parts.values()),
        skipped=skipped,
        schema=schema,
        **chosen,
        **labels,
    )


def _schema_of(examples: Examples, options: Options, classes: tuple[str, ...]) -> Schema:
    shape = tuple(examples.x.shape[1:])
    return Schema.of_arrays(
        shape,
        examples.levels,
        crop=options.crop if options.image_size is not None and len(shape) == 3 else "",
        missing=options.missing,
        classes=classes,
    )


def refuse_other_shape(name: str, event_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse examples of another shape than a model takes.

    Raises:
      InputError: The shapes differ.
    """
    if shape != event_shape:
        raise InputError(f"The model takes x of shape {list(event_shape)}; {name} holds {list(shape)}.")


def _refuse_other_range(name: str, schema: Schema, levels: int) -> None:
    if levels != schema.white:
        raise InputError(
            f"The model knows images from 0 to {schema.white}; those of {name} lie from 0 to {levels}: "
            "rescale them."
        )


def by_name(
    name: str, labels: np.ndarray | None, names: tuple[str, ...], schema: Schema
) -> np.ndarray | None:
    """Return labels with the numbers that a schema gives to their classes; None where it has no names.

    Args:
      name: Name of the data, for messages.
      labels: Labels [N], or None.
      names: Names of the labels 0, 1, ... in these data; empty if the labels stand for themselves.
      schema: Schema whose classes have other numbers, perhaps.

    Raises:
      InputError: The schema does not know a class.
    """
    if labels is None or names == schema.classes or not names:
        return labels
    if not schema.classes:  # numbers that nobody can match with names
        return None
    unknown = [names[k] for k in np.unique(labels) if names[k] not in schema.classes]
    if unknown:
        raise InputError(
            f"{name} has the class {unknown[0]!r}, which the model does not know; it knows "
            f"{', '.join(schema.classes)}."
        )
    numbers = [schema.classes.index(each) if each in schema.classes else -1 for each in names]
    return np.array(numbers, np.int64)[labels]


def _renamed(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays with the validation set x_val, y_val under its whole name."""
    renamed = dict(arrays)
    for axis in "xy":
        if f"{axis}_val" in renamed:
            if f"{axis}_validation" in renamed:
                raise InputError(f"{name} holds {axis}_val and {axis}_validation: leave one out.")
            renamed[f"{axis}_validation"] = renamed.pop(f"{axis}_val")
    return renamed


Part = tuple[Examples, np.ndarray | None]


def _named(
    name: str, arrays: Mapping[str, np.ndarray], options: Options, levels: int | None
) -> dict[str, Part]:
    """Check the sets that a source names."""
    if "x_test" not in arrays:
        raise InputError(f"{name} holds x_train but no x_test: add the test examples under that name.")
    parts: dict[str, Part] = {}
    for part in PARTS:
        if f"x_{part}" not in arrays:
            continue
        examples = _examples(f"x_{part} of {name}", arrays[f"x_{part}"], options, levels)
        labels = as_labels(f"y_{part} of {name}", arrays.get(f"y_{part}"), len(examples.x))
        train = parts["train"][0] if parts else examples
        if train.x.shape[1:] != examples.x.shape[1:] or train.levels != examples.levels:
            raise InputError(
                f"x_train and x_{part} of {name} must hold examples of one shape and range; got "
                f"{list(train.x.shape[1:])} in [0, {train.levels}] and {list(examples.x.shape[1:])} in "
                f"[0, {examples.levels}]."
            )
        parts[part] = examples, labels
    return parts


def _drawn(
    name: str, arrays: Mapping[str, np.ndarray], options: Options, levels: int | None
) -> dict[str, Part]:
    """Split the only array of examples of a source, and its labels, into a training and a test set."""
    least = 3 if any(array.ndim >= 3 for array in arrays.values()) else 2
    names = [key for key, array in arrays.items() if array.ndim >= least]
    if len(names) != 1:
        shapes = {key: list(array.shape) for key, array in [*arrays.items()][:SHOWN]}
        more = f" and {len(arrays) - SHOWN:,} more" if len(arrays) > SHOWN else ""
        raise InputError(
            f"{name} must hold x_train and x_test, or one array of images [N, H, W] or [N, H, W, C], of "
            f"vectors [N, D] or of series [N, T, C]; it holds {shapes}{more}."
        )
    x = arrays[names[0]]
    train, test = held_out(name, len(x), options.seed)
    examples = _examples(f"{names[0]} of {name}", x, options, levels)
    labels = [array for array in arrays.values() if array.ndim == 1 and len(array) == len(x)]
    y = as_labels(f"The labels of {name}", labels[0], len(x)) if len(labels) == 1 else None
    return {
        part: (examples._replace(x=take(examples.x, indices)), None if y is None else y[indices])
        for part, indices in (("train", train), ("test", test))
    }


def _examples(what: str, x: np.ndarray, options: Options, levels: int | None) -> Examples:
    kind = options.kind if options.schema is None else options.schema.kind
    if options.schema is not None and options.schema.white > 1 and x.dtype.kind in "iu":
        levels = options.schema.white
    examples = as_examples(what, x, kind=kind, missing=options.missing, levels=levels)
    if options.image_size is None:
        return examples
    if examples.x.ndim != 4:
        raise InputError(f"image_size is for images; {what} has examples of shape {list(x.shape[1:])}.")
    if examples.missing:
        raise InputError(f"{what} has missing values, so its images cannot be resized: leave out image_size.")
    return Examples(*resize(examples.x, examples.levels, options.image_size, options.crop), missing=False)
