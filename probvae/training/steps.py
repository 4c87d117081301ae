"""Compiled training steps, on one device or on the replicas of a strategy.

A step with an objective or a gradient that is not finite is not taken.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from probvae.data.binarization import Feed, Prepared
from probvae.models.ascent import Objective, add_changes, forward, refuse_unconnected
from probvae.models.training_view import seeded_by_steps
from probvae.models.vae import VAE
from probvae.seeds import Seed, fold_in, split
from probvae.training.feeding import Form, compile_on_one_device, compile_on_replicas, share
from probvae.training.state import EpochSums

MOST_SKIPPED = 100  # largest number of skipped steps in a row before training stops

Steps = Callable[[np.ndarray, EpochSums], tuple[int, EpochSums]]


def compile_steps(
    vae: VAE, optimizer: Any, objective: Objective, data: Prepared, seed: int, **options: Any
) -> Steps:
    """Compile training steps into one function.

    Each replica takes its part of every batch, with its own noise, and the gradient is that of the mean over
    the whole batch.

    Args:
      vae: Model to train.
      optimizer: Keras optimizer; its number of steps seeds each step.
      objective: Function `(vae, x, *, seed) -> [B]` to maximise.
      data: Training set, held in memory or read from its file chunk by chunk.
      seed: Seed of the draws of z and of the binarization.
      **options: Options of `compile_shared_steps`.

    Returns:
      A function from indices [steps, batch size], int32, and `EpochSums` to the number of completed steps and
      the sums after them. The number is smaller than that of the indices if a step that is not finite stops
      the training; the weights are then those before this step. Results do not depend on the division of an
      epoch into calls.
    """
    form = Form.of(data.train)
    shared = compile_shared_steps(vae, optimizer, objective, data.feed, form, **options)
    return shared(data, seed)


def compile_shared_steps(
    vae: VAE,
    optimizer: Any,
    objective: Objective,
    feed: Feed,
    form: Form,
    *,
    clip_norm: float = 0.0,
    skip: bool = False,
    strategy: Any = None,
) -> Callable[[Prepared, Seed], Steps]:
    """Compile training steps that several trainings, one after the other, can take.

    Args:
      vae: Model to train.
      optimizer: Keras optimizer; its number of steps seeds each step.
      objective: Function `(vae, x, *, seed) -> [B]` to maximise.
      feed: Function from a batch of the training set to x, `Prepared.feed`.
      form: Form of the training sets.
      clip_norm: Limit of the norm of the gradient over all weights; 0 for no limit.
      skip: Whether to skip a step that is not finite, instead of stopping there.
      strategy: `tf.distribute` strategy that created the variables of the model; None takes the current one.

    Returns:
      A function from data and a seed to the steps of a training, as those of `compile_steps`.
    """
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    with strategy.scope():
        optimizer.build(vae.trainable_variables)
    step = _Step(vae, optimizer, objective, feed, clip_norm, skip, strategy)
    most = step.most_skipped

    def loop(
        number: tf.Tensor,
        size: tf.Tensor,
        seed: tf.Tensor,
        sums: EpochSums,
        batch: Callable[[tf.Tensor], Any],
    ) -> Any:
        return tf.while_loop(
            lambda i, sums: (i < number) & (sums.in_a_row <= most),
            lambda i, sums: (i + 1, step(sums, size, seed, *batch(i))),
            (tf.constant(0), sums),
        )

    compile_loop = compile_on_replicas if strategy.num_replicas_in_sync > 1 else compile_on_one_device
    bind = compile_loop(form, strategy, loop)

    def steps_of(data: Prepared, seed: Seed) -> Steps:
        run = bind(data, seed)

        def steps(indices: np.ndarray, sums: EpochSums) -> tuple[int, EpochSums]:
            before = EpochSums(*(tf.constant(v, tf.float64) for v in sums))
            done, after = run(np.asarray(indices, np.int32), before)
            sums = EpochSums(*(float(v) for v in after))
            return int(done) - (sums.in_a_row > most), sums

        return steps

    return steps_of


@dataclasses.dataclass(frozen=True, eq=False)
class _Step:
    """A training step; the attributes are the arguments of `compile_shared_steps`."""

    vae: VAE
    optimizer: Any
    objective: Objective
    feed: Feed
    clip_norm: float
    skip: bool
    strategy: Any

    @property
    def scales_loss(self) -> bool:
        """Whether the optimizer scales the loss, for `mixed_float16`, and skips steps itself."""
        return hasattr(self.optimizer, "get_scaled_loss")

    @property
    def most_skipped(self) -> float:
        """Largest number of skipped steps in a row that does not stop the training."""
        return float(MOST_SKIPPED if self.skip or self.scales_loss else 0)

    def __call__(
        self, sums: EpochSums, size: tf.Tensor, seed: tf.Tensor, batch: Any, weights: Any
    ) -> EpochSums:
        """Take the step on a batch of `size` examples if it is finite, and return the sums after it."""
        with seeded_by_steps(self.vae):
            results = self.strategy.run(self._gradient, args=(batch, weights, size, seed))
        total, finite, clipped = (self.strategy.experimental_local_results(v)[0] for v in results[1:])
        taken = tf.math.is_finite(total) & (tf.constant(True) if self.scales_loss else finite)

        def take() -> tf.Tensor:
            self.strategy.run(self._apply, args=(results[0],))
            return tf.constant(0)

        tf.cond(taken, take, lambda: tf.constant(1))
        counted = tf.cast(taken & finite, tf.float64)
        one = tf.constant(1.0, tf.float64)
        # An objective that is not finite, unlike a gradient, is not due to loss scaling.
        bad_total = tf.constant(1.0 if self.skip else self.most_skipped + 1, tf.float64)
        return EpochSums(
            sums.objective + tf.where(taken, total, 0),
            sums.examples + tf.where(taken, tf.cast(size, tf.float64), 0),
            sums.skipped + 1 - counted,
            (sums.in_a_row + tf.where(tf.math.is_finite(total), one, bad_total)) * (1 - counted),
            sums.clipped + counted * tf.cast(clipped, tf.float64),
        )

    def _gradient(
        self, batch: tf.Tensor, weights: tf.Tensor | None, size: tf.Tensor, seed: tf.Tensor
    ) -> tuple[Any, ...]:
        """Return the update and the sum of the objective over the whole batch, and flags finite and clipped.

        The update is the gradient, and the `Forward.changes` of the step. `batch` is the part on this replica
        of a batch of `size` examples; `weights` are 0 for its padding.
        """
        bound, changes, gradients = self._forward_and_back(batch, weights, size, seed)
        total, gradients, changes = self._over_replicas(bound, gradients, changes)
        gradients, finite, clipped = _clip(gradients, self.clip_norm)
        # An optimizer that scales the loss takes no step where the gradient is not finite.
        changes = {
            place: tf.where(finite, change, tf.zeros_like(change)) for place, change in changes.items()
        }
        return (gradients, changes), total, finite, clipped

    def _forward_and_back(
        self, batch: tf.Tensor, weights: tf.Tensor | None, size: tf.Tensor, seed: tf.Tensor
    ) -> Any:
        """Return the objective [B] of the part of this replica, its `Forward.changes` and its gradient."""
        replicas = self.strategy.num_replicas_in_sync
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed_x, seed_z = _seeds(seed, self.optimizer.iterations, replica, replicas)
        x = self.feed(batch, seed_x)
        variables = self.vae.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            bound, losses, changes = forward(self.vae, self.objective, x, seed_z)
            if weights is None:
                mean = tf.reduce_mean(bound)
            else:
                bound = tf.where(weights > 0, bound, 0.0)
                mean = tf.reduce_sum(bound) / tf.cast(size, bound.dtype)
            loss = tf.add_n([-mean, *(loss / replicas for loss in losses)])
            target = self.optimizer.get_scaled_loss(loss) if self.scales_loss else loss
        gradients = tape.gradient(target, variables)
        refuse_unconnected(self.vae, variables, gradients)
        if self.scales_loss:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        return bound, changes, gradients

    def _over_replicas(
        self, bound: tf.Tensor, gradients: list[tf.Tensor | None], changes: dict[int, tf.Tensor]
    ) -> Any:
        """Return the sums of the objective, float64, and of the gradient, and the mean changes."""
        total = tf.reduce_sum(tf.cast(bound, tf.float64))
        if self.strategy.num_replicas_in_sync > 1:
            replica = tf.distribute.get_replica_context()
            total = replica.all_reduce("SUM", total)
            present = [g for g in gradients if g is not None]
            reduced = iter(replica.all_reduce("SUM", present))
            gradients = [g if g is None else next(reduced) for g in gradients]
            changes = replica.all_reduce("MEAN", changes) if changes else changes
        return total, gradients, changes

    def _apply(self, update: tuple[list[tf.Tensor | None], dict[int, tf.Tensor]]) -> None:
        gradients, changes = update
        add_changes(self.vae, changes)
        pairs = zip(gradients, self.vae.trainable_variables, strict=True)
        self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)


def _clip(gradients: list[tf.Tensor | None], clip_norm: float) -> Any:
    """Return clipped gradients, whether they are finite, and whether they were above the limit."""
    present = [g for g in gradients if g is not None]
    norm = tf.linalg.global_norm(present)  # finite squares, as Adam squares the gradient too
    finite, clipped = tf.math.is_finite(norm), tf.constant(False)
    if clip_norm:
        clipped = norm > clip_norm
        factor = clip_norm / tf.maximum(norm, clip_norm)
        gradients = [g if g is None else g * factor for g in gradients]
    return gradients, finite, clipped


class StepInput(NamedTuple):
    """Input of a step on a replica."""

    x: tf.Tensor  # input of the model, [B, *E]
    seed: tf.Tensor  # seed of the draws of z
    places: np.ndarray  # positions of the examples in the whole batch, [B]


def step_inputs(
    data: Prepared, batch: np.ndarray, *, seed: int, step: Any, replicas: int = 1
) -> list[StepInput]:
    """Return the input of a step, after `step` others, on each replica; `batch` [B] holds the indices."""
    inputs = []
    for replica in range(replicas):
        (places,), _ = share(np.arange(len(batch))[None], replica, replicas)
        seed_x, seed_z = _seeds(seed, step, replica, replicas)
        x = data.feed(tf.constant(np.asarray(data.train[batch[places]])), seed_x)
        inputs.append(StepInput(x, seed_z, places))
    return inputs


def _seeds(seed: Seed, step: Any, replica: Any, replicas: int) -> list[tf.Tensor]:
    """Return the seeds of the binarization and of the draws of z in a step."""
    pair = fold_in(seed, step)
    return split(pair if replicas == 1 else fold_in(pair, replica), 2)
