"""The stages of an evaluation that look at z."""

import numpy as np

from probvae.distributions.base import unwrap
from probvae.evaluation import aggregation, contexts, latents, outliers
from probvae.evaluation.checks import STATISTICS, label_accuracy, predictive_check
from probvae.evaluation.estimates import MeanEstimate
from probvae.evaluation.state import Evaluation, Line
from probvae.inference.estimates import Estimate
from probvae.seeds import fold_in

SHOWN_DIMENSIONS = 10  # latent dimensions whose KL is a line of its own; per_example.npz holds all


def rate_and_distortion(evaluation: Evaluation) -> None:
    """The two parts of the ELBO, and where the rate lies."""
    result = latents.rate_distortion(
        evaluation.vae,
        evaluation.test.x,
        num_samples=min(10, evaluation.options.num_samples),
        seed=fold_in(evaluation.options.seed, 2),
    )
    evaluation.arrays |= {"rate": result.rate, "distortion": result.distortion}
    evaluation.add("distortion", "distortion -E_q[log p(x|z)]", result.distortion, result.distortion_error)
    evaluation.add("rate", "rate KL(q(z|x) || p(z))", result.rate, result.rate_error)
    try:
        kl = latents.kl_per_dimension(
            evaluation.vae, evaluation.test.x, seed=fold_in(evaluation.options.seed, 4)
        )
        evaluation.arrays["kl_per_dimension"] = kl.mean
        for i in range(min(evaluation.vae.latent_dim, SHOWN_DIMENSIONS)):
            found = Estimate(float(kl.mean[i]), float(kl.standard_error[i]))
            evaluation.add_number(f"kl_of_z{i}", f"  KL of z[{i}] alone", found, len(evaluation.test.x))
    except NotImplementedError:  # the prior has no normal marginals
        pass
    units = latents.active_units(evaluation.vae, evaluation.test.x, seed=fold_in(evaluation.options.seed, 3))
    evaluation.arrays["latent_variance"] = units.variances
    evaluation.lines.append(
        Line(
            "active_units",
            "active units",
            MeanEstimate(units.number, np.nan, None, np.nan, np.nan, len(evaluation.test.x)),
            f"of {evaluation.vae.latent_dim}",
            "Var_x(E_q[z]) > 0.01",
        )
    )


def aggregate(evaluation: Evaluation, most: int = 2000) -> None:
    """Mutual information and marginal KL of the aggregate posterior, bracketed."""
    q = evaluation.vae.posterior(evaluation.test.x[:1])
    passes = getattr(unwrap(q), "density_passes", 1)
    x = evaluation.test.x[: max(2, int(most / np.sqrt(passes)))]  # the work is N squared densities
    result = aggregation.aggregate_posterior(evaluation.vae, x, seed=fold_in(evaluation.options.seed, 5))
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
        evaluation.add_number(key, name, getattr(result, key), n, note=note)


def predictive(evaluation: Evaluation) -> None:
    """Statistics of images that the model draws against those of the test images."""
    draws = 1000
    checks = predictive_check(
        evaluation.vae.generator(evaluation.train.x),
        evaluation.test.x[:draws],
        statistics=contexts.of_values(evaluation.vae, STATISTICS),
        num_draws=draws,
        seed=fold_in(evaluation.options.seed, 6),
    )
    for name, check in checks.items():
        shown = f"model draws: {name.replace('_', ' ')}"
        note = (
            f"over {draws:,} draws x ~ p(x); {check.data.value:.4g} ± {check.data.standard_error:.2g} in the "
        )
        note += f"data; Kolmogorov-Smirnov distance {check.distance:.3f}"
        evaluation.add_number(f"predictive_{name}", shown, check.model, draws, unit="", note=note)


def labels(evaluation: Evaluation) -> None:
    """How well the posterior means tell the labels apart."""
    if (
        evaluation.test.labels is None
        or evaluation.train.labels is None
        or len(np.unique(evaluation.train.labels)) < 2
    ):
        return
    codes = [
        latents.posterior_moments(evaluation.vae, images.x).mean
        for images in (evaluation.train, evaluation.test)
    ]
    k = min(5, len(codes[0]))
    result = label_accuracy(codes[0], evaluation.train.labels, codes[1], evaluation.test.labels, k=k)
    note = f"majority class {result.majority.value:.3f}; from {len(codes[0]):,} labelled images"
    if evaluation.vae.contexts_of(evaluation.test.x[:1]) is not None:
        note += "; q(z|x, y) is told y: the less z says of it, the better y was used"
    evaluation.add_number(
        "knn_accuracy",
        f"{k} nearest neighbours in z",
        result.nearest_neighbours,
        len(codes[1]),
        unit="right",
        note=note,
    )
    evaluation.add_number(
        "probe_accuracy", "linear probe on z", result.linear_probe, len(codes[1]), unit="right"
    )


def outlier_scores(evaluation: Evaluation) -> None:
    """Scores of how far each test image lies from the training images, and of another data set's."""
    if "train_log_marginal" not in evaluation.arrays:
        return
    reference = evaluation.arrays["train_log_marginal"]
    own, _ = evaluation.known()
    evaluation.arrays |= outliers.scores(
        evaluation.vae,
        evaluation.test.x[: len(own)],
        own,
        reference_log_marginal=reference,
        seed=fold_in(evaluation.options.seed, 11),
    )
    if evaluation.outliers is None:
        return
    theirs, _ = evaluation.best(evaluation.outliers, stream=12)
    scores = outliers.scores(
        evaluation.vae,
        evaluation.outliers[: len(theirs)],
        theirs,
        reference_log_marginal=reference,
        seed=fold_in(evaluation.options.seed, 13),
    )
    evaluation.arrays |= {f"outliers_{name}": values for name, values in scores.items()}
    for name in (name for name in scores if name.startswith("score_")):
        auroc = outliers.auroc(evaluation.arrays[name], scores[name])
        evaluation.add_number(
            f"auroc_{name}",
            f"AUROC of {name.removeprefix('score_').replace('_', ' ')}",
            auroc,
            len(theirs),
            unit="",
            note="0.5 is chance",
        )
