"""Checks of a model against data: predictive checks, and labels guessed from z."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats

from probvae.arguments import count
from probvae.evaluation.latents import _SEED, BLOCK, _checked
from probvae.inference.blocks import in_blocks
from probvae.inference.estimates import Estimate, estimate
from probvae.models.vae import VAE
from probvae.seeds import Seed, fold_in


def _roughness(x: np.ndarray) -> np.ndarray:
    """Return the mean squared difference of neighbours along the first two axes of E, [N]."""
    axes = [axis for axis in range(1, min(x.ndim, 3)) if x.shape[axis] > 1]
    return np.mean([(np.diff(x, axis=axis) ** 2).reshape(len(x), -1).mean(axis=1) for axis in axes], axis=0)


Statistic = Callable[[np.ndarray], np.ndarray]  # x [B, *E] in float64 to a number for each example, [B]
STATISTICS: dict[str, Statistic] = {
    "mean": lambda x: x.reshape(len(x), -1).mean(axis=1),
    "number_on": lambda x: (x > 0.5).reshape(len(x), -1).sum(axis=1),
    "spread": lambda x: x.reshape(len(x), -1).std(axis=1),
    "roughness": _roughness,
}


class Check(NamedTuple):
    """A statistic in the data and in the model's draws. Enough data reject any model.

    Attributes:
      data: Mean in the data.
      model: Mean in the draws.
      distance: Kolmogorov-Smirnov distance, 0 to 1, the size of the model's error.
      p_value: Asymptotic p-value of the distance; too large with ties, and one test of several.
      quantiles: Share of draws below the value of each example, [N], ties counted half; ideally uniform.
    """

    data: Estimate
    model: Estimate
    distance: float
    p_value: float
    quantiles: np.ndarray


def predictive_check(
    vae: VAE,
    x: np.ndarray,
    *,
    statistics: Mapping[str, Statistic] = STATISTICS,
    num_draws: int = 1000,
    seed: Seed,
) -> dict[str, Check]:
    """Compare statistics of x [N, *E] with those of `num_draws` draws z ~ p(z), x ~ p(x|z).

    With trained weights it is a posterior predictive check (Gelman, Meng & Stern 1996) that treats the
    weights as known. The result has a `Check` for each of the `statistics`.
    """
    x, size = _checked(vae, x), min(BLOCK, count("num_draws", num_draws))
    draw = tf.function(lambda seed: vae.sample(size, seed), input_signature=[_SEED], autograph=False)

    def evaluate(examples: np.ndarray) -> list[np.ndarray]:
        return [f(examples.astype(np.float64)) for f in statistics.values()]

    def evaluate_draws(rows: slice) -> list[np.ndarray]:
        return evaluate(draw(fold_in(seed, rows.start)).numpy()[: rows.stop - rows.start])

    data = in_blocks(lambda rows: evaluate(x[rows]), len(x), BLOCK)
    model = in_blocks(evaluate_draws, num_draws, size)
    return {name: _compare(*pair) for name, *pair in zip(statistics, data, model, strict=True)}


def _compare(data: np.ndarray, model: np.ndarray) -> Check:
    test = stats.ks_2samp(data, model, method="asymp")
    below, up_to = (np.searchsorted(np.sort(model), data, side) for side in ("left", "right"))
    quantiles = (below + up_to) / (2 * len(model))
    return Check(estimate(data), estimate(model), float(test.statistic), float(test.pvalue), quantiles)


class LabelAccuracy(NamedTuple):
    """The fractions of correctly guessed test labels, with binomial errors; `majority` is the baseline."""

    nearest_neighbours: Estimate
    linear_probe: Estimate
    majority: Estimate


def label_accuracy(
    train_mean: np.ndarray,
    train_labels: np.ndarray,
    test_mean: np.ndarray,
    test_labels: np.ndarray,
    *,
    k: int = 5,
) -> LabelAccuracy:
    """Guess test labels [M] from codes [M, L], such as `posterior_moments(vae, x).mean`.

    The guesses are a vote of the k nearest training codes [N, L], logistic regression on standardized codes,
    and the most common training label.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def accuracy(guesser: Any) -> Estimate:
        share = float(guesser.fit(train_mean, train_labels).score(test_mean, test_labels))
        return Estimate(share, math.sqrt(share * (1 - share) / len(test_labels)))

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    guessers = KNeighborsClassifier(k), probe, DummyClassifier(strategy="most_frequent")
    return LabelAccuracy(*(accuracy(guesser) for guesser in guessers))


BINS = 15  # number of bins of the largest probability
RESAMPLES = 200  # number of samples of the bootstrap


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Estimate:
    """Estimate the expected calibration error of predicted classes.

    It is the mean over `BINS` bins of equal width of |accuracy - mean largest probability|, weighted by the
    examples in the bin. It is too large in expectation, by the noise within the bins; its error is that of
    a bootstrap.

    Args:
      probabilities: Probabilities of the classes, [N, C].
      labels: Classes, [N], whole numbers from 0.
      seed: Seed of the bootstrap.

    References:
      Guo et al. 2017, arXiv:1706.04599, equation 3.

    >>> calibration_error(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])).value
    0.4
    """
    confidence = np.max(probabilities, axis=1).astype(np.float64)
    right = np.argmax(probabilities, axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)

    def error(rows: Any) -> float:
        excess = np.bincount(bins[rows], weights=(right - confidence)[rows], minlength=BINS)
        return float(np.sum(np.abs(excess)) / len(labels))

    rng = np.random.default_rng([seed, 29])
    resampled = [error(rng.integers(len(labels), size=len(labels))) for _ in range(RESAMPLES)]
    return Estimate(error(slice(None)), float(np.std(resampled, ddof=1)))
