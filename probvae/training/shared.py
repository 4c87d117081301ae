"""Trainings and models that share their compiled functions with earlier ones of the same architecture.

To compile a step takes longer than to train on a small table. So its graph holds neither data nor seed, and a
workshop that has ended a training waits in `POOL` for the next one of the same plan, which starts with
weights and an optimizer as new. What a caller gets are arrays, so that no training can change the result of
another.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from probvae import objectives
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.binarization import Feed, Prepared
from probvae.models.building import build
from probvae.models.initial import identity_of, initial_weights
from probvae.models.vae import VAE
from probvae.training.feeding import Form
from probvae.training.optimizer import has_constant_rate
from probvae.training.pool import Pool
from probvae.training.state import Row, assign
from probvae.training.trainer import Trainer
from probvae.training.workshop import Workshop, depends_on_number

# Settings of the reading of data, which a `Trainer` does not use.
READ = ("data", "kind", "image_size", "crop", "color", "label", "column_kinds", "delimiter", "decimal", "na")

POOL = Pool(24)  # ten architectures, each with a training and a model of rows, and some more


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that the graphs of a training depend on, and nothing else; equal plans share a workshop.

    Attributes:
      place: Place of the model, see `place_of`.
      training: Settings, without those that are arguments or variables of the graphs.
      functions: Entries of registries, in case another one takes the name.
      feed: Function from a batch to x.
      form: Form of the training set.
      num_examples: Number of training examples, where a step depends on it; otherwise 1.
    """

    place: Hashable
    training: Training
    functions: tuple[Hashable, ...]
    feed: Feed
    form: Form
    num_examples: int

    @classmethod
    def of(cls, architecture: Architecture, data: Prepared, training: Training) -> "Plan":
        """Return the plan of a training."""
        number = len(data.train) if depends_on_number(training) else 1
        functions = objectives.OBJECTIVES[training.objective], objectives.WARMUPS[training.beta_warmup]
        form = Form.of(data.train)
        return cls(place_of(architecture), _traced(training), functions, data.feed, form, number)


def _traced(training: Training) -> Training:
    """Return settings with defaults in place of those that no graph holds."""
    free = {"seed", "patience", "validation", *READ}
    if has_constant_rate(training):
        free |= {"epochs", "batch_size", "learning_rate"}
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(Training) if f.name in free}
    return dataclasses.replace(training, **defaults)


def place_of(architecture: Architecture) -> Hashable:
    """Return what the graphs of a model depend on: what it is made from, and the device."""
    return identity_of(architecture), tf.zeros([]).device


def fit(
    architecture: Architecture,
    data: Prepared,
    training: Training,
    *,
    weights: Sequence[np.ndarray] | None = None,
    on_epoch: Callable[[Row], None] = lambda row: None,
) -> tuple[list[np.ndarray], list[Row]]:
    """Train a model, with the numbers of `Trainer` and the compiled functions of an earlier training.

    It may be called within another one, and by several threads. Trainings on replicas, with labels or in
    mixed precision are compiled anew.

    Args:
      architecture: Architecture of the model.
      data: Training, test and validation set.
      training: Settings and seed.
      weights: Weights to start with, in the order of `vae.variables`; None for those of the seed.
      on_epoch: Function called with each row of the history.

    Returns:
      The weights, and the history.

    Raises:
      InputError: See `Trainer`.
      NonFiniteError: See `Trainer.fit`.
    """
    if weights is None:
        weights = initial_weights(architecture, training.seed)

    def make() -> Workshop:
        vae = build(architecture, dropout=training.dropout, precision=training.precision)
        return Workshop.of(vae, data, training)

    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    pool = POOL if alone and not training.uses_labels and training.precision == "float32" else Pool(0)
    with pool.borrowed(Plan.of(architecture, data, training), make) as shop:
        shop.start(list(weights), training)
        history = Trainer(shop.vae, data, training, workshop=shop).fit(on_epoch=on_epoch)
        return [variable.numpy() for variable in shop.vae.variables], history


@contextlib.contextmanager
def borrowed(
    architecture: Architecture, weights: Sequence[np.ndarray], what: Hashable, make: Callable[[VAE], Any]
) -> Iterator[Any]:
    """Give something compiled that belongs to a model, with weights of the caller's.

    Args:
      architecture: Architecture of the model.
      weights: Its weights, in the order of `vae.variables`.
      what: Key of the thing among those of the architecture.
      make: Function from a model to the thing, which has the model as its attribute `vae`.
    """
    with POOL.borrowed((place_of(architecture), what), lambda: make(build(architecture))) as thing:
        assign(thing.vae.variables, weights)
        yield thing
