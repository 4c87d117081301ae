"""The one error that a user can cause and mend."""


class InputError(ValueError):
    """Input that cannot be used: the message says what was expected, what came, and what to do."""
