"""Columns of a table: readings of their cells, their kinds, and errors in them."""

import dataclasses
import shlex
from collections.abc import Callable
from typing import Any

import numpy as np

from probvae.data import kinds
from probvae.data.coding import LARGEST, Column
from probvae.data.kinds import IGNORE, LEVELS, NUMBERS
from probvae.data.tables import cells
from probvae.data.tables.guesses import guess
from probvae.data.tables.levels import BELOW, levels_of
from probvae.data.tables.readings import MisfitError, Reading, read_as
from probvae.data.tables.surveys import Numbers, Survey
from probvae.data.tables.table import WRITTEN, Source
from probvae.data.value_types import SECONDS, UNITS
from probvae.errors import InputError

FLOAT32 = 2.0**-24  # relative resolution of x
GIVEN = "given"  # in place of the reason of a guess


# ---- kinds ---------------------------------------------------------------------------------------


def split_kind(what: str, kind: str) -> tuple[str, str]:
    """Return the name of a kind, and the words behind it: a number of levels, names of levels, or nothing.

    Raises:
      InputError: There is no such kind.
    """
    name, _, words = kind.partition(":")
    known = name in NUMBERS or name in LEVELS
    sized = name in LEVELS and LEVELS[name].sized
    if not known or (words and not sized) or (BELOW in words and not LEVELS[name].ordered):
        raise InputError(f"{what} must have a kind among {', '.join(kinds.names())}; got {kind!r}.")
    return name, words


def column(
    what: str, name: str, source: Source, survey: Survey, reading: Reading, asked: str | None
) -> tuple[Column, str]:
    """Decide the kind of a column; return the column, and the reason in words.

    Args:
      what: Name of the column and the data, for messages.
      name: Name of the column.
      source: The column as declared.
      survey: Summary of its cells.
      reading: Reading of these.
      asked: Kind, one of `kinds.names` or with levels as in "ordinal:low<high", or None to guess.

    Raises:
      MisfitError: The values do not fit the kind, or fit no kind.
      InputError: There is no such kind.
    """
    guessed, reason = guess(source, survey, reading)
    kind, number = split_kind(what, asked or guessed)
    reason = GIVEN if asked else reason
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
    if kind in LEVELS:
        levels = levels_of(source, survey, reading, kind, number, asked is not None)
        most = max(int(number) if number.isdecimal() else 0, len(levels))
        size = f":{most}" if LEVELS[kind].sized else ""
        return Column(name, kind + size, reading.type, levels, **about), reason
    if reading.type in ("text", "boolean"):
        word = "text" if reading.type == "text" else "booleans"
        words = f"{word} ({reading.remark})" if reading.remark else word
        raise MisfitError(f"holds {words}, which cannot be {kind}", guessed, reading.option)
    _refuse_unfit(kind, guessed, reading)
    if NUMBERS[kind].is_size and numbers is not None:
        _refuse_as_size(survey, numbers)
    logarithm = bool(NUMBERS[kind].of_logarithms) and not survey.old
    return Column(name, kind, reading.type, logarithm=logarithm, **about), reason


def _refuse_unfit(kind: str, guessed: str, reading: Reading) -> None:
    numbers = reading.numbers
    assert numbers is not None  # of columns of numbers
    facts = NUMBERS[kind]
    if reading.type == "date" and not (facts.standardized and not facts.of_logarithms):
        raise MisfitError(f"holds dates, which cannot be {kind}", guessed)
    ends = np.array([numbers.low, numbers.high])
    if not facts.contains(ends).all() or (facts.whole and not numbers.whole):
        raise MisfitError(
            f"must hold {facts.support} to be {kind}; found {numbers.low:g} to {numbers.high:g}"
            f"{', not all of them whole' if facts.whole and not numbers.whole else ''}",
            guessed,
        )


def _refuse_as_size(survey: Survey, numbers: Numbers) -> None:
    if survey.missing:
        raise MisfitError(
            f"is the size of the rows, and no row may lack it; {survey.missing:,} of its cells are empty, "
            f"the first in row {survey.first_missing:,}",
            "lognormal",
            advice="fill them in, leave these rows out, or ",
        )
    if numbers.low == numbers.high:
        raise MisfitError("is the size of the rows, and the same in all of them", IGNORE)


def label_column(what: str, name: str, survey: Survey) -> tuple[Column, Reading]:
    """Return the column of the labels, levels or integers that stand for themselves, and its reading.

    Raises:
      InputError: A cell is empty, or the values are neither.
    """
    reading = read_as(survey)
    if survey.missing:
        raise InputError(
            f"{what} cannot hold the labels: {survey.missing:,} of its cells are empty; fill them in, or "
            "leave these rows out."
        )
    if reading.type == "boolean":
        return Column(name, "bernoulli", "boolean", (False, True)), reading
    if reading.numbers is None:
        if not survey.levels:
            raise InputError(f"{what} cannot hold the labels: it has more than 1,000 distinct texts.")
        return Column(
            name, f"categorical:{len(survey.levels)}", "text", tuple(sorted(survey.levels))
        ), reading
    if not reading.numbers.whole or reading.type == "date" or reading.numbers.too_large:
        raise InputError(f"{what} must hold integers or text to be the labels; it holds other values.")
    return Column(name, "normal", "integer"), reading


def varying(column: Column, reading: Reading) -> Column:
    """Return a column with the range of the whole source, if the training set holds one number only."""
    numbers = reading.numbers
    if numbers is None or not column.is_constant:
        return column
    step = SECONDS.get(column.unit, 1)
    return dataclasses.replace(column, low=numbers.low / step, high=numbers.high / step)


def coarse_dates(name: str, columns: list[Column]) -> list[str]:
    """Describe the columns of dates that x, of float32, cannot hold to their unit."""
    remarks = []
    for c in columns:
        if c.type == "date" and not c.levels and c.low is not None and c.high is not None:
            step = 2 * FLOAT32 * max(abs(c.low - c.loc), abs(c.high - c.loc))
            if step > 1:
                remarks.append(f"Column {c.name!r} of {name} is held to {step:.0f} {UNITS[c.unit]}.")
    return remarks


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
