"""Matplotlib figures: functions of arrays and distributions that return a `Figure`.

No pyplot and no global state; a figure is shown by a notebook and saved by `figure.savefig`. Style sheets and
`matplotlib.rc_context` change its colours, letters and resolution, and most functions draw into given axes.
"""

from typing import Any, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

DPI = 120  # pixels per inch
INK, MUTED, ACCENT, MISSING = "#1b1b1f", "#6b6f76", "#2a6f97", "#b5544d"
GRID = "#e4e5e8"


# ---- settings that a style sheet may change ----------------------------------------------------------


def chosen(key: str, own: Any) -> Any:
    """Return a setting of `matplotlib.rcParams` if it was changed, else the library's own value.

    Figures thus have their own look unless a style sheet or `matplotlib.rc_context` changes it.

    >>> with matplotlib.rc_context({"text.color": "white"}):
    ...     chosen("text.color", INK)
    'white'
    """
    now, default = (cast(dict[str, Any], p) for p in (matplotlib.rcParams, matplotlib.rcParamsDefault))
    return own if now[key] == default[key] else now[key]


def ink() -> Any:
    """Return the colour of text."""
    return chosen("text.color", INK)


def muted() -> Any:
    """Return the colour of ticks and of secondary text."""
    return chosen("xtick.color", MUTED)


def accent() -> Any:
    """Return the colour of the main curve, the first of a style's cycle."""
    cycle = matplotlib.rcParams["axes.prop_cycle"]
    return ACCENT if cycle == matplotlib.rcParamsDefault["axes.prop_cycle"] else cycle.by_key()["color"][0]


def letters(points: float) -> float:
    """Return a font size in points, scaled with `font.size` (10 unless changed)."""
    return points * matplotlib.rcParams["font.size"] / 10


def dpi() -> float:
    """Return the resolution in pixels per inch."""
    return chosen("figure.dpi", DPI)


def is_drawable(text: str) -> bool:
    """Return whether the font in use has all letters of a text.

    >>> is_drawable("age"), is_drawable("\uac00")
    (True, False)
    """
    font = FT2Font(findfont(FontProperties()))
    return all(font.get_char_index(ord(letter)) for letter in text)


def axes_of(ax: Axes | None, figsize: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return the figure and the axes to draw into: the given axes, or those of a new figure."""
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
