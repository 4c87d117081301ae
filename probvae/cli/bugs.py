"""What to say of an error that nobody foresaw: what a report of it should hold."""

import platform
import traceback
from pathlib import Path

from probvae.environment import versions
from probvae.errors import one_line

ROOT = Path(__file__).parents[1]


def advice(error: BaseException, command: str) -> str:
    """Return one line that says what to report: versions, the command, and where in probvae it happened.

    Args:
      error: that was raised.
      command: as it was typed.
    """
    known = versions()
    python = known.pop("python")
    facts = [*(f"{name} {version}" for name, version in known.items()), f"Python {python}"]
    facts.append(platform.platform())
    return one_line(
        "This is a bug of probvae and no mistake of yours. Please report it, as CONTRIBUTING.md says, with "
        f"the lines above and: {', '.join(facts)}; {place(error)}; the command: {command}"
    )


def place(error: BaseException) -> str:
    """Return the innermost place of probvae that an error came through."""
    frames = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    own = [f"{file.relative_to(ROOT.parent)}:{line}" for file, line in frames if ROOT in file.parents]
    return own[-1] if own else "outside of probvae"
