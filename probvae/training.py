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
from probvae.data.arrays import chunks
from probvae.errors import InputError
from probvae.model import VAE, Objective, ascend
from probvae.seeds import fold_in, split
from probvae.semisupervised import classification_weight, m2

RESIDENT_BYTES = 2 << 30  # a larger training set is streamed
CHUNK_SECONDS = 0.5  # of training between two looks at the clock, the bar and Ctrl-C


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the history: the state after an epoch, or after the part of one that was done.

    ELBO, log-likelihood (reconstruction term) and KL are means over examples in nats, by Monte Carlo
    with one draw of z; `train_elbo` is the mean of the objective while the weights were changing;
    `validation_elbo` is None where no validation set was held out.
    """

    epoch: float
    test_elbo: float
    test_log_likelihood: float
    test_kl: float
    train_elbo: float
    seconds: float
    images_per_second: float
    validation_elbo: float | None = None


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


def make_objective(
    training: Training, *, num_examples: int, iterations: Any = 0, labelled: float | None = None
) -> Objective:
    """Return the run's objective, `(vae, x, *, seed) -> [B]`.

    Args:
      training: its name and options.
      num_examples: of the training set.
      iterations: the optimizer's count of steps, a variable, which the warm-up of beta follows.
      labelled: the fraction of labels that are known, for `labels="semi"`; None takes what the run asks for.
    """
    warmup = functools.partial(objectives.WARMUPS[training.beta_warmup], steps=training.beta_warmup_steps)
    known: dict[str, Callable[[], Any]] = {
        "beta": lambda: training.beta * (warmup(iterations) if training.beta_warmup != "none" else 1.0),
        "analytic_kl": lambda: training.analytic_kl,
        "alpha": lambda: training.alpha,
        "free_bits": lambda: training.free_bits,
        "weight": lambda: training.mmd_weight,
        "num_examples": lambda: num_examples,
    }
    function = objectives.OBJECTIVES[training.objective]

    def bound(
        vae: VAE, x: tf.Tensor, *, num_samples: int = training.num_samples, seed: tf.Tensor
    ) -> tf.Tensor:
        chosen = {name: known[name]() for name in objectives.OPTIONS[training.objective]}
        return function(vae, x, num_samples=num_samples, seed=seed, **chosen)

    if training.labels != "semi":
        return bound
    alpha = classification_weight(training.labelled if labelled is None else labelled)
    return functools.partial(m2, num_samples=training.num_samples, alpha=alpha, bound=bound)


def known_fraction(vae: VAE, train: Any) -> float:
    """Return the fraction of joined examples [N, D + C] whose class is known."""
    known = sum(int(np.sum(np.any(rows[:, -vae.context_dim :] > 0, axis=1))) for rows in chunks(train))
    return known / len(train)


def try_objective(vae: VAE, data: Prepared, training: Training) -> None:
    """Evaluate the objective of two examples, so that what cannot be trained is refused before it starts.

    Raises:
      InputError: the objective does not serve this posterior and prior.
    """
    examples = data.train[np.arange(min(2, len(data.train)))]
    x = data.feed(tf.constant(examples), fold_in(training.seed, 0))
    try:
        make_objective(training, num_examples=len(data.train))(vae, x, seed=fold_in(training.seed, 0))
    except NotImplementedError:
        a = vae.architecture
        pair = f" of the posterior {a.posterior} and the prior {a.prior}" if a else ""
        raise InputError(f"The KL{pair} has no closed form: leave analytic_kl out.") from None


# ---- the compiled step and epoch -----------------------------------------------------------------


def compile_steps(
    vae: VAE, optimizer: Any, objective: Objective, data: Prepared, seed: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compile any number of training steps into one function.

    Args:
      vae: the model to train.
      optimizer: a Keras optimizer; its step count is what seeds each step.
      objective: `(vae, x, *, seed) -> [B]`, to be maximised.
      data: the training set, held in memory as it is, or read from its file chunk by chunk.
      seed: of the draws of z and of the binarization.

    Returns:
      A function from indices [steps, batch size], int32, to the objective summed over all those
      examples, a scalar in nats. Its result does not depend on how an epoch is cut into calls.
    """
    optimizer.build(vae.trainable_variables)

    def one_step(batch: tf.Tensor) -> tf.Tensor:
        seed_x, seed_z = split(fold_in(seed, optimizer.iterations), 2)
        x = data.feed(batch, seed_x)
        return tf.cast(tf.reduce_sum(ascend(vae, optimizer, objective, x, seed_z)), tf.float64)

    def loop(batches: tf.Tensor, examples: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        _, total = tf.while_loop(
            lambda i, total: i < tf.shape(batches)[0],
            lambda i, total: (i + 1, total + one_step(examples(batches[i]))),
            (tf.constant(0), tf.zeros([], tf.float64)),
        )
        return total

    if _is_resident(data):
        images = tf.constant(data.train)
        signature = tf.TensorSpec([None, None], tf.int32)
        return tf.function(
            lambda indices: loop(indices, lambda batch: tf.gather(images, batch)),
            input_signature=[signature],
            autograph=False,
        )
    event_shape = data.train.shape[1:]
    signature = tf.TensorSpec([None, None, *event_shape], data.train.dtype)
    over_values = tf.function(
        lambda batches: loop(batches, lambda batch: batch), input_signature=[signature], autograph=False
    )

    def streamed(indices: tf.Tensor) -> tf.Tensor:
        batches = data.train[np.asarray(indices).ravel()]
        return over_values(tf.constant(batches.reshape(*indices.shape, *event_shape)))

    return streamed


def _is_resident(data: Prepared) -> bool:
    """Whether the training set is held in memory by TensorFlow, or read chunk by chunk."""
    plain = isinstance(data.train, np.ndarray) and not isinstance(data.train, np.memmap)
    return plain and data.train.nbytes <= RESIDENT_BYTES


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
      The history, a row an epoch. Where a validation set was held out, the weights of the epoch with the best
      ELBO on it are put back.

    Raises:
      NonFiniteError: the objective is no longer a finite number.
    """
    optimizer = make_optimizer(training, len(data.train))
    objective = make_objective(
        training,
        num_examples=len(data.train),
        iterations=optimizer.iterations,
        labelled=known_fraction(vae, data.train) if training.labels == "semi" else None,
    )
    steps = compile_steps(vae, optimizer, objective, data, training.seed)
    test = compile_test(vae, training.seed)
    history: list[Row] = []
    best = _Best(vae)
    pace = _Pace()
    for epoch in range(training.epochs):
        order = epoch_batches(len(data.train), training.batch_size, seed=training.seed, epoch=epoch)
        total, done, seconds = 0.0, 0, 0.0
        for indices in pace.chunks(order, training.batch_size):
            start = time.perf_counter()
            total += float(steps(tf.constant(indices)))
            elapsed = time.perf_counter() - start
            if not math.isfinite(total):
                largest = float(np.nanmax(np.abs(data.test), initial=0))
                raise NonFiniteError(
                    f"The objective became {total} in epoch {epoch + 1}, after step "
                    f"{int(optimizer.iterations):,}. Try a smaller learning rate"
                    + (f", or data on a smaller scale: x reaches {largest:g}." if largest > 20 else ".")
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
            validation_elbo=_validation_elbo(test, data),
        )
        history.append(row)
        best.look(row)
        on_epoch(row)
        if should_stop():
            break
    best.restore()
    return history


def _validation_elbo(test: Callable[[np.ndarray], TestTerms], data: Prepared) -> float | None:
    if data.validation is None:
        return None
    return float(np.mean(test(data.validation).elbo, dtype=np.float64))


class _Best:
    """Keeps a copy of the weights of the epoch with the best validation ELBO."""

    def __init__(self, vae: VAE) -> None:
        self.vae, self.elbo = vae, -math.inf
        self.values: list[np.ndarray] = []

    def look(self, row: Row) -> None:
        """Copy the weights if this epoch is the best so far."""
        if row.validation_elbo is not None and row.validation_elbo > self.elbo:
            self.elbo = row.validation_elbo
            self.values = [variable.numpy() for variable in self.vae.variables]

    def restore(self) -> None:
        """Put them back."""
        for variable, value in zip(self.vae.variables, self.values, strict=False):
            variable.assign(value)
