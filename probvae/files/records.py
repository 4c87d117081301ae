"""Named tuples as JSON text, read strictly: every field must be there and have its type."""

import types
import typing
from typing import Any, TypeVar

from probvae.errors import InputError
from probvae.files import strict_json

Record = TypeVar("Record")
LEVELS = 8  # depth of objects and lists
MOST = 100_000  # items of a list


def to_text(record: Any) -> str:
    """Return a named tuple of numbers, texts, tuples and named tuples as JSON; NaN is null."""
    return strict_json.text(_plain(record), indent=None)


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def from_text(kind: type[Record], text: str, what: str) -> Record:
    """Return the named tuple of a kind that `to_text` has written; `what` names the text in messages.

    Raises:
      InputError: The text is no JSON, or has other fields or values.

    >>> class Point(typing.NamedTuple):
    ...     x: float
    >>> from_text(Point, to_text(Point(0.5)), "a point")
    Point(x=0.5)
    """
    value = strict_json.parse(text, what, levels=LEVELS)
    try:
        return _read(kind, value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is damaged ({error}): make it again.") from None


def _read(kind: Any, value: Any) -> Any:
    """Return a value of a kind; ValueError if it is of another one."""
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is types.UnionType:  # a kind, or None
        return None if value is None else _read(parts[0], value)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) > MOST:
            raise ValueError(f"a list is missing, or longer than {MOST:,}")
        return tuple(_read(parts[0], part) for part in value)
    if hasattr(kind, "_fields"):
        return _read_fields(kind, value)
    if kind is float:
        if value is None:
            return float("nan")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("a number is missing")
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"a value of the type {kind.__name__} is missing")
    return value


def _read_fields(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict) or set(value) != set(kind._fields):
        raise ValueError(f"{kind.__name__} has the fields {', '.join(kind._fields)}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _read(hints[name], part) for name, part in value.items()})
