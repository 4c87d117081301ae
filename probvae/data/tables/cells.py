"""Cells of text files: missing ones, and numbers as they are written."""

import re
from collections.abc import Sequence

import numpy as np

MISSING = ("NA", "N/A", "nan", "null", "?")  # texts of missing cells, in any case
OLD_MISSING = ("NA", "N/A", "nan", "null")  # those of runs of format 2

PLAIN = re.compile(r"[0-9+\-.eE\n]*")  # characters of numbers without separators
NUMBER = r"[+-]?(?:(?:[0-9]+(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity))"
GROUPED = r"[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:{point}[0-9]+)?"
WHOLE = r"[+-]?(?:[0-9]+|[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+)"
LEADING_ZERO = re.compile(r"^[+-]?0[0-9]+$", re.MULTILINE)
UNDERSCORE = re.compile(r"^[+-]?[0-9]+(?:_[0-9]+)+$", re.MULTILINE)
DRESSED = re.compile(  # numbers with a unit, or with other marks between thousands, and dates like 31/12/2020
    r"[$€£¥]? ?[+-]?[0-9][0-9 \u00a0\u202f'’.,]* ?[%$€£¥]?"
    r"|[0-9]{1,4}[/.][0-9]{1,2}[/.][0-9]{1,4}(?: [0-9:]+)?"
)
EXPONENT = re.compile(r"[0-9]+[eE][0-9]+")


class Notation:
    """A way to write numbers: the decimal mark, and the mark between groups of three digits.

    >>> Notation(".", ",")("1,234.5"), Notation(",", ".")("1.234,5"), Notation(".", ",")("12,5")
    (1234.5, 1234.5, nan)
    """

    def __init__(self, point: str, mark: str) -> None:
        self.point, self.mark = point, mark
        marks = {"point": re.escape(point), "mark": re.escape(mark)}
        self.number, self.grouped, self.whole = (
            re.compile(f.format(**marks)) for f in (NUMBER, GROUPED, WHOLE)
        )

    def __call__(self, text: str) -> float:
        """Return the number that a text is, NaN if it is none."""
        if self.number.fullmatch(text):
            return float(text.replace(self.point, "."))
        if self.grouped.fullmatch(text):
            return float(text.replace(self.mark, "").replace(self.point, "."))
        return np.nan


class OldNotation(Notation):
    """Numbers as runs of format 2 read them, among them 1_2."""

    def __call__(self, text: str) -> float:
        """Return the number that a text is, NaN if it is none."""
        try:
            return float(text)
        except ValueError:
            return np.nan


NOTATIONS = {".": Notation(".", ","), ",": Notation(",", "."), "old": OldNotation(".", ",")}


def numbers(texts: Sequence[str], notation: str) -> np.ndarray:
    """Return the numbers that texts are in a notation, [n] float64, NaN where they are none.

    >>> numbers(["1,5", "2", "x"], ",")
    array([1.5, 2. , nan])
    """
    joined = "\n".join(texts)
    if PLAIN.fullmatch(joined) and (notation != "," or "." not in joined):
        try:
            return np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:  # such as 1-2
            pass
    read = NOTATIONS[notation]
    return np.fromiter((read(text) for text in texts), np.float64, len(texts))


def clean(cells: np.ndarray, missing: frozenset[str]) -> np.ndarray:
    """Return stripped texts, None where a cell is missing.

    Args:
      cells: Texts [n] of a file.
      missing: Texts that stand for missing cells, in lower case, the empty text among them.
    """
    found: dict[str, str | None] = {}
    for text in set(cells):
        stripped = text.strip()
        found[text] = None if stripped.lower() in missing else stripped
    return np.array([found[text] for text in cells.tolist()], object)
