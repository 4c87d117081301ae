"""Binarizations: ways from grey levels to the values of x. NumPy only.

Each entry of `BINARIZATIONS` is a `Binarization`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Binarize = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Binarization(NamedTuple):
    """A way from grey levels in [0, 1] to x.

    Attributes:
      train, test: Functions (grey levels, generator) -> values to keep; None keeps the grey levels.
      redraw: Whether every training step draws 0 or 1 anew, with the grey level as probability.
    """

    train: Binarize | None
    test: Binarize | None
    redraw: bool


def _above_half(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return grey > 0.5


def _draw(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.random(grey.shape, np.float32) < grey


# threshold: the tutorial's; static: drawn once (Larochelle & Murray 2011; Salakhutdinov & Murray 2008);
# dynamic: drawn at every step (Burda et al. 2016), the test set once; none: unchanged.
BINARIZATIONS: dict[str, Binarization] = {
    "threshold": Binarization(_above_half, _above_half, redraw=False),
    "static": Binarization(_draw, _draw, redraw=False),
    "dynamic": Binarization(None, _draw, redraw=True),
    "none": Binarization(None, None, redraw=False),
}
