"""Curves and histograms of training and evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from probvae.errors import InputError
from probvae.figures.posterior import RED
from probvae.figures.theme import GRID, accent, axes_of, chosen, dpi, ink, letters, muted, style


def learning_curves(
    curves: Mapping[str, Sequence[float]], epochs: Sequence[float], *, figure: Figure | None = None
) -> Figure:
    """Show each entry of `curves`, values in nats at `epochs`, in its own panel.

    The panels are drawn into `figure`, which may be a `SubFigure`, or into a new figure.
    """
    figure = figure or Figure(figsize=(3.4 * len(curves), 3.0), dpi=dpi(), layout="constrained")
    for i, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), i + 1)
        axes.plot(epochs, values, color=accent(), marker="o", markersize=3, linewidth=1.5)
        axes.set_title(f"{name} (nats)", fontsize=letters(10), color=ink(), loc="left")
        axes.set_xlabel("epoch", color=muted(), fontsize=letters(9))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=chosen("grid.color", GRID), linewidth=0.7)
        axes.annotate(
            f"{values[-1]:.2f}",
            (epochs[-1], values[-1]),
            textcoords="offset points",
            xytext=(0, 7),
            ha="right",
            fontsize=letters(8),
            color=accent(),
        )
        axes.margins(y=0.18)
        style(axes)
    return figure


def draw_history(history: Mapping[str, Any]) -> Figure:
    """Draw the test ELBO and its two terms over the epochs, from the columns of a history that has some."""
    names = ("test_elbo", "test_log_likelihood", "test_kl")
    if not {"epoch", *names} <= history.keys():
        raise InputError("The history has no epoch yet.")
    titles = ("Test ELBO", "Reconstruction E[log p(x|z)]", "KL")
    curves: dict[str, Any] = {title: list(history[name]) for title, name in zip(titles, names, strict=True)}
    return learning_curves(curves, list(history["epoch"]))


def bound_against_samples(
    num_samples: np.ndarray, curve: np.ndarray, log_marginal: float | None, *, ax: Axes | None = None
) -> Figure:
    """Show the mean importance-weighted bound against the number of draws.

    Args:
      num_samples: Numbers of draws K, [J].
      curve: Mean bound with K draws, [J], nats.
      log_marginal: Exact mean log p(x) of the same examples, drawn as a line; or None.
      ax: Axes to draw into; by default those of a new figure.
    """
    figure, axes = axes_of(ax, (5.6, 3.6))
    axes.plot(num_samples, curve, color=RED, marker="o", markersize=4, label="importance-weighted bound")
    axes.annotate(
        "ELBO",
        (num_samples[0], curve[0]),
        (6, -3),
        textcoords="offset points",
        fontsize=letters(8),
        color=muted(),
    )
    if log_marginal is not None:
        axes.axhline(
            log_marginal, color=accent(), linewidth=1.5, label=f"log p(x), exact: {log_marginal:.2f}"
        )
        gap = log_marginal - curve[-1]
        axes.set_title(
            f"K = {num_samples[-1]:,} still misses {gap:.2f} nats",
            fontsize=letters(10),
            color=ink(),
            loc="left",
        )
    axes.set_xscale("log")
    axes.set_xlabel("draws of z for each example, K", color=ink(), fontsize=letters(9))
    axes.set_ylabel("nats per example", color=ink(), fontsize=letters(9))
    axes.grid(axis="y", color=chosen("grid.color", GRID), linewidth=0.7)
    axes.legend(frameon=False, fontsize=letters(8), loc="lower right")
    style(axes)
    return figure


def gap_histogram(gaps: dict[str, np.ndarray], *, ax: Axes | None = None) -> Figure:
    """Show the distribution of each gap over images, in nats; the last bar gathers the largest 1%.

    The histogram is drawn into `ax`, or into the axes of a new figure.
    """
    figure, axes = axes_of(ax, (5.6, 3.4))
    top = max(float(np.quantile(values, 0.99)) for values in gaps.values())
    bottom = min(0.0, *(float(values.min()) for values in gaps.values()))
    edges = np.linspace(bottom, max(top, bottom + 1e-3), 41)
    for (name, values), colour in zip(gaps.items(), (accent(), RED, "#edae49", "#66a182"), strict=False):
        label = f"{name}: mean {values.mean():.2f}, most {values.max():.1f}"
        shown = np.clip(values, edges[0], edges[-1])
        axes.hist(
            shown,
            list(edges),
            weights=np.full(len(values), 1 / len(values)),
            color=colour,
            alpha=0.55,
            label=label,
        )
    axes.set_xlabel("nats", color=ink(), fontsize=letters(9))
    axes.set_ylabel("share of the examples", color=ink(), fontsize=letters(9))
    axes.legend(frameon=False, fontsize=letters(8))
    style(axes)
    return figure
