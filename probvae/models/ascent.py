"""Gradient ascent on the mean of an objective."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from probvae.arguments import class_of
from probvae.errors import InputError
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
        bound = _checked(objective(view, x, seed=seed), x)
    losses = [tf.cast(loss, bound.dtype) for loss in (*losses_of_weights(vae), *record.losses)]
    changes = record.changes
    return Forward(
        bound, losses, {i: changes[id(v)] for i, v in enumerate(vae.variables) if id(v) in changes}
    )


def _checked(bound: Any, x: tf.Tensor) -> tf.Tensor:
    """Return what an objective gives, if it is one value for each example; others would be broadcast."""
    size = x.shape[:1].as_list()
    if isinstance(bound, tf.Tensor) and bound.dtype.is_floating:
        shape = bound.shape
        if shape.rank is None or shape.as_list() in (size, [None]):
            return bound
        got = f"{bound.dtype.name} of shape {shape.as_list()}"
    else:
        got = class_of(bound)
    raise InputError(
        f"The objective must return one value for each example, of shape [B]; it returned {got} for x of "
        f"shape {x.shape.as_list()}."
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
    gradients = tape.gradient(loss, variables)
    refuse_unconnected(vae, variables, gradients)
    return done, list(zip(gradients, variables, strict=True))


def refuse_unconnected(vae: Any, variables: list[tf.Variable], gradients: list[tf.Tensor | None]) -> None:
    """Refuse a step that would change no variable, or leave out one.

    Args:
      vae: Model.
      variables: Trained variables before the step.
      gradients: Their gradients, None where the objective does not depend on the variable.

    Raises:
      InputError: There is no gradient at all, or the model has made variables in the step.
    """
    if all(gradient is None for gradient in gradients):
        raise InputError(
            f"The objective depends on none of the {len(variables)} trained variables of the model: compute "
            "it by TensorFlow from vae.posterior, vae.likelihood and vae.prior, or set vae.trainable=True."
        )
    if len(vae.trainable_variables) > len(variables):
        raise InputError(
            "A layer of the model made its variables in the first step, which would not train them: build it "
            "with the model, or compile the model again now that the layer is built."
        )


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
    On one device, a step whose objective or gradient is not finite is not taken.

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

    def step() -> tf.Tensor:
        optimizer.apply_gradients(gradients)
        add_changes(vae, done.changes)
        return tf.constant(True)

    if _replicas() > 1:  # which cannot agree within a condition
        step()
    else:
        tf.cond(
            _is_finite(done.bound, [g for g, _ in gradients if g is not None]),
            step,
            lambda: tf.constant(False),
        )
    return done.bound


def _is_finite(bound: tf.Tensor, gradients: list[tf.Tensor | tf.IndexedSlices]) -> tf.Tensor:
    """Return whether a bound and the squares of its gradients, which Adam takes, are finite."""
    squares = [tf.nn.l2_loss(g.values if isinstance(g, tf.IndexedSlices) else g) for g in gradients]
    total = tf.add_n([tf.cast(square, tf.float64) for square in squares])
    return tf.reduce_all(tf.math.is_finite(bound)) & tf.math.is_finite(total)


def add_changes(vae: Any, changes: dict[int, tf.Tensor]) -> None:
    """Add `Forward.changes` to their variables."""
    variables = vae.variables
    for place, change in changes.items():
        variables[place].assign_add(change)
