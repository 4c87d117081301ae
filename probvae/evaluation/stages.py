"""The stages of an evaluation, each of which can be the last.

Each entry of `STAGES` is a function `(Evaluation) -> None` that adds lines to the table and arrays to the
results by example. The most important come first.
"""

import time
from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from probvae.evaluation import contexts, latents
from probvae.evaluation.checks import BINS, calibration_error
from probvae.evaluation.latent_stages import (
    aggregate,
    certificate,
    labels,
    outlier_scores,
    predictive,
    rate_and_distortion,
)
from probvae.evaluation.state import EXACT_DIMENSIONS, Evaluation, Line
from probvae.evaluation.table_stages import compare_columns, imputation
from probvae.inference.amortization import decompose, optimize_posteriors
from probvae.inference.annealing import ais, bdmc
from probvae.inference.blocks import Stopped
from probvae.inference.brackets import two_sided
from probvae.inference.estimates import reliable_pareto_k
from probvae.likelihoods import likelihood_of

TWO_SIDED = 10  # largest number of images for estimates from both sides
SIMULATED = 20  # largest number of images for the bracket of annealed importance sampling


def bounds(evaluation: Evaluation) -> None:
    """Estimate the ELBO and the importance-weighted bound of the test images, with Pareto k."""
    k = evaluation.options.num_samples
    evaluation.importance = result = evaluation.sample_importance(evaluation.test.x, stream=0)
    evaluation.arrays |= {
        "elbo": result.elbo,
        "elbo_monte_carlo_error": result.elbo_standard_error,
        "iwae": result.bound,
        "iwae_monte_carlo_error": result.standard_error,
        "effective_sample_size": result.effective_sample_size,
    }
    evaluation.add("elbo", f"ELBO, {k:,} draws", result.elbo, result.elbo_standard_error)
    ess = float(np.nanmedian(result.effective_sample_size))
    note = f"a lower bound; effective draws {ess:.0f} of {k:,} (median)"
    if result.pareto_k is not None:
        evaluation.arrays["pareto_k"] = result.pareto_k
        known = result.pareto_k[np.isfinite(result.pareto_k)]
        if known.size:
            limit = reliable_pareto_k(k)
            bad = np.mean(known > limit)
            note += f"; Pareto k > {limit:.2g} for {bad:.0%} of the {evaluation.noun}s, "
            note += "where it is not to be trusted"
    evaluation.add("iwae", f"IWAE bound, K = {k:,}", result.bound, result.standard_error, note=note)
    evaluation.stop_unless_all(len(result.bound), len(evaluation.test.x))


def quadrature(evaluation: Evaluation) -> None:
    """Integrate p(x), for up to three latent dimensions."""
    if evaluation.vae.latent_dim > EXACT_DIMENSIONS:
        return
    result = evaluation.exact(evaluation.test.x)
    evaluation.arrays |= {"exact": result.log_marginal, "exact_error": result.error}
    late, noun = int(np.sum(~result.converged)), evaluation.noun
    missing = result.log_marginal - evaluation.arrays["iwae"]
    note = f"quadrature, estimated error up to {np.ceil(1e4 * np.nanmax(result.error)) / 1e4:g}"
    note += (
        f"; {late:,} {noun}s did NOT reach {evaluation.options.tolerance:g}" if late else f" on one {noun}"
    )
    evaluation.add("exact", "log p(x), exact", result.log_marginal, note=note)
    evaluation.add(
        "missing",
        "  what the IWAE bound misses",
        missing,
        evaluation.arrays["iwae_monte_carlo_error"],
        note=f"at most {np.nanmax(missing):.1f} on one {noun}",
    )


def per_dimension(evaluation: Evaluation) -> None:
    """Take the bits per dimension from the best estimate of log p(x); of units they would mean nothing."""
    if evaluation.has_units:
        return
    log_p, error = evaluation.known()
    vae, shape = evaluation.vae, evaluation.vae.value_shape
    x = vae.values(evaluation.test.x[: len(log_p)])
    seen = ~np.all(np.isnan(x.reshape(len(x), -1)), axis=1)
    note = f"from {evaluation.best_name}; "
    if vae.architecture is None or likelihood_of(vae.architecture).kind.discrete:
        note += "lower is better"
    else:
        note += "of a density: it depends on the scale of x, so compare it for the same data and scale only"
    if np.isnan(x).any():
        note += "; over the values that were seen"
    evaluation.add(
        "bits_per_dimension",
        "bits per dimension",
        latents.bits_per_dimension(log_p[seen], shape, x[seen]),
        None if error is None else -latents.bits_per_dimension(error[seen], shape, x[seen]),
        unit="bits",
        note=note,
    )


def generalization(evaluation: Evaluation) -> None:
    """Estimate log p(x) of training images as that of the test images."""
    if len(evaluation.train.x) < 2:
        return
    log_p, error = evaluation.best(evaluation.train.x, stream=1)
    evaluation.arrays["train_log_marginal"] = log_p
    name = f"log p(x) of training {evaluation.noun}s, {evaluation.best_name}"
    evaluation.add("train_log_marginal", name, log_p, error)
    evaluation.stop_unless_all(len(log_p), len(evaluation.train.x))


def gaps(evaluation: Evaluation) -> None:
    """Split log p(x) - ELBO into approximation and amortization gap, test against train."""
    below = "" if evaluation.by_quadrature else f"from the {evaluation.best_name}, which lies below log p(x)"
    for name, images, stream in (("test", evaluation.test.x, 7), ("train", evaluation.train.x, 8)):
        x = images[: evaluation.options.gap_images]
        if len(x) < 2:
            continue
        log_p, error = evaluation.known(len(x)) if name == "test" else evaluation.best(x, stream=stream + 10)
        optimized = optimize_posteriors(
            evaluation.vae, x[: len(log_p)], seed=evaluation.seed(stream), on_progress=evaluation.on_progress
        )
        optimized = optimized._replace(
            elbo=evaluation.in_units(optimized.elbo, x),
            amortized_elbo=evaluation.in_units(optimized.amortized_elbo, x),
        )
        n = len(optimized.elbo)
        parts = decompose(log_p[:n], optimized)
        evaluation.arrays |= {
            f"{name}_approximation_gap": parts.approximation,
            f"{name}_amortization_gap": parts.amortization,
            f"{name}_optimized_elbo": optimized.elbo,
        }
        errors = np.hypot(optimized.standard_error, 0.0 if error is None else error[:n])
        for gap, values, gap_errors, note in (
            ("approximation", parts.approximation, errors, below),
            ("amortization", parts.amortization, optimized.gain_standard_error, ""),
        ):
            line = f"{gap} gap, {name} {evaluation.noun}s"
            evaluation.add(f"{name}_{gap}_gap", line, values, gap_errors, note=note)
        evaluation.stop_unless_all(n, len(x))


def annealed(evaluation: Evaluation) -> None:
    """Run annealed importance sampling, beside the exact value, and its bracket on simulated images."""
    x = evaluation.test.x[: evaluation.options.ais_images]
    if len(x) < 2:
        return
    result = ais(evaluation.vae, x, seed=evaluation.seed(9), on_progress=evaluation.on_progress)
    log_p = evaluation.in_units(result.log_marginal, x)
    n, noun = len(log_p), evaluation.noun
    evaluation.arrays |= {
        "ais": log_p,
        "ais_monte_carlo_error": result.standard_error,
        "ais_effective_chains": result.effective_sample_size,
        "ais_reliable": result.reliable,
    }
    note = f"a lower bound; acceptance {np.mean(result.acceptance):.2f}; {result.verdict()}"
    evaluation.add("ais", f"AIS, first {n} {noun}s", log_p, result.standard_error, note=note)
    if "exact" in evaluation.arrays:
        exact_values = evaluation.arrays["exact"][:n]
        evaluation.add("exact_ais_images", f"  exact, the same {noun}s", exact_values)
        difference = log_p - exact_values
        evaluation.add("ais_minus_exact", "  AIS minus exact", difference, result.standard_error)
    evaluation.stop_unless_all(n, len(x))
    simulated = min(len(x), SIMULATED)
    bracket = bdmc(
        evaluation.vae.generator(evaluation.train.x),
        simulated,
        seed=evaluation.seed(10),
        on_progress=evaluation.on_progress,
    )
    name, note = f"BDMC, {len(bracket.lower)} simulated {noun}s", f"rigorous, and for simulated {noun}s only"
    below, above = bracket.forward.standard_error, bracket.reverse.standard_error
    lower, upper = (evaluation.in_units(bound, bracket.x) for bound in (bracket.lower, bracket.upper))
    evaluation.add("bdmc_lower", f"{name}, from below", lower, below, note=note)
    evaluation.add("bdmc_upper", f"{name}, from above", upper, above, note=note)
    evaluation.stop_unless_all(len(bracket.upper), simulated)


def both_sides(evaluation: Evaluation) -> None:
    """Estimate log p(x) from below and from above, where quadrature cannot know it."""
    x = evaluation.test.x[: min(evaluation.options.ais_images, TWO_SIDED)]
    if len(x) < 2 or "exact" in evaluation.arrays:
        return
    found = two_sided(
        evaluation.vae,
        x,
        num_samples=evaluation.options.num_samples,
        num_simulated=len(x),
        simulator=evaluation.vae.generator(evaluation.train.x),
        seed=evaluation.seed(21),
        on_progress=evaluation.on_progress,
    )
    lower, upper = (evaluation.in_units(side, x) for side in (found.data.lower, found.data.upper))
    evaluation.arrays |= {
        "two_sided_lower": lower,
        "two_sided_upper": upper,
        "two_sided_reliable": found.data.reliable,
    }
    name = f"log p(x) from above, first {len(x)} {evaluation.noun}s"
    note = f"approximate; from below {lower.mean():.2f}; {found.verdict()}"
    evaluation.add("two_sided", name, upper, found.data.upper_error, note=note)


def classes(evaluation: Evaluation, most: int = 1000) -> None:
    """Sum p(x, y) over the classes y of a conditional model: log p(x), and the likeliest class."""
    log_prior = contexts.log_class_prior(evaluation.vae, evaluation.train.x)
    if log_prior is None:
        return
    examples = evaluation.test.x[:most]
    x, y = evaluation.vae.values(examples), evaluation.vae.contexts_of(examples)
    log_joint = contexts.log_joint_of_classes(
        evaluation.vae, x, log_prior, lambda pairs: evaluation.best(pairs, stream=14)[0]
    )
    n = len(log_joint)
    evaluation.arrays["log_marginal_over_classes"] = log_p = logsumexp(log_joint, axis=1)
    note = f"log of the sum over y of p(y) p(x|y), each from {evaluation.best_name}"
    line = f"log p(x) over all classes, first {n:,} {evaluation.noun}s"
    evaluation.add("log_marginal_over_classes", line, log_p, note=note)
    right = np.argmax(log_joint, axis=1) == np.argmax(y[:n], axis=1)
    evaluation.add("bayes_accuracy", "class of the largest p(x, y)", right.astype(np.float64), unit="right")
    evaluation.stop_unless_all(n, len(x))


def classifier(evaluation: Evaluation) -> None:
    """Compare q(y|x) of a model with a classifier with the labels of all test images."""
    x = evaluation.test.x
    probabilities = evaluation.vae.class_probabilities(x)
    if probabilities is None:
        return
    labels = np.argmax(evaluation.vae.contexts_of(x), axis=1)
    right = (np.argmax(probabilities, axis=1) == labels).astype(np.float64)
    evaluation.add("classifier_accuracy", "class of the largest q(y|x)", right, unit="right")
    error = calibration_error(probabilities, labels, seed=evaluation.options.seed)
    evaluation.add_number(
        "classifier_calibration_error",
        "expected calibration error of q(y|x)",
        error,
        len(x),
        note=f"mean distance of the largest q(y|x) from the accuracy, in {BINS} bins",
    )


STAGES: dict[str, Callable[[Evaluation], None]] = {
    "bounds": bounds,
    "exact": quadrature,
    "bits per dimension": per_dimension,
    "training examples": generalization,
    "rate and distortion": rate_and_distortion,
    "aggregate posterior": aggregate,
    "predictive check": predictive,
    "columns": compare_columns,
    "imputation": imputation,
    "labels": labels,
    "classes": classes,
    "classifier": classifier,
    "outlier scores": outlier_scores,
    "gaps": gaps,
    "annealing": annealed,
    "both sides": both_sides,
    "certificate": certificate,
}


def run_stages(
    evaluation: Evaluation,
    *,
    on_stage: Callable[[str], None] = lambda name: None,
    on_lines: Callable[[list[Line]], None] = lambda lines: None,
) -> list[str]:
    """Run the stages that `Options.stages` names until one is stopped.

    Args:
      evaluation: Evaluation whose lines and arrays are filled.
      on_stage: Function called with the name of each stage as it begins.
      on_lines: Function called with the lines of each stage as it ends.

    Returns:
      The names of the stages that were not finished.
    """
    chosen = evaluation.options.stages
    names = [name for name in STAGES if not chosen or name in chosen or name == "bounds"]
    for i, name in enumerate(names):
        before = len(evaluation.lines)
        on_stage(name)
        start = time.perf_counter()
        try:
            evaluation.on_progress(0)
            with np.errstate(invalid="ignore", divide="ignore"):  # lines say which examples are not finite
                STAGES[name](evaluation)
            evaluation.on_progress(1)
        except Stopped:
            return names[i:]
        except (ValueError, ArithmeticError) as error:  # an error in one stage does not stop the others
            evaluation.skipped[name] = " ".join(str(error).split())
        finally:
            evaluation.seconds[name] = round(time.perf_counter() - start, 2)
            on_lines(evaluation.lines[before:])
    return []
