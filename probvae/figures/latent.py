"""Views of a latent space: means over a plane or circle, codes, projection, traversals."""

from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probvae.data.arrays import Array
from probvae.figures.images import image_grid, show, tile
from probvae.figures.theme import DPI, INK, accent, axes_of, ink, letters, style
from probvae.models import encoding
from probvae.models.encoding import Codes
from probvae.models.vae import VAE
from probvae.priors import on_sphere
from probvae.seeds import Seed


def latent_manifold(
    mean: Callable[[np.ndarray], np.ndarray], *, n: int = 20, ax: Axes | None = None
) -> Figure:
    """Show the mean of p(x|z) over an n x n grid of a two-dimensional z.

    The grid has equal steps of probability, from 5% to 95% of each normal coordinate; z[0] grows to the right
    and z[1] upwards.

    Args:
      mean: Function from z [N, 2] to images [N, H, W, C] in [0, 1].
      n: Number of images a side.
      ax: Axes to draw into; by default those of a new figure.
    """
    from scipy.stats import norm

    quantiles = norm.ppf(np.linspace(0.05, 0.95, n))
    z0, z1 = np.meshgrid(quantiles, quantiles[::-1])
    picture = tile(mean(np.stack([z0.ravel(), z1.ravel()], axis=1).astype(np.float32)), n, gap=0)
    figure, axes = axes_of(ax, (7, 7.2))
    show(axes, picture, extent=(0, n, 0, n), aspect="auto")
    ticks = np.linspace(0, n - 1, 7).round().astype(int)
    labels = [f"{quantiles[i]:.2f}" for i in ticks]
    axes.set_xticks(ticks + 0.5, labels)
    axes.set_yticks(ticks + 0.5, labels)
    _label(axes, "Mean of p(x|z) over the latent plane")
    return figure


def _label(axes: Axes, title: str) -> None:
    axes.set_xlabel("z[0]", color=ink())
    axes.set_ylabel("z[1]", color=ink())
    axes.set_title(title, fontsize=letters(10), color=ink())
    style(axes)


def latent_circle(mean: Callable[[np.ndarray], np.ndarray], *, n: int = 48) -> Figure:
    """Show the mean of p(x|z) at n points z = (cos t, sin t) of the circle, by rows, t from 0 in equal steps.

    Args:
      mean: Function from z [N, 2] to images [N, H, W, C] in [0, 1].
      n: Number of images.
    """
    angle = 2 * np.pi * np.arange(n) / n
    z = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return image_grid(mean(z), columns=8, title="Mean of p(x|z) around the circle of z")


def latent_means(loc: np.ndarray, labels: np.ndarray | None = None, *, ax: Axes | None = None) -> Figure:
    """Show the means of q(z|x), [N, 2], as points, coloured by integer labels [N], if any.

    The points are drawn into `ax`, or into a new figure.
    """
    figure, axes = axes_of(ax, (7, 6.2))
    limit = float(np.quantile(np.abs(loc), 0.999)) * 1.1 + 1e-6
    size = float(np.clip(30_000 / len(loc), 3, 24))
    if labels is None:
        axes.scatter(loc[:, 0], loc[:, 1], s=size, color=accent(), alpha=0.5, linewidths=0)
    else:
        classes = np.unique(labels)
        colours = matplotlib.colormaps["tab10" if len(classes) <= 10 else "turbo"]
        for i, label in enumerate(classes):
            colour = colours(i if len(classes) <= 10 else i / (len(classes) - 1))
            x, y = loc[labels == label, :2].T
            axes.scatter(x, y, s=size, color=colour, alpha=0.6, linewidths=0, label=str(label))
        if len(classes) <= 20:
            scale = (30 / size) ** 0.5
            legend = axes.legend(
                frameon=False,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
                fontsize=letters(9),
                markerscale=scale,
            )
            for text in legend.get_texts():  # names of classes
                text.set_parse_math(False)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    _label(axes, "Means of q(z|x), test set")
    return figure


EXAMPLES = 2000  # largest number of examples to encode
ROWS, STEPS = 8, 11  # dimensions in a picture of traversals, and values of each
REACH = 2.5  # ends of a traversal, in standard deviations of q(z)


def encode(vae: VAE, x: Array, seed: Seed) -> Codes:
    """Encode the first `EXAMPLES` of x [N, *E]."""
    return encoding.encode(vae, x[:EXAMPLES], seed)


def projection(loc: np.ndarray, labels: np.ndarray | None) -> Figure:
    """Show codes [N, L], L at least 2, on their first two principal components."""
    centred = loc - loc.mean(axis=0)
    _, scales, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.argmax(np.abs(axes[:2]), axis=1)].diagonal())[:, np.newaxis]
    share = scales[:2] ** 2 / max(float(np.sum(scales**2)), 1e-12)
    figure = latent_means(centred @ axes.T, labels)
    place = figure.axes[0]
    place.set_xlabel(f"first principal component, {share[0]:.0%} of the variance", color=INK)
    place.set_ylabel(f"second principal component, {share[1]:.0%}", color=INK)
    return figure


def traversals(vae: VAE, codes: Codes) -> Figure | None:
    """Show means of p(x|z) where one dimension of z moves and the others stay at their mean over x.

    The dimensions are those whose means vary most over x, or the first ones. The result is None for x that
    are no images, and for z on a sphere, where no coordinate moves alone.

    Args:
      vae: Model without y.
      codes: Codes of examples.
    """
    if len(vae.event_shape) != 3 or on_sphere(vae.prior):
        return None
    spread = codes.draws.std(axis=0) if codes.variance is None else codes.variance
    chosen = np.sort(np.argsort(-spread, kind="stable")[:ROWS])
    offsets = np.linspace(-REACH, REACH, STEPS)
    z = np.tile(codes.loc.mean(axis=0), (len(chosen), STEPS, 1)).astype(np.float32)
    for row, dimension in enumerate(chosen):
        z[row, :, dimension] += offsets * codes.draws[:, dimension].std()
    x = vae.likelihood(z.reshape(-1, vae.latent_dim)).mean().numpy()
    return _rows(x, [f"z[{i}]" for i in chosen], [f"{offset:+.3g}" if offset else "0" for offset in offsets])


def _rows(x: np.ndarray, rows: list[str], columns: list[str]) -> Figure:
    height, width = x.shape[1:3]
    picture = tile(x / max(1.0, float(np.nanmax(x, initial=1.0))), len(columns))
    size = 5.0 * picture.shape[0] / picture.shape[1]
    figure = Figure(figsize=(5.7, size + 0.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    show(axes, picture)
    axes.set_xticks(np.arange(len(columns)) * (width + 1) + width / 2, columns)
    axes.set_yticks(np.arange(len(rows)) * (height + 1) + height / 2, rows)
    axes.set_xlabel("standard deviations of q(z)", color=INK, fontsize=9)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    style(axes)
    axes.tick_params(length=0)
    return figure
