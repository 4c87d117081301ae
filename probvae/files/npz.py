"""NumPy files from untrusted sources: .npy memory-mapped, .npz read member by member.

No code in a file is run, memory is allocated only after the size of the file has confirmed the declared size,
and the names of members serve as keys and never as paths. No TensorFlow here.
"""

import math
import struct
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from probvae.errors import InputError
from probvae.files.reading import refusals, refuse_bomb

CHUNK_BYTES = 2**23  # bytes read at a time
MAX_MEMBERS = 10_000  # largest number of arrays in an archive
MAX_HEADER = 10_000  # largest size of an array's header in bytes; NumPy's own limit
MAX_ITEM = 2**16  # largest size of a value in bytes; only texts need more than 32
# version of the format -> struct code of the header's length, and NumPy's reader of the header
HEADERS = {
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
}

Spec = tuple[tuple[int, ...], np.dtype]  # shape and type
Join = Callable[[Iterable[np.ndarray]], np.ndarray]


class Header(NamedTuple):
    """The header of an array: its shape, its type, whether it is in Fortran order, its size in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    size: int


def _concatenate(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))


def read_arrays(
    path: Path, what: str = "an .npz or .npy file", *, join: Join = _concatenate
) -> dict[str, np.ndarray]:
    """Read the arrays of a NumPy file by name; the array of an .npy file is memory-mapped and named x.

    Args:
      path: Path of the file.
      what: Name of the expected kind of file, for messages.
      join: Function that joins the parts of an array, which are read one at a time.

    Raises:
      InputError: The file is missing or damaged, holds Python objects, or declares arrays far larger than
        itself.
    """
    with refusals(path, what):
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
        if not archive:
            return {"x": _map(path)}
        with zipfile.ZipFile(path) as members:
            return {name: _read(members, info, join) for name, info in _members(path, members).items()}


def read_expected(path: Path, what: str, expected: Mapping[str, Spec]) -> dict[str, np.ndarray]:
    """Read an .npz file of arrays whose names, shapes and types are known in advance.

    The names are compared first, and each header before its values are read; all values must be finite.
    `what` names the expected kind of file in messages. Errors are `InputError`, as for `read_arrays`.
    """
    with refusals(path, what), zipfile.ZipFile(path) as archive:
        members = _members(path, archive)
        refuse_names(path, members, expected)
        return {key: _read_as(path, archive, members[key], key, spec) for key, spec in expected.items()}


def refuse_names(path: Path, names: Collection[str], expected: Collection[str], *, what: str = "it") -> None:
    """Refuse a file of weights with other names than a model's; the advice is to load `what` instead."""
    missing, unknown = sorted(set(expected) - set(names)), sorted(set(names) - set(expected))
    if missing or unknown:
        raise InputError(
            f"{path} does not fit the model: it lacks {missing[:3]} and has the unknown {unknown[:3]}. Load "
            f"{what} into a model of the architecture that was saved."
        )


def _read_as(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str, spec: Spec) -> np.ndarray:
    shape, dtype = spec

    def check(header: Header) -> None:
        if header.shape != shape:
            raise InputError(
                f"{path}: {key} must have shape {list(shape)} for this model; it has {list(header.shape)}."
            )
        if header.dtype.newbyteorder("=") != dtype:
            raise InputError(f"{path}: {key} must be of type {dtype} for this model; it is {header.dtype}.")

    array = _read(archive, info, _concatenate, check)
    finite = np.isfinite(array)
    if not finite.all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            f"{path}: {key} must be finite; it has {int(np.sum(~finite)):,} values that are not, the first, "
            f"{array[first]}, at {first}. Load weights that were saved before training failed."
        )
    return np.asarray(array, dtype)


# ---- archives ------------------------------------------------------------------------------------


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays of an archive by name, once the sizes that they declare are accepted."""
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(infos) > MAX_MEMBERS:
        raise ValueError(f"it holds {len(infos):,} arrays, more than {MAX_MEMBERS:,}")
    refuse_bomb(path, sum(info.file_size for info in infos), "save its arrays as .npy files, uncompressed")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if not _is_plain(name):
            raise ValueError(f"an array is named {name!r}, which is no plain name")
        if name in members:
            raise ValueError(f"two arrays are named {name!r}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} is compressed in another way than NumPy's")
        members[name] = info
    return members


def _is_plain(name: str) -> bool:
    """Return whether a name is printable and could not be a path out of a folder."""
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(name.split("/"))


def _read(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    join: Join,
    check: Callable[[Header], None] = lambda header: None,
) -> np.ndarray:
    """Read a member part by part, so that an array larger than memory can be joined in a file."""
    with archive.open(info) as file:
        header = _read_header(file)
        check(header)
        _refuse_unless(header, info.file_size - file.tell())
        shape = header.shape[::-1] if header.fortran else header.shape
        rows = shape[0] if shape else 1
        array = (
            join(_parts(file, header, rows)).reshape(shape) if header.size else np.empty(shape, header.dtype)
        )
        if file.read(1):  # reading past the end also makes zipfile compare the checksum
            raise ValueError(f"{info.filename!r} is longer than it declares")
    return array.T if header.fortran else array


def _parts(file: IO[bytes], header: Header, rows: int) -> Iterator[np.ndarray]:
    """Yield the rows of an array as [n, values in a row], about `CHUNK_BYTES` at a time."""
    row = header.size // rows
    step = max(1, CHUNK_BYTES // row)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        content = file.read(row * count)
        if len(content) != row * count:
            raise ValueError("it ends before its values do")
        yield np.frombuffer(content, header.dtype).reshape(count, -1)


# ---- arrays --------------------------------------------------------------------------------------


def _read_header(file: IO[bytes]) -> Header:
    """Read the header of an array; its length is checked before its content."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"its format {version} is unknown")
    code, read = HEADERS[version]
    length = file.read(struct.calcsize(code))
    if len(length) != struct.calcsize(code) or struct.unpack(code, length)[0] > MAX_HEADER:
        raise ValueError(f"its header is cut off or longer than {MAX_HEADER:,} bytes")
    text = file.read(struct.unpack(code, length)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of NumPy and Python about odd headers
        try:
            sizes, fortran, dtype = read(BytesIO(length + text))
        except Exception:  # Python's parser and NumPy raise many kinds of errors
            raise ValueError(f"its header is damaged: {text[:80]!r}") from None
    shape = tuple(int(n) for n in sizes)
    if min(shape, default=0) < 0 or max(shape, default=0) >= 2**63:
        raise ValueError(f"its shape is {list(shape)}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code")
    if dtype.kind == "V" or not 0 < dtype.itemsize <= MAX_ITEM:
        raise ValueError(f"it must hold numbers or short texts; its type is {str(dtype)[:80]}")
    return Header(shape, dtype, fortran, math.prod(shape) * dtype.itemsize)


def _refuse_unless(header: Header, present: int) -> None:
    if header.size != present:
        raise ValueError(
            f"{header.dtype} of shape {list(header.shape)} take {header.size:,} bytes, but {present:,} are "
            "there"
        )


def _map(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        header = _read_header(file)
        start = file.tell()
    _refuse_unless(header, path.stat().st_size - start)
    if header.size == 0:
        return np.empty(header.shape, header.dtype)
    shape = header.shape[::-1] if header.fortran else header.shape
    array = np.memmap(path, header.dtype, "r", offset=start, shape=shape)
    return array.T if header.fortran else array
