"""Matplotlib figures: functions of arrays and distributions that return a `Figure`.

No pyplot and no global state; a figure is shown by a notebook and saved by `figure.savefig`. Style sheets and
`matplotlib.rc_context` change its colours, letters and resolution, and most functions draw into given axes.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

DPI = 120
INK, MUTED, ACCENT, MISSING = "#1b1b1f", "#6b6f76", "#2a6f97", "#b5544d"
GRID = "#e4e5e8"


# ---- what a style sheet may change -----------------------------------------------------------------


def chosen(key: str, own: Any) -> Any:
    """Return a setting of `matplotlib.rcParams` where somebody has changed it, else our own value.

    So a figure looks as we want it unless a style sheet or `matplotlib.rc_context` says otherwise.

    >>> with matplotlib.rc_context({"text.color": "white"}):
    ...     chosen("text.color", INK)
    'white'
    """
    now, default = (cast(dict[str, Any], p) for p in (matplotlib.rcParams, matplotlib.rcParamsDefault))
    return own if now[key] == default[key] else now[key]


def ink() -> Any:
    """Return the colour of words."""
    return chosen("text.color", INK)


def muted() -> Any:
    """Return the colour of ticks and of words that matter less."""
    return chosen("xtick.color", MUTED)


def accent() -> Any:
    """Return the colour of what is shown: the first of a style's cycle."""
    cycle = matplotlib.rcParams["axes.prop_cycle"]
    return ACCENT if cycle == matplotlib.rcParamsDefault["axes.prop_cycle"] else cycle.by_key()["color"][0]


def letters(points: float) -> float:
    """Return a size of letters, which follows `font.size` (10 unless changed)."""
    return points * matplotlib.rcParams["font.size"] / 10


def dpi() -> float:
    """Return the pixels of an inch."""
    return chosen("figure.dpi", DPI)


def axes_of(ax: Axes | None, figsize: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return the axes to draw into and their figure: those that are given, or those of a new figure."""
    if ax is None:
        figure = Figure(figsize=figsize, dpi=dpi(), layout="constrained")
        return figure, figure.add_subplot()
    return cast(Figure, ax.figure), ax


def style(axes: Axes) -> None:
    """Draw the axes lightly: two spines, small grey ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=muted(), labelsize=letters(8))
    for side in ("left", "bottom"):
        axes.spines[side].set_color(muted())


def tile(images: np.ndarray, columns: int, *, gap: int = 1) -> np.ndarray:
    """Put images side by side, row by row.

    Args:
      images: [N, H, W, C] in [0, 1], C = 1 or 3.
      columns: images a row.
      gap: white pixels between two images.

    Returns:
      [rows * (H + gap) - gap, columns * (W + gap) - gap, C].

    >>> tile(np.zeros([4, 28, 28, 1]), 2).shape
    (57, 57, 1)
    """
    n, h, w, c = images.shape
    rows = -(-n // columns)
    canvas = np.ones([rows * (h + gap) - gap, columns * (w + gap) - gap, c])
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        canvas[top : top + h, left : left + w] = image
    return canvas


def show(axes: Axes, picture: np.ndarray, **options: Any) -> None:
    """Draw a picture [H, W, C] of values in [0, 1]; of other than 1 or 3 channels, their mean."""
    if picture.shape[-1] not in (1, 3):
        picture = picture.mean(axis=-1, keepdims=True)  # no colour space is known for it
    picture = picture[..., 0] if picture.shape[-1] == 1 else picture
    grey = colormaps["gray"].with_extremes(bad=MISSING)
    axes.imshow(np.clip(picture, 0, 1), cmap=grey, vmin=0, vmax=1, interpolation="nearest", **options)


def image_grid(images: np.ndarray, *, columns: int = 4, title: str = "") -> Figure:
    """Show images [N, H, W, C], values in [0, 1], in a grid with a title above it.

    Larger values are divided by the largest; missing ones (nan) of grey images are red.
    """
    picture = tile(images / max(1.0, float(np.nanmax(images, initial=1.0))), columns)
    width = 4.0
    height = width * picture.shape[0] / picture.shape[1]
    figure = Figure(figsize=(width, height + 0.36), dpi=dpi())
    axes = figure.add_axes((0.02, 0.02, 0.96, (height - 0.08) / (height + 0.36)))
    show(axes, picture)
    axes.set_axis_off()
    figure.text(
        0.5, 1 - 0.18 / (height + 0.36), title, ha="center", va="center", fontsize=letters(9), color=ink()
    )
    return figure


def example_grid(x: np.ndarray, *, columns: int = 4, title: str = "") -> Figure:
    """Show examples [N, *E]: images in a grid, series as lines, vectors as the rows of a heat map."""
    draw = {3: _series_grid, 2: _vector_rows}.get(x.ndim, image_grid)
    return draw(x, columns=columns, title=title)


def _series_grid(x: np.ndarray, *, columns: int, title: str) -> Figure:
    rows = -(-len(x) // columns)
    figure = Figure(figsize=(2.0 * columns, 1.2 * rows + 0.4), dpi=dpi(), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, series in zip(axes.flat, x, strict=False):
        place.plot(series, linewidth=1.2)
    for place in axes.flat:
        style(place)
    figure.suptitle(title, fontsize=letters(9), color=ink())
    return figure


def _vector_rows(x: np.ndarray, *, columns: int, title: str) -> Figure:
    figure = Figure(figsize=(5, 3.6), dpi=dpi(), layout="constrained")
    axes = figure.add_subplot()
    limit = float(np.nanmax(np.abs(x), initial=0)) or 1.0
    shown = axes.imshow(x, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    figure.colorbar(shown, ax=axes).ax.tick_params(labelsize=letters(8), colors=muted())
    axes.set_xlabel("value of x", color=ink(), fontsize=letters(9))
    axes.set_ylabel("example", color=ink(), fontsize=letters(9))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, fontsize=letters(9), color=ink())
    style(axes)
    return figure


def latent_manifold(
    mean: Callable[[np.ndarray], np.ndarray], *, n: int = 20, ax: Axes | None = None
) -> Figure:
    """Show p(x|z)'s mean over an n x n grid of a two-dimensional z.

    The grid lies at equal steps of probability, from 5% to 95% of each normal coordinate; z[0] grows to
    the right and z[1] upwards.

    Args:
      mean: from z [N, 2] to images [N, H, W, C] in [0, 1].
      n: images a side.
      ax: axes to draw into; by default those of a new figure.
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
    axes.set_xlabel("z[0]", color=ink())
    axes.set_ylabel("z[1]", color=ink())
    axes.set_title("Mean of p(x|z) over the latent plane", fontsize=letters(10), color=ink())
    style(axes)
    return figure


def latent_circle(mean: Callable[[np.ndarray], np.ndarray], *, n: int = 48) -> Figure:
    """Show p(x|z)'s mean at n points z = (cos t, sin t) of the circle, t from 0 on in equal steps, by rows.

    Args:
      mean: from z [N, 2] to images [N, H, W, C] in [0, 1].
      n: images.
    """
    angle = 2 * np.pi * np.arange(n) / n
    z = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return image_grid(mean(z), columns=8, title="Mean of p(x|z) around the circle of z")


def latent_means(loc: np.ndarray, labels: np.ndarray | None = None, *, ax: Axes | None = None) -> Figure:
    """Show the means of q(z|x), [N, 2], as points, coloured by integer labels [N] where given.

    Drawn into `ax`, or into the axes of a new figure.
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
            points = loc[labels == label]
            axes.scatter(
                points[:, 0], points[:, 1], s=size, color=colour, alpha=0.6, linewidths=0, label=str(label)
            )
        if len(classes) <= 20:
            axes.legend(
                frameon=False,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
                fontsize=letters(9),
                markerscale=(30 / size) ** 0.5,
            )
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.set_xlabel("z[0]", color=ink())
    axes.set_ylabel("z[1]", color=ink())
    axes.set_title("Means of q(z|x), test images", fontsize=letters(10), color=ink())
    style(axes)
    return figure


def learning_curves(
    curves: dict[str, Sequence[float]], epochs: Sequence[float], *, figure: Figure | None = None
) -> Figure:
    """Show one panel for each entry of `curves`: its name, and its value in nats at each of `epochs`.

    Drawn into `figure`, which may be a `SubFigure`, or into a new one.
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


def to_png(figure: Figure) -> bytes:
    """Render a figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def to_gif(frames: Sequence[bytes], *, seconds: float = 6.0) -> bytes:
    """Join PNG frames of one size into an animated GIF of about `seconds`, the last frame held."""
    images = [Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    step = int(np.clip(1000 * seconds / len(images), 60, 600))
    durations = [step] * (len(images) - 1) + [step + 1500]
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return buffer.getvalue()
