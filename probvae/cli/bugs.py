"""The message on an unexpected error: a request to report it, with all that the report needs."""

import platform
import traceback
from pathlib import Path

from probvae.environment import versions
from probvae.errors import one_line

ROOT = Path(__file__).parents[1]


def advice(error: BaseException, command: str) -> str:
    """Return one line that asks for a report of an error, with versions, place and the command as typed."""
    known = versions()
    python = known.pop("python")
    facts = [*(f"{name} {version}" for name, version in known.items()), f"Python {python}"]
    facts.append(platform.platform())
    return one_line(
        "This is a bug of probvae and no mistake of yours. Please report it, as CONTRIBUTING.md says, with "
        f"the lines above and: {', '.join(facts)}; {place(error)}; the command: {command}"
    )


def place(error: BaseException) -> str:
    """Return the file and line of the innermost frame of probvae in the traceback of an error."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{file.relative_to(ROOT.parent)}:{line}" for file, line in frames if ROOT in file.parents]
    return own[-1] if own else "outside of probvae"
