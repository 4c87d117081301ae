"""The one error that a user can cause and mend."""

LONGEST = 1000  # characters of a message, whatever a file made it quote


class InputError(ValueError):
    r"""Input that cannot be used: the message says what was expected, what came, and what to do.

    A message is one printable line, also where it quotes what a file holds.

    >>> print(InputError("There is no column 'a\n\x1b[2J'."))
    There is no column 'a \x1b[2J'.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Write white space as a space and control characters as escapes; leave out the middle of a long text."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 3 :]}"
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text
    )
