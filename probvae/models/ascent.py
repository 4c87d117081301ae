"""Gradient ascent on the mean of an objective."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from probvae.models.training_view import in_training, losses_of_weights
from probvae.seeds import Seed, fold_in

Objective = Callable[..., tf.Tensor]


class Forward(NamedTuple):
    """Results of a training step before its gradient.

    Attributes:
      bound: Objective of each example, [B].
      losses: Losses of Keras layers, such as those of regularizers, to be subtracted from the bound's mean.
      changes: Changes of the variables that layers change in a step, such as moving statistics, by the places
        of the variables in `vae.variables`.
    """

    bound: tf.Tensor
    losses: list[tf.Tensor]
    changes: dict[int, tf.Tensor]


def forward(vae: Any, objective: Objective, x: tf.Tensor, seed: Seed) -> Forward:
    """Evaluate an objective of x [B, *E] with every layer in training mode; no variable changes.

    A loss of a layer that depends on its input, and the change of a variable, is a mean over the calls of the
    network in the step, such as those for parts of the batch.
    """
    with in_training(vae, seed) as (view, record):
        bound = objective(view, x, seed=seed)
    losses = [tf.cast(loss, bound.dtype) for loss in (*losses_of_weights(vae), *record.losses)]
    changes = record.changes
    return Forward(
        bound, losses, {i: changes[id(v)] for i, v in enumerate(vae.variables) if id(v) in changes}
    )


def descent(
    vae: Any, objective: Objective, x: tf.Tensor, seed: Seed, weights: tf.Tensor | None = None
) -> tuple[Forward, list[tuple[tf.Tensor | None, tf.Variable]]]:
    """Return the forward pass, and pairs of the negative gradient of its mean and the variable.

    Losses of Keras layers are subtracted from the mean. With weights [B], that is the mean of the weighted
    objective: its sum, divided by B.
    """
    variables = vae.trainable_variables
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        done = forward(vae, objective, x, seed)
        weighted = done.bound if weights is None else done.bound * tf.cast(weights, done.bound.dtype)
        loss = tf.add_n([-_mean(weighted), *(loss / _replicas() for loss in done.losses)])
    return done, list(zip(tape.gradient(loss, variables), variables, strict=True))


def _replicas() -> int:
    """Return the number of replicas if this is the step of one of them, otherwise 1."""
    replica = tf.distribute.get_replica_context()
    return 1 if replica is None else replica.num_replicas_in_sync


def _mean(values: tf.Tensor) -> tf.Tensor:
    """Return the mean over the batch, or the share of this replica in it."""
    if _replicas() == 1:
        return tf.reduce_mean(values)
    size = tf.distribute.get_replica_context().all_reduce("SUM", tf.cast(tf.size(values), values.dtype))
    return tf.reduce_sum(values) / size


def ascend(
    vae: Any, optimizer: Any, objective: Objective, x: tf.Tensor, seed: Seed, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Take an optimizer step up the mean of the objective; return its values before the step, [B] nats.

    On replicas, each has its share of the batch and noise of its own, and the mean is over the whole batch.

    Args:
      vae: Model.
      optimizer: Keras optimizer.
      objective: Function `(vae, x, *, seed) -> [B]`.
      x: Data [B, *E].
      seed: Seed of the step.
      weights: Weights of the examples in the mean, [B]; None for 1.
    """
    if _replicas() > 1:
        seed = fold_in(seed, tf.distribute.get_replica_context().replica_id_in_sync_group)
    done, gradients = descent(vae, objective, x, seed, weights)
    optimizer.apply_gradients(gradients)
    add_changes(vae, done.changes)
    return done.bound


def add_changes(vae: Any, changes: dict[int, tf.Tensor]) -> None:
    """Add `Forward.changes` to their variables."""
    variables = vae.variables
    for place, change in changes.items():
        variables[place].assign_add(change)
