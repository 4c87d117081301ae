"""Contours of p(z|x) and q(z|x) in two dimensions."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probvae.figures.theme import accent, dpi, ink, letters, style
from probvae.inference.blocks import in_blocks
from probvae.models.vae import VAE

RED = "#d1495b"
SHARES = (0.5, 0.9, 0.99)  # probability inside each contour


def posterior_contours(vae: VAE, x: np.ndarray, *, points: int = 120, figure: Figure | None = None) -> Figure:
    """Show p(z|x) and q(z|x) of a model with L = 2 for a few images, as contours of equal density.

    The contours hold 50%, 90% and 99% of the probability. p(z|x) is p(z) p(x|z) on a grid, normalized.

    Args:
      vae: Model of latent dimension 2.
      x: Images [N, H, W, C]; N up to 8 or so.
      points: Number of grid points along each axis.
      figure: Figure or `SubFigure` to draw into; by default a new figure.
    """
    figure = figure or Figure(figsize=(3.0 * ((len(x) + 1) // 2), 6.4), dpi=dpi(), layout="constrained")

    @tf.function(reduce_retracing=True)
    def log_joint(z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:  # log p(z) + log p(x|z), compiled once
        return vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x)

    for i, image in enumerate(np.asarray(x, np.float32)):
        axes = figure.add_subplot(2, (len(x) + 1) // 2, i + 1)
        axis_0, axis_1, log_p, log_q = _densities(vae, log_joint, image[None], points)
        for density, colour, line in ((log_p, accent(), "solid"), (log_q, RED, "dashed")):
            levels, widths = _levels(density), (0.8, 1.2, 1.6)
            axes.contour(
                axis_0,
                axis_1,
                density,
                levels,
                colors=colour,
                linestyles=line,
                linewidths=widths[-len(levels) :],
            )
        if image.ndim == 3 and image.shape[-1] in (1, 3):
            inset = axes.inset_axes((0.78, 0.78, 0.22, 0.22))
            inset.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
            inset.set_axis_off()
        axes.set_xlabel("z[0]", fontsize=letters(8), color=ink())
        axes.set_ylabel("z[1]", fontsize=letters(8), color=ink())
        style(axes)
    handles = [
        Line2D([], [], color=accent(), label="p(z|x), true"),
        Line2D([], [], color=RED, linestyle="dashed", label="q(z|x), the encoder's"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=letters(9))
    return figure


def _densities(
    vae: VAE, log_joint: Callable[..., tf.Tensor], x: np.ndarray, points: int
) -> tuple[np.ndarray, ...]:
    """Return both log-densities on a grid that covers their mass: two axes and two arrays [P, P]."""
    q = vae.posterior(x)  # q(z|x)
    mean, stddev = q.mean()[0].numpy(), q.stddev()[0].numpy()

    def on_grid(low: np.ndarray, high: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
        axes = [np.linspace(a, b, n, dtype=np.float32) for a, b in zip(low, high, strict=True)]
        z = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        density = in_blocks(lambda rows: log_joint(tf.constant(z[rows]), tf.constant(x)), len(z), 500)
        log_q = q.log_prob(z[:, None])[:, 0].numpy()
        return axes[0], axes[1], density.reshape(n, n), log_q.reshape(n, n)

    low, high = mean - 4 * stddev, mean + 4 * stddev
    low, high = np.minimum(low, -4.5), np.maximum(high, 4.5)
    for _ in range(3):  # zoom in on the mass of p(z|x)
        axis_0, axis_1, density, _ = on_grid(low, high, points // 2)
        heavy = density >= _levels(density)[0]
        massive = [axis[heavy.any(axis=i)] for i, axis in enumerate((axis_0, axis_1))]
        spacing = np.array([axis_0[1] - axis_0[0], axis_1[1] - axis_1[0]])
        true_low = np.array([axis.min() for axis in massive]) - spacing
        true_high = np.array([axis.max() for axis in massive]) + spacing
        low = np.minimum(mean - 3.5 * stddev, true_low - 0.1 * (true_high - true_low))
        high = np.maximum(mean + 3.5 * stddev, true_high + 0.1 * (true_high - true_low))
    return on_grid(low, high, points)


def _levels(log_density: np.ndarray) -> list[float]:
    """Return the heights of the contours that hold `SHARES` of the probability, in rising order."""
    heights = np.sort(log_density.ravel())[::-1]
    share = np.cumsum(np.exp(heights - heights[0]))
    share /= share[-1]
    levels = {float(heights[np.searchsorted(share, s)]) for s in SHARES}
    return sorted(levels)
