"""Training: whole chunks of an epoch in one compiled function, data resident, batches by index.

`VAE.fit` is Keras's own loop; `fit` here is the fast one, which `probvae-train` uses. Its `State` is all that
a training needs to go on as if it had never stopped.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.config.training import Every, Training
from probvae.data.arrays import Rows
from probvae.data.binarization import Prepared
from probvae.models.vae import VAE
from probvae.training.epochs import Pace, epoch_batches
from probvae.training.feeding import STEPS
from probvae.training.non_finite import NonFiniteError, diagnose, error_of
from probvae.training.objective import in_parts, known_fraction, make_objective
from probvae.training.optimizer import learning_rate, make_optimizer
from probvae.training.scoring import compile_test
from probvae.training.state import Row, State, Tally
from probvae.training.steps import compile_steps, step_inputs
from probvae.training.strategies import refuse_unless_shared
from probvae.training.workers import Workers

TRIED, ABSURD = 200, 1e9  # test examples that tell whether weights are good; an ELBO of spoilt ones, nats
OFTEN = Every(seconds=300.0)


# ---- the loop ------------------------------------------------------------------------------------


def fit(
    vae: VAE, data: Prepared, training: Training, *, state: State | None = None, **options: Any
) -> list[Row]:
    """Train a model: `Trainer(vae, data, training).fit(**options)`.

    Args:
      vae: the model; its weights change in place.
      data: what to train and test on.
      training: epochs, batch size, objective, optimizer and seed.
      state: where an earlier training stood, to go on from there; None starts from the model's weights. The
        result is that of one training that was never interrupted, bit for bit.
      **options: those of `Trainer.fit`.

    Returns:
      The history, a row an epoch.

    Raises:
      NonFiniteError: as `Trainer.fit`.
    """
    trainer = Trainer(vae, data, training)
    if state is not None:
        trainer.restore(state)
    return trainer.fit(**options)


class Trainer:
    """A training that can be interrupted after any step: its model, optimizer, place and history.

    Args:
      vae: the model. Where a `tf.distribute` strategy's scope made it, all calls must be within that scope;
        each step is shared out over the replicas.
      data: what to train and test on.
      training: epochs, batch size, objective, optimizer and seed.

    Raises:
      InputError: the training cannot be shared out over the strategy's replicas.
    """

    def __init__(self, vae: VAE, data: Prepared, training: Training) -> None:
        self.vae, self.data, self.training = vae, data, training
        self.strategy = tf.distribute.get_strategy()
        refuse_unless_shared(training, self.strategy.num_replicas_in_sync)
        with self.strategy.scope():
            self.optimizer = make_optimizer(training, len(data.train))
        objective = make_objective(
            training,
            num_examples=len(data.train),
            iterations=self.optimizer.iterations,
            labelled=known_fraction(vae, data.train) if training.labels == "semi" else None,
        )
        self.objective = in_parts(objective, training.parts)
        self.steps = compile_steps(
            vae,
            self.optimizer,
            self.objective,
            data,
            training.seed,
            clip_norm=training.clip_norm,
            skip=training.on_nonfinite == "skip",
        )
        self.test = compile_test(vae, training.seed, parts=training.parts)
        self.workers = Workers(self.strategy)
        self.pace = Pace(fixed=STEPS if self.strategy.num_replicas_in_sync > 1 else None)
        self.epoch = self.position = self.stale = 0
        self.tally, self.seconds = Tally(), 0.0
        self.history: list[Row] = []
        self.best: list[np.ndarray] = []
        self.best_elbo = -math.inf
        self.last_state = time.perf_counter()

    def state(self) -> State:
        """Return where the training stands."""
        self.last_state = time.perf_counter()
        return State(
            weights=[v.numpy() for v in self.vae.variables],
            optimizer=[v.numpy() for v in _variables(self.optimizer)],
            best=self.best,
            best_elbo=self.best_elbo if self.best else None,
            stale=self.stale,
            epoch=self.epoch,
            position=self.position,
            tally=tuple(self.tally),
            seconds=self.seconds,
            history=tuple(self.history),
        )

    def restore(self, state: State) -> None:
        """Go to where a training of the same model, data and configuration stood."""
        for variables, values in (
            (self.vae.variables, state.weights),
            (_variables(self.optimizer), state.optimizer),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        if self.training.schedule == "constant" and not self.training.warmup_steps:
            self.optimizer.learning_rate = self.training.learning_rate  # which may be another than before
        self.best = state.best
        self.best_elbo = -math.inf if state.best_elbo is None else state.best_elbo
        self.stale, self.epoch, self.position = state.stale, state.epoch, state.position
        self.tally, self.seconds, self.history = Tally(*state.tally), state.seconds, list(state.history)

    def _due(self, every: Every) -> bool:
        """Whether a state is to be handed out within the epoch."""
        if every.seconds is not None:
            return time.perf_counter() - self.last_state >= every.seconds
        return every.steps is not None and self._step() % every.steps == 0

    def _step(self) -> int:
        return self.epoch * self._steps_an_epoch + math.ceil(self.position / self.training.batch_size)

    @property
    def _steps_an_epoch(self) -> int:
        return math.ceil(len(self.data.train) / self.training.batch_size)

    def fit(
        self,
        *,
        every: Every = OFTEN,
        callbacks: Sequence[Any] = (),
        on_chunk: Callable[[int, int], None] = lambda epoch, images: None,
        on_epoch: Callable[[Row], None] = lambda row: None,
        on_state: Callable[[State], None] = lambda state: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[Row]:
        """Train to the last epoch, from where the training stands.

        Args:
          every: how often `on_state` is called within an epoch.
          callbacks: Keras callbacks; they see the beginning and the end of the training and of each epoch,
            with the fields of its row as `logs`, and may set `vae.stop_training`.
          on_chunk: called about twice a second with the epoch and the number of images just used.
          on_epoch: called with each row as soon as it is known.
          on_state: called with the state after each epoch, within one as `every` says, and before an early
            end.
          should_stop: asked about twice a second; where it says True, training ends at that step with a row
            for the part of the epoch that was done.

        Returns:
          The history, a row an epoch. Where a validation set was held out, the weights of the epoch with the
          best ELBO on it are put back.

        Raises:
          NonFiniteError: the objective or its gradient is no longer finite; the weights are those before.
        """
        logs = tf_keras.callbacks.CallbackList(list(callbacks), model=self.vae) if callbacks else None
        if logs is not None:
            self.vae.optimizer, self.vae.stop_training = self.optimizer, False
            logs.on_train_begin()
        partial: list[Row] = []
        stopped = False
        while not (stopped or self.finished):
            if logs is not None:
                logs.on_epoch_begin(self.epoch)
            stopped = self._epoch(every, on_chunk, on_state, should_stop)
            row = self._row()
            if self.position < len(self.data.train):
                partial = [row]
            else:
                self._close_epoch(row)
            on_epoch(row)
            if not partial:
                on_state(self.state())
            if logs is not None:
                logs.on_epoch_end(math.ceil(row.epoch) - 1, _logs(row))
            stopped = stopped or self.workers.anyone(
                should_stop() or (logs is not None and self.vae.stop_training)
            )
        self._restore_best()
        if logs is not None:
            logs.on_train_end()
        return [*self.history, *partial]

    def _epoch(
        self,
        every: Every,
        on_chunk: Callable[[int, int], None],
        on_state: Callable[[State], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Train to the end of the epoch, or until stopped; return whether it was."""
        for images in self._pieces(every):
            on_chunk(self.epoch, images)
            unfinished = self.position < len(self.data.train)
            stopped = self.workers.anyone(should_stop())
            if unfinished and (stopped or self._due(every)):
                on_state(self.state())
            if stopped:
                return True
        return False

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has come to its end."""
        return self.epoch >= self.training.epochs or 0 < self.training.patience <= self.stale

    def _pieces(self, every: Every) -> Iterator[int]:
        """Train to the end of the epoch, piece by piece; yield the number of examples of each."""
        training, size = self.training, self.training.batch_size
        order = epoch_batches(len(self.data.train), size, seed=training.seed, epoch=self.epoch)
        before = self.epoch * self._steps_an_epoch
        for indices in self.pace.chunks(order, size, start=self.position, every=every.steps, before=before):
            start = time.perf_counter()
            done, self.tally = self.steps(indices, self.tally)
            elapsed = time.perf_counter() - start
            if done < len(indices):
                self.position += indices[:done].size
                skipped = self.tally.skipped - 1  # the last one, which a resumed training meets again
                self.tally = self.tally._replace(skipped=skipped, in_a_row=0.0)
                raise self._error(indices[done])
            self.position += indices.size
            self.seconds += elapsed
            self.pace.timed(len(indices), elapsed)
            yield indices.size

    def _error(self, batch: np.ndarray) -> NonFiniteError:
        step = int(self.optimizer.iterations.numpy())
        inputs = step_inputs(
            self.data,
            batch,
            seed=self.training.seed,
            step=step,
            replicas=self.strategy.num_replicas_in_sync,
        )
        finding, largest = None, 0.0
        for x, seed, part in inputs:
            largest = max(largest, float(np.nanmax(np.abs(x), initial=0)))
            finding = finding or diagnose(
                self.vae, self.objective, x, seed, num_samples=self.training.num_samples
            )
            if finding is not None:
                finding = finding._replace(examples=np.flatnonzero(np.isin(batch, part[finding.examples])))
                break
        with np.errstate(all="ignore"):
            sound = float(np.mean(np.abs(self.test(self.data.test[:TRIED]).elbo) < ABSURD)) > 0.5
        return error_of(
            finding,
            _names(self.data, batch),
            step=step + 1,
            epoch=self.epoch + 1,
            sound=sound,
            scale=_about_scale(self.vae, largest),
        )

    def _row(self) -> Row:
        """Return the history's next row."""
        terms = self.test(self.data.test)
        elbo, log_likelihood, kl = (float(np.mean(term, dtype=np.float64)) for term in terms)
        validation = None
        if self.data.validation is not None:
            validation = float(np.mean(self.test(self.data.validation).elbo, dtype=np.float64))
        tally = self.tally
        return Row(
            epoch=self.epoch + self.position / len(self.data.train),
            test_elbo=elbo,
            test_log_likelihood=log_likelihood,
            test_kl=kl,
            train_elbo=tally.objective / tally.examples if tally.examples else math.nan,
            seconds=self.seconds,
            images_per_second=self.position / self.seconds if self.seconds else 0.0,
            validation_elbo=validation,
            learning_rate=learning_rate(self.optimizer),
            skipped_steps=int(tally.skipped),
            clipped_steps=int(tally.clipped),
        )

    def _close_epoch(self, row: Row) -> None:
        """Close an epoch: keep its row, and its weights if they are the best on the validation set."""
        self.history.append(row)
        self.stale += 1
        if row.validation_elbo is not None and row.validation_elbo > self.best_elbo:
            self.best_elbo, self.stale = row.validation_elbo, 0
            self.best = [v.numpy() for v in self.vae.variables]
        self.epoch, self.position, self.seconds = self.epoch + 1, 0, 0.0
        self.tally = Tally(in_a_row=self.tally.in_a_row)

    def _restore_best(self) -> None:
        """Put the weights of the best epoch back."""
        for variable, value in zip(self.vae.variables, self.best, strict=False):
            variable.assign(value)


def _names(data: Prepared, batch: np.ndarray) -> list[str]:
    """Say where examples are to be found: in their file, if that is known, else in the training set."""
    if isinstance(data.train, Rows):
        return [f"row {n:,} of the file" for n in data.train.indices[batch]]
    return [f"training example {n:,}" for n in batch]


def _about_scale(vae: VAE, largest: float) -> str:
    a = vae.architecture
    rescalable = a is None or a.likelihood.startswith("normal")
    return (
        f" Data on a smaller scale would help: x reaches {largest:g}." if rescalable and largest > 20 else ""
    )


def _logs(row: Row) -> dict[str, float]:
    found = dataclasses.asdict(row)
    return {name: value for name, value in found.items() if name != "epoch" and value is not None}


def _variables(optimizer: Any) -> list[Any]:
    """Every variable of an optimizer, the count of steps first."""
    found = list(optimizer.variables() if callable(optimizer.variables) else optimizer.variables)
    rest = [v for v in found if v is not optimizer.iterations]
    return [optimizer.iterations, *rest]
