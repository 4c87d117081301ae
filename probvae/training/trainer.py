"""Training loop of `probvae-train`, with many steps in a call of one compiled function.

It is faster than that of Keras, `VAE.fit`, and can be interrupted and resumed from its `State`.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.arguments import instance
from probvae.config.training import Every, Training
from probvae.data.binarization import Prepared
from probvae.errors import InputError
from probvae.models.callbacks import checked_for_trainer
from probvae.models.vae import VAE
from probvae.training.epochs import ChunkSize, epoch_order
from probvae.training.feeding import STEPS_PER_CALL, refuse_other_data
from probvae.training.non_finite import NonFiniteError, step_error
from probvae.training.objective import refuse_large_step
from probvae.training.optimizer import averages, has_constant_rate, learning_rate, variables_of
from probvae.training.settings import refuse_idle, refuse_other_parts
from probvae.training.state import EpochSums, Row, State, assign
from probvae.training.strategies import refuse_unless_shared
from probvae.training.workers import Workers
from probvae.training.workshop import Workshop

CHECKPOINT_INTERVAL = Every(seconds=300.0)
PROBE_EXAMPLES = 200  # number of test examples in the check of weights
IMPLAUSIBLE_ELBO = 1e9  # absolute ELBO of a test example, in nats, that shows diverged weights


def fit(
    vae: VAE, data: Prepared, training: Training, *, state: State | None = None, **options: Any
) -> list[Row]:
    """Train a model: `Trainer(vae, data, training).fit(**options)`.

    Args:
      vae: Model, whose weights change in place.
      data: Training, test and validation set.
      training: Epochs, batch size, objective, optimizer and seed.
      state: State of an interrupted training to resume; None starts with the weights of the model. The result
        is bit for bit that of an uninterrupted training.
      **options: Options of `Trainer.fit`.

    Returns:
      The history, one row per epoch.

    Raises:
      NonFiniteError: See `Trainer.fit`.
    """
    trainer = Trainer(vae, data, training)
    if state is not None:
        trainer.restore(state)
    return trainer.fit(**options)


class Trainer:
    """A training loop that can be interrupted after any step.

    It runs on the current `tf.distribute` strategy, whose replicas share each step. The model must be created
    in the scope of the same strategy, and all methods must be called in it.

    All data are checked, except for a training set that lies in a file: of that the first 500 examples are,
    as `data.prepare` has checked the others.

    Args:
      vae: Model, built with the `dropout` and the `precision` of the training.
      data: Training, test and validation set.
      training: Epochs, batch size, objective, optimizer and seed. Settings of the reading of data, such as
        `binarize`, are not used.
      workshop: Workshop of the model, ready for this training; None for a new one.

    Attributes:
      progress: `State` without the variables of model and optimizer.

    Raises:
      InputError: The replicas of the strategy cannot share the training, a setting would have no effect on
        this model, the model does not take the data, or a step does not fit into memory.
    """

    def __init__(
        self, vae: VAE, data: Prepared, training: Training, *, workshop: Workshop | None = None
    ) -> None:
        refuse_other_parts(vae, data, training)
        self.vae, self.data, self.training = vae, data, training
        self.strategy = tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        refuse_unless_shared(training, self.replicas)
        refuse_idle(vae, data, training)
        refuse_other_data(vae, data, training)
        shop = Workshop.of(vae, data, training) if workshop is None else workshop
        self.optimizer, self.objective = shop.optimizer, shop.objective
        refuse_large_step(vae, shop.whole_objective, data, training)
        self.steps = shop.steps(data, training.seed)
        self.test = functools.partial(shop.test, seed=training.seed)
        self.workers = Workers(self.strategy)
        self.chunk_size = ChunkSize(fixed=STEPS_PER_CALL if self.replicas > 1 else None)
        self.progress = State(weights=[], optimizer=[])
        self._last: dict[int, np.ndarray] = {}  # weights of the last step, while the model has their average
        self.last_state = time.perf_counter()

    # ---- the state -------------------------------------------------------------------------------

    @property
    def history(self) -> list[Row]:
        """Rows of the completed epochs."""
        return list(self.progress.history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are completed, or patience is exhausted."""
        progress, training = self.progress, self.training
        return progress.epoch >= training.epochs or 0 < training.patience <= progress.stale

    def state(self) -> State:
        """Return the state of the training; its weights are those of the last step, not their average."""
        self.last_state = time.perf_counter()
        return dataclasses.replace(
            self.progress,
            weights=[self._last.get(id(v), v.numpy()) for v in self.vae.variables],
            optimizer=[v.numpy() for v in variables_of(self.optimizer)],
        )

    def restore(self, state: State) -> None:
        """Restore the state of a training with the same model, data and configuration.

        Raises:
          InputError: It is no state, or that of another model or optimizer; nothing changes.
        """
        instance("state", state, State, "call trainer.restore(state), with the result of trainer.state()")
        for what, variables, values in (
            ("model", self.vae.variables, state.weights),
            ("optimizer", variables_of(self.optimizer), state.optimizer),
        ):
            if [tuple(v.shape) for v in variables] != [np.shape(value) for value in values]:
                raise InputError(
                    f"The state must be of the same model and optimizer; that of its {what} differs."
                )
        self._last = {}
        assign(self.vae.variables, state.weights)
        assign(variables_of(self.optimizer), state.optimizer)
        if has_constant_rate(self.training):
            self.optimizer.learning_rate = self.training.learning_rate  # may differ from that of `state`
        self.progress = dataclasses.replace(state, weights=[], optimizer=[], tally=EpochSums(*state.tally))

    def show_average(self) -> None:
        """Give the model the moving average of its weights, if there is one, until the next step."""
        running = averages(self.optimizer)
        if running and not self._last:
            pairs = list(zip(self.vae.trainable_variables, running, strict=False))
            self._last = {id(variable): variable.numpy() for variable, _ in pairs}
            for variable, average in pairs:
                variable.assign(average.numpy())

    def _show_last(self) -> None:
        """Give the model the weights of the last step again."""
        for variable in self.vae.trainable_variables if self._last else ():
            variable.assign(self._last[id(variable)])
        self._last = {}

    def _advance(self, **changes: Any) -> None:
        """Replace fields of the progress."""
        self.progress = dataclasses.replace(self.progress, **changes)

    # ---- the loop --------------------------------------------------------------------------------

    def fit(
        self,
        *,
        every: Every = CHECKPOINT_INTERVAL,
        callbacks: Sequence[Any] = (),
        on_chunk: Callable[[int, int], None] = lambda epoch, images: None,
        on_epoch: Callable[[Row], None] = lambda row: None,
        on_state: Callable[[State], None] = lambda state: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[Row]:
        """Train from the current state to the last epoch.

        Args:
          every: Interval between calls of `on_state` within an epoch.
          callbacks: Keras callbacks, called at the beginning and the end of the training and of each epoch,
            with the fields of its row as `logs`; they may set `vae.stop_training`.
          on_chunk: Function called about twice a second with the epoch and the number of images just used.
          on_epoch: Function called with each row.
          on_state: Function called with the state after each epoch, within an epoch at intervals `every`, and
            before an early stop.
          should_stop: Function called about twice a second; if it returns True, training stops with a row for
            the completed part of the epoch.

        Returns:
          The history, one row per epoch. With a validation set, the weights are those of the epoch with the
          best ELBO on it; with `average`, all but those in states are averages.

        Raises:
          NonFiniteError: The objective or its gradient is not finite; the weights are those before the step.
        """
        instance("every", every, Every, "give Every(steps=...) or Every(seconds=...)")
        absent = {"epoch"} if self.data.validation is not None else {"epoch", "validation_elbo"}
        reported = {field.name for field in dataclasses.fields(Row)} - absent
        checked = checked_for_trainer(callbacks, reported, scheduled=not has_constant_rate(self.training))
        sizes = {"epochs": self.training.epochs, "steps": self._steps_an_epoch, "verbose": 0}
        keras = tf_keras.callbacks.CallbackList(checked, model=self.vae, **sizes)
        if callbacks:
            self.vae.optimizer, self.vae.stop_training = self.optimizer, False
        keras.on_train_begin()
        partial: list[Row] = []
        stopped = False
        while not (stopped or self.finished):
            keras.on_epoch_begin(self.progress.epoch)
            stopped = self._epoch(every, on_chunk, on_state, should_stop)
            self.show_average()
            row = self._row()
            if self._is_within_epoch():
                partial = [row]
            else:
                self._close_epoch(row)
            on_epoch(row)
            if not partial:
                on_state(self.state())
            keras.on_epoch_end(math.ceil(row.epoch) - 1, _logs(row))
            stopped = stopped or self.workers.anyone(
                should_stop() or (bool(callbacks) and self.vae.stop_training)
            )
        self.show_average()
        if self.progress.best:
            assign(self.vae.variables, self.progress.best)
        keras.on_train_end()
        return [*self.history, *partial]

    def _epoch(
        self,
        every: Every,
        on_chunk: Callable[[int, int], None],
        on_state: Callable[[State], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Train to the end of the epoch or until stopped, and return whether it was stopped."""
        self._show_last()
        for images in self._pieces(every):
            on_chunk(self.progress.epoch, images)
            stopped = self.workers.anyone(should_stop())
            if self._is_within_epoch() and (stopped or self._is_due(every)):
                on_state(self.state())
            if stopped:
                return True
        return False

    def _pieces(self, every: Every) -> Iterator[int]:
        """Train to the end of the epoch, and yield the number of examples after each chunk."""
        training, epoch = self.training, self.progress.epoch
        order = epoch_order(len(self.data.train), seed=training.seed, epoch=epoch)
        for indices in self.chunk_size.chunks(
            order,
            training.batch_size,
            start=self.progress.position,
            every=every.steps,
            before=epoch * self._steps_an_epoch,
        ):
            start = time.perf_counter()
            done, tally = self.steps(indices, self.progress.tally)
            elapsed = time.perf_counter() - start
            position = self.progress.position + indices[:done].size
            if done < len(indices):
                skipped = tally.skipped - 1  # without the last step, which a resumed training repeats
                self._advance(position=position, tally=tally._replace(skipped=skipped, in_a_row=0.0))
                raise self._error(indices[done])
            self._advance(position=position, tally=tally, seconds=self.progress.seconds + elapsed)
            self.chunk_size.adapt(len(indices), elapsed)
            yield indices.size

    def _is_within_epoch(self) -> bool:
        """Return whether the epoch has more examples."""
        return self.progress.position < len(self.data.train)

    def _is_due(self, every: Every) -> bool:
        """Return whether `on_state` is due within the epoch."""
        if every.seconds is not None:
            return time.perf_counter() - self.last_state >= every.seconds
        done = math.ceil(self.progress.position / self.training.batch_size)
        step = self.progress.epoch * self._steps_an_epoch + done
        return every.steps is not None and step % every.steps == 0

    @property
    def _steps_an_epoch(self) -> int:
        return math.ceil(len(self.data.train) / self.training.batch_size)

    # ---- the end of an epoch ---------------------------------------------------------------------

    def _row(self) -> Row:
        """Return the next row of the history."""
        terms = self.test(self.data.test)
        elbo, log_likelihood, kl = (float(np.mean(term, dtype=np.float64)) for term in terms)
        validation = None
        if self.data.validation is not None:
            validation = float(np.mean(self.test(self.data.validation).elbo, dtype=np.float64))
        progress, tally = self.progress, self.progress.tally
        return Row(
            epoch=progress.epoch + progress.position / len(self.data.train),
            test_elbo=elbo,
            test_log_likelihood=log_likelihood,
            test_kl=kl,
            train_elbo=tally.objective / tally.examples if tally.examples else math.nan,
            seconds=progress.seconds,
            images_per_second=progress.position / progress.seconds if progress.seconds else 0.0,
            validation_elbo=validation,
            learning_rate=learning_rate(self.optimizer),
            skipped_steps=int(tally.skipped),
            clipped_steps=int(tally.clipped),
        )

    def _close_epoch(self, row: Row) -> None:
        """Store the row of an epoch, and its weights if they are the best on the validation set."""
        progress = self.progress
        best_elbo = -math.inf if progress.best_elbo is None else progress.best_elbo
        if row.validation_elbo is not None and row.validation_elbo > best_elbo:
            best = [v.numpy() for v in self.vae.variables]
            self._advance(best=best, best_elbo=row.validation_elbo, stale=0)
        else:
            self._advance(stale=progress.stale + 1)
        self._advance(
            epoch=progress.epoch + 1,
            position=0,
            seconds=0.0,
            tally=EpochSums(in_a_row=progress.tally.in_a_row),
            history=(*progress.history, row),
        )

    def _error(self, batch: np.ndarray) -> NonFiniteError:
        """Return the error of a step that was not finite."""
        with np.errstate(all="ignore"):
            elbo = self.test(self.data.test[:PROBE_EXAMPLES]).elbo
            sound = float(np.mean(np.abs(elbo) < IMPLAUSIBLE_ELBO)) > 0.5
        return step_error(
            self.vae,
            self.objective,
            self.data,
            batch,
            training=self.training,
            step=int(self.optimizer.iterations.numpy()) + 1,
            epoch=self.progress.epoch + 1,
            replicas=self.replicas,
            sound=sound,
        )


def _logs(row: Row) -> dict[str, float]:
    """Return the logs of a row for Keras callbacks."""
    fields = dataclasses.asdict(row)
    return {name: value for name, value in fields.items() if name != "epoch" and value is not None}
