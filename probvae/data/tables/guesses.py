"""Guesses of the kinds of columns from their cells."""

from probvae.data.tables.readings import Reading
from probvae.data.tables.surveys import Survey

FEW = 20  # integers are guessed to be categories if they have at most this many levels, each seen as often


def guess(survey: Survey, reading: Reading) -> str:
    """Guess the kind of a column. Counts are never guessed, as they look like any integers.

    Two levels are bernoulli, other text is categorical, integers of at most `FEW` levels that are each seen
    at least `FEW` times on average are categorical, and all other numbers and dates are normal.
    """
    if reading.type == "boolean":
        return "bernoulli"
    if reading.numbers is None:
        return "bernoulli" if survey.levels is not None and len(survey.levels) <= 2 else "categorical"
    levels = reading.numbers.distinct
    if levels is None or not reading.numbers.whole or reading.type == "date":
        return "normal"
    if len(levels) == 2 or levels <= {0.0, 1.0}:
        return "bernoulli"
    if len(levels) == 1:
        return "normal"
    return "categorical" if len(levels) <= FEW and survey.rows >= FEW * len(levels) else "normal"
