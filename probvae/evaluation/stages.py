"""Everything that `probvae-evaluate` says of a model, in stages, each of which can be the last.

Each entry of `STAGES` is a function `(Evaluation) -> None` that adds lines to the table and arrays to the
per-example results. The most important come first.
"""

from collections.abc import Callable

import numpy as np

from probvae.evaluation import diagnostics, outliers
from probvae.evaluation.ais import ais, bdmc
from probvae.evaluation.comparison import MeanEstimate
from probvae.evaluation.exact import exact
from probvae.evaluation.gaps import decompose, optimize_posteriors
from probvae.evaluation.importance import Stopped, importance
from probvae.evaluation.report import Evaluation, Line
from probvae.seeds import fold_in


def bounds(e: Evaluation) -> None:
    """ELBO and importance-weighted bound of the test images, with the weights' diagnosis."""
    k = e.options.num_samples
    result = importance(
        e.vae, e.test.x, num_samples=k, seed=fold_in(e.options.seed, 0), on_progress=e.on_progress
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
        bad = np.mean(result.pareto_k > 0.7)
        note += f"; Pareto k > 0.7 for {bad:.0%} of the images, where it is not to be trusted"
    e.add("iwae", f"IWAE bound, K = {k:,}", result.bound, result.standard_error, note=note)


def quadrature(e: Evaluation) -> None:
    """Exact log p(x), for up to three latent dimensions."""
    if not e.by_quadrature:
        return
    result = exact(e.vae, e.test.x, tolerance=e.options.tolerance, on_progress=lambda _: e.on_progress(0))
    e.arrays |= {"exact": result.log_marginal, "exact_error": result.error}
    late = int(np.sum(~result.converged))
    note = f"quadrature, error at most {result.error.max():.1g}"
    note += f"; {late:,} images did NOT reach {e.options.tolerance:g}" if late else " for every image"
    e.add("exact", "log p(x), exact", result.log_marginal, note=note)
    e.add(
        "missing",
        "  what the IWAE bound misses",
        result.log_marginal[: len(e.arrays["iwae"])] - e.arrays["iwae"],
        e.arrays["iwae_monte_carlo_error"],
        note=f"at most {np.max(result.log_marginal - e.arrays['iwae']):.1f} on one image",
    )


def per_dimension(e: Evaluation) -> None:
    """Bits per dimension, of the best estimate of log p(x) there is."""
    log_p = e.arrays.get("exact", e.arrays["iwae"])
    bits = diagnostics.bits_per_dimension(log_p, e.vae.event_shape)
    e.add(
        "bits_per_dimension",
        "bits per dimension",
        bits,
        unit="bits",
        note=f"from {e.best_name}; lower is better",
    )


def generalization(e: Evaluation) -> None:
    """Take log p(x) of training images, by the same method as of the test images."""
    if len(e.train.x) < 2:
        return
    log_p = e.best(e.train.x, stream=1)
    e.arrays["train_log_marginal"] = log_p
    e.add("train_log_marginal", f"log p(x) of training images, {e.best_name}", log_p)


def rate_and_distortion(e: Evaluation) -> None:
    """The two parts of the ELBO, and where the rate lies."""
    result = diagnostics.rate_distortion(
        e.vae, e.test.x, num_samples=min(10, e.options.num_samples), seed=fold_in(e.options.seed, 2)
    )
    e.arrays |= {"rate": result.rate, "distortion": result.distortion}
    e.add("distortion", "distortion -E_q[log p(x|z)]", result.distortion, result.distortion_error)
    e.add("rate", "rate KL(q(z|x) || p(z))", result.rate, result.rate_error)
    units = diagnostics.active_units(e.vae, e.test.x, seed=fold_in(e.options.seed, 3))
    e.arrays["latent_variance"] = units.variances
    e.lines.append(
        Line(
            "active_units",
            "active units",
            MeanEstimate(units.number, 0.0, None, units.number, units.number, len(e.test.x)),
            f"of {e.vae.latent_dim}",
            "Var_x(E_q[z]) > 0.01",
        )
    )
    try:
        kl = diagnostics.kl_per_dimension(e.vae, e.test.x, seed=fold_in(e.options.seed, 4))
    except NotImplementedError:  # the prior has no normal marginals
        return
    e.arrays["kl_per_dimension"] = kl.mean


def aggregate(e: Evaluation, most: int = 2000) -> None:
    """Mutual information and marginal KL of the aggregate posterior, bracketed."""
    x = e.test.x[:most]
    result = diagnostics.aggregate_posterior(e.vae, x, seed=fold_in(e.options.seed, 5))
    n, limit = len(x), np.log(len(x))
    names = {
        "mutual_information_lower": (
            "mutual information I(x; z), from below",
            f"cannot exceed log N = {limit:.2f}",
        ),
        "mutual_information_upper": ("mutual information I(x; z), from above", "leaves each image out"),
        "marginal_kl_lower": ("KL(q(z) || p(z)), from below", "leaves each image out; may be negative"),
        "marginal_kl_upper": ("KL(q(z) || p(z)), from above", "counts each image's own q(z|x)"),
    }
    for key, (name, note) in names.items():
        e.add_number(key, name, getattr(result, key), n, note=note)


def predictive(e: Evaluation) -> None:
    """Statistics of images that the model draws against those of the test images."""
    x = e.test.x[:1000]
    for name, check in diagnostics.predictive_check(e.vae, x, seed=fold_in(e.options.seed, 6)).items():
        note = f"{check.data.value:.4g} in the data; Kolmogorov-Smirnov distance {check.distance:.3f}"
        e.add_number(
            f"predictive_{name}",
            f"model draws: {name.replace('_', ' ')}",
            check.model,
            len(x),
            unit="",
            note=note,
        )


def labels(e: Evaluation) -> None:
    """How well the posterior means tell the labels apart."""
    if e.test.labels is None or e.train.labels is None or len(np.unique(e.train.labels)) < 2:
        return
    codes = [diagnostics.posterior_moments(e.vae, images.x).mean for images in (e.train, e.test)]
    result = diagnostics.label_accuracy(codes[0], e.train.labels, codes[1], e.test.labels)
    note = f"majority class {result.majority.value:.3f}; from {len(codes[0]):,} labelled images"
    e.add_number(
        "knn_accuracy",
        "5 nearest neighbours in z",
        result.nearest_neighbours,
        len(codes[1]),
        unit="right",
        note=note,
    )
    e.add_number("probe_accuracy", "linear probe on z", result.linear_probe, len(codes[1]), unit="right")


def gaps(e: Evaluation) -> None:
    """Split log p(x) - ELBO into approximation and amortization gap, test against train."""
    for name, x, stream in (("test", e.test.x, 7), ("train", e.train.x, 8)):
        x = x[: e.options.gap_images]
        if len(x) < 2:
            continue
        optimized = optimize_posteriors(
            e.vae, x, seed=fold_in(e.options.seed, stream), on_progress=e.on_progress
        )
        x = x[: len(optimized.elbo)]
        log_p = e.best(x, stream=stream + 10)
        parts = decompose(log_p, optimized)
        e.arrays |= {
            f"{name}_approximation_gap": parts.approximation,
            f"{name}_amortization_gap": parts.amortization,
            f"{name}_optimized_elbo": optimized.elbo,
        }
        error = np.hypot(optimized.standard_error, optimized.amortized_standard_error)
        note = "" if e.by_quadrature else f"a lower bound of it: log p(x) is the {e.best_name}"
        e.add(
            f"{name}_approximation_gap",
            f"approximation gap, {name} images",
            parts.approximation,
            optimized.standard_error,
            note=note,
        )
        e.add(f"{name}_amortization_gap", f"amortization gap, {name} images", parts.amortization, error)


def annealed(e: Evaluation) -> None:
    """Annealed importance sampling, with the exact value beside it, and its bracket on simulated data."""
    n = e.options.ais_images
    if n < 2:
        return
    result = ais(e.vae, e.test.x[:n], seed=fold_in(e.options.seed, 9), on_progress=e.on_progress)
    e.arrays |= {"ais": result.log_marginal, "ais_monte_carlo_error": result.standard_error}
    note = f"a lower bound; acceptance {np.mean(result.acceptance):.2f}"
    e.add("ais", f"AIS, first {n} images", result.log_marginal, result.standard_error, note=note)
    if "exact" in e.arrays:
        e.add("exact_ais_images", "  exact, the same images", e.arrays["exact"][: len(result.log_marginal)])
    bracket = bdmc(e.vae, n, seed=fold_in(e.options.seed, 10), on_progress=e.on_progress)
    note = "rigorous, and for simulated images only"
    e.add(
        "bdmc_lower",
        f"BDMC, {n} simulated images, from below",
        bracket.lower,
        bracket.forward.standard_error,
        note=note,
    )
    e.add(
        "bdmc_upper",
        f"BDMC, {n} simulated images, from above",
        bracket.upper,
        bracket.reverse.standard_error,
        note=note,
    )


def outlier_scores(e: Evaluation) -> None:
    """Scores of how far each test image lies from the training images, and of another data set's."""
    if "train_log_marginal" not in e.arrays:
        return
    reference = e.arrays["train_log_marginal"]
    own = e.arrays.get("exact", e.arrays["iwae"])
    e.arrays |= outliers.scores(
        e.vae, e.test.x[: len(own)], own, reference_log_marginal=reference, seed=fold_in(e.options.seed, 11)
    )
    if e.outliers is None:
        return
    theirs = e.best(e.outliers, stream=12)
    scores = outliers.scores(
        e.vae,
        e.outliers[: len(theirs)],
        theirs,
        reference_log_marginal=reference,
        seed=fold_in(e.options.seed, 13),
    )
    e.arrays |= {f"outliers_{name}": values for name, values in scores.items()}
    for name in (name for name in scores if name.startswith("score_")):
        auroc = outliers.auroc(e.arrays[name], scores[name])
        e.add_number(
            f"auroc_{name}",
            f"AUROC of {name.removeprefix('score_').replace('_', ' ')}",
            auroc,
            len(theirs),
            unit="",
            note="0.5 is chance",
        )


STAGES: dict[str, Callable[[Evaluation], None]] = {
    "bounds": bounds,
    "exact": quadrature,
    "bits per dimension": per_dimension,
    "training images": generalization,
    "rate and distortion": rate_and_distortion,
    "aggregate posterior": aggregate,
    "predictive check": predictive,
    "labels": labels,
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
        try:
            e.on_progress(0)
            STAGES[name](e)
        except Stopped:
            return names[i:]
        finally:
            on_lines(e.lines[before:])
    return []
