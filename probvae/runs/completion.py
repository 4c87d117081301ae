"""The settings of a new run: those that are given, completed by a recipe and by the data."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from probvae.config.architecture import DECIDED_BY_DATA, Architecture
from probvae.config.choices import USERS
from probvae.config.training import Training
from probvae.data import from_config
from probvae.data.dataset import DataSet
from probvae.errors import InputError

BY_DATA = frozenset({"binarize", "hide"})  # settings of `Training` whose default depends on the data
HIDDEN = 0.5  # fraction of the rows of a table of which training hides cells
RISE = 0.1  # largest fraction of a run in which the learning rate of a recipe rises


def named(cls: Any, fields: Any) -> dict[str, Any]:
    """Return the given fields of a configuration, by name."""
    names = [field.name for field in dataclasses.fields(cls)]
    if isinstance(fields, cls):
        return {name: getattr(fields, name) for name in names}
    if not isinstance(fields, Mapping | None):
        name = cls.__name__
        raise InputError(f"Give {name}(...), or a mapping of its fields; got {type(fields).__name__}.")
    if unknown := sorted((fields or {}).keys() - names):
        raise InputError(f"{cls.__name__} has the fields {', '.join(names)}; got {unknown[0]!r}.")
    return dict(fields or {})


def typed(*configurations: Any) -> set[str]:
    """Return the names of the fields that mappings name; a whole configuration names none."""
    return {name for fields in configurations if isinstance(fields, Mapping) for name in fields}


def takes_missing(given: Mapping[str, Any], typed: Collection[str], training: Training) -> bool | None:
    """Return whether a new model takes missing values; None if this is left to the data.

    Args:
      given: Given fields of the architecture.
      typed: Names of the settings that the user gave.
      training: Settings.
    """
    if "missing" in given or "hide" not in typed:
        return given.get("missing")
    return training.hide > 0


def complete_architecture(given: dict[str, Any], examples: DataSet, training: Training) -> Architecture:
    """Return the architecture of the given fields, completed from the data.

    Raises:
      InputError: A given field contradicts the data.
    """
    fields = {**from_config.defaults(examples), "missing": examples.schema.missing, **given}
    decided = {f.name: f.default for f in dataclasses.fields(Architecture) if f.name in DECIDED_BY_DATA}
    decided |= from_config.shape_fields(examples, training, fields["likelihood"])
    for name, value in decided.items():
        if name in given and given[name] != value:
            raise InputError(
                f"{name} must be {value!r} for the data {examples.name} with labels {training.labels}; got "
                f"{given[name]!r}."
            )
    return Architecture(**{**fields, **decided})


def complete_training(
    training: Training,
    typed: Collection[str],
    architecture: Architecture,
    examples: DataSet,
    warn: Callable[[str], None],
) -> Training:
    """Return the training of a run, with the binarization, hidden cells and warm-up that fit its data.

    Args:
      training: Settings, with those of a recipe where none were typed.
      typed: Names of the settings that the user gave.
      architecture: Configuration of the model.
      examples: Examples of the run.
      warn: Function that takes a sentence to the user.

    Raises:
      InputError: A warm-up that was typed is longer than the run.
    """
    if "binarize" not in typed:
        training = dataclasses.replace(training, binarize=from_config.default_binarize(architecture))
    if "hide" not in typed and examples.schema.is_table and architecture.missing:
        training = dataclasses.replace(training, hide=HIDDEN)
    steps = training.epochs * math.ceil(len(examples.train) / training.batch_size)
    longest = int(RISE * steps)
    if "warmup_steps" not in typed:
        return dataclasses.replace(training, warmup_steps=min(training.warmup_steps, longest))
    if training.warmup_steps > steps > 0:
        raise InputError(
            f"warmup_steps must be at most the {steps:,} steps of the run, with fewer of which the learning "
            f"rate never reaches its height; got {training.warmup_steps:,}: give fewer, or more epochs."
        )
    if training.warmup_steps > longest:
        warn(
            f"the learning rate rises in {training.warmup_steps:,} of {steps:,} steps, more than a tenth of "
            f"the run; --warmup-steps {longest} would be that."
        )
    return training


def refuse_idle(typed: Collection[str], architecture: Architecture, training: Training) -> None:
    """Refuse settings that were typed and that another choice makes idle.

    Raises:
      InputError: A setting has no effect.
    """
    for name, (owner, choices, also) in USERS.items():
        choice = getattr(architecture, owner)
        if name in typed and choice not in choices and not (also and getattr(architecture, also)):
            raise InputError(
                f"{name} has no effect with {owner} {choice}; it is for {owner} {', '.join(choices)}: leave "
                "it out."
            )
    if "crop" in typed and not training.image_size:
        raise InputError("crop has no effect without an image size: set image_size, or leave crop out.")


def advice(examples: DataSet, typed: Collection[str], architecture: Architecture, training: Training) -> str:
    """Return a sentence on a default that may not suit the data; empty if there is none."""
    shape = examples.event_shape
    if "likelihood" in typed or examples.kinds:
        return ""
    if len(shape) == 3:
        drawn = shape[-1] == 3 and examples.levels > 1 and training.binarize != "none"
        return (
            f"the colours of {examples.name} are binarized to eight, as the likelihood is bernoulli; "
            "--likelihood discretized_logistic or logistic_mixture keeps them."
            if drawn
            else ""
        )
    sample = np.asarray(examples.train[:2000], np.float64)
    seen = sample[~np.isnan(sample)]
    if not len(seen) or np.any(seen != np.rint(seen)) or seen.min() < 0:
        return ""
    kind, others = ("counts", "poisson or negative_binomial") if seen.max() > 1 else ("0 and 1", "bernoulli")
    return (
        f"{examples.name} holds whole numbers ({kind}), and the likelihood is {architecture.likelihood}, for "
        f"real numbers: --likelihood {others} may suit them better."
    )
