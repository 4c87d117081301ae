"""Reading of files from untrusted sources: errors of one sentence, and limits on what a file may declare."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probvae.errors import InputError

EXPANSION = 200  # largest ratio of the declared size to the size of the file, beyond `HARMLESS` bytes
HARMLESS = 2**30  # declared bytes that any file may have


@contextmanager
def refusals(path: Path, what: str) -> Iterator[None]:
    """Turn every error of reading a file into an `InputError` of one sentence.

    Only regular files are opened: a pipe would block for ever, and a device never ends.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # False for names that are too long
        raise InputError(f"{path} is no regular file: give the path of {what}.")
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is no file {path}: give the path of {what}.") from None
    except MemoryError:
        raise InputError(f"{path} declares arrays larger than the memory.") from None
    except Exception as error:  # numpy, zipfile, zlib, csv and pyarrow raise errors of many kinds
        reason = [*str(error).splitlines(), type(error).__name__][0].rstrip(".")
        raise InputError(f"{path} cannot be read as {what}: {reason}.") from None


def refuse_bomb(path: Path, size: int, advice: str) -> None:
    """Refuse a small file that declares enormous contents, before these fill the memory or the disk.

    `size`, the bytes that it declares for its values, may not exceed both `HARMLESS` and `EXPANSION` times
    the size of the file. `advice` ends the message with the remedy for an honest file.
    """
    present = path.stat().st_size
    if size > max(HARMLESS, EXPANSION * present):
        raise InputError(
            f"{path} has {present:,} bytes and declares values of {size:,} bytes, more than {EXPANSION} "
            f"times as many, as a file made to fill the memory does: {advice}."
        )


def read_text(path: Path, what: str, limit: int) -> str:
    """Read a text file in UTF-8 of at most `limit` bytes.

    Raises:
      InputError: The file is missing, not a regular file, not UTF-8, or longer than the limit.
    """
    with refusals(path, what):
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise InputError(f"{path} must have at most {limit:,} bytes to be {what}; it has more.")
        return content.decode("utf-8")
