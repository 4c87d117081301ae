"""Print how often the intervals of estimates hold the truth: the table of docs/evaluation.md.

    python tests/tools/coverage_table.py            # 1,000 repeats a row, some 20 minutes on two cores
    python tests/tools/coverage_table.py --repeats 200 elbo auroc

Every row has a model whose exact values are known. An interval is the estimate +- 1.96 of its stated error,
unless the row says otherwise.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from linear_gaussian import LinearGaussian
from two_modes import TwoModes

from probvae import evaluation, inference
from probvae.evaluation.estimates import mean_estimate, paired_difference
from probvae.evaluation.outliers import auroc

MODEL = LinearGaussian()
WRONG = {"shift": 0.1, "stretch": 0.8}  # the encoder of most rows
SIZE = 100  # examples of a test set
Row = Callable[[int], np.ndarray]


def copies(n: int) -> np.ndarray:
    """One x, n times: each copy has draws of its own."""
    return np.repeat(MODEL.sample(2, seed=5)[:1], n, axis=0)


def holds(value: np.ndarray, error: np.ndarray, truth: np.ndarray | float) -> np.ndarray:
    return np.abs(np.asarray(value) - truth) <= 1.96 * np.asarray(error)


def normal_kl(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """KL of two multivariate normals, in nats."""
    difference, inverse = other_mean - mean, np.linalg.inv(other)
    log_det = np.linalg.slogdet(other)[1] - np.linalg.slogdet(covariance)[1]
    trace = np.trace(inverse @ covariance)
    return 0.5 * float(trace + difference @ inverse @ difference - len(mean) + log_det)


def true_elbo(x: np.ndarray) -> float:
    """ELBO of one x with the encoder `WRONG`: log p(x) - KL(q(z|x) || p(z|x))."""
    mean = MODEL.vae().posterior(x).mean().numpy()[0]
    q = MODEL.covariance * WRONG["stretch"] ** 2
    return float(MODEL.marginal.logpdf(x[0])) - normal_kl(mean + WRONG["shift"], q, mean, MODEL.covariance)


def elbo(repeats: int) -> np.ndarray:
    x = copies(repeats)
    result = inference.importance(MODEL.vae(**WRONG), x, num_samples=100, seed=1)
    return holds(result.elbo, result.elbo_standard_error, true_elbo(x[:1]))


def bound(repeats: int) -> np.ndarray:
    x = copies(repeats)
    result = inference.importance(MODEL.vae(**WRONG), x, num_samples=1000, seed=2)
    return holds(result.bound, result.standard_error, MODEL.marginal.logpdf(x[0]))


def distortion(repeats: int) -> np.ndarray:
    x = copies(repeats)
    result = evaluation.rate_distortion(MODEL.vae(**WRONG), x, num_samples=50, seed=3)
    truth = -true_elbo(x[:1]) - float(result.rate[0])  # the rate is a closed form
    return holds(result.distortion, result.distortion_error, truth)


def mean_of_examples(repeats: int) -> np.ndarray:
    truth = -MODEL.marginal.entropy()
    found = []
    for i in range(repeats):
        estimate = mean_estimate(MODEL.marginal.logpdf(MODEL.sample(SIZE, seed=1000 + i)))
        found.append(estimate.low <= truth <= estimate.high)
    return np.array(found)


def paired(repeats: int) -> np.ndarray:
    other = LinearGaussian(seed=4).marginal
    truth, found = normal_kl(MODEL.bias, MODEL.marginal.cov, other.mean, other.cov), []
    for i in range(repeats):
        x = MODEL.sample(SIZE, seed=1000 + i)
        difference = paired_difference(MODEL.marginal.logpdf(x), other.logpdf(x))
        found.append(difference.low <= truth <= difference.high)
    return np.array(found)


def area(repeats: int) -> np.ndarray:
    rng, truth, found = np.random.default_rng(0), stats.norm.cdf(1 / np.sqrt(2)), []
    for _ in range(repeats):
        estimate = auroc(rng.standard_normal(SIZE), 1 + rng.standard_normal(SIZE))
        found.append(holds(estimate.value, estimate.standard_error, truth))
    return np.array(found)


def quadrature(latent: int) -> Row:
    def row(repeats: int) -> np.ndarray:
        model = LinearGaussian(latent=latent, noise=0.2)
        x = model.sample(repeats, seed=1)
        result = inference.exact(model.vae(), x)
        return np.abs(result.log_marginal - model.marginal.logpdf(x)) <= result.error

    return row


def bracket(repeats: int) -> np.ndarray:
    result = inference.bdmc(MODEL.vae(**WRONG), repeats, num_steps=50, seed=4)
    truth = MODEL.marginal.logpdf(result.x)
    low = result.lower - 1.96 * result.forward.standard_error
    high = result.upper + 1.96 * result.reverse.standard_error
    return (low <= truth) & (truth <= high)


def annealing(latent: int, num_populations: int = 1) -> Row:
    """Intervals of `ais` that are not marked, with q(z|x) shifted by one deviation and 30% too narrow."""

    def row(repeats: int) -> np.ndarray:
        model = LinearGaussian(observed=2 * latent, latent=latent, noise=0.1)
        shift = np.linalg.cholesky(model.covariance).sum(axis=1)
        x, vae = model.sample(repeats, seed=6), model._build(shift, 0.7)
        return unmarked(vae, x, model.marginal.logpdf(x), num_populations=num_populations)

    return row


def two_modes(repeats: int) -> np.ndarray:
    model = TwoModes(2)
    x = model.sample(repeats, seed=6)
    return unmarked(model, x, model.logpdf(x))


def unmarked(vae: Any, x: np.ndarray, truth: np.ndarray, **options: Any) -> np.ndarray:
    result = inference.ais(vae, x, batch_size=100, seed=5, **options)
    low, high = result.interval()
    return ((low <= truth) & (truth <= high))[result.reliable]


ROWS: dict[str, tuple[str, Row]] = {
    "elbo": ("ELBO of one example, 100 draws", elbo),
    "bound": ("IWAE bound of one example, K = 1,000, for log p(x)", bound),
    "distortion": ("distortion of one example, 50 draws", distortion),
    "mean": (f"mean over {SIZE} examples, t interval", mean_of_examples),
    "paired": (f"paired difference of two models, {SIZE} examples, t interval", paired),
    "auroc": (f"AUROC of {SIZE} and {SIZE} scores", area),
    "exact1": ("quadrature's `error`, one dimension (a share)", quadrature(1)),
    "exact2": ("quadrature's `error`, two dimensions (a share)", quadrature(2)),
    "exact3": ("quadrature's `error`, three dimensions (a share)", quadrature(3)),
    "ais10": ("`ais`, q(z\\|x) shifted and narrow, 10 dimensions, where not marked", annealing(10)),
    "ais20": ("`ais`, the same in 20 dimensions", annealing(20)),
    "ais30": ("`ais`, the same in 30 dimensions", annealing(30)),
    "smc20": ("`ais` with 4 populations, the same in 20 dimensions", annealing(20, 4)),
    "modes": ("`ais`, p(z\\|x) of two modes and q(z\\|x) of one, 2 dimensions, where not marked", two_modes),
    "bdmc": ("bracket of `bdmc`, both ends with 1.96 errors (a share)", bracket),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="rows to print; all by default")
    parser.add_argument("--repeats", type=int, default=1000)
    arguments = parser.parse_args()
    print("| interval | holds the truth | 95% interval of the share | repeats |\n|---|---|---|---|")
    for name in arguments.rows or ROWS:
        title, row = ROWS[name]
        held = row(arguments.repeats)
        share = stats.binomtest(int(held.sum()), len(held)).proportion_ci(method="wilson")
        print(
            f"| {title} | {held.mean():.1%} | {share.low:.1%} to {share.high:.1%} | {len(held):,} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
