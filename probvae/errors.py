"""`InputError`, the error of every mistake that a user can correct, and the check of the names of options."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 1000  # largest number of characters in a message


class InputError(ValueError):
    r"""Input that cannot be used: the message says what was expected, what was given, and what to do.

    A message is one printable line, even where it quotes the content of a file.

    >>> print(InputError("There is no column 'a\n\x1b[2J'."))
    There is no column 'a \x1b[2J'.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Return text as one printable line, shortened: white space as spaces, control characters escaped."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 3 :]}"
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text
    )


def refuse_unknown(method: str, options: Iterable[str], names: Iterable[str]) -> None:
    """Refuse arguments that a method does not have."""
    names = list(names)
    for option in options:
        if option not in names:
            near = difflib.get_close_matches(option, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(names)}."
            raise InputError(f"{method} has no argument {option!r}: {hint}")


def with_fields(cls: Any, options: Mapping[str, Any], function: str) -> Any:
    """Return a dataclass made from the options of a function; options that it does not have are refused."""
    refuse_unknown(function, options, [field.name for field in dataclasses.fields(cls)])
    return cls(**options)
