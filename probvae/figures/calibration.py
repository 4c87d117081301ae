"""Pictures of the certificate of an encoder: what regions of q(z|x) cover, and histograms of ranks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from probvae.figures.posterior import RED
from probvae.figures.theme import GRID, accent, axes_of, chosen, dpi, ink, letters, muted, style
from probvae.inference.calibration import Certificate
from probvae.inference.ranks import BINS, curve

COLUMNS = 4  # histograms in a row
PANELS = 8  # most histograms
JOINT = {  # statistics whose highest, or lowest, values make up a region, and its name
    "log q(z|x)": (True, "highest-density regions of q(z|x)"),
    "log p(x, z)": (True, "regions of highest p(x, z)"),
    "balls": (False, "balls round a predicted point"),
}


def coverage_curves(certificate: Certificate, *, ax: Axes | None = None) -> Figure:
    """Show the share of the true z in regions of q(z|x) against their probability, with a 95% band.

    A curve below the diagonal shows a q(z|x) that is too sure of itself.
    """
    figure, axes = axes_of(ax, (4.6, 5.0))
    levels = np.linspace(0, 1, 201)
    number = len(next(iter(certificate.places.values())))
    half = 1.358 / np.sqrt(number)  # 95% point of Kolmogorov's distribution
    band = {"color": chosen("grid.color", GRID), "linewidth": 0, "label": "95% of exact posteriors"}
    axes.fill_between(levels, levels - half, levels + half, **band)
    axes.plot(levels, levels, color=muted(), linewidth=0.8)
    for (name, (high, label)), colour in zip(JOINT.items(), (accent(), RED, "#edae49"), strict=True):
        place = certificate.places[name]
        share = curve(1 - place if high else place, levels)
        axes.plot(levels, share, color=colour, linewidth=1.5, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("probability of the region under q(z|x)", color=ink(), fontsize=letters(9))
    axes.set_ylabel("share of the true z that it holds", color=ink(), fontsize=letters(9))
    axes.legend(frameon=False, fontsize=letters(8), loc="upper center", bbox_to_anchor=(0.5, -0.14))
    style(axes)
    return figure


def rank_histograms(certificate: Certificate) -> Figure:
    """Show the ranks of the true z among draws of q(z|x), by coordinate, the worst first, with 99% bands.

    Bars that are high at both ends show a q(z|x) that is too narrow, high in the middle one too wide, at one
    end one that is shifted.
    """
    names = [name for name in certificate.places if name.startswith("z[")]

    def p_value(name: str) -> float:
        return min(p for test, p in certificate.p_values.items() if test.startswith(f"{name}, "))

    names = sorted(names, key=p_value)[:PANELS]
    rows, columns = -(-len(names) // COLUMNS), min(COLUMNS, len(names))
    figure = Figure(figsize=(2.6 * columns, 2.2 * rows), dpi=dpi(), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        place = certificate.places[name]
        low, high = stats.binom.interval(0.99, len(place), 1 / BINS)
        axes.axhspan(low, high, color=chosen("grid.color", GRID), linewidth=0)
        axes.hist(place, list(np.linspace(0, 1, BINS + 1)), color=accent(), alpha=0.8)
        p = p_value(name)
        shown = f"p = {p:.2g}" if p >= 1e-3 else "p < 0.001"
        axes.set_title(f"{name}, {shown}", fontsize=letters(9), color=ink(), loc="left")
        axes.set_xlabel("share of the draws below the true z", color=muted(), fontsize=letters(8))
        axes.set_xlim(0, 1)
        style(axes)
    panels[0].set_ylabel("number of true z", color=muted(), fontsize=letters(8))
    for axes in panels[len(names) :]:
        axes.remove()
    return figure
