"""Grids of generated images or series, with labels of their rows and columns."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from probvae.figures.theme import ACCENT, DPI, chosen, ink, letters, muted

WIDTH = 1080  # largest width of a row of panels in pixels
CELL, SERIES = 84, 200  # approximate width of an image and of a series in pixels
COLOURS = (ACCENT, "#d1495b", "#edae49", "#66a182", "#8d6a9f")


def grid(
    values: np.ndarray,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    limits: tuple[float, float] | None = None,
    cell: int = CELL,
) -> Figure:
    """Show values [R, C, *E] in R rows of C panels: images, or series as lines over time.

    Args:
      values: Values [R, C, *E]: E is [H, W, channels] of images in [0, 1], or [T, channels] of series. A
        panel that is all nan stays empty.
      rows: Labels of the R rows, on the left; or none.
      columns: Labels of the C columns, above; or none.
      title: Title above the grid.
      limits: Lowest and highest value of series; None takes them from the values.
      cell: Approximate width of an image in pixels; less if the row would be wider than `WIDTH`.

    Returns:
      The figure. Its size depends on the shape of `values` and on the texts alone, so that the frames of an
      animation have one size. Images of two channels, or of more than three, are shown as their mean.
    """
    panel = PANELS[values.ndim - 2]
    if limits is None:
        limits = float(np.nanmin(values)), float(np.nanmax(values))
    figure, axes = _panels(values, rows, columns, title, cell)
    for i, row in enumerate(axes):
        for j, place in enumerate(row):
            if not np.all(np.isnan(values[i, j])):
                panel(place, values[i, j], limits)
    return figure


def _panels(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, cell: int
) -> tuple[Figure, list[list[Axes]]]:
    """Lay out a figure in whole pixels: panels of equal size, with room for the texts around them."""
    r, c = values.shape[:2]
    width, height = _panel_size(values.shape[2:], WIDTH // c, cell)
    gap = 4 if values.ndim == 5 else 12
    left = 12 + (7 * max(map(len, rows)) + 6 if rows else 0)
    above = 12 + (26 if title else 0) + (20 if any(columns) else 0)
    size = max(left + c * (width + gap) + 8, 8 * len(title)), above + r * (height + gap) + 8
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI)

    def write(x: float, y: float, text: str, side: str, font: float, colour: str) -> None:
        place = x / size[0], 1 - y / size[1]
        words = figure.text(*place, text, ha=side, va="center", fontsize=letters(font), color=colour)
        words.set_parse_math(False)  # names of classes

    def panel(i: int, j: int) -> Axes:
        x, y = left + j * (width + gap), above + i * (height + gap)
        place = (x / size[0], 1 - (y + height) / size[1], width / size[0], height / size[1])
        axes = figure.add_axes(place)
        axes.set_axis_off()
        return axes

    write(12, 20, title, "left", 9, ink())
    for i, text in enumerate(rows):
        write(left - 8, above + i * (height + gap) + height / 2, text, "right", 8, ink())
    for j, text in enumerate(columns):
        write(left + j * (width + gap) + width / 2, above - 11, text, "center", 7, muted())
    return figure, [[panel(i, j) for j in range(c)] for i in range(r)]


def _panel_size(shape: tuple[int, ...], most: int, cell: int) -> tuple[int, int]:
    """Return the width and height in pixels: a multiple of an image's own, so that its pixels stay equal."""
    if len(shape) == 2:
        width = min(SERIES, most)
        return width, width * 3 // 4
    height, width = shape[:2]
    times = max(1, min(round(cell / width), most // width))
    scale = min(times, 2 * cell / width, max(most, 24) / width)  # below 1 for large images
    return max(1, round(width * scale)), max(1, round(height * scale))


def _image(axes: Axes, values: np.ndarray, limits: tuple[float, float]) -> None:
    if values.shape[-1] != 3:
        values = values.mean(axis=-1)  # no colour space is known for other numbers of channels
    values = np.nan_to_num(np.clip(values, 0, 1), nan=0.5)
    larger = axes.bbox.width > values.shape[1] - 0.5
    # Antialiasing on its own would smooth at a factor of 2.9999.
    how = "nearest" if larger else "antialiased"
    axes.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation=how, aspect="auto")


def _series(axes: Axes, values: np.ndarray, limits: tuple[float, float]) -> None:
    axes.set_prop_cycle(chosen("axes.prop_cycle", cycler(color=COLOURS)))
    axes.plot(values, linewidth=0.9)
    margin = 0.05 * (limits[1] - limits[0]) + 1e-6
    axes.set_ylim(limits[0] - margin, limits[1] + margin)
    axes.set_facecolor(chosen("axes.facecolor", "#f4f5f7"))
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


PANELS: dict[int, Callable[[Axes, np.ndarray, tuple[float, float]], None]] = {2: _series, 3: _image}


def image_bytes(image: np.ndarray) -> bytes:
    """Return an image [H, W, channels] in [0, 1] as a PNG of H x W pixels, RGB or grey."""
    if image.shape[-1] != 3:
        image = image.mean(axis=-1)
    levels = np.rint(255 * np.nan_to_num(np.clip(image, 0, 1), nan=0.5)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    return buffer.getvalue()
