"""Checks and creation of output folders. No TensorFlow."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from probvae.errors import InputError
from probvae.files.writing import CONFIG


def path_of(name: str, value: Any) -> Path:
    """Return the path of a folder or a file that a user names.

    Args:
      name: Name of the argument, for the message.
      value: Path, a str or an `os.PathLike`.

    Raises:
      InputError: The value is something else, or empty.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path:
        got = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
        raise InputError(f"{name} must be a path; got {got}.")
    return Path(path)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system on an output folder into `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be used: {error.strerror}.") from None


def _why_foreign(names: set[str]) -> str:
    return "is a run folder" if CONFIG in names else ""


def refuse_folder_in_use(
    folder: Path, *, overwrite: bool, why_foreign: Callable[[set[str]], str] = _why_foreign
) -> None:
    """Refuse an output folder that holds files, unless they are results that `overwrite` lets be replaced.

    `why_foreign` is a function of the names in the folder that says why they may not be replaced in any case,
    or returns an empty text; by default, run folders are not replaced.
    """
    if not isinstance(overwrite, bool):
        raise InputError(f"overwrite must be True or False; got {overwrite!r}.")
    with usable(folder):
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not names:
        return
    if reason := why_foreign(names):
        raise InputError(f"{folder} {reason}: choose another --output.")
    if not overwrite:
        raise InputError(f"{folder} is in use: add --overwrite, or choose another --output.")


def clear_folder(folder: Path, patterns: Sequence[str]) -> None:
    """Make an output folder, or remove the files of earlier results from it."""
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
        for path in [path for pattern in patterns for path in folder.glob(pattern)]:
            path.unlink()
