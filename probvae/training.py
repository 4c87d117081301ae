"""Training: whole chunks of an epoch in one compiled function, data resident, batches by index.

`VAE.fit` is Keras's own loop; `fit` here is the fast one, which `probvae-train` uses.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from probvae import objectives
from probvae.config import Training
from probvae.data import Prepared
from probvae.model import VAE, Objective, ascend
from probvae.seeds import fold_in, split

CHUNK_SECONDS = 0.5  # of training between two looks at the clock, the bar and Ctrl-C


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the history: the state after an epoch, or after the part of one that was done.

    ELBO, log-likelihood (reconstruction term) and KL are means over examples in nats, by Monte Carlo
    with one draw of z; `train_elbo` is the mean of the objective while the weights were changing.
    """

    epoch: float
    test_elbo: float
    test_log_likelihood: float
    test_kl: float
    train_elbo: float
    seconds: float
    images_per_second: float


class NonFiniteError(ArithmeticError):
    """The objective became infinite or not a number."""


# ---- optimizer -----------------------------------------------------------------------------------


def constant(learning_rate: float, steps: int) -> Any:
    """Keep the learning rate."""
    return learning_rate


def cosine(learning_rate: float, steps: int) -> Any:
    """Let the learning rate fall to zero along half a cosine (Loshchilov & Hutter 2017)."""
    return tf_keras.optimizers.schedules.CosineDecay(learning_rate, max(steps, 1))


SCHEDULES: dict[str, Callable[[float, int], Any]] = {"constant": constant, "cosine": cosine}


class _Warmup(tf_keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise from zero over the first steps, and the schedule after it."""

    def __init__(self, schedule: Any, warmup_steps: int) -> None:
        self.schedule = schedule if callable(schedule) else lambda step: schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        rise = tf.minimum(1.0, (tf.cast(step, tf.float32) + 1) / self.warmup_steps)
        return rise * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "warmup_steps": self.warmup_steps}


def make_optimizer(training: Training, num_examples: int) -> tf_keras.optimizers.Optimizer:
    """Build Adam with the run's schedule over all of its steps."""
    steps = training.epochs * math.ceil(num_examples / training.batch_size)
    rate = SCHEDULES[training.schedule](training.learning_rate, steps)
    if training.warmup_steps:
        rate = _Warmup(rate, training.warmup_steps)
    return tf_keras.optimizers.Adam(rate)


def make_objective(training: Training) -> Objective:
    """Return the run's objective, `(vae, x, *, seed) -> [B]`."""
    options: dict[str, Any] = {"num_samples": training.num_samples}
    if training.analytic_kl:
        options["analytic_kl"] = True
    return functools.partial(objectives.OBJECTIVES[training.objective], **options)


# ---- the compiled step and epoch -----------------------------------------------------------------


def compile_steps(
    vae: VAE, optimizer: Any, objective: Objective, data: Prepared, seed: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compile any number of training steps into one function.

    Args:
      vae: the model to train.
      optimizer: a Keras optimizer; its step count is what seeds each step.
      objective: `(vae, x, *, seed) -> [B]`, to be maximised.
      data: training images, held in memory as they are.
      seed: of the draws of z and of the binarization.

    Returns:
      A function from indices [steps, batch size], int32, to the objective summed over all those
      examples, a scalar in nats. Its result does not depend on how an epoch is cut into calls.
    """
    images = tf.constant(data.train)
    optimizer.build(vae.trainable_variables)

    def one_step(batch: tf.Tensor) -> tf.Tensor:
        seed_x, seed_z = split(fold_in(seed, optimizer.iterations), 2)
        x = data.feed(tf.gather(images, batch), seed_x)
        return tf.cast(tf.reduce_sum(ascend(vae, optimizer, objective, x, seed_z)), tf.float64)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def steps(indices: tf.Tensor) -> tf.Tensor:
        _, total = tf.while_loop(
            lambda i, total: i < tf.shape(indices)[0],
            lambda i, total: (i + 1, total + one_step(indices[i])),
            (tf.constant(0), tf.zeros([], tf.float64)),
        )
        return total

    return steps


def epoch_batches(num_examples: int, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the order of an epoch, [num_examples] int32, a permutation that (seed, epoch) fixes."""
    rng = np.random.default_rng([seed, 2, epoch])
    return rng.permutation(num_examples).astype(np.int32)


class _Pace:
    """Chooses how many steps a call of the compiled function takes, for about `CHUNK_SECONDS`."""

    def __init__(self) -> None:
        self.steps = 8

    def timed(self, seconds: float) -> None:
        """Learn from the time that the last call took."""
        self.steps = max(1, min(2 * self.steps, int(self.steps * CHUNK_SECONDS / seconds)))

    def chunks(self, order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
        """Cut an epoch's order into index arrays [steps, batch size], and a smaller last batch."""
        whole = len(order) - len(order) % batch_size
        start = 0
        while start < whole:
            stop = min(whole, start + batch_size * self.steps)
            yield order[start:stop].reshape(-1, batch_size)
            start = stop
        if whole < len(order):
            yield order[None, whole:]


# ---- evaluation during training ------------------------------------------------------------------


class TestTerms(NamedTuple):
    """Per test example, [N] in nats, by one draw of z."""

    elbo: np.ndarray
    log_likelihood: np.ndarray
    kl: np.ndarray


def compile_test(vae: VAE, seed: int, *, batch_size: int = 500) -> Callable[[np.ndarray], TestTerms]:
    """Compile the test-set ELBO; every call repeats the same draws of z, so epochs compare.

    Returns:
      A function from x [N, *E] to `TestTerms`.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([], tf.int32)])
    def terms(x: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        t = objectives.log_terms(vae, x, seed=fold_in(fold_in(seed, -1), start))
        return tf.stack([t.log_weights[0], t.log_likelihood[0], (t.log_posterior - t.log_prior)[0]])

    def test(x: np.ndarray) -> TestTerms:
        starts = range(0, len(x), batch_size)
        parts = [terms(x[i : i + batch_size].astype(np.float32), i).numpy() for i in starts]
        return TestTerms(*np.concatenate(parts, axis=1))

    return test


# ---- the loop ------------------------------------------------------------------------------------


def fit(
    vae: VAE,
    data: Prepared,
    training: Training,
    *,
    on_chunk: Callable[[int, int], None] = lambda epoch, images: None,
    on_epoch: Callable[[Row], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Train a model.

    Args:
      vae: the model; its weights change in place.
      data: what to train and test on.
      training: epochs, batch size, objective, optimizer and seed.
      on_chunk: called about twice a second with the epoch and the number of images just used.
      on_epoch: called with each row as soon as it is known.
      should_stop: asked about twice a second; where it says True, training ends at that step with a
        row for the part of the epoch that was done.

    Returns:
      The history, a row an epoch.

    Raises:
      NonFiniteError: the objective is no longer a finite number.
    """
    optimizer = make_optimizer(training, len(data.train))
    steps = compile_steps(vae, optimizer, make_objective(training), data, training.seed)
    test = compile_test(vae, training.seed)
    history: list[Row] = []
    pace = _Pace()
    for epoch in range(training.epochs):
        order = epoch_batches(len(data.train), training.batch_size, seed=training.seed, epoch=epoch)
        total, done, seconds = 0.0, 0, 0.0
        for indices in pace.chunks(order, training.batch_size):
            start = time.perf_counter()
            total += float(steps(tf.constant(indices)))
            elapsed = time.perf_counter() - start
            if not math.isfinite(total):
                raise NonFiniteError(
                    f"The objective became {total} in epoch {epoch + 1}, after step "
                    f"{int(optimizer.iterations):,}. Try a smaller learning rate."
                )
            done, seconds = done + indices.size, seconds + elapsed
            pace.timed(elapsed)
            on_chunk(epoch, indices.size)
            if should_stop():
                break
        terms = test(data.test)
        elbo, log_likelihood, kl = (float(np.mean(term, dtype=np.float64)) for term in terms)
        row = Row(
            epoch=epoch + done / len(order),
            test_elbo=elbo,
            test_log_likelihood=log_likelihood,
            test_kl=kl,
            train_elbo=total / done,
            seconds=seconds,
            images_per_second=done / seconds,
        )
        history.append(row)
        on_epoch(row)
        if should_stop():
            break
    return history
