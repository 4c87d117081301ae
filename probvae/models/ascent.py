"""Gradient ascent on the mean of an objective."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Objective = Callable[..., tf.Tensor]


def descent(
    vae: Any, objective: Objective, x: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, list[tuple[tf.Tensor | None, tf.Variable]]]:
    """Return the objective [B], and minus the gradient of its mean, with each trainable variable.

    Losses of Keras layers, such as weight decay, are subtracted from the mean.
    """
    variables = vae.trainable_variables
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        bound = objective(vae, x, seed=seed)
        loss = tf.add_n([-tf.reduce_mean(bound), *vae.losses])
    return bound, list(zip(tape.gradient(loss, variables), variables, strict=True))


def ascend(vae: Any, optimizer: Any, objective: Objective, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Take an optimizer step up the mean of the objective; return its values before the step, [B] nats."""
    bound, gradients = descent(vae, objective, x, seed)
    optimizer.apply_gradients(gradients)
    return bound
