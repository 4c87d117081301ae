"""Guesses of the kinds of columns from their cells."""

from typing import NamedTuple

from probvae.data.tables.readings import Reading
from probvae.data.tables.surveys import Survey
from probvae.data.tables.table import Source

FEW = 20  # integers are guessed to be categories if they have at most this many levels, each seen as often


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
    most `FEW` levels that are each seen at least `FEW` times on average are categorical, and all other
    numbers and dates are normal.
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
    if levels is None or not reading.numbers.whole:
        return _of_numbers(survey, reading)
    if len(levels) == 2 or levels <= {0.0, 1.0}:
        return Guess("bernoulli", "two levels")
    if len(levels) > 1 and len(levels) <= FEW and survey.rows >= FEW * len(levels):
        return Guess("categorical", "few whole numbers")
    return _of_numbers(survey, reading)


def _of_numbers(survey: Survey, reading: Reading) -> Guess:
    return Guess("normal", "numbers")
