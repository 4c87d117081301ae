"""Guesses of the kinds of columns from their cells."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from probvae.data.kinds import NUMBERS
from probvae.data.tables.readings import Reading
from probvae.data.tables.samples import Shape, shape_of
from probvae.data.tables.surveys import Survey
from probvae.data.tables.table import Source

FEW = 20  # integers are guessed to be categories if they have at most this many levels, each seen as often
SURE = 4  # standard errors by which a shape must differ from that of a normal distribution
SKEWED = 0.25  # skew of numbers whose logarithms are modelled, at least
TAILS, TAILED = 0.005, 10  # share and number of numbers in the tails of a heavy-tailed column, at least

SPIKE = 0.12  # the same share, at most; more numbers that lie far from the others, or are equal, are a spike


class Guess(NamedTuple):
    """A guess of the kind of a column.

    Attributes:
      kind: Kind, a key of `NUMBERS` or `LEVELS`.
      reason: Reason in words, for the user.
    """

    kind: str
    reason: str


def guess(source: Source, survey: Survey, reading: Reading) -> Guess:
    """Guess the kind of a column.

    Two levels are bernoulli, an ordered categorical is ordinal, other text is categorical, integers of at
    most `FEW` levels that are each seen at least `FEW` times on average are categorical, and dates are
    normal. The shape of a sample decides about all other numbers; in runs of format 2 they are normal.
    """
    if source.categories:
        is_ordinal = source.ordered and len(source.categories) > 1 and not survey.old
        return Guess("ordinal", "ordered") if is_ordinal else Guess("categorical", "declared")
    if reading.type == "boolean":
        return Guess("bernoulli", "true or false")
    if reading.numbers is None:
        few = survey.levels is not None and len(survey.levels) <= 2
        return Guess("bernoulli", "two levels") if few else Guess("categorical", "text")
    levels = reading.numbers.distinct
    if reading.type == "date":
        return Guess("normal", "dates")
    if levels is not None and reading.numbers.whole:
        if len(levels) == 2 or levels <= {0.0, 1.0}:
            return Guess("bernoulli", "two levels")
        if 1 < len(levels) <= FEW and survey.rows >= FEW * len(levels):
            return Guess("categorical", "few whole numbers")
    if survey.old:
        return Guess("normal", "numbers")
    return _of_numbers(reading)


def _of_numbers(reading: Reading) -> Guess:
    """Guess the kind of numbers from the shape of a sample; they are normal if no rule fits.

    The reason says if one number is very frequent, for which only levels have a probability of its own.
    """
    assert reading.numbers is not None
    numbers = reading.numbers.sample.numbers
    shape = shape_of(numbers)
    guesses = (rule(reading, numbers, shape) for rule in RULES)
    own = next((guess for guess in guesses if guess is not None), Guess("normal", "numbers"))
    distinct, counts = np.unique(numbers, return_counts=True)
    if NUMBERS[own.kind].whole or counts.max(initial=0) <= max(TAILED, SPIKE * shape.size):
        return own
    often = f"{counts.max() / shape.size:.0%} are {distinct[counts.argmax()]:g}"
    return own._replace(reason=f"{own.reason}; {often}")


def _counts(reading: Reading, numbers: np.ndarray, shape: Shape) -> Guess | None:
    """Guess whole numbers from 0 on that are skewed to the right, and do not pile up at their largest."""
    assert reading.numbers is not None
    at_most = np.sum(numbers == reading.numbers.high)
    if not reading.numbers.whole or reading.numbers.low != 0 or at_most > max(2, 0.01 * shape.size):
        return None
    sure = max(0.5, SURE * np.sqrt(6 / shape.size))  # the standard error of the skewness of a normal
    if not shape.skewness >= sure or not shape.mean**2 <= 4 * shape.variance:
        return None
    if shape.variance <= 1.2 * shape.mean:
        return Guess("poisson", f"counts, variance {shape.variance / shape.mean:.2g} of the mean")
    dispersion = shape.mean**2 / (shape.variance - shape.mean)
    expected, zeros = (1 + shape.mean / dispersion) ** -dispersion, np.mean(numbers == 0)
    if zeros > expected + max(0.05, SURE * np.sqrt(expected * (1 - expected) / shape.size)):
        words = f"counts, {zeros:.0%} zeros where a negative binomial has {expected:.0%}"
        return Guess("zero_inflated_negative_binomial", words)
    return Guess("negative_binomial", f"counts, variance {shape.variance / shape.mean:.2g} times the mean")


def _positives(reading: Reading, numbers: np.ndarray, shape: Shape) -> Guess | None:
    """Guess positive numbers that are skewed to the right, and their logarithms half as much or less."""
    assert reading.numbers is not None
    # 1.07 / sqrt(n) is the standard error of the skew of a normal distribution.
    if not reading.numbers.low > 0 or not shape.skew >= max(SKEWED, SURE * 1.07 / np.sqrt(shape.size)):
        return None
    logarithms = shape_of(np.log(numbers))
    if not abs(logarithms.skew) <= shape.skew / 2:
        return None
    if words := _tails(logarithms):
        return Guess("log_student_t", f"positive, skewed, {words} of the logarithm")
    return Guess("lognormal", "positive, skewed")


def _heavy_tails(reading: Reading, numbers: np.ndarray, shape: Shape) -> Guess | None:
    """Guess numbers with heavy tails on both sides."""
    words = _tails(shape)
    return Guess("student_t", words) if words else None


def _tails(shape: Shape) -> str:
    """Describe tails that a normal distribution does not have; empty if there are none."""
    far = shape.low_tail + shape.high_tail
    if not max(TAILED, TAILS * shape.size) <= far <= SPIKE * shape.size:
        return ""
    if 5 * min(shape.low_tail, shape.high_tail) < far:
        return ""
    return f"{far / shape.size:.1%} in the far tails"


RULES: tuple[Callable[[Reading, np.ndarray, Shape], Guess | None], ...] = (_counts, _positives, _heavy_tails)
