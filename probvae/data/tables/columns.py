"""Columns of a table: readings of their cells, their kinds, and errors in them."""

import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probvae.data.coding import CODED, LARGEST, NUMBERS, Column
from probvae.data.tables import cells
from probvae.data.tables.surveys import EXAMPLES, MAX_LEVELS, OLD, Numbers, Survey
from probvae.data.tables.table import WRITTEN, Source
from probvae.data.value_types import SECONDS
from probvae.errors import InputError

FEW = 20  # integers are guessed to be categories if they have at most this many levels, each seen as often
MAX_TEXT_LEVELS = 100  # levels of a text column that is not declared categorical, at most
SHOWN = 3  # cells that are no numbers in a message, at most
NEARLY = 0.9  # share of numbers in a text column that is warned of
IGNORE = "ignore"


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


# ---- types ---------------------------------------------------------------------------------------


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
        return Reading("text")
    if survey.form != WRITTEN:
        return Reading("integer" if survey.form == "integer" else "number", survey.numbers[survey.form])
    if survey.old:
        numbers = survey.numbers.get(OLD)
        kind = "text" if numbers is None else "integer" if numbers.whole else "number"
        return Reading(kind, numbers, OLD)
    return _written(survey, asked)


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


# ---- kinds ---------------------------------------------------------------------------------------


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


def split_kind(what: str, kind: str) -> tuple[str, str]:
    """Return the name of a kind and its number of levels, which may be empty.

    Raises:
      InputError: There is no such kind.
    """
    name, _, number = kind.partition(":")
    if name not in (*NUMBERS, *CODED) or (number and name != "categorical"):
        kinds = ", ".join((*NUMBERS, *CODED, "categorical:K", IGNORE))
        raise InputError(f"{what} must have a kind among {kinds}; got {kind!r}.")
    return name, number


def column(
    what: str, name: str, source: Source, survey: Survey, reading: Reading, asked: str | None
) -> Column:
    """Decide the kind of a column.

    Args:
      what: Name of the column and the data, for messages.
      name: Name of the column.
      source: The column as declared.
      survey: Summary of its cells.
      reading: Reading of these.
      asked: A key of `NUMBERS`, one of `CODED`, "categorical:K", or None to guess.

    Raises:
      MisfitError: The values do not fit the kind, or fit no kind.
      InputError: There is no such kind.
    """
    guessed = "categorical" if source.categories else guess(survey, reading)
    kind, number = split_kind(what, asked or guessed)
    if source.unusable:
        raise MisfitError(f"holds {source.unusable}; columns hold numbers, booleans, dates or text", IGNORE)
    if not survey.present:
        raise MisfitError("is empty", IGNORE)
    numbers = reading.numbers
    if numbers is not None and numbers.too_large is not None:
        row, value = numbers.too_large
        raise MisfitError(
            f"has values that are not finite, or beyond {LARGEST:g}, the first, {value:g}, in row {row:,} of "
            "its values",
            IGNORE,
            advice="mend them, empty their cells, or ",
        )
    about: dict[str, Any] = {
        "categories": source.categories,
        "ordered": source.ordered,
        "dtype": source.dtype,
        "unit": reading.unit,
    }
    if kind in CODED:
        levels = _levels(source, survey, reading, kind, number, asked is not None)
        size = "" if kind == "bernoulli" else f":{max(int(number or 0), len(levels))}"
        return Column(name, kind + size, reading.type, levels, **about)
    if reading.type in ("text", "boolean"):
        word = "text" if reading.type == "text" else "booleans"
        words = f"{word} ({reading.remark})" if reading.remark else word
        raise MisfitError(f"holds {words}, which cannot be {kind}", guessed, reading.option)
    _refuse_unfit(kind, guessed, reading)
    return Column(name, kind, reading.type, logarithm=NUMBERS[kind].logarithm and not survey.old, **about)


def _refuse_unfit(kind: str, guessed: str, reading: Reading) -> None:
    numbers = reading.numbers
    assert numbers is not None  # of columns of numbers
    if kind != "normal" and reading.type == "date":
        raise MisfitError(f"holds dates, which cannot be {kind}", guessed)
    support, ends = NUMBERS[kind].support, np.array([numbers.low, numbers.high])
    if not NUMBERS[kind].contains(ends).all() or (support.startswith("counts") and not numbers.whole):
        raise MisfitError(
            f"must hold {support} to be {kind}; found {numbers.low:g} to {numbers.high:g}"
            f"{'' if numbers.whole else ', not all of them whole'}",
            guessed,
        )


def _levels(
    source: Source, survey: Survey, reading: Reading, kind: str, number: str, asked: bool
) -> tuple[Any, ...]:
    """Return the levels of a column: 0 to K - 1 if they are among these already, else in sorted order."""
    if reading.type == "boolean":
        return (False, True)
    distinct = survey.levels if reading.numbers is None else reading.numbers.distinct
    most = MAX_LEVELS if asked or source.categories else MAX_TEXT_LEVELS
    if distinct is None or len(distinct) > most:
        what = "text" if reading.numbers is None else "numbers"
        why = f" ({reading.remark})" if reading.remark else ""
        raise MisfitError(
            f"holds {what} of more than {most:,} distinct values, too many for categories{why}",
            "" if reading.option else IGNORE,
            reading.option,
        )
    levels: list[Any] = sorted(source.categories or distinct)
    if number and (not number.isdecimal() or not len(levels) <= int(number) <= MAX_LEVELS):
        raise MisfitError(
            f"has {len(levels):,} distinct values, so its kind must be categorical:K with K from "
            f"{len(levels):,} to {MAX_LEVELS:,}; got {number!r}",
            "categorical",
        )
    if kind == "bernoulli" and len(levels) > 2:
        raise MisfitError(
            f"must have two distinct values to be bernoulli; it has {len(levels):,}", "categorical"
        )
    size = 2 if kind == "bernoulli" else max(int(number or 0), len(levels))
    if reading.numbers is None:
        further = range(len(levels), size) if number and not survey.old else ()
        return (*levels, *(f"(level {i})" for i in further))
    if reading.type == "date":
        return tuple(int(level) // SECONDS[reading.unit] for level in levels)
    if set(levels) <= set(range(size)):
        return tuple(range(size))
    if size > len(levels) and number and not survey.old:
        raise MisfitError(f"has {len(levels):,} levels; the others of {number} have no values", "categorical")
    return tuple(map(int, levels)) if reading.numbers.whole else tuple(levels)


# ---- values --------------------------------------------------------------------------------------


def values(column: np.ndarray, form: str, reading: Reading, kind: str) -> np.ndarray:
    """Return cells as an array that `Column.numbers` takes.

    Args:
      column: Cells [n] of a source.
      form: Form of the cells, as in `Source`.
      reading: Reading of the cells.
      kind: Type of the values of the column, a key of `TYPES`.
    """
    return _CONVERTERS[form](column, reading, kind)


def _from_written(column: np.ndarray, reading: Reading, kind: str) -> np.ndarray:
    if kind not in ("number", "integer"):
        return column
    missing = np.array([cell is None for cell in column.tolist()], bool)
    numbers = np.full(len(column), np.nan)
    numbers[~missing] = cells.numbers(column[~missing].tolist(), reading.notation)
    bad = np.isnan(numbers) & ~missing
    return np.where(bad, column, numbers.astype(object)) if bad.any() else numbers


def _from_integers(column: np.ndarray, reading: Reading, kind: str) -> np.ndarray:
    if kind != "text":
        return column
    return np.array([None if v != v else str(int(v)) for v in column.tolist()], object)


def _from_booleans(column: np.ndarray, reading: Reading, kind: str) -> np.ndarray:
    if kind in ("number", "integer"):
        return column
    return np.array([None if v != v else bool(v) for v in column.tolist()], object)


def _from_dates(column: np.ndarray, reading: Reading, kind: str) -> np.ndarray:
    dates = np.rint(np.where(np.isnan(column), 0, column) * 1e6).astype(np.int64).astype("M8[us]")
    dates[np.isnan(column)] = np.datetime64("NaT")
    return dates


_CONVERTERS: dict[str, Callable[[np.ndarray, Reading, str], np.ndarray]] = {
    WRITTEN: _from_written,
    "text": lambda column, reading, kind: column,
    "number": lambda column, reading, kind: column,
    "integer": _from_integers,
    "boolean": _from_booleans,
    "date": _from_dates,
}


# ---- messages ------------------------------------------------------------------------------------


def remark(what: str, name: str, reading: Reading) -> str:
    """Return what the user should know of a column as a sentence; empty if there is nothing."""
    if not reading.remark:
        return ""
    kind = f": {_kind_option(name, reading.kind)} reads numbers" if reading.kind else ""
    option = f": {reading.option} reads it otherwise" if reading.option else ""
    stays = "stays text, as " if reading.type == "text" else ""
    return f"{what} {stays}{reading.remark}{kind}{option}."


def refuse_misfits(name: str, misfits: dict[str, MisfitError], also: str = "") -> None:
    """Raise one `InputError` of all columns of a table that cannot be used, with the options that mend each.

    Args:
      name: Name of the table.
      misfits: Errors by the name of the column.
      also: Further option that the table needs, as the end of the sentence; or empty.
    """
    if not misfits:
        return
    kinds = {column: m.kind for column, m in misfits.items() if m.kind}
    options = [_kind_option(column, kind) for column, kind in kinds.items()]
    options += [m.option for m in misfits.values() if m.option]
    python = f" (kinds={kinds})" if kinds else ""
    if len(misfits) == 1:
        [(column, misfit)] = misfits.items()
        left = "leave it out by " if misfit.kind == IGNORE else "add "
        raise InputError(
            f"Column {column!r} of {name} {misfit.reason}: {misfit.advice}{left}{' '.join(options)}{python}"
            f"{also}."
        )
    reasons = "; ".join(f"{column!r} {misfit.reason}" for column, misfit in misfits.items())
    raise InputError(
        f"{len(misfits)} columns of {name} cannot be used: {reasons}: add {' '.join(options)}{python}{also}."
    )


def _kind_option(name: str, kind: str) -> str:
    """Return the option that gives a column a kind; a name that holds a comma stands in quotes."""
    quoted = '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name
    return f"--column-kinds {shlex.quote(f'{quoted}={kind}')}"
