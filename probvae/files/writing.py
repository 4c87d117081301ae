"""Atomic writing of files, and the names of the two files of every saved model. No TensorFlow."""

import csv
import functools
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

CONFIG, SCHEMA, WEIGHTS = "config.json", "schema.json", "weights.npz"
TEMPORARY = ".tmp"  # ending of the names of incomplete files


def write_atomic(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file atomically: afterwards it is complete, or as it was before.

    Args:
      path: Path of the file to make or replace.
      write: Function that writes the content to the binary file that it is given.
    """
    _write_all({path: write})


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files, each atomically, after the contents of all of them are on the disk."""
    _write_all({path: functools.partial(_write_to, content) for path, content in contents.items()})


def _write_to(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def _write_all(files: Mapping[Path, Callable[[IO[bytes]], Any]]) -> None:
    temporaries: dict[str, Path] = {}
    try:
        for path, write in files.items():
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
            temporaries[temporary] = path
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
        for temporary, path in temporaries.items():
            os.replace(temporary, path)
        for folder in {path.parent for path in files}:
            _flush_folder(folder)
    except BaseException:
        for temporary in temporaries:
            Path(temporary).unlink(missing_ok=True)
        raise


def _flush_folder(folder: Path) -> None:
    """Flush a renaming to the disk, so that a power failure does not undo it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a file, atomically."""
    write_atomic(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write text to a file in UTF-8, atomically."""
    write_bytes(path, text.encode())


def csv_text(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV, in which floats keep all their digits and None is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
