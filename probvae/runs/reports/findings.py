"""Findings on the reliability of the results of a run.

Each entry of `CHECKS` is a function `(Run) -> Finding or None`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from probvae.config.choices import ON_SPHERES
from probvae.display import example_noun
from probvae.evaluation.activity import ACTIVE, used_dimensions
from probvae.inference.estimates import reliable_pareto_k
from probvae.runs.files import number
from probvae.runs.run import Run
from probvae.runs.table_files import table_of

NAMED = 20  # largest number of dimensions in a sentence
LITTLE = 0.1  # KL in nats below which the latent space carries little information
FEW_DRAWS = 10  # number of effective draws below which a bound is unreliable
MANY = 0.1  # fraction of examples with a large Pareto k above which there is a warning
FALL = 0.5  # fall of the test ELBO, in standard errors, above which it indicates over-fitting


ADVICE = "A warm-up of beta, free bits, or a weaker decoder may help."


class Finding(NamedTuple):
    """A level (problem, warning or note), a short title, and a text of one or two sentences."""

    level: str
    title: str
    text: str


def findings_of(run: Run) -> list[Finding]:
    """Return the findings on a run, the most severe first."""
    findings = [Finding("problem", "A file cannot be read", text) for text in run.problems]
    findings += [finding for check in CHECKS if (finding := check(run)) is not None]
    return sorted(findings, key=lambda finding: ("problem", "warning", "note").index(finding.level))


# ---- the latent space --------------------------------------------------------------------------------


def latent_variance(run: Run) -> np.ndarray | None:
    """Return Var_x(E_q[z_l]) for each latent dimension, [L]; None if unknown or on a sphere."""
    if run.architecture.prior in ON_SPHERES:
        return None
    fresh = None if run.is_evaluation_stale else run.evaluation
    evaluated = fresh and fresh.arrays.get("latent_variance")
    if isinstance(evaluated, np.ndarray) and len(evaluated) == run.architecture.latent_dim:
        return evaluated
    recorded = run.metrics.get("latent_variance")
    if not isinstance(recorded, list) or len(recorded) != run.architecture.latent_dim:
        return None
    values = np.array([math.nan if (value := number(entry)) is None else value for entry in recorded])
    return values if np.all(np.isfinite(values)) else None


def _collapse(run: Run) -> Finding | None:
    """Tell of unused dimensions, by the variance of their means alone, which the chart shows too."""
    kl, variance = run.metric("test_kl", "mean"), latent_variance(run)
    dead = np.flatnonzero(~used_dimensions(variance)) if variance is not None else np.empty(0, int)
    latent_dim = run.architecture.latent_dim
    if len(dead) == latent_dim:
        rate = "" if kl is None else f" The KL of q(z|x) from p(z) is {kl:.3f} nats."
        return Finding(
            "warning",
            "Posterior collapse",
            f"No latent dimension carries information of x: the mean of q(z|x) has a variance of {ACTIVE:g} "
            f"or less over the test set in each.{rate} {ADVICE}",
        )
    if kl is not None and kl < LITTLE and run.metric("epochs"):
        rate = f"The KL of q(z|x) from p(z) is {kl:.3f} nats, and z tells no more than that of x"
        if variance is None:  # and nothing is said of dimensions
            return Finding("warning", "Posterior collapse", f"{rate}. {ADVICE}")
        used = f"although {latent_dim - len(dead):,} of {latent_dim:,} dimensions are used"
        return Finding("warning", "Little information in z", f"{rate}, {used}. {ADVICE}")
    if not len(dead):
        return None
    names = ", ".join(f"z[{i}]" for i in dead[:NAMED])
    more = f" and {len(dead) - NAMED:,} more" if len(dead) > NAMED else ""
    return Finding(
        "warning",
        "Posterior collapse in part",
        f"{len(dead):,} of {latent_dim:,} latent dimensions carry nothing of x: {names}{more}. Their mean "
        f"under q(z|x) has a variance of {ACTIVE:g} or less over the test set; the others are used.",
    )


# ---- training ----------------------------------------------------------------------------------------


def _skipped(run: Run) -> Finding | None:
    n = int(np.nansum(run.history.get("skipped_steps", 0)))
    if not n:
        return None
    steps = "step was" if n == 1 else "steps were"
    return Finding(
        "warning",
        "Steps that were not finite",
        f"{n:,} {steps} skipped because the objective or its gradient was not finite. A smaller learning "
        "rate or --clip-norm may help.",
    )


def _not_finite(run: Run) -> Finding | None:
    names = ("test_elbo", "test_log_likelihood", "test_kl", "train_elbo")
    bad = [name for name in names if not np.all(np.isfinite(run.history.get(name, np.zeros(1))))]
    if not bad:
        return None
    return Finding("problem", "Not finite", f"The history has values that are not finite: {', '.join(bad)}.")


def _over_fitting(run: Run) -> Finding | None:
    test, objective = run.history.get("test_elbo"), run.history.get("train_elbo")
    if test is None or objective is None or len(test) < 3 or not np.all(np.isfinite(test)):
        return None
    best, error = int(np.argmax(test)), run.metric("test_elbo", "standard_error")
    fall, rise = float(test[best] - test[-1]), float(objective[-1] - objective[best])
    if fall <= FALL * (error or 1.0) or not rise > 0:
        return None
    kept = " The weights that were best on the validation set are kept." if run.training.validation else ""
    return Finding(
        "warning",
        "Over-fitting",
        f"The test ELBO has fallen by {fall:.2f} nats since epoch {_epoch(run, best)}, while the training "
        f"objective rose by {rise:.2f}.{kept} Fewer epochs, or --validation 0.1 "
        "--patience 5, would stop in time; --dropout 0.1 may lessen it.",
    )


def _still_rising(run: Run) -> Finding | None:
    test, error = run.history.get("test_elbo"), run.metric("test_elbo", "standard_error")
    if test is None or len(test) < 2 or not np.all(np.isfinite(test)):
        return None
    gain = float(test[-1] - test[-2])
    if gain <= FALL * (error or 1.0):
        return None
    return Finding(
        "note",
        "Not at its end",
        f"The test ELBO still rose by {gain:.2f} nats in the last epoch: more epochs would probably "
        "raise it further.",
    )


def _unfinished(run: Run) -> Finding | None:
    done = float(run.history["epoch"][-1]) if len(run.history.get("epoch", ())) else 0.0
    if not done < run.training.epochs:
        return None
    if run.metrics and not run.metrics.get("interrupted"):
        if run.training.patience:
            return Finding("note", "Stopped early", f"Training ended by patience after epoch {done:.4g}.")
        return None
    return Finding(
        "note",
        "Not all epochs are done",
        f"{done:.4g} of {run.training.epochs:,} epochs: the run was interrupted or still goes on. "
        "probvae-train --resume goes on with it.",
    )


def _clipped(run: Run) -> Finding | None:
    n = int(np.nansum(run.history.get("clipped_steps", 0)))
    examples = number(run.metrics, "data", "train_images")
    done = run.metric("epochs")
    if not n or not examples or not done:
        return None
    share = n / (done * math.ceil(examples / run.training.batch_size))
    if share < 0.5:
        return None
    return Finding(
        "note",
        "Most gradients were cut",
        f"The norm was cut to --clip-norm in {min(share, 1):.0%} of the steps.",
    )


# ---- evaluation --------------------------------------------------------------------------------------


def _stale(run: Run) -> Finding | None:
    if not run.is_evaluation_stale:
        return None
    return Finding(
        "problem",
        "The evaluation is of other weights",
        "The run has been trained since: evaluate it again with --overwrite.",
    )


def _weights(run: Run) -> Finding | None:
    """Return a warning if a few draws dominate the importance weights."""
    if run.evaluation is None:
        return None
    draws = number(run.evaluation.conditions, "num_samples")
    reasons, noun = [], example_noun(run.architecture.event_shape)
    k, ess = (run.evaluation.arrays.get(name) for name in ("pareto_k", "effective_sample_size"))
    if k is not None and draws and draws > 10 and np.any(np.isfinite(k)):
        limit = reliable_pareto_k(draws)
        share = float(np.mean(k[np.isfinite(k)] > limit))
        if share > MANY:
            reasons.append(f"Pareto k is above {limit:.2g} for {share:.0%} of the {noun}s")
    if ess is not None and draws and draws > FEW_DRAWS and np.median(ess) < FEW_DRAWS:
        reasons.append(f"half of the {noun}s have fewer than {FEW_DRAWS} effective draws of {draws:,.0f}")
    if not reasons:
        return None
    exact = "exact" in run.evaluation.arrays
    instead = "take the exact log p(x)" if exact else "take more draws (--num-samples), or annealing"
    return Finding(
        "warning",
        "Importance weights are not reliable",
        f"{_sentence(reasons)}: the importance-weighted bound lies below log p(x) by more than its error "
        f"says; {instead}.",
    )


def _generalization(run: Run) -> Finding | None:
    """Return a warning if log p(x) of training examples exceeds that of test examples by the same method."""
    if run.evaluation is None:
        return None
    results = run.evaluation.results
    test, train = results.get("exact", results.get("iwae")), results.get("train_log_marginal")
    numbers = [number(row, key) for row in (test, train) for key in ("mean", "standard_error")]
    if None in numbers:
        return None
    test_mean, test_error, train_mean, train_error = (float(n) for n in numbers if n is not None)
    gap, error = train_mean - test_mean, math.hypot(test_error, train_error)
    if gap <= 3 * error:
        return None
    noun = example_noun(run.architecture.event_shape)
    return Finding(
        "warning",
        f"Training {noun}s are likelier than test {noun}s",
        f"log p(x) of training {noun}s is higher by {gap:.2f} ± {error:.2f} nats (standard error): the model "
        "has over-fitted, or the two sets differ.",
    )


def _evaluation_unfinished(run: Run) -> Finding | None:
    if run.evaluation is None or not (run.evaluation.unfinished or run.evaluation.skipped):
        return None
    parts = []
    if run.evaluation.unfinished:
        parts.append(f"stopped before all of: {', '.join(run.evaluation.unfinished)}")
    parts += [
        f"without {name}, because {reason.rstrip('.')}" for name, reason in run.evaluation.skipped.items()
    ]
    return Finding("note", "The evaluation is not complete", f"{_sentence(parts)}.")


def _epoch(run: Run, row: int) -> str:
    epochs = run.history.get("epoch")
    return f"{epochs[row]:.4g}" if epochs is not None else str(row + 1)


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _copies(run: Run) -> Finding | None:
    """Return a warning if rows drawn from a model of a table lie too near to training rows."""
    table = table_of(run)
    copies = None if table is None else table.copies
    if copies is None or not copies.found:
        return None
    return Finding("warning", "Drawn rows may be copies", copies.verdict())


CHECKS: tuple[Callable[[Run], Finding | None], ...] = (
    _not_finite,
    _skipped,
    _collapse,
    _over_fitting,
    _stale,
    _weights,
    _generalization,
    _copies,
    _unfinished,
    _still_rising,
    _clipped,
    _evaluation_unfinished,
)
