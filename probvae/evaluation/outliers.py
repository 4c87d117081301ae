"""Out-of-distribution scores: the higher a score, the more outlying the example."""

import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import stats

from probvae.errors import InputError
from probvae.evaluation.latents import rate_distortion
from probvae.files.writing import csv_text, write_text
from probvae.inference.estimates import Estimate
from probvae.models.vae import VAE
from probvae.seeds import Seed


def scores(
    vae: VAE,
    x: np.ndarray,
    log_marginal: np.ndarray,
    *,
    reference_log_marginal: np.ndarray,
    optimized_elbo: np.ndarray | None = None,
    num_samples: int = 1,
    seed: Seed,
) -> dict[str, np.ndarray]:
    """Score each example by its distance from the training data.

    No score finds every outlier: log p(x) alone often prefers simple images of another kind.

    Args:
      vae: Model.
      x: Data [N, *E].
      log_marginal: log p(x) of these examples, [N], nats, by any estimator.
      reference_log_marginal: log p(x) of training examples, [M], by the same estimator.
      optimized_elbo: ELBO with q(z|x) fitted to each example on its own, [N].
      num_samples: Number of draws of z for each example, for rate and distortion.
      seed: Seed of the draws.

    Returns:
      Arrays [N] by name, float64, in nats. `log_marginal` is as given; the others are scores:

      - score_log_marginal: -log p(x).
      - score_typicality: |log p(x) - mean of the reference|, for one example (Nalisnick et al. 2019,
        arXiv:1906.02994).
      - score_complexity: -log p(x) - compressed size of x without its y, a likelihood ratio against a
        universal model (Serra et al. 2020, arXiv:1909.11480); for x in [0, 1] only.
      - score_rate: KL(q(z|x) || p(z)).
      - score_distortion: -E_q[log p(x|z)].
      - score_regret: optimized_elbo - ELBO (Xiao et al. 2020, arXiv:2003.02977), if the former is given.

    Raises:
      ValueError: An array has the wrong length, or a reference value is not finite.
    """
    log_marginal = _per_example("log_marginal", log_marginal, len(x))
    reference = np.asarray(reference_log_marginal, np.float64)
    if not reference.size or not np.all(np.isfinite(reference)):
        raise ValueError("reference_log_marginal needs at least one value, and finite values only.")
    parts = rate_distortion(vae, x, num_samples=num_samples, seed=seed)
    columns = {
        "log_marginal": log_marginal,
        "score_log_marginal": -log_marginal,
        "score_typicality": np.abs(log_marginal - reference.mean()),
        "score_rate": parts.rate,
        "score_distortion": parts.distortion,
    }
    values = vae.values(x)
    if np.min(values) >= 0 and np.max(values) <= 1:
        columns["score_complexity"] = -log_marginal - compressed_size(values)
    if optimized_elbo is not None:
        elbo = -parts.rate - parts.distortion
        columns["score_regret"] = _per_example("optimized_elbo", optimized_elbo, len(x)) - elbo
    return columns


def _per_example(name: str, values: np.ndarray, size: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != (size,):
        raise ValueError(
            f"Expected {name} of shape [{size}], one for each example; got {list(values.shape)}."
        )
    return values


def compressed_size(x: np.ndarray) -> np.ndarray:
    """Return the compressed size of each example, in nats (a byte is 8 log 2).

    It is the least of three: Deflate, as in PNG and without headers, of the values, of their differences
    along the first axis of E, and of those along the second.

    Args:
      x: Values in [0, 1], [N, *E], stored as 1 bit each if all are 0 or 1, and as 8 bits otherwise.

    Returns:
      [N], nats.

    Raises:
      ValueError: Some values lie outside [0, 1].
    """
    if not (np.min(x) >= 0 and np.max(x) <= 1):
        raise ValueError(f"Expected x in [0, 1]; found values from {np.min(x):g} to {np.max(x):g}.")
    binary = bool(np.all((x == 0) | (x == 1)))
    values = np.round(np.asarray(x, np.float64) * (1 if binary else 255)).astype(np.uint8)
    pad = np.uint8(0)
    filtered = [values, *(np.diff(values, axis=axis, prepend=pad) for axis in range(1, min(x.ndim, 3)))]
    if binary:
        filtered = [np.packbits(part.reshape(len(x), -1), axis=1) for part in filtered]
    sizes = [[len(_deflate(example.tobytes())) for example in part] for part in filtered]
    return np.min(sizes, axis=0) * (8 * math.log(2))


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)  # -15: no header
    return compressor.compress(data) + compressor.flush()


def auroc(inlier_scores: np.ndarray, outlier_scores: np.ndarray) -> Estimate:
    """Return the area under the ROC curve: P(an outlier scores above an inlier), ties counted half.

    Args:
      inlier_scores: Scores of inliers, [N], N at least 2.
      outlier_scores: Scores of outliers, [M], M at least 2. Infinite scores are allowed.

    Returns:
      The area and its standard error over both sets (DeLong, DeLong & Clarke-Pearson 1988), which is 0, and
      meaningless, for separated sets.

    Raises:
      ValueError: A set has fewer than two scores, or a score is NaN.

    >>> round(auroc(np.array([0.0, 1.0]), np.array([0.5, 2.0])).value, 6)
    0.75
    """
    from sklearn.metrics import roc_auc_score

    inlier, outlier = (np.asarray(s, np.float64).ravel() for s in (inlier_scores, outlier_scores))
    n, m = len(inlier), len(outlier)
    pooled = np.concatenate([inlier, outlier])
    if min(n, m) < 2 or np.any(np.isnan(pooled)):
        raise ValueError("AUROC needs at least two inliers and two outliers, and no score that is NaN.")
    ranks = stats.rankdata(pooled)
    value = float(roc_auc_score(np.repeat([0, 1], [n, m]), ranks))
    above = (ranks[n:] - stats.rankdata(outlier)) / n  # share of inliers below each outlier
    below = 1 - (ranks[:n] - stats.rankdata(inlier)) / m  # share of outliers above each inlier
    return Estimate(value, math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))


def save_scores(path: str | os.PathLike[str], scores: Mapping[str, np.ndarray]) -> None:
    """Write scores with the index of each example as CSV, atomically.

    Args:
      path: File to write, which ends in .csv and is replaced if present: a header, then a row for each
        example; floats keep all their digits.
      scores: Columns by name, each [N].

    Raises:
      InputError: The suffix is another, the folder is absent, or the columns do not fit together.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise InputError(f"Scores are saved as .csv; got {path.name!r}. Choose a name with that ending.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {str(path.parent)!r} to save {path.name!r} in. Make it first.")
    columns = {name: np.asarray(column, np.float64) for name, column in scores.items()}
    shapes = {name: values.shape for name, values in columns.items()}
    if "index" in columns or len({*shapes.values(), (max(map(np.size, columns.values()), default=0),)}) > 1:
        raise InputError(
            "Scores must be columns of one length, none of them named 'index'; got columns of shapes "
            f"{shapes}."
        )
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    write_text(path, csv_text(["index", *columns], ([index, *row] for index, row in enumerate(rows))))
