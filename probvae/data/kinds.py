"""Kinds of the columns of a table: of numbers, and of levels that are numbered from 0. NumPy only."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from probvae.config.choices import MAX_CLASSES


class NumberKind(NamedTuple):
    """A kind of a column of numbers.

    Attributes:
      support: Description of the numbers.
      contains: Function from numbers [n] to a mask of those in the support.
      standardized: Whether x holds them with a location and a scale.
      robust: Whether these come from the quartiles, which outliers do not move, and not from mean and
        standard deviation.
      of_logarithms: Kind of the distribution p(x|z) of their logarithms, which x holds; empty if x holds the
        numbers.
      has_moments: Whether the numbers have a mean and a standard deviation under p(x|z); where they have
        none, the median takes the place of the mean.
      whole: Whether the numbers are whole.
      is_size: Whether the number is the size of its row, by which the rates of counts are multiplied, and
        which is never missing.
    """

    support: str
    contains: Callable[[np.ndarray], np.ndarray]
    standardized: bool = False
    robust: bool = False
    of_logarithms: str = ""
    has_moments: bool = True
    whole: bool = False
    is_size: bool = False


class LevelKind(NamedTuple):
    """A kind of a column of levels.

    Attributes:
      most: Number of levels, at most.
      sized: Whether the number of levels stands behind the name, as in categorical:3.
      ordered: Whether the order of the levels has a meaning.
    """

    most: int = MAX_CLASSES
    sized: bool = True
    ordered: bool = False


def _whole(values: np.ndarray) -> np.ndarray:
    return (values >= 0) & (values == np.rint(values))


def _positive(values: np.ndarray) -> np.ndarray:
    return values > 0


_COUNT = NumberKind("counts 0, 1, 2, ...", _whole, whole=True)
NUMBERS: dict[str, NumberKind] = {
    "normal": NumberKind("numbers", np.isfinite, standardized=True),
    "normal_shared": NumberKind("numbers", np.isfinite, standardized=True),
    "student_t": NumberKind("numbers", np.isfinite, standardized=True, robust=True),
    "lognormal": NumberKind("positive numbers", _positive, standardized=True, of_logarithms="normal"),
    "log_student_t": NumberKind(
        "positive numbers",
        _positive,
        standardized=True,
        robust=True,
        of_logarithms="student_t",
        has_moments=False,
    ),
    "size": NumberKind(
        "positive numbers", _positive, standardized=True, of_logarithms="normal", is_size=True
    ),
    "continuous_bernoulli": NumberKind("numbers from 0 to 1", lambda v: (v >= 0) & (v <= 1)),
    "poisson": _COUNT,
    "negative_binomial": _COUNT,
    "zero_inflated_negative_binomial": _COUNT,
}
LEVELS: dict[str, LevelKind] = {
    "bernoulli": LevelKind(most=2, sized=False),
    "categorical": LevelKind(),
    "ordinal": LevelKind(ordered=True),
}

IGNORE = "ignore"  # in place of a kind, leaves a column out


def names() -> tuple[str, ...]:
    """Return the kinds that a user can name."""
    return (*NUMBERS, *LEVELS, *(f"{name}:K" for name, kind in LEVELS.items() if kind.sized), IGNORE)


def kind_of_codes(kind: str, logarithm: bool = True) -> str:
    """Return the kind of the codes of a column, a kind of numbers or levels itself.

    Args:
      kind: Kind of the column.
      logarithm: Whether the codes are of logarithms, where the kind has these; not so in runs of format 2.

    >>> kind_of_codes("lognormal"), kind_of_codes("poisson")
    ('normal', 'poisson')
    """
    return (NUMBERS[kind].of_logarithms if logarithm and kind in NUMBERS else "") or kind


def distribution_of(kind: str, logarithm: bool = True, scale: float = 1.0) -> str:
    """Return the kind of the distribution of the codes of a column, an entry of `Architecture.columns`.

    Args:
      kind: Kind of the column.
      logarithm: Whether the codes are of logarithms, as in `kind_of_codes`.
      scale: Scale of the codes, which the distribution of a size must know.

    >>> distribution_of("size", scale=0.5), distribution_of("lognormal", scale=0.5)
    ('size:0.5', 'normal')
    """
    if kind in NUMBERS and NUMBERS[kind].is_size:
        return f"{kind}:{float(scale)!r}"
    return kind_of_codes(kind, logarithm)


def central_levels(p: np.ndarray, kind: str) -> np.ndarray:
    """Return the indices of the central levels for probabilities [n, K]: medians if they have an order.

    Levels without an order have none but the most probable one.

    >>> p = np.array([[0.4, 0.3, 0.3]])
    >>> int(central_levels(p, "categorical:3")[0]), int(central_levels(p, "ordinal:3")[0])
    (0, 1)
    """
    if not LEVELS[kind.partition(":")[0]].ordered:
        return p.argmax(axis=1)
    return (np.cumsum(p, axis=1) >= p.sum(axis=1, keepdims=True) / 2).argmax(axis=1)
