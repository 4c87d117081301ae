"""Training objective, from its configuration."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from probvae import objectives
from probvae.config import choices
from probvae.config.training import Training
from probvae.data.arrays import chunks
from probvae.data.binarization import Prepared
from probvae.models.ascent import Objective
from probvae.models.vae import VAE
from probvae.objectives.memory import refuse_step
from probvae.objectives.semisupervised import classification_weight, m2
from probvae.seeds import fold_in
from probvae.training.hiding import hide_values

HIDING = 0x68696465  # folded into the seed of a step for the choice of hidden values


def make_objective(
    training: Training, *, num_examples: int, iterations: Any = 0, labelled: float | None = None
) -> Objective:
    """Return the objective of a training, `(vae, x, *, seed) -> [B]`.

    `iterations` is the variable with the number of steps of the optimizer, for the warm-up of beta;
    `labelled` is the fraction of known labels for `labels="semi"`, that of the training by default.
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
            chosen["beta"] = training.chosen("beta") * (
                warmup(iterations) if training.beta_warmup != "none" else 1.0
            )
        return function(vae, x, num_samples=num_samples, seed=seed, **chosen)

    objective: Objective = bound
    if training.is_semisupervised:
        alpha = classification_weight(training.labelled if labelled is None else labelled)
        objective = functools.partial(m2, num_samples=training.num_samples, alpha=alpha, bound=bound)
    return with_hidden_values(objective, training.hide) if training.hide else objective


def with_hidden_values(objective: Objective, share: float) -> Objective:
    """Return an objective of examples of which a share has hidden values, see `hide_values`."""

    def bound(vae: VAE, x: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
        return objective(vae, hide_values(vae, x, share, seed=fold_in(seed, HIDING)), seed=seed)

    return bound


def in_parts(objective: Objective, parts: int) -> Objective:
    """Return an objective that cuts a batch into parts of one size, which TensorFlow computes in parallel.

    With one thread per operation and one operation per part at a time, this is faster on CPUs than all
    threads on one operation after the other: no thread waits for the last one, and the results of an
    operation stay in the cache of their core. The terms of the examples must be independent; each part has
    its own draws.
    """
    if parts == 1:
        return objective

    def bound(vae: VAE, x: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
        size = tf.shape(x)[0]
        each = -(-size // parts)  # the last example is repeated as padding
        rows = [tf.minimum(tf.range(i * each, (i + 1) * each), size - 1) for i in range(parts)]
        bounds = [objective(vae, tf.gather(x, r), seed=fold_in(seed, i)) for i, r in enumerate(rows)]
        return tf.concat(bounds, axis=0)[:size]

    return bound


def known_fraction(vae: VAE, train: Any) -> float:
    """Return the fraction of joined examples [N, D + C] with a known class."""
    known = sum(int(np.sum(np.any(vae.contexts_of(rows) > 0, axis=1))) for rows in chunks(train))
    return known / len(train)


def try_objective(vae: VAE, data: Prepared, training: Training) -> None:
    """Try the objective, so that one that is not defined, or too large, is refused before training."""
    examples = data.train[np.arange(min(2, len(data.train)))]
    x = data.feed(tf.constant(examples), fold_in(training.seed, 0))
    objective = make_objective(training, num_examples=len(data.train))
    refuse_large_step(vae, objective, data, training)
    objective(vae, x, seed=fold_in(training.seed, 0))


def refuse_large_step(vae: VAE, objective: Objective, data: Prepared, training: Training) -> None:
    """Refuse a training whose steps, or their parts in this process, do not fit into memory."""
    workers = int(getattr(tf.distribute.get_strategy().extended, "_num_workers", 1))
    size = -(-min(training.batch_size, len(data.train)) // workers)
    refuse_step(vae, objective, size, groups=training.groups)
