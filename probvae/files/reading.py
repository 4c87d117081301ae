"""Reading files that nobody vouches for: errors of one sentence, and limits of what a file may become."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probvae.errors import InputError

EXPANSION = 200  # how many times its own size a file may declare, beyond `HARMLESS` bytes
HARMLESS = 2**30


@contextmanager
def refusals(path: Path, what: str) -> Iterator[None]:
    """Turn all that can go wrong while a file is read into an `InputError` of one sentence.

    What is no regular file is not opened: a pipe would wait for ever, a device never end.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file: give the path of {what}.")
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is no file {path}: give the path of {what}.") from None
    except MemoryError:
        raise InputError(f"{path} declares arrays larger than the memory.") from None
    except Exception as error:  # numpy, zipfile, zlib, csv and pyarrow raise many kinds on damaged files
        reason = [*str(error).splitlines(), type(error).__name__][0].rstrip(".")
        raise InputError(f"{path} cannot be read as {what}: {reason}.") from None


def refuse_bomb(path: Path, size: int, advice: str) -> None:
    """Refuse a small file that declares enormous contents, before they fill memory or disk.

    Args:
      path: of the file.
      size: bytes that its values take, as it says itself.
      advice: what to do with a file that is right.

    Raises:
      InputError: more than `HARMLESS` bytes, and more than `EXPANSION` times those of the file.
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
      InputError: no such file, no regular file, not UTF-8, or longer.
    """
    with refusals(path, what):
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise InputError(f"{path} must have at most {limit:,} bytes to be {what}; it has more.")
        return content.decode("utf-8")
