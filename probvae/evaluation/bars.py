"""Bars of a column of a table, in the data and in draws of a model. No TensorFlow."""

from typing import NamedTuple

import numpy as np

from probvae.data.coding import Column
from probvae.data.value_types import SECONDS
from probvae.evaluation.cells import bins_of, is_whole, names_of, texts
from probvae.evaluation.columns import Part

BARS = 30  # bars of a histogram, about
MOST, OTHERS = 0.5, 10  # share of the data with one value above which it has no bar; least number of values
LEVELS = 20  # levels with a bar of their own, at most
RIM = 0.001  # share of the data at each end of a histogram that the bars at its ends hold
# An axis is logarithmic if the range is above `TAIL` times the distance of the quartiles (that is 4.6 for a
# normal), and the distance of the upper end from the median above `SKEWED` times that of the lower end.
TAIL, SKEWED = 8, 5
LONG = 15  # range over distance of the quartiles above which an axis with zero or below is not linear


class Bars(NamedTuple):
    """The bars of a column: levels by name, or a histogram.

    Attributes:
      name: Name of the column.
      names: Names of the levels; empty for a histogram.
      edges: Ends of the bars of a histogram, one more than bars; of dates in seconds since 1970. The first
        and the last bar hold what lies beyond, too.
      scale: Axis of a histogram: linear, log, asinh (linear near 0 and logarithmic far from it) or date.
      linear_width: Distance from 0 up to which asinh is about linear.
      data, model: Shares of the data and of the draws in each bar.
      left_out: Value that most of the data have, such as 0, which has no bar: it would hide the others.
    """

    name: str
    names: tuple[str, ...]
    edges: tuple[float, ...]
    scale: str
    linear_width: float
    data: tuple[float, ...]
    model: tuple[float, ...]
    left_out: Part | None


def bars_of(column: Column, data: np.ndarray, draws: np.ndarray) -> Bars:
    """Return the bars of a column, of texts without an order the most frequent ones first.

    Args:
      column: Column.
      data: Its numbers in the data, [N], as of `cells.numbers_of`; NaN where missing.
      draws: Its numbers in draws, [M].
    """
    data, draws = (side[~np.isnan(side)] for side in (data, draws))
    if not column.levels:
        return _histogram(column, data, draws)
    bins = bins_of(column, data, LEVELS)
    shares = [_shares(bins.of(side), bins.number) for side in (data, draws)]
    names = names_of(column, bins)
    order = np.arange(bins.number)
    if not column.is_ordered and column.type == "text":
        named = len(bins.singles)
        order[:named] = np.argsort(-shares[0][:named], kind="stable")
    both = [tuple(side[order].tolist()) for side in shares]
    return Bars(column.name, tuple(names[i] for i in order), (), "linear", 0.0, both[0], both[1], None)


def _shares(bins: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(bins, minlength=number) / max(1, len(bins))


def _histogram(column: Column, data: np.ndarray, draws: np.ndarray) -> Bars:
    numbers = len(data), len(draws)
    single = _single(data)
    if single is not None:
        data, draws = data[data != single], draws[draws != single]
    whole = is_whole(column)
    ends = np.quantile(data, [RIM, 0.25, 0.5, 0.75, 1 - RIM]) if len(data) else np.array([0, 0, 0.5, 1, 1])
    low, q1, middle, q3, high = map(float, ends)
    long, width = high - low > LONG * (q3 - q1), 0.0
    skewed = high - low > TAIL * (q3 - q1) and high - middle > SKEWED * (middle - low)
    if column.unit:
        scale = "date"
    elif low > 0 and (column.logarithm or skewed):
        scale = "log"
    elif long and low <= 0:
        scale = "asinh"
        width = float(np.quantile(np.abs(data[data != 0]), 0.05))
    else:
        scale = "linear"
    edges = _edges(scale, width, low, high, whole)
    inside = (np.clip(side, edges[0], edges[-1]) for side in (data, draws))
    places = (np.clip(np.searchsorted(edges, side, side="right") - 1, 0, len(edges) - 2) for side in inside)
    counts = (np.bincount(place, minlength=len(edges) - 1) for place in places)
    both = [tuple((c / max(1, n)).tolist()) for c, n in zip(counts, numbers, strict=True)]
    seconds = SECONDS[column.unit] if column.unit else 1
    left_out = None
    if single is not None:
        left_out = Part(texts(column, [single])[0], *(max(0.0, round(1 - sum(shares), 9)) for shares in both))
    return Bars(column.name, (), tuple((edges * seconds).tolist()), scale, width, both[0], both[1], left_out)


def _single(data: np.ndarray) -> float | None:
    """Return the value that most of the data have, if there are others to draw."""
    values, counts = np.unique(data, return_counts=True)
    if len(values) < OTHERS or counts.max() < MOST * len(data):
        return None
    return float(values[np.argmax(counts)])


def _edges(scale: str, width: float, low: float, high: float, whole: bool) -> np.ndarray:
    """Return the ends of bars from low to high; between whole numbers where these are all there is."""
    if scale == "log":
        edges = np.geomspace(low, max(high, low * (1 + 1e-6)), BARS + 1)
    elif scale == "asinh":
        ends = np.arcsinh(np.array([low, high]) / width)
        edges = width * np.sinh(np.linspace(ends[0], ends[1], BARS + 1))
        edges[0], edges[-1] = low, high
    elif whole:
        step = max(1.0, np.ceil((high - low + 1) / BARS))
        return np.arange(np.floor(low) - 0.5, high + step, step)
    else:
        edges = np.linspace(low, high if high > low else low + max(1e-6, abs(low) * 1e-6), BARS + 1)
    if whole:
        edges = np.unique(np.append(np.rint(edges[:-1]) - 0.5, np.rint(edges[-1]) + 0.5))
        edges = np.maximum(edges, low / 2) if scale == "log" else edges
    half = max(0.5, abs(low) * 1e-6)
    return np.unique(edges) if len(np.unique(edges)) > 1 else np.array([low - half, low + half])
