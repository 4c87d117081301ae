"""Everything that `probvae-evaluate` says of a model, in stages, each of which can be the last.

Each entry of `STAGES` is a function `(Evaluation) -> None` that adds lines to the table and arrays to the
per-example results. The most important come first.
"""

import time
from collections.abc import Callable

import numpy as np

from probvae.evaluation import contexts, latents
from probvae.evaluation.latent_stages import (
    aggregate,
    labels,
    outlier_scores,
    predictive,
    rate_and_distortion,
)
from probvae.evaluation.state import EXACT_DIMENSIONS, Evaluation, Line
from probvae.inference.amortization import decompose, optimize_posteriors
from probvae.inference.annealing import ais, bdmc
from probvae.inference.blocks import Stopped
from probvae.inference.estimates import reliable_pareto_k
from probvae.inference.importance_sampling import importance
from probvae.seeds import fold_in

SIMULATED = 20  # images for the bracket of annealed importance sampling, at most


def bounds(e: Evaluation) -> None:
    """ELBO and importance-weighted bound of the test images, with the weights' diagnosis."""
    k = e.options.num_samples
    result = importance(
        e.vae,
        e.test.x,
        num_samples=k,
        seed=fold_in(e.options.seed, 0),
        on_progress=e.on_progress,
        strategy=e.strategy,
    )
    e.importance = result
    e.arrays |= {
        "elbo": result.elbo,
        "elbo_monte_carlo_error": result.elbo_standard_error,
        "iwae": result.bound,
        "iwae_monte_carlo_error": result.standard_error,
        "effective_sample_size": result.effective_sample_size,
    }
    e.add("elbo", f"ELBO, {k:,} draws", result.elbo, result.elbo_standard_error)
    ess = float(np.median(result.effective_sample_size))
    note = f"a lower bound; effective draws {ess:.0f} of {k:,} (median)"
    if result.pareto_k is not None:
        e.arrays["pareto_k"] = result.pareto_k
        known = result.pareto_k[np.isfinite(result.pareto_k)]
        if known.size:
            limit = reliable_pareto_k(k)
            bad = np.mean(known > limit)
            note += f"; Pareto k > {limit:.2g} for {bad:.0%} of the images, where it is not to be trusted"
    e.add("iwae", f"IWAE bound, K = {k:,}", result.bound, result.standard_error, note=note)
    e.stop_unless_all(len(result.bound), len(e.test.x))


def quadrature(e: Evaluation) -> None:
    """Exact log p(x), for up to three latent dimensions."""
    if e.vae.latent_dim > EXACT_DIMENSIONS:
        return
    result = e.exact(e.test.x)
    e.arrays |= {"exact": result.log_marginal, "exact_error": result.error}
    late = int(np.sum(~result.converged))
    missing = result.log_marginal - e.arrays["iwae"]
    note = f"quadrature, estimated error up to {np.ceil(1e4 * result.error.max()) / 1e4:g}"
    note += f"; {late:,} images did NOT reach {e.options.tolerance:g}" if late else " on one image"
    e.add("exact", "log p(x), exact", result.log_marginal, note=note)
    e.add(
        "missing",
        "  what the IWAE bound misses",
        missing,
        e.arrays["iwae_monte_carlo_error"],
        note=f"at most {missing.max():.1f} on one image",
    )


def per_dimension(e: Evaluation) -> None:
    """Bits per dimension, of the best estimate of log p(x) there is."""
    log_p, error = e.known()
    shape = e.vae.value_shape
    bits = latents.bits_per_dimension(log_p, shape)
    e.add(
        "bits_per_dimension",
        "bits per dimension",
        bits,
        None if error is None else -latents.bits_per_dimension(error, shape),
        unit="bits",
        note=f"from {e.best_name}; lower is better",
    )


def generalization(e: Evaluation) -> None:
    """Take log p(x) of training images, by the same method as of the test images."""
    if len(e.train.x) < 2:
        return
    log_p, error = e.best(e.train.x, stream=1)
    e.arrays["train_log_marginal"] = log_p
    e.add("train_log_marginal", f"log p(x) of training images, {e.best_name}", log_p, error)
    e.stop_unless_all(len(log_p), len(e.train.x))


def gaps(e: Evaluation) -> None:
    """Split log p(x) - ELBO into approximation and amortization gap, test against train."""
    for name, images, stream in (("test", e.test.x, 7), ("train", e.train.x, 8)):
        x = images[: e.options.gap_images]
        if len(x) < 2:
            continue
        log_p, error = e.known(len(x)) if name == "test" else e.best(x, stream=stream + 10)
        optimized = optimize_posteriors(
            e.vae, x[: len(log_p)], seed=fold_in(e.options.seed, stream), on_progress=e.on_progress
        )
        n = len(optimized.elbo)
        parts = decompose(log_p[:n], optimized)
        e.arrays |= {
            f"{name}_approximation_gap": parts.approximation,
            f"{name}_amortization_gap": parts.amortization,
            f"{name}_optimized_elbo": optimized.elbo,
        }
        errors = np.hypot(optimized.standard_error, 0.0 if error is None else error[:n])
        note = "" if e.by_quadrature else f"from the {e.best_name}, which lies below log p(x)"
        line = f"approximation gap, {name} images"
        e.add(f"{name}_approximation_gap", line, parts.approximation, errors, note=note)
        line = f"amortization gap, {name} images"
        e.add(f"{name}_amortization_gap", line, parts.amortization, optimized.gain_standard_error)
        e.stop_unless_all(n, len(x))


def annealed(e: Evaluation) -> None:
    """Annealed importance sampling, with the exact value beside it, and its bracket on simulated data."""
    x = e.test.x[: e.options.ais_images]
    if len(x) < 2:
        return
    result = ais(e.vae, x, seed=fold_in(e.options.seed, 9), on_progress=e.on_progress)
    n = len(result.log_marginal)
    e.arrays |= {"ais": result.log_marginal, "ais_monte_carlo_error": result.standard_error}
    note = f"a lower bound; acceptance {np.mean(result.acceptance):.2f}"
    e.add("ais", f"AIS, first {n} images", result.log_marginal, result.standard_error, note=note)
    if "exact" in e.arrays:
        exact_values = e.arrays["exact"][:n]
        e.add("exact_ais_images", "  exact, the same images", exact_values)
        difference = result.log_marginal - exact_values
        e.add("ais_minus_exact", "  AIS minus exact", difference, result.standard_error)
    e.stop_unless_all(n, len(x))
    simulated = min(len(x), SIMULATED)
    bracket = bdmc(
        e.vae.generator(e.train.x),
        simulated,
        seed=fold_in(e.options.seed, 10),
        on_progress=e.on_progress,
    )
    name, note = f"BDMC, {len(bracket.lower)} simulated images", "rigorous, and for simulated images only"
    below, above = bracket.forward.standard_error, bracket.reverse.standard_error
    e.add("bdmc_lower", f"{name}, from below", bracket.lower, below, note=note)
    e.add("bdmc_upper", f"{name}, from above", bracket.upper, above, note=note)
    e.stop_unless_all(len(bracket.upper), simulated)


def classes(e: Evaluation, most: int = 1000) -> None:
    """Sum p(x, y) over the classes y of a conditional model: log p(x), and the likeliest class."""
    log_prior = contexts.log_class_prior(e.vae, e.train.x)
    if log_prior is None:
        return
    examples = e.test.x[:most]
    x, y = e.vae.values(examples), e.vae.contexts_of(examples)
    log_joint = contexts.log_joint_of_classes(e.vae, x, log_prior, lambda pairs: e.best(pairs, stream=14)[0])
    n = len(log_joint)
    e.arrays["log_marginal_over_classes"] = contexts.log_sum_of_classes(log_joint)
    note = f"log of the sum over y of p(y) p(x|y), each from {e.best_name}"
    line = f"log p(x) over all classes, first {n:,} images"
    e.add("log_marginal_over_classes", line, e.arrays["log_marginal_over_classes"], note=note)
    right = np.argmax(log_joint, axis=1) == np.argmax(y[:n], axis=1)
    e.add("bayes_accuracy", "class of the largest p(x, y)", right.astype(np.float64), unit="right")
    by_classifier = e.vae.test_metrics(examples).get("test_accuracy")
    if by_classifier is not None:
        e.add("classifier_accuracy", "class of the largest q(y|x)", by_classifier, unit="right")
    e.stop_unless_all(n, len(x))


STAGES: dict[str, Callable[[Evaluation], None]] = {
    "bounds": bounds,
    "exact": quadrature,
    "bits per dimension": per_dimension,
    "training images": generalization,
    "rate and distortion": rate_and_distortion,
    "aggregate posterior": aggregate,
    "predictive check": predictive,
    "labels": labels,
    "classes": classes,
    "outlier scores": outlier_scores,
    "gaps": gaps,
    "annealing": annealed,
}


def run_stages(
    e: Evaluation,
    *,
    on_stage: Callable[[str], None] = lambda name: None,
    on_lines: Callable[[list[Line]], None] = lambda lines: None,
) -> list[str]:
    """Run every stage until one is stopped.

    Args:
      e: what to evaluate; its lines and arrays are filled.
      on_stage: called with each stage's name as it begins.
      on_lines: called with each stage's lines as it ends.

    Returns:
      The names of the stages that were not finished.
    """
    names = list(STAGES)
    for i, name in enumerate(names):
        before = len(e.lines)
        on_stage(name)
        start = time.perf_counter()
        try:
            e.on_progress(0)
            STAGES[name](e)
            e.on_progress(1)
        except Stopped:
            return names[i:]
        except (ValueError, ArithmeticError) as error:  # one stage's trouble does not cost the others
            e.skipped[name] = " ".join(str(error).split())
        finally:
            e.seconds[name] = round(time.perf_counter() - start, 2)
            on_lines(e.lines[before:])
    return []
