"""Columns of a table: their kinds, and the conversion of their values to numbers.

Kinds are those of `probvae.distributions.columns`: a key of `NUMBERS`, "bernoulli" (two levels, 0 and 1) or
"categorical:K" (K levels, 0 to K - 1). A value that is missing is NaN.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probvae.data.coding import CODED, LARGEST, NUMBERS
from probvae.errors import InputError

FEW = 20  # integers are guessed to be categories if they have at most this many levels, each seen as often
MAX_LEVELS = 1000  # levels of a categorical column, at most
MAX_TEXT_LEVELS = 100  # levels of a text column that is not declared categorical, at most
IGNORE = "ignore"


class Cells(NamedTuple):
    """Some cells of a column.

    Attributes:
      numbers: Numbers [n], float64, NaN for empty cells; None if a cell holds other text.
      texts: Function that returns the n texts, None for empty cells; None for a column of numbers alone.
    """

    numbers: np.ndarray | None
    texts: Callable[[], list[str | None]] | None


Coder = Callable[[Cells], np.ndarray]  # cells of a column -> float64 [n]


class Column(NamedTuple):
    """A column whose kind is decided.

    Attributes:
      kind: Kind of the column, as above.
      levels: Names of the values 0, 1, ...; empty if the values stand for themselves.
      code: Function from n cells to numbers [n], float64.
      type: Type of the values, a key of `probvae.data.coding.TYPES`.
      values: Values that the codes 0, 1, ... stand for; empty for numbers.
    """

    kind: str
    levels: tuple[str, ...]
    code: Coder
    type: str = "number"
    values: tuple[Any, ...] = ()


class Survey:
    """A summary of the content of a column, gathered batch by batch.

    Attributes:
      numeric: Whether every cell so far is a number or missing.
      integer: Whether every number so far is whole, too.
      low, high: Range of the numbers.
      too_large: Row (from 1) and value of the first number beyond `LARGEST`, or None.
      numbers, texts: Distinct values, or None if there are more than `MAX_LEVELS`.
      missing: Number of empty cells.
      rows: Number of cells.
    """

    def __init__(self) -> None:
        self.numeric = self.integer = True
        self.low, self.high = np.inf, -np.inf
        self.too_large: tuple[int, float] | None = None
        self.numbers: set[float] | None = set()
        self.texts: set[str] | None = set()
        self.missing = self.rows = 0

    def add(self, cells: Cells) -> None:
        """Add further cells to the summary."""
        if cells.texts is not None and self.texts is not None:
            self.texts = _joined(self.texts, {text for text in set(cells.texts()) if text is not None})
        if cells.numbers is None:
            self.numeric = self.integer = False
            texts = [] if cells.texts is None else cells.texts()
            self.rows, self.missing = self.rows + len(texts), self.missing + texts.count(None)
            return
        beyond = np.flatnonzero(np.abs(cells.numbers) > LARGEST)
        if len(beyond) and self.too_large is None:
            self.too_large = self.rows + int(beyond[0]) + 1, float(cells.numbers[beyond[0]])
        missing = np.isnan(cells.numbers)
        self.rows, self.missing = self.rows + len(missing), self.missing + int(missing.sum())
        if self.numeric:
            self._add_numbers(cells.numbers[~missing])

    def _add_numbers(self, numbers: np.ndarray) -> None:
        if len(numbers):
            self.low, self.high = min(self.low, numbers.min()), max(self.high, numbers.max())
            self.integer = self.integer and bool(np.all(numbers == np.rint(numbers)))
            self.numbers = _joined(self.numbers, set(np.unique(numbers).tolist()))


def _joined(known: set | None, more: set) -> set | None:
    joined = None if known is None else known | more
    return None if joined is None or len(joined) > MAX_LEVELS else joined


def as_numbers(cells: Cells) -> np.ndarray:
    """Return the cells of a numeric column as float64."""
    if cells.numbers is None:
        raise ValueError("Expected numbers; the column holds text.")
    return cells.numbers


def guess(survey: Survey) -> str:
    """Guess the kind of a column. Counts are never guessed, as they look like any integers.

    Two levels are bernoulli, other text is categorical, integers of at most `FEW` levels that are each seen
    at least `FEW` times on average are categorical, and all other numbers are normal.
    """
    if not survey.numeric:
        return "bernoulli" if survey.texts is not None and len(survey.texts) <= 2 else "categorical"
    levels = survey.numbers
    if levels is None or not survey.integer:
        return "normal"
    if len(levels) == 2 or levels <= {0.0, 1.0}:
        return "bernoulli"
    if len(levels) == 1:
        return "normal"
    return "categorical" if len(levels) <= FEW and survey.rows >= FEW * len(levels) else "normal"


def column(what: str, survey: Survey, kind: str | None) -> Column:
    """Decide the kind of a column.

    Args:
      what: Name of the column, for messages.
      survey: Summary of its content.
      kind: A key of `NUMBERS`, one of `CODED`, "categorical:K", or None to guess.

    Raises:
      InputError: The values do not fit the kind, or fit no kind.
    """
    asked = kind is not None
    kind = kind or guess(survey)
    name, _, number = kind.partition(":")
    if name not in (*NUMBERS, *CODED) or (number and name != "categorical"):
        kinds = ", ".join((*NUMBERS, *CODED, "categorical:K", IGNORE))
        raise InputError(f"{what} must have a kind among {kinds}; got {kind!r}.")
    if survey.missing == survey.rows:
        raise InputError(f"{what} is empty: leave it out by the kind {IGNORE!r}.")
    if survey.numeric and survey.too_large is not None:
        row, value = survey.too_large
        raise InputError(
            f"{what} has values that are not finite, or beyond {LARGEST:g}, the first, {value:g}, in row "
            f"{row:,} of its values: mend them, or empty their cells."
        )
    if name in NUMBERS:
        if not survey.numeric:
            raise InputError(f"{what} holds text, which cannot be {name}: choose categorical, or {IGNORE!r}.")
        support, ends = NUMBERS[name].support, np.array([survey.low, survey.high])
        if not NUMBERS[name].contains(ends).all() or (support.startswith("counts") and not survey.integer):
            raise InputError(
                f"{what} must hold {support} to be {name}; found {survey.low:g} to {survey.high:g}"
                f"{'' if survey.integer else ', not all of them whole'}."
            )
        return Column(name, (), as_numbers, "integer" if survey.integer else "number")
    return _coded(what, survey, name, number, asked)


def _coded(what: str, survey: Survey, name: str, number: str, asked: bool) -> Column:
    """Number the levels of a column: unchanged if they are 0 to K - 1 already, else in sorted order."""
    levels: list = sorted((survey.numbers if survey.numeric else survey.texts) or ())
    most = MAX_LEVELS if asked else MAX_TEXT_LEVELS
    if not levels or len(levels) > most:
        raise InputError(
            f"{what} holds {'numbers' if survey.numeric else 'text'} of more than {most:,} distinct "
            f"values, too many for categories: leave it out by the kind {IGNORE!r}."
        )
    if number and (not number.isdecimal() or not len(levels) <= int(number) <= MAX_LEVELS):
        raise InputError(
            f"{what} has {len(levels):,} distinct values, so its kind must be categorical:K with K from "
            f"{len(levels):,} to {MAX_LEVELS:,}; got {number!r}."
        )
    if name == "bernoulli" and len(levels) > 2:
        raise InputError(f"{what} must have two distinct values to be bernoulli; it has {len(levels):,}.")
    size = 2 if name == "bernoulli" else max(int(number or 0), len(levels))
    kind = name if name == "bernoulli" else f"{name}:{size}"
    if survey.numeric and set(levels) <= set(range(size)):
        return Column(kind, (), as_numbers, "integer", tuple(range(size)))
    code = {level: float(i) for i, level in enumerate(levels)}
    if survey.numeric:
        names = tuple(str(int(level)) if level == int(level) else repr(level) for level in levels)
        values = tuple(map(int, levels)) if survey.integer else tuple(levels)
        look_up = lambda cells: _look_up(code, as_numbers(cells).tolist())  # noqa: E731
        return Column(kind, names, look_up, "integer" if survey.integer else "number", values)
    texts = tuple(levels)
    more = tuple(f"(level {i})" for i in range(len(levels), size))
    return Column(
        kind, texts, lambda cells: _look_up(code, cells.texts() if cells.texts else []), "text", texts + more
    )


def _look_up(code: dict, values: list) -> np.ndarray:
    """Replace values by their codes, and missing values by NaN."""
    return np.array([code.get(value, np.nan) for value in values], np.float64)
