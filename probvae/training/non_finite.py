"""Diagnosis of a step that is not finite: its term, examples and gradient."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from probvae import objectives
from probvae.config.training import Training
from probvae.data.arrays import Rows
from probvae.data.binarization import Prepared
from probvae.models.ascent import Objective, descent, forward
from probvae.models.training_view import in_training
from probvae.models.vae import VAE
from probvae.training.steps import step_inputs

TERMS = {
    "z": "a draw of z from q(z|x)",
    "log_likelihood": "log p(x|z)",
    "log_prior": "log p(z)",
    "log_posterior": "log q(z|x)",
}


class NonFiniteError(ArithmeticError):
    """The objective or its gradient became infinite or not a number.

    Attributes:
      sound: Whether most test examples have a plausible ELBO with the weights before the step. Otherwise the
        steps before have most likely made the weights diverge.
    """

    def __init__(self, message: str, *, sound: bool = False) -> None:
        super().__init__(message)
        self.sound = sound


class Finding(NamedTuple):
    """A quantity that is not finite."""

    what: str  # phrase that names the quantity
    examples: np.ndarray  # positions in the batch of the affected examples; empty if unknown


def diagnose(
    vae: VAE, objective: Objective, x: tf.Tensor, seed: tf.Tensor, *, num_samples: int = 1
) -> Finding | None:
    """Find the first quantity of a step on x [B, *E] that is not finite: weight, term, objective or gradient.

    The model has the weights before the step, and the seed is that of the draws in it, `num_samples` for each
    example. Layers are in training mode, as in the step; no variable changes. The result is None if
    everything is finite.
    """
    bad = [name_of(vae, v) for v in vae.variables if not np.all(np.isfinite(v.numpy()))]
    if bad:
        return Finding(f"the weights of {_listed(bad)} are", np.array([], int))
    terms = _terms(vae, x, seed, num_samples) if vae.has_log_terms else None
    return terms or _objective(vae, objective, x, seed)


def _terms(vae: VAE, x: tf.Tensor, seed: tf.Tensor, num_samples: int) -> Finding | None:
    with in_training(vae, seed) as (view, _):
        terms = objectives.log_terms(view, x, num_samples=num_samples, seed=seed)
    bad: dict[str, np.ndarray] = {}
    for name, phrase in TERMS.items():
        value = np.moveaxis(np.asarray(getattr(terms, name)), 1, 0)  # [B, S, ...]
        rows = ~np.isfinite(value).reshape(len(value), -1).all(axis=1)
        if rows.any():
            bad[phrase] = rows
    if not bad:
        return None
    first = next(iter(bad))
    if first == TERMS["z"]:  # the other terms follow from z
        bad = {first: bad[first]}
    verb = "is" if len(bad) == 1 else "are"
    return Finding(f"{_listed(list(bad))} {verb}", np.flatnonzero(np.any(list(bad.values()), axis=0)))


def _objective(vae: VAE, objective: Objective, x: tf.Tensor, seed: tf.Tensor) -> Finding | None:
    done, gradients = descent(vae, objective, x, seed)
    rows = ~np.isfinite(done.bound.numpy())
    if rows.any():
        return Finding("the objective is", np.flatnonzero(rows))
    pairs = [(g, v) for g, v in gradients if g is not None]
    bad = [name_of(vae, v) for g, v in pairs if not np.all(np.isfinite(g))]
    if bad:
        return Finding(f"the gradient of {_listed(bad)} is", _examples_of_gradient(vae, objective, x, seed))
    bad = [name_of(vae, v) for g, v in pairs if not np.isfinite(tf.nn.l2_loss(g))]
    if bad or not np.isfinite(tf.linalg.global_norm([g for g, _ in pairs])):
        return Finding(
            f"the square of the gradient of {_listed(bad or ['all weights'])} is", np.array([], int)
        )
    return None


def _examples_of_gradient(vae: VAE, objective: Objective, x: tf.Tensor, seed: tf.Tensor) -> np.ndarray:
    """Return the positions of examples whose own term of the objective has a gradient that is not finite."""
    variables = vae.trainable_variables
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(variables)
        parts = tf.unstack(forward(vae, objective, x, seed).bound)
    rows = [
        any(g is not None and not np.all(np.isfinite(g)) for g in tape.gradient(part, variables))
        for part in parts[:256]  # a limit on the number of gradients, enough for the message
    ]
    return np.flatnonzero(rows)


def name_of(vae: VAE, variable: Any) -> str:
    """Return the name of a variable with its part of the model."""
    for part, module in vae.all_parts().items():
        if any(v is variable for v in module.variables):
            return f"{part}'s {variable.name.removesuffix(':0')}"
    return str(variable.name)


def step_error(
    vae: VAE,
    objective: Objective,
    data: Prepared,
    batch: np.ndarray,
    *,
    training: Training,
    step: int,
    epoch: int,
    replicas: int,
    sound: bool,
) -> NonFiniteError:
    """Return the error of a step that is not finite, with its diagnosis and advice.

    The model has the weights before the step; `batch` holds the indices of its examples, and step and epoch
    are counted from 1.
    """
    inputs = step_inputs(data, batch, seed=training.seed, step=step - 1, replicas=replicas)
    names = example_names(data, batch)
    what, which, largest = "the objective or its gradient is", "", 0.0
    for x, seed, places in inputs:
        largest = max(largest, float(np.nanmax(np.abs(x), initial=0)))
        finding = diagnose(vae, objective, x, seed, num_samples=training.num_samples * training.groups)
        if finding is not None:
            what = finding.what
            bad = np.unique(places[finding.examples])  # without the padding of a part
            if bad.size:
                shown = ", ".join(names[place] for place in bad[:5]) + (", ..." if bad.size > 5 else "")
                which = f" for {bad.size} of {len(names)} examples of the batch ({shown})"
            break
    advice = (
        "Look at what the step saw, or skip such steps."
        if sound
        else "The steps before were most likely too large: try a smaller learning rate, or clip the gradient."
    )
    if largest > 20 and (vae.architecture is None or vae.architecture.likelihood.startswith("normal")):
        advice += f" Data on a smaller scale would help: x reaches {largest:g}."
    message = f"Step {step:,}, in epoch {epoch}: {what} not finite{which}. {advice}"
    return NonFiniteError(message, sound=sound)


def example_names(data: Prepared, batch: np.ndarray) -> list[str]:
    """Return names of training examples: their rows in the file if known, otherwise their indices."""
    if isinstance(data.train, Rows):
        return [f"row {n:,} of the file" for n in data.train.indices[batch]]
    return [f"training example {n:,}" for n in batch]


def _listed(names: list[str]) -> str:
    return " and ".join(names) if len(names) < 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
