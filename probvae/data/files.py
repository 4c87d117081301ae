"""NumPy files: .npy memory-mapped, .npz read member by member. Neither runs code from the file."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from probvae.data.arrays import CHUNK_BYTES, gather
from probvae.data.dataset import DataSet, Options
from probvae.data.splits import assemble
from probvae.errors import InputError

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def numpy_file(path: Path, options: Options) -> DataSet:
    """Read a .npz or .npy file.

    Args:
      path: of the file. An .npz names its arrays x_train and x_test (and x_validation; y_train,
        y_test, y_validation for labels), or holds one array of examples. An .npy file holds one array.
      options: what the arrays hold.

    Raises:
      InputError: a file that cannot be used.
    """
    options.refuse(path.name, "folders of images", "color")
    return assemble(path.name, read_arrays(path), options)


@contextmanager
def refusals(path: Path, what: str) -> Iterator[None]:
    """Turn all that can go wrong while a file is read into an `InputError` of one sentence."""
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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a NumPy file: of an .npy one `np.memmap`, named x.

    Raises:
      InputError: no such file, damaged, or with Python objects.
    """
    with refusals(path, "an .npz or .npy file"):
        with path.open("rb") as file:
            archive = file.read(4) == b"PK\x03\x04"
        if not archive:
            return {"x": _map(path)}
        with zipfile.ZipFile(path) as members:
            return {
                info.filename.removesuffix(".npy"): _read_member(members, info)
                for info in members.infolist()
                if info.filename.endswith(".npy")
            }


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return shape, whether in Fortran's order, type, and the number of bytes of the values."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"its format {version} is unknown")
    shape, fortran, dtype = HEADERS[version](file)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {list(shape)}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code")
    return shape, fortran, dtype, math.prod(shape) * dtype.itemsize


def _refuse_unless(expected: int, present: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if expected != present:
        raise ValueError(f"{dtype} of shape {list(shape)} take {expected:,} bytes, but {present:,} are there")


def _map(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        shape, fortran, dtype, size = _read_header(file)
        start = file.tell()
    _refuse_unless(size, path.stat().st_size - start, shape, dtype)
    if size == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset=start, shape=shape, order="F" if fortran else "C")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read a member of an .npz a part at a time, so that one larger than memory goes to a file."""
    with archive.open(info) as file:
        shape, fortran, dtype, size = _read_header(file)
        _refuse_unless(size, info.file_size - file.tell(), shape, dtype)
        stored = shape[::-1] if fortran else shape
        if size == 0:
            return np.empty(shape, dtype)
        rows = stored[0] if stored else 1
        step = max(1, CHUNK_BYTES // (size // rows))

        def parts() -> Iterator[np.ndarray]:
            for start in range(0, rows, step):
                count = min(step, rows - start)
                content = file.read(size // rows * count)
                yield np.frombuffer(content, dtype).reshape(count, *stored[1:])

        array = gather(parts()).reshape(stored)
        file.read(1)  # past the end, where zipfile compares the checksum
    return array.T if fortran else array
