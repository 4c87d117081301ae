"""`InputError`, the error of every mistake that a user can correct."""

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
