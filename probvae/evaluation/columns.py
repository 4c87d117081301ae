"""Columns of a table in the data and in draws of a model: each alone, and each pair. No TensorFlow.

Distances are total variation distances of binned distributions, from 0 (the same) to 1 (nothing in common).
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probvae.data.coding import Column
from probvae.data.schema import Schema
from probvae.evaluation.cells import Bins, bins_of, names_of

ALONE, TOGETHER = 20, 8  # bins of a column in its own distribution, and in that of a pair, at most
PAIRED = 100  # columns whose pairs are compared, at most: the first ones
SCALINGS = 30  # rounds of scaling the rows and columns of a table of draws


class Part(NamedTuple):
    """A part of the values, with its share in the data and in the draws."""

    name: str
    data: float
    model: float


class Marginal(NamedTuple):
    """A column alone.

    Attributes:
      name, kind: Name and kind of the column.
      distance: Distance between the data and the draws.
      error: Standard error of the distance.
      expected: Mean distance of two samples of these sizes from one distribution, what sampling alone does.
      missing: Share of the cells of the data that are missing; the others are compared.
      largest: Part of the values whose shares differ most.
    """

    name: str
    kind: str
    distance: float
    error: float
    expected: float
    missing: float
    largest: Part


class Pair(NamedTuple):
    """Two columns together.

    Attributes:
      first, second: Names of the columns.
      distance: Distance between the data and the draws, whose table is scaled to the marginals of the data:
        what the columns alone show does not count again.
      error: Standard error of the distance.
      expected: Mean distance that sampling alone brings.
      data, model: Association of the columns in each, as in `Associations`.
      largest: Part of the values whose shares differ most, with the scaled share of the draws.
    """

    first: str
    second: str
    distance: float
    error: float
    expected: float
    data: float
    model: float
    largest: Part


class Associations(NamedTuple):
    """Associations of columns in the data and in the draws.

    They are Spearman's rank correlation, -1 to 1, of columns with an order, and else Cramer's V, 0 to 1, of
    binned values, corrected for its bias (Bergsma 2013).

    Attributes:
      names: Names of the columns, D of them.
      data, model: Rows of the matrices [D, D]; nan where a column does not vary.
    """

    names: tuple[str, ...]
    data: tuple[tuple[float, ...], ...]
    model: tuple[tuple[float, ...], ...]


def distance_of(data: np.ndarray, model: np.ndarray) -> tuple[float, float, float]:
    """Return the distance of two samples, its standard error, and its mean if both are from one distribution.

    Args:
      data: Counts of the data by bin, [K].
      model: Counts of the draws, [K].
    """
    n, m = max(data.sum(), 1), max(model.sum(), 1)
    pooled = (data + model) / (n + m)
    deviation = np.sqrt(
        pooled * (1 - pooled) * (1 / n + 1 / m)
    )  # standard errors of the differences of shares
    shares = data / n, model / m
    return _half(np.abs(shares[0] - shares[1])), _error(*shares, n, m), _half(deviation * np.sqrt(2 / np.pi))


def _error(data: np.ndarray, model: np.ndarray, n: float, m: float) -> float:
    """Return the standard error of the distance of shares, half of a difference of means of signs."""
    sign = np.sign(data - model)
    variances = (np.sum(side * sign**2) - np.sum(side * sign) ** 2 for side in (data, model))
    return float(np.sqrt(sum(v / size for v, size in zip(variances, (n, m), strict=True)))) / 2


def _half(values: np.ndarray) -> float:
    return float(np.sum(values)) / 2


def marginals(schema: Schema, data: np.ndarray, draws: np.ndarray) -> tuple[Marginal, ...]:
    """Compare each column alone, in the order of the data.

    Args:
      schema: Schema of the table.
      data: Numbers of the data, [N, D], as of `cells.numbers_of`.
      draws: Numbers of draws, [M, D].
    """
    results = []
    for i, column in schema.in_place:
        bins = bins_of(column, data[:, i], ALONE)
        counts = [_counts(bins.of(side[:, i]), bins.number) for side in (data, draws)]
        distances = distance_of(*counts)
        missing = float(np.mean(np.isnan(data[:, i])))
        largest = _largest(names_of(column, bins), *(c / max(c.sum(), 1) for c in counts))
        results.append(Marginal(column.name, column.kind, *distances, missing, largest))
    return tuple(results)


def _counts(bins: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(bins[bins >= 0], minlength=number).astype(np.float64)


def _largest(names: Sequence[str], data: np.ndarray, model: np.ndarray) -> Part:
    place = int(np.argmax(np.abs(data - model)))
    return Part(names[place], float(data[place]), float(model[place]))


# ---- pairs -------------------------------------------------------------------------------------------


class _Binned(NamedTuple):
    """A column with the bins of its values in the data [N] and the draws [M]."""

    column: Column
    bins: Bins
    data: np.ndarray
    draws: np.ndarray


def pairs(
    schema: Schema, data: np.ndarray, draws: np.ndarray, most: int
) -> tuple[tuple[Pair, ...], Associations]:
    """Compare pairs of columns.

    Args:
      schema: Schema of the table.
      data: Numbers of the data, [N, D].
      draws: Numbers of draws, [M, D].
      most: Number of pairs to return, and of columns with associations.

    Returns:
      The pairs whose distance exceeds the expected one most, the largest excess first, and the associations
      of the first columns.
    """
    places = [i for i, _ in schema.in_place[:PAIRED]]
    columns = [_binned(schema.columns[i], data[:, i], draws[:, i]) for i in places]
    ranks = [_rank_correlations(side[:, places]) for side in (data, draws)]
    results, matrices = [], [np.eye(len(columns)) for _ in ranks]
    for a, b in itertools.combinations(range(len(columns)), 2):
        pair = columns[a], columns[b]
        tables = _table(*pair, "data"), _table(*pair, "draws")
        if columns[a].column.is_ordered and columns[b].column.is_ordered:
            both = float(ranks[0][a, b]), float(ranks[1][a, b])
        else:
            both = cramers_v(tables[0]), cramers_v(tables[1])
        for matrix, value in zip(matrices, both, strict=True):
            matrix[a, b] = matrix[b, a] = value
        results.append(_compare(*pair, *tables, *both))
    results.sort(key=lambda pair: pair.expected - pair.distance)
    names = tuple(binned.column.name for binned in columns[:most])
    rows = [tuple(map(tuple, matrix[:most, :most].tolist())) for matrix in matrices]
    return tuple(results[:most]), Associations(names, *rows)


def _binned(column: Column, data: np.ndarray, draws: np.ndarray) -> _Binned:
    bins = bins_of(column, data, TOGETHER)
    return _Binned(column, bins, bins.of(data), bins.of(draws))


def _table(first: _Binned, second: _Binned, side: str) -> np.ndarray:
    """Return the counts of a pair of columns, [K, L], over the rows in which both are seen."""
    a, b = getattr(first, side), getattr(second, side)
    shape, seen = (first.bins.number, second.bins.number), (a >= 0) & (b >= 0)
    return _counts(a[seen] * shape[1] + b[seen], shape[0] * shape[1]).reshape(shape)


def _compare(
    first: _Binned, second: _Binned, data: np.ndarray, draws: np.ndarray, of_data: float, of_model: float
) -> Pair:
    n, m = max(data.sum(), 1), max(draws.sum(), 1)
    shares = data / n
    scaled = scaled_to(draws, shares)
    # Weights of the draws of each cell, by which their marginals become those of the data.
    weight = scaled / ((draws + 1 / draws.size) / (m + 1))
    middle = (shares + scaled) / 2
    rows, columns = (middle.sum(axis=axis, keepdims=True) for axis in (1, 0))
    # Variances of the differences of shares, where the marginals are given.
    variance = middle * (1 - rows) * (1 - columns) * (1 / n + weight / m)
    expected = _half(np.sqrt(2 / np.pi * np.maximum(variance, 0)))
    names = [
        f"{first.column.name}: {a}, {second.column.name}: {b}"
        for a in names_of(first.column, first.bins)
        for b in names_of(second.column, second.bins)
    ]
    largest = _largest(names, shares.ravel(), scaled.ravel())
    distances = _half(np.abs(shares - scaled)), _error(shares, scaled, n, m), expected
    return Pair(first.column.name, second.column.name, *distances, of_data, of_model, largest)


def scaled_to(draws: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Scale the rows and columns of a table of counts to the marginals of shares.

    This is iterative proportional fitting, which keeps the odds ratios. One draw in all is added to the
    counts, in equal parts, so that no level of the data is absent.

    Args:
      draws: Counts [K, L].
      shares: Shares [K, L], whose sums over rows and columns the result has.
    """
    table = draws + 1 / draws.size
    rows, columns = (shares.sum(axis=axis, keepdims=True) for axis in (1, 0))
    for _ in range(SCALINGS):
        table = table * (rows / np.maximum(table.sum(axis=1, keepdims=True), 1e-300))
        table = table * (columns / np.maximum(table.sum(axis=0, keepdims=True), 1e-300))
    return table


def cramers_v(counts: np.ndarray) -> float:
    """Return Cramer's V of a table of counts [K, L], corrected for its bias; nan if a side does not vary.

    References:
      Bergsma 2013, A bias-correction for Cramer's V and Tschuprow's T.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    n, sizes = counts.sum(), np.array(counts.shape)
    if sizes.min() < 2 or n < 3:
        return float("nan")
    independent = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / n
    squared = np.sum((counts - independent) ** 2 / independent) / n - np.prod(sizes - 1) / (n - 1)
    corrected = sizes - (sizes - 1) ** 2 / (n - 1)
    return float(np.sqrt(min(1.0, max(0.0, squared) / max(1e-9, corrected.min() - 1))))


def _rank_correlations(numbers: np.ndarray) -> np.ndarray:
    """Return Spearman's correlations [D, D] over the rows in which both columns are seen."""
    import pandas as pd

    frame = pd.DataFrame(numbers)
    with np.errstate(invalid="ignore", divide="ignore"):
        return frame.rank().corr(min_periods=3).to_numpy(copy=True)
