"""Readings of the cells of a column: numbers in a notation, dates, booleans or texts."""

import shlex
from typing import NamedTuple

from probvae.data.kinds import LEVELS, NUMBERS
from probvae.data.tables.surveys import EXAMPLES, OLD, Numbers, Survey
from probvae.data.tables.table import WRITTEN
from probvae.data.value_types import parse_date

SHOWN = 3  # cells that are no numbers in a message, at most
NEARLY = 0.9  # share of numbers in a text column that is warned of


class MisfitError(Exception):
    """A column that cannot be used as it is.

    Args:
      reason: Reason, as the end of a sentence that begins with the column.
      kind: Kind that mends it, if one does.
      option: Other options that mend it, if there are any.
      advice: Words before the options.
    """

    def __init__(self, reason: str, kind: str = "", option: str = "", advice: str = "") -> None:
        super().__init__(reason)
        self.reason, self.kind, self.option, self.advice = reason, kind, option, advice


class Reading(NamedTuple):
    """The reading of the cells of a column.

    Attributes:
      type: Type of the values, a key of `probvae.data.value_types.TYPES`.
      numbers: Summary of the numbers; None for texts.
      notation: Notation of written numbers.
      unit: Unit of dates.
      remark: Reason why it stays text, or a note on its dates, for the user; else empty.
      option: Options that change it, in words.
      kind: Kind that changes it.
    """

    type: str
    numbers: Numbers | None = None
    notation: str = "."
    unit: str = ""
    remark: str = ""
    option: str = ""
    kind: str = ""


def read_as(survey: Survey, asked: str | None = None) -> Reading:
    """Decide what the cells of a column are.

    Args:
      survey: Summary of the cells.
      asked: Kind that the user names, or None; with a kind of numbers 007 and 1E5 are numbers.
    """
    if survey.dates is not None and survey.present:
        return _dates(survey, survey.dates)
    if survey.is_boolean and survey.present:
        return Reading("boolean", survey.numbers.get("boolean"))
    if survey.form == "text" or not survey.present:
        return Reading("text", remark="" if asked in LEVELS else _remark_on_dates(survey.others))
    if survey.form != WRITTEN:
        return Reading("integer" if survey.form == "integer" else "number", survey.numbers[survey.form])
    if survey.old:
        numbers = survey.numbers.get(OLD)
        kind = "text" if numbers is None else "integer" if numbers.whole else "number"
        return Reading(kind, numbers, OLD)
    return _written(survey, asked)


def _remark_on_dates(texts: list[str]) -> str:
    """Return the remark on typed texts that are dates; empty if they are not."""
    try:
        dates = [parse_date(text) for text in texts]
    except ValueError:
        return ""
    return f"cells like {texts[0]!r} are dates, which pandas.to_datetime reads" if dates else ""


def _dates(survey: Survey, dates: Numbers) -> Reading:
    remarks = []
    if survey.zoned:
        remarks.append("has times of a time zone, which are kept in UTC")
    if not dates.whole:
        remarks.append("has fractions of seconds, which are rounded where dates are written")
    return Reading("date", dates, unit="D" if dates.days else "s", remark=" and ".join(remarks))


def _written(survey: Survey, asked: str | None) -> Reading:
    """Read a column of a text file that is neither of dates nor of booleans."""
    if survey.underscore:
        return Reading("text", remark=f"it holds {survey.underscore}")
    readable = list(survey.numbers)
    if asked not in NUMBERS and (survey.leading_zero or (survey.has_exponents and readable)):
        example = survey.leading_zero or f"{min(survey.levels or ['1E5'])} and the like alone"
        return Reading("text", remark=f"it holds {example}", kind="normal")
    if survey.is_ambiguous:
        example = next(text for text in sorted(survey.levels or ["1,234"]) if "," in text)
        return Reading(
            "text",
            remark=f"{example} has either a decimal comma or a thousands separator",
            option="--decimal . (or --decimal ,)",
        )
    if readable:
        notation = readable[0]
        numbers = survey.numbers[notation]
        return Reading("integer" if numbers.integer else "number", numbers, notation)
    share = 1 - survey.num_others / survey.present
    if share < NEARLY and survey.is_dressed:
        words = f"cells like {survey.others[0]!r} are neither plain numbers nor dates like 2020-12-31"
        return Reading("text", remark=words)
    if share < NEARLY:
        return Reading("text")
    if survey.others:
        shown = ", ".join(repr(text[:40]) for text in survey.others[:SHOWN])
        words = ",".join(dict.fromkeys((*survey.missing_cells, *survey.others)))
        option = f"--na {shlex.quote(words)}" if len(survey.others) < EXAMPLES else ""
        return Reading("text", remark=f"{share:.1%} of its cells are numbers, but not {shown}", option=option)
    return Reading("text", remark="some of its numbers have a decimal point and some a comma")
