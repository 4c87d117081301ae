"""The stages of an evaluation that concern z."""

import numpy as np

from probvae.distributions.base import unwrap
from probvae.evaluation import aggregation, latents, outliers
from probvae.evaluation.activity import ACTIVE
from probvae.evaluation.checks import STATISTICS, Statistic, label_accuracy, predictive_check
from probvae.evaluation.estimates import MeanEstimate
from probvae.evaluation.hidden_values import imputation_coverage
from probvae.evaluation.state import Evaluation, Line
from probvae.inference.calibration import MIN_SIMULATIONS, certify
from probvae.inference.estimates import Estimate
from probvae.inference.ranks import Coverage
from probvae.priors import on_sphere

SIMULATIONS = 1000  # simulated images of a certificate
JOINT_REGIONS = 3  # regions of all coordinates in a certificate, which come first
SHOWN_DIMENSIONS = 10  # latent dimensions with a line for their KL; per_example.npz holds all


def rate_and_distortion(evaluation: Evaluation) -> None:
    """Split the ELBO into rate and distortion, and the rate by latent dimension."""
    result = latents.rate_distortion(
        evaluation.vae,
        evaluation.test.x,
        num_samples=min(10, evaluation.options.num_samples),
        seed=evaluation.seed(2),
    )
    distortion = -evaluation.in_units(-result.distortion, evaluation.test.x)
    evaluation.arrays |= {"rate": result.rate, "distortion": distortion}
    evaluation.add("distortion", "distortion -E_q[log p(x|z)]", distortion, result.distortion_error)
    evaluation.add("rate", "rate KL(q(z|x) || p(z))", result.rate, result.rate_error)
    try:
        kl = latents.kl_per_dimension(evaluation.vae, evaluation.test.x, seed=evaluation.seed(4))
        evaluation.arrays["kl_per_dimension"] = kl.mean
        for i in range(min(evaluation.vae.latent_dim, SHOWN_DIMENSIONS)):
            mean = Estimate(float(kl.mean[i]), float(kl.standard_error[i]))
            evaluation.add_number(f"kl_of_z{i}", f"  KL of z[{i}] alone", mean, len(evaluation.test.x))
    except NotImplementedError:  # the prior has no normal marginals
        pass
    if on_sphere(evaluation.vae.prior):  # whose coordinates have no variance of 1 to compare with
        return
    units = latents.active_units(evaluation.vae, evaluation.test.x, seed=evaluation.seed(3))
    evaluation.arrays["latent_variance"] = units.variances
    used = ", ".join(f"z[{i}]" for i in np.flatnonzero(units.mask)[:SHOWN_DIMENSIONS]) or "none"
    more = units.number - SHOWN_DIMENSIONS
    evaluation.lines.append(
        Line(
            "active_units",
            "active units",
            MeanEstimate(units.number, np.nan, None, np.nan, np.nan, len(evaluation.test.x)),
            f"of {evaluation.vae.latent_dim}",
            f"dimensions that are used, Var_x(E_q[z]) > {ACTIVE:g}: {used}"
            + (f" and {more:,} more" if more > 0 else ""),
        )
    )


def aggregate(evaluation: Evaluation, most: int = 2000) -> None:
    """Bracket the mutual information and the marginal KL of the aggregate posterior."""
    q = evaluation.vae.posterior(evaluation.test.x[:1])
    passes = getattr(unwrap(q), "density_passes", 1)
    x = evaluation.test.x[: max(2, int(most / np.sqrt(passes)))]  # the work is N squared densities
    result = aggregation.aggregate_posterior(evaluation.vae, x, seed=evaluation.seed(5))
    n, limit = len(x), np.log(len(x))
    names = {
        "mutual_information_lower": (
            "mutual information I(x; z), from below",
            f"cannot exceed log N = {limit:.2f}",
        ),
        "mutual_information_upper": (
            "mutual information I(x; z), from above",
            f"leaves each {evaluation.noun} out",
        ),
        "marginal_kl_lower": (
            "KL(q(z) || p(z)), from below",
            f"leaves each {evaluation.noun} out; may be negative",
        ),
        "marginal_kl_upper": ("KL(q(z) || p(z)), from above", f"counts each {evaluation.noun}'s own q(z|x)"),
    }
    for key, (name, note) in names.items():
        evaluation.add_number(key, name, getattr(result, key), n, note=note)


def certificate(evaluation: Evaluation) -> None:
    """Compare q(z|x) with the posterior of the model, on simulated images and on test images."""
    options = evaluation.options
    test = evaluation.test.x[: options.calibrate_images]
    for what, key, number, x in (
        ("simulated", "certificate", SIMULATIONS * options.calibrate, None),
        ("test", "certificate_test", max(len(test), MIN_SIMULATIONS), test),
    ):
        if not number or (x is not None and not len(x)):
            continue
        vae = evaluation.vae if x is not None else evaluation.vae.generator(evaluation.train.x)
        result = certify(
            vae, number, seed=evaluation.seed(15 + (x is not None)), x=x, on_progress=evaluation.on_progress
        )
        evaluation.certificates[key] = result
        n = len(next(iter(result.places.values())))
        for i, held in enumerate(result.coverages[: 2 * JOINT_REGIONS]):
            note = result.verdict if i == 0 else ""
            _add_coverage(evaluation, f"{key}_{i}", held, n, what, unit="of the true z", note=note)
        evaluation.stop_unless_all(n + result.unknown, number if x is None else len(x))
    vae = evaluation.vae
    if options.calibrate and vae.contract.missing:
        imputed = imputation_coverage(vae, SIMULATIONS, seed=evaluation.seed(17))
        for i, held in enumerate(imputed):
            key = f"certificate_imputed_{i}"
            _add_coverage(evaluation, key, held, SIMULATIONS, "simulated", unit="of the hidden values")


def _add_coverage(evaluation: Evaluation, key: str, held: Coverage, n: int, what: str, **texts: str) -> None:
    error = float(np.sqrt(held.share * (1 - held.share) / n))
    name = f"{held.nominal:.0%} {held.region}, {what}"
    evaluation.add_number(key, name, Estimate(held.share, error), n, **texts)


def predictive(evaluation: Evaluation) -> None:
    """Compare statistics over the values of an example, which a table lacks, in draws and in the test set."""
    if evaluation.is_table or np.isnan(evaluation.test.x).any():
        return
    vae, draws = evaluation.vae, 1000

    def of_values(statistic: Statistic) -> Statistic:  # without y
        return lambda x: statistic(vae.values(x))

    checks = predictive_check(
        vae.generator(evaluation.train.x),
        evaluation.test.x[:draws],
        statistics={name: of_values(statistic) for name, statistic in STATISTICS.items()},
        num_draws=draws,
        seed=evaluation.seed(6),
    )
    for name, check in checks.items():
        shown = f"model draws: {name.replace('_', ' ')}"
        note = f"over {draws:,} draws x ~ p(x); {check.data.value:.4g} ± {check.data.standard_error:.2g} in "
        note += f"the data; Kolmogorov-Smirnov distance {check.distance:.3f}"
        evaluation.add_number(f"predictive_{name}", shown, check.model, draws, unit="", note=note)


def labels(evaluation: Evaluation) -> None:
    """Guess labels from the posterior means."""
    train, test = evaluation.train, evaluation.test
    if test.labels is None or train.labels is None or len(np.unique(train.labels)) < 2:
        return
    codes = [latents.posterior_moments(evaluation.vae, images.x).mean for images in (train, test)]
    n, k = len(test.x), min(5, len(train.x))
    result = label_accuracy(codes[0], train.labels, codes[1], test.labels, k=k)
    note = f"majority class {result.majority.value:.3f}; from {len(train.x):,} labelled {evaluation.noun}s"
    if evaluation.vae.contexts_of(test.x[:1]) is not None:
        note += "; q(z|x, y) is told y: the less z says of it, the better y was used"
    name = f"{k} nearest neighbours in z"
    evaluation.add_number("knn_accuracy", name, result.nearest_neighbours, n, unit="right", note=note)
    evaluation.add_number("probe_accuracy", "linear probe on z", result.linear_probe, n, unit="right")


def outlier_scores(evaluation: Evaluation) -> None:
    """Score the distance of test images from the training images, and that of another data set's images."""
    if "train_log_marginal" not in evaluation.arrays:
        return

    def scores(x: np.ndarray, log_p: np.ndarray, stream: int) -> dict[str, np.ndarray]:
        x = x[: len(log_p)]
        columns = outliers.scores(
            evaluation.vae,
            x,
            log_p,
            reference_log_marginal=evaluation.arrays["train_log_marginal"],
            seed=evaluation.seed(stream),
        )
        return columns | {"score_distortion": -evaluation.in_units(-columns["score_distortion"], x)}

    evaluation.arrays |= scores(evaluation.test.x, evaluation.known()[0], 11)
    if evaluation.outliers is None:
        return
    log_p, _ = evaluation.best(evaluation.outliers, stream=12)
    others = scores(evaluation.outliers, log_p, 13)
    evaluation.arrays |= {f"outliers_{key}": values for key, values in others.items()}
    for key in (key for key in others if key.startswith("score_")):
        auroc = outliers.auroc(evaluation.arrays[key], others[key])
        name = f"AUROC of {key.removeprefix('score_').replace('_', ' ')}"
        evaluation.add_number(f"auroc_{key}", name, auroc, len(log_p), unit="", note="0.5 is chance")
