"""Charts as SVG in the colours of the page, light or dark.

matplotlib draws them in placeholder colours, which are replaced by CSS variables. No text of a run is drawn.
"""

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import AsinhLocator, MaxNLocator, PercentFormatter

POINTS = 1000  # largest number of points of a curve
BARS = 64  # largest number of bars
INK, GRID, DEAD = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0404{i:02x}" for i in range(8))  # colours of the lines, which repeat after the last
VARIABLES = {
    INK: "var(--muted)",
    GRID: "var(--line)",
    DEAD: "var(--warning)",
    **{colour: f"var(--c{i})" for i, colour in enumerate(SERIES)},
}
SIZE, SMALL = (4.2, 2.5), (4.2, 2.0)  # inches
DAYS = (-719_000, 2_900_000)  # days since 1970 between which matplotlib knows dates
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "probvae",
    "font.size": 9,
    "axes.unicode_minus": True,
}


class Line(NamedTuple):
    """A curve: x [N], y [N] with nan for missing values, and the index of its colour."""

    x: np.ndarray
    y: np.ndarray
    colour: int = 0
    dashed: bool = False


def curves(lines: Sequence[Line]) -> Markup:
    """Draw curves over epochs."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        for line in lines:
            every = max(1, -(-len(line.x) // POINTS))
            x, y = line.x[::-1][::every][::-1], line.y[::-1][::every][::-1]  # including the last point
            y = np.where(np.abs(y) < 1e30, y, np.nan)
            axes.plot(
                x,
                y,
                color=SERIES[line.colour % len(SERIES)],
                linestyle="dashed" if line.dashed else "solid",
                linewidth=1.6,
                marker="o" if len(x) <= 30 else None,
                markersize=2.5,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("epoch", color=INK)
        return _svg(figure)


def bars(values: np.ndarray, threshold: float) -> Markup:
    """Draw bars and a threshold on a logarithmic axis; bars not above it have the colour of warnings."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        shown = np.clip(values[:BARS], 1e-6, 1e6)
        colours = [DEAD if value <= threshold else SERIES[0] for value in shown]
        axes.bar(np.arange(len(shown)), shown, color=colours, width=0.75)
        axes.axhline(threshold, color=INK, linewidth=0.8, linestyle="dashed")
        axes.set_yscale("log")
        axes.set_ylim(min(threshold, float(shown.min())) / 2, max(2 * threshold, float(shown.max())) * 2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.set_xlabel("latent dimension", color=INK)
        return _svg(figure)


def histogram(
    edges: Sequence[float], data: Sequence[float], model: Sequence[float], scale: str, linear_width: float
) -> Markup:
    """Draw the shares of data, filled, and of draws of a model, as a line.

    Args:
      edges: Ends of the bars, one more than bars; of dates in seconds since 1970.
      data: Shares of the data.
      model: Shares of the draws.
      scale: Axis: linear, log, asinh or date.
      linear_width: Distance from 0 up to which asinh is about linear.
    """
    x = np.asarray(edges, np.float64)
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of axes that span hundreds of powers of 10
        figure, axes = _axes(SMALL)
        if scale == "date":
            x = x / 86_400  # days since 1970, as in matplotlib
            if DAYS[0] < x[0] and x[-1] < DAYS[1]:
                locator = AutoDateLocator(maxticks=5)
                axes.xaxis.set_major_locator(locator)
                axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        elif scale == "log" and x[0] > 0:
            axes.set_xscale("log")
        elif scale == "asinh" and linear_width > 1e-12 * np.max(np.abs(x)):
            axes.set_xscale("asinh", linear_width=linear_width)
            axes.xaxis.set_major_locator(AsinhLocator(linear_width, numticks=6))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.stairs(np.asarray(data), x, fill=True, color=SERIES[0], alpha=0.45, linewidth=0)
        axes.stairs(np.asarray(model), x, color=SERIES[1], linewidth=1.4)
        axes.set_xlim(x[0], x[-1])
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        return _svg(figure)


def _axes(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, which="both")
    return figure, axes


def _svg(figure: Figure) -> Markup:
    """Return the svg element without its size, metadata, and ids that could occur twice in a page."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[A-Za-z0-9.]*_\d+"', "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(re.sub(r"\n\s*", "\n", text))
