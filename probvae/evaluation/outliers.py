"""Out-of-distribution scores of each example; the higher a score, the more outlying the example."""

import csv
import io
import math
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy import stats

from probvae.errors import InputError
from probvae.evaluation.latents import rate_distortion
from probvae.files.writing import write_atomic
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
    """Score each example by how far it lies from what the model has learnt.

    No score finds every outlier: log p(x) alone often prefers simple images of another kind.

    Args:
      vae: the model.
      x: data [N, *E].
      log_marginal: [N], log p(x) of these examples by any one estimator, nats.
      reference_log_marginal: [M], log p(x) of training examples by the same estimator.
      optimized_elbo: [N], the ELBO with q(z|x) fitted to each example on its own.
      num_samples: draws of z for each example, for rate and distortion.
      seed: of these draws.

    Returns:
      By name, float64 arrays [N] in nats. `log_marginal` is as given; the others are scores, and higher
      is more outlying:

      - score_log_marginal: -log p(x).
      - score_typicality: |log p(x) - mean of the reference|, for one example (Nalisnick et al. 2019,
        arXiv:1906.02994).
      - score_complexity: -log p(x) - compressed size of x without its y, a likelihood ratio against a
        universal model (Serra et al. 2020, arXiv:1909.11480); present where x lies in [0, 1], as
        `compressed_size` needs.
      - score_rate: KL(q(z|x) || p(z)).
      - score_distortion: -E_q[log p(x|z)].
      - score_regret: optimized_elbo - ELBO (Xiao et al. 2020, arXiv:2003.02977); present where the former
        is given.

    Raises:
      ValueError: arrays of the wrong length, or reference values that are not finite.
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

    Deflate, as in PNG, of the values as they are, of their differences along the first axis of E, or of
    those along the second, whichever is smallest; without headers.

    Args:
      x: [N, *E], values in [0, 1]: kept at 1 bit each if all of x is 0 or 1, and at 256 levels otherwise.

    Returns:
      [N], nats.

    Raises:
      ValueError: values outside [0, 1].
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
      inlier_scores: [N], N at least 2.
      outlier_scores: [M], M at least 2; higher is more outlying. Infinite scores are allowed.

    Returns:
      The area and its standard error over both sets (DeLong, DeLong & Clarke-Pearson 1988), which is 0,
      and so of no use, where the sets are apart.

    Raises:
      ValueError: fewer than two scores in a set, or NaN.

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


def save_scores(
    path: str | os.PathLike[str], scores: Mapping[str, np.ndarray], index: np.ndarray | None = None
) -> None:
    """Write scores with the index of each example, whole or not at all.

    Args:
      path: ends in .csv (a header, then a row for each example; floats as they are, to the last digit)
        or .npz (an array for each column); replaced if present.
      scores: columns by name, each [N].
      index: [N], the place of each example in its data set; by default 0 to N - 1. Column `index`.

    Raises:
      InputError: another suffix, no such folder, or columns that do not fit together.
    """
    path = Path(path)
    writers: dict[str, Callable[[IO[bytes], dict[str, Any]], Any]] = {
        ".csv": _write_csv,
        ".npz": lambda file, columns: np.savez(file, **columns),
    }
    if path.suffix not in writers:
        raise InputError(
            f"Scores are saved as .csv or .npz; got {path.name!r}. Choose a name with one of them."
        )
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {str(path.parent)!r} to save {path.name!r} in. Make it first.")
    columns: dict[str, Any] = {name: np.asarray(column, np.float64) for name, column in scores.items()}
    shapes = {name: values.shape for name, values in columns.items()}
    number = next((len(values) for values in columns.values() if values.ndim), 0)
    places = np.arange(number) if index is None else np.asarray(index)
    if "index" in columns or {places.shape, *shapes.values()} != {(number,)}:
        raise InputError(
            f"Scores must be columns of one length with an index of the same length, none of them named "
            f"'index'; got an index of shape {list(places.shape)} and columns of shapes {shapes}."
        )
    if not np.issubdtype(places.dtype, np.integer):
        raise InputError(f"The index of the examples must be whole numbers; got {places.dtype}.")
    write_atomic(path, lambda file: writers[path.suffix](file, {"index": places, **columns}))


def _write_csv(file: IO[bytes], columns: dict[str, np.ndarray]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))  # repr of floats
    text.detach()  # flushes, and leaves the file open to its owner
