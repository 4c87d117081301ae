"""Grids of images, series and vectors, as figures and as files."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from probvae.figures.theme import MISSING, dpi, ink, is_drawable, letters, muted, style

MOST_NAMES = 40  # columns of a heat map that are named
LONGEST_NAME = 16  # letters of a name that are shown


def tile(images: np.ndarray, columns: int, *, gap: int = 1) -> np.ndarray:
    """Put images side by side, row by row.

    Args:
      images: Images [N, H, W, C] in [0, 1], C = 1 or 3.
      columns: Number of images in a row.
      gap: White pixels between two images.

    Returns:
      One image [rows * (H + gap) - gap, columns * (W + gap) - gap, C].

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
    """Draw a picture [H, W, C] of values in [0, 1], or the mean of its channels unless C is 1 or 3."""
    if picture.shape[-1] not in (1, 3):
        picture = picture.mean(axis=-1, keepdims=True)  # no colour space is known for it
    picture = picture[..., 0] if picture.shape[-1] == 1 else picture
    grey = colormaps["gray"].with_extremes(bad=MISSING)
    axes.imshow(np.clip(picture, 0, 1), cmap=grey, vmin=0, vmax=1, interpolation="nearest", **options)


def image_grid(images: np.ndarray, *, columns: int = 4, title: str = "") -> Figure:
    """Show images [N, H, W, C] of values in [0, 1] in a grid below a title.

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


def example_grid(x: np.ndarray, *, columns: int = 4, title: str = "", names: Sequence[str] = ()) -> Figure:
    """Show examples [N, *E]: images in a grid, series as lines, vectors as the rows of a heat map.

    Args:
      x: Examples [N, *E].
      columns: Number of images or series in a row.
      title: Title of the figure.
      names: Names of the columns of a table, whose numbers are in standard deviations and whose levels are
        spread from -2 to 2; empty for other vectors.
    """
    if x.ndim == 2:
        return _vector_rows(x, title=title, names=names)
    draw = _series_grid if x.ndim == 3 else image_grid
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


def _vector_rows(x: np.ndarray, *, title: str, names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(5, 3.6), dpi=dpi(), layout="constrained")
    axes = figure.add_subplot()
    limit = float(np.nanmax(np.abs(x), initial=0)) or 1.0
    shown = axes.imshow(x, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    bar = figure.colorbar(shown, ax=axes)
    bar.ax.tick_params(labelsize=letters(8), colors=muted())
    bar.set_label(
        "standard deviations; levels from -2 to 2" if names else "x", color=ink(), fontsize=letters(9)
    )
    axes.set_ylabel("example", color=ink(), fontsize=letters(9))
    axes.set_title(title, fontsize=letters(9), color=ink())
    style(axes)
    if 0 < len(names) <= MOST_NAMES:
        axes.set_xticks(range(len(names)), _drawn(names), rotation=90, parse_math=False)
    else:
        axes.set_xlabel("column of x" if names else "value of x", color=ink(), fontsize=letters(9))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _drawn(names: Sequence[str]) -> list[str]:
    """Return the names of columns, shortened; the number of a column whose name the font cannot write."""
    short = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    return [name if is_drawable(name) else f"column {i + 1}" for i, name in enumerate(short)]


def to_png(figure: Figure) -> bytes:
    """Render a figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def to_gif(frames: Sequence[bytes], *, seconds: float = 6.0) -> bytes:
    """Join PNG frames of one size into an animated GIF of about `seconds`, with a longer last frame."""
    images = [Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    step = int(np.clip(1000 * seconds / len(images), 60, 600))
    durations = [step] * (len(images) - 1) + [step + 1500]
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return buffer.getvalue()
