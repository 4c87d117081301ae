"""The objective of a run, from its configuration."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from probvae import objectives
from probvae.config import choices
from probvae.config.training import Training
from probvae.data.arrays import chunks
from probvae.data.binarization import Prepared
from probvae.errors import InputError
from probvae.models.vae import VAE, Objective
from probvae.objectives.semisupervised import classification_weight, m2
from probvae.seeds import fold_in


def make_objective(
    training: Training, *, num_examples: int, iterations: Any = 0, labelled: float | None = None
) -> Objective:
    """Return the run's objective, `(vae, x, *, seed) -> [B]`.

    Args:
      training: name and options of the objective.
      num_examples: size of the training set.
      iterations: count of the optimizer's steps, a variable, which the warm-up of beta follows.
      labelled: fraction of labels that are known, for `labels="semi"`; None takes that of `training`.
    """
    entry, function = choices.OBJECTIVES[training.objective], objectives.OBJECTIVES[training.objective]
    options = {name: getattr(training, name) for name in entry.options if name != "beta_warmup"}
    if entry.num_examples:
        options["num_examples"] = num_examples
    warmup = functools.partial(objectives.WARMUPS[training.beta_warmup], steps=training.beta_warmup_steps)

    def bound(
        vae: VAE, x: tf.Tensor, *, num_samples: int = training.num_samples, seed: tf.Tensor
    ) -> tf.Tensor:
        chosen = dict(options)
        if "beta" in options:
            chosen["beta"] = training.beta * (warmup(iterations) if training.beta_warmup != "none" else 1.0)
        return function(vae, x, num_samples=num_samples, seed=seed, **chosen)

    if not training.is_semisupervised:
        return bound
    alpha = classification_weight(training.labelled if labelled is None else labelled)
    return functools.partial(m2, num_samples=training.num_samples, alpha=alpha, bound=bound)


def in_parts(objective: Objective, parts: int) -> Objective:
    """Return an objective that cuts a batch into parts of one size, which TensorFlow works on side by side.

    With one thread for an operation and as many operations at a time as there are parts, that is faster on
    processors than all threads on one operation after the other: nobody waits for the last thread, and what
    an operation leaves is still in its core's cache for the next.

    Args:
      objective: `(vae, x, *, seed) -> [B]`, a term for each example by itself.
      parts: their number; each has draws of its own.
    """
    if parts == 1:
        return objective

    def bound(vae: VAE, x: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
        size = tf.shape(x)[0]
        each = -(-size // parts)  # the last parts are filled up by repeating the last example
        rows = [tf.minimum(tf.range(i * each, (i + 1) * each), size - 1) for i in range(parts)]
        bounds = [objective(vae, tf.gather(x, r), seed=fold_in(seed, i)) for i, r in enumerate(rows)]
        return tf.concat(bounds, axis=0)[:size]

    return bound


def known_fraction(vae: VAE, train: Any) -> float:
    """Return the fraction of joined examples [N, D + C] whose class is known."""
    known = sum(int(np.sum(np.any(vae.contexts_of(rows) > 0, axis=1))) for rows in chunks(train))
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
        architecture = vae.architecture
        pair = (
            f" of the posterior {architecture.posterior} and the prior {architecture.prior}"
            if architecture
            else ""
        )
        raise InputError(f"The KL{pair} has no closed form: leave analytic_kl out.") from None
