"""Training steps: any number in one compiled function, on one device or on the replicas of a strategy.

A step whose objective or gradient is not finite is not taken.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.data.binarization import Prepared
from probvae.models.vae import VAE, Objective
from probvae.seeds import fold_in, split
from probvae.training.feeding import _on_one_device, _on_replicas, _share
from probvae.training.state import Tally

MOST_SKIPPED = 100  # steps in a row, after which training stops all the same


Steps = Callable[[np.ndarray, Tally], tuple[int, Tally]]


def compile_steps(
    vae: VAE,
    optimizer: Any,
    objective: Objective,
    data: Prepared,
    seed: int,
    *,
    clip_norm: float = 0.0,
    skip: bool = False,
) -> Steps:
    """Compile training steps into one function.

    On several replicas (of the `tf.distribute` strategy that made the model's variables) each takes its
    part of every batch, with noise of its own, and the gradient is that of the mean over the whole batch.

    Args:
      vae: the model to train.
      optimizer: a Keras optimizer; its step count is what seeds each step.
      objective: `(vae, x, *, seed) -> [B]`, to be maximised.
      data: the training set, held in memory as it is, or read from its file chunk by chunk.
      seed: of the draws of z and of the binarization.
      clip_norm: cut the gradient's norm over all weights to this; 0 does not.
      skip: leave out a step that is not finite and go on, in place of ending there.

    Returns:
      A function from indices [steps, batch size], int32, and a `Tally` to the number of steps done and the
      tally after them. The number is smaller than asked for where step after step is not finite; the
      weights are then those before the first of them that ended it. Results do not depend on how an epoch
      is cut into calls.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        optimizer.build(vae.trainable_variables)
    scaled = hasattr(optimizer, "get_scaled_loss")  # mixed_float16, whose optimizer skips steps of its own

    def gradient(batch: tf.Tensor, weights: tf.Tensor | None, size: tf.Tensor) -> tuple[Any, ...]:
        """Return the gradient and the objective's sum, over the whole batch, and what was done to them.

        `batch` is this replica's part of it, `size` the number of examples in the whole.
        """
        replica = tf.distribute.get_replica_context()
        seed_x, seed_z = _seeds(seed, optimizer.iterations, replica.replica_id_in_sync_group, replicas)
        x = data.feed(batch, seed_x)
        variables = vae.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            bound = objective(vae, x, seed=seed_z)
            if weights is None:
                mean = tf.reduce_mean(bound)
            else:
                bound = tf.where(weights > 0, bound, 0.0)
                mean = tf.reduce_sum(bound) / tf.cast(size, bound.dtype)
            loss = tf.add_n([-mean, *(loss / replicas for loss in vae.losses)])
            target = optimizer.get_scaled_loss(loss) if scaled else loss
        gradients = tape.gradient(target, variables)
        if scaled:
            gradients = optimizer.get_unscaled_gradients(gradients)
        total = tf.reduce_sum(tf.cast(bound, tf.float64))
        if replicas > 1:
            total = replica.all_reduce("SUM", total)
            present = [g for g in gradients if g is not None]
            reduced = iter(replica.all_reduce("SUM", present))
            gradients = [g if g is None else next(reduced) for g in gradients]
        present = [g for g in gradients if g is not None]
        norm = tf.linalg.global_norm(present)  # Adam squares the gradient too: its squares must be finite
        finite, clipped = tf.math.is_finite(norm), tf.constant(False)
        if clip_norm:
            clipped = norm > clip_norm
            factor = clip_norm / tf.maximum(norm, clip_norm)
            gradients = [g if g is None else g * factor for g in gradients]
        return gradients, total, finite, clipped

    def apply(gradients: list[tf.Tensor | None]) -> None:
        pairs = zip(gradients, vae.trainable_variables, strict=True)
        optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)

    def first(value: Any) -> tf.Tensor:
        return strategy.experimental_local_results(value)[0]

    def one_step(tally: Tally, size: tf.Tensor, batch: Any, weights: Any) -> Tally:
        gradients, total, finite, clipped = strategy.run(gradient, args=(batch, weights, size))
        total, finite = first(total), first(finite)
        taken = tf.math.is_finite(total) & (tf.constant(True) if scaled else finite)

        def take() -> tf.Tensor:
            strategy.run(apply, args=(gradients,))
            return tf.constant(0)

        tf.cond(taken, take, lambda: tf.constant(1))
        counted = tf.cast(taken & finite, tf.float64)
        return Tally(
            tally.objective + tf.where(taken, total, 0),
            tally.examples + tf.where(taken, tf.cast(size, tf.float64), 0),
            tally.skipped + 1 - counted,
            (tally.in_a_row + tf.where(tf.math.is_finite(total), one, bad_total)) * (1 - counted),
            tally.clipped + counted * tf.cast(first(clipped), tf.float64),
        )

    most = float(MOST_SKIPPED if skip or scaled else 0)
    one = tf.constant(1.0, tf.float64)
    # an objective that is not finite is nothing that loss scaling mends: it ends the training, or is skipped
    bad_total = tf.constant(1.0 if skip else most + 1, tf.float64)

    def loop(number: tf.Tensor, size: tf.Tensor, tally: Tally, batch: Callable[[tf.Tensor], Any]) -> Any:
        return tf.while_loop(
            lambda i, tally: (i < number) & (tally.in_a_row <= most),
            lambda i, tally: (i + 1, one_step(tally, size, *batch(i))),
            (tf.constant(0), tally),
        )

    run = (_on_replicas if replicas > 1 else _on_one_device)(data, strategy, loop)

    def steps(indices: np.ndarray, tally: Tally) -> tuple[int, Tally]:
        before = Tally(*(tf.constant(v, tf.float64) for v in tally))
        done, after = run(np.asarray(indices, np.int32), before)
        found = Tally(*(float(v) for v in after))
        return int(done) - (found.in_a_row > most), found

    return steps


def step_inputs(
    data: Prepared, batch: np.ndarray, *, seed: int, step: Any, replicas: int = 1
) -> list[tuple[tf.Tensor, tf.Tensor, np.ndarray]]:
    """Return what a step sees, for each replica: x, the seed of its draws of z, and its examples' indices."""
    found = []
    for replica, (indices, _) in enumerate(
        _share(batch[None], replica, replicas) for replica in range(replicas)
    ):
        seed_x, seed_z = _seeds(seed, step, replica, replicas)
        x = data.feed(tf.constant(np.asarray(data.train[indices[0]])), seed_x)
        found.append((x, seed_z, indices[0]))
    return found


def _seeds(seed: int, step: Any, replica: Any, replicas: int) -> list[tf.Tensor]:
    """Return the seeds of a step's binarization and of its draws of z."""
    pair = fold_in(seed, step)
    return split(pair if replicas == 1 else fold_in(pair, replica), 2)
