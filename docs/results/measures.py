"""The measures of a row: what is read from the evaluations of a run, with two of its three errors."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probvae.evaluation import mean_estimate


class Measure(NamedTuple):
    """A number with its errors; the deviation over seeds is known to the record alone.

    Attributes:
      value: Mean over examples.
      images: Standard error over examples; 0 if there is none.
      draws: Monte Carlo error; 0 if there is none.
    """

    value: float
    images: float = 0.0
    draws: float = 0.0


class Evaluation(NamedTuple):
    """The results of probvae-evaluate: the lines of metrics.json, and the arrays by example."""

    lines: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]


def read_evaluation(folder: Path) -> Evaluation:
    """Read the folder of an evaluation."""
    metrics = json.loads((folder / "metrics.json").read_text())
    if metrics["unfinished"] or metrics["skipped"]:
        raise SystemExit(f"{folder} is not complete: remove it, and run this again.")
    with np.load(folder / "per_example.npz") as arrays:
        return Evaluation(metrics["results"], dict(arrays))


# Names of the measures in the tables, by the key of the line of an evaluation.
NAMES = {
    "iwae": "NLL, K = {K:,}",
    "elbo": "-ELBO",
    "exact": "NLL, exact",
    "test_approximation_gap": "approximation gap",
    "test_amortization_gap": "amortization gap",
    "classifier_accuracy": "accuracy",
    "classifier_calibration_error": "calibration error",
}
SHARES = ("accuracy", "calibration error")  # measures from 0 to 1, which are printed with more digits
COSTS = ("iwae", "elbo", "exact")  # log-likelihoods, which are printed with the other sign


def results(evaluations: Iterable[Evaluation], keys: Iterable[str]) -> dict[str, Measure]:
    """Return the lines of these keys from the first evaluation."""
    (first, *_) = evaluations
    measures = {}
    for key in keys:
        line = first.lines[key]
        sign = -1 if key in COSTS else 1
        number = line["name"].rpartition("K = ")[2].replace(",", "")
        name = NAMES[key].format(K=int(number) if number.isdecimal() else 0)
        errors = (line["standard_error"] or 0.0, line["monte_carlo_error"] or 0.0)
        measures[name] = Measure(sign * line["mean"], *errors)
    return measures


def corrected(evaluations: Iterable[Evaluation]) -> dict[str, Measure]:
    """Return the NLL of all images with few draws, of some with many, and that of all, corrected by these.

    The second evaluation has the first images of the first one and more draws. The gain of its draws on its
    images is taken off the NLL of all images; the error over images adds those of both parts.
    """
    whole, part = evaluations
    few, many = (negative_mean(e.arrays["iwae"], e.arrays["iwae_monte_carlo_error"]) for e in (whole, part))
    number = len(part.arrays["iwae"])
    gain = mean_estimate(part.arrays["iwae"].astype(np.float64) - whole.arrays["iwae"][:number])
    images, draws = np.hypot(few.images, gain.standard_error), np.hypot(few.draws, many.draws)
    return {
        **results([whole], ["elbo", "iwae"]),
        f"NLL, first {number:,} images, K = 5,000": many,
        "NLL, K = 5,000, corrected": Measure(few.value - gain.mean, float(images), float(draws)),
    }


def negative_mean(values: np.ndarray, errors: np.ndarray) -> Measure:
    """Return the negative of the mean of values by image, [N], with Monte Carlo errors [N]."""
    mean = mean_estimate(values, errors)
    return Measure(-mean.mean, mean.standard_error, mean.monte_carlo_error or 0.0)
