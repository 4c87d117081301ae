"""Levels of columns: which values they are, and in which order."""

from typing import Any

from probvae.data.kinds import IGNORE, LEVELS
from probvae.data.tables.readings import MisfitError, Reading
from probvae.data.tables.surveys import MAX_LEVELS, Survey
from probvae.data.tables.table import Source
from probvae.data.value_types import SECONDS, TYPES

MAX_TEXT_LEVELS = 100  # levels of a text column that is not declared categorical, at most
LISTED = 12  # levels that are listed as words of a kind, at most
BELOW = "<"  # between the levels of ordinal:low<medium<high


def levels_of(
    source: Source, survey: Survey, reading: Reading, kind: str, number: str, asked: bool
) -> tuple[Any, ...]:
    """Return the levels of a column: 0 to K - 1 if they are among these already, else in sorted order.

    Args:
      source: The column as declared; the order of an ordered categorical is that of its ordinal.
      survey: Summary of its cells.
      reading: Reading of these.
      kind: Kind, a key of `LEVELS`.
      number: Words behind the kind: the number of levels, names of levels with `BELOW` between, or empty.
      asked: Whether the user names the kind.

    Raises:
      MisfitError: The values do not fit the kind.
    """
    facts = LEVELS[kind]
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
    if facts.ordered and BELOW in number:
        return _named(number.split(BELOW), distinct, reading, kind)
    levels: list[Any] = sorted(source.categories or distinct)
    if number and (not number.isdecimal() or not len(levels) <= int(number) <= MAX_LEVELS):
        raise MisfitError(
            f"has {len(levels):,} distinct values, so its kind must be {kind}:K with K from "
            f"{len(levels):,} to {MAX_LEVELS:,}; got {number!r}",
            kind,
        )
    if facts.ordered and len(levels) < 2:
        raise MisfitError(f"must have two distinct values or more to be {kind}; it has one", IGNORE)
    if facts.ordered and source.ordered:
        return tuple(_as_whole(list(source.categories), reading))
    if facts.ordered and reading.numbers is None:
        raise MisfitError(
            f"holds text, whose order is not known: to be {kind} its levels must be named from the lowest to "
            "the highest, as here in the order of the alphabet, or come as an ordered categorical of pandas",
            f"{kind}:{BELOW.join(map(str, levels))}" if len(levels) <= LISTED else "categorical",
        )
    if len(levels) > facts.most:
        raise MisfitError(
            f"must have two distinct values to be {kind}; it has {len(levels):,}", "categorical"
        )
    size = max(int(number or 0), len(levels)) if facts.sized else facts.most
    if reading.numbers is None:
        further = range(len(levels), size) if number and not survey.old else ()
        return (*levels, *(f"(level {i})" for i in further))
    if reading.type == "date":
        return tuple(_in_units(level, reading) for level in levels)
    if set(levels) <= set(range(size)):
        return tuple(range(size))
    if size > len(levels) and number and not survey.old:
        raise MisfitError(f"has {len(levels):,} levels; the others of {number} have no values", kind)
    return tuple(_as_whole(levels, reading))


def _as_whole(levels: list[Any], reading: Reading) -> list[Any]:
    return [*map(int, levels)] if reading.numbers is not None and reading.numbers.whole else levels


def _in_units(date: float, reading: Reading) -> int:
    return int(date) // SECONDS[reading.unit]


def _named(names: list[str], distinct: set[Any], reading: Reading, kind: str) -> tuple[Any, ...]:
    """Return the levels that the user names in their order."""
    read = TYPES[reading.type].read
    try:
        levels = _as_whole([read(name.strip(), reading.unit) for name in names], reading)
    except ValueError:
        raise MisfitError(f"holds no text, but the levels {', '.join(names)} are named", kind) from None
    if len(set(levels)) < len(levels):
        raise MisfitError(f"must have distinct levels; got {', '.join(names)}", "categorical")
    own = {_in_units(value, reading) for value in distinct} if reading.type == "date" else distinct
    if others := sorted(own - set(levels)):
        raise MisfitError(
            f"holds {others[0]!r}, which is not among the levels {', '.join(names)}: name it in its place",
            f"{kind}:{BELOW.join([*names, *map(str, others[:LISTED])])}",
        )
    return tuple(levels)
