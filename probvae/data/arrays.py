"""Arrays that may be larger than memory: rows of a file by index, and values gathered part by part."""

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import numpy as np

from probvae.errors import InputError

CHUNK_BYTES = 2**23  # bytes read at a time
IN_MEMORY = 2**30  # bytes of gathered values beyond which they go to an unnamed temporary file
OF_TABLES = 2**26  # the same for tables, whose rows are read from there and never mapped into memory
NEAR = 2**12  # bytes between two rows, at most, that are read at once


class Rows:
    """Selected rows of an array, read on demand.

    A split of a memory-mapped file is held as indices of 8 bytes a row, 4 of fewer than 2^31 rows, in place
    of a copy. Slicing and indexing by an int array copy the selected rows into memory; `np.asarray` copies
    all of them.

    Attributes:
      array: Array [N, ...], usually an `np.memmap`.
      indices: Indices of the rows in their order, [M] int64 or int32.

    >>> rows = Rows(np.arange(10) ** 2, np.array([7, 2, 5]))
    >>> len(rows), rows[:2].tolist(), rows[np.array([2, 0])].tolist()
    (3, [49, 4], [25, 49])
    """

    def __init__(self, array: "np.ndarray | Stored", indices: np.ndarray) -> None:
        indices = np.asarray(indices)
        self.array = array
        self.indices = indices if indices.dtype == np.int32 else indices.astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Any) -> np.ndarray:
        return np.asarray(self.array[self.indices[key]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        _refuse_view(copy)
        return np.asarray(self[:], dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (M, ...)."""
        return (len(self.indices), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype:
        """The type of the values."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """The bytes that the rows would take in memory."""
        return len(self.indices) * int(np.prod(self.array.shape[1:], dtype=np.int64)) * self.dtype.itemsize


class Stored:
    """An array in a temporary file, of which rows are read on demand.

    Rows are read and not mapped: the pages of an `np.memmap` count as memory of the process once they are
    touched, so that random rows of a large one would soon count as all of it. Indexing is that of NumPy and
    copies into memory: a slice or indices read their rows only, `np.asarray` and other keys read all.

    The file has no name and vanishes with the array.

    Args:
      file: Open file that holds the values, and nothing else.
      dtype: Type of the values.
      shape: Shape [N, ...].

    >>> stored = Stored(tempfile.TemporaryFile(), np.int64, (0, 2))
    >>> len(stored), stored[:].shape
    (0, (0, 2))
    """

    def __init__(self, file: IO[bytes], dtype: Any, shape: tuple[int, ...]) -> None:
        self._file, self.dtype, self.shape = file, np.dtype(dtype), tuple(shape)
        self._row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self._between(start, max(start, stop)) if step == 1 else self[np.arange(start, stop, step)]
        if isinstance(key, int | np.integer):
            return self[np.array([key])][0]
        if isinstance(key, tuple) or key is None or key is Ellipsis:
            return np.asarray(self)[key]
        indices = np.asarray(key) if len(key) else np.empty(0, np.int64)
        if indices.dtype == bool:
            if indices.shape != self.shape[:1]:
                raise IndexError(f"expected a mask of shape {self.shape[:1]}; got {indices.shape}")
            indices = np.flatnonzero(indices)
        flat = np.where(indices < 0, indices + len(self), indices).ravel()
        if len(flat) and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"expected indices of {len(self)} rows; got {indices.min()} to {indices.max()}")
        return self._gathered(flat).reshape(*indices.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        _refuse_view(copy)
        return np.asarray(self[:], dtype)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the values would take in memory."""
        return len(self) * self._row

    def mapped(self) -> np.memmap:
        """Return the array as a read-only memory map, which outlives this object."""
        return np.memmap(self._file, self.dtype, "r", shape=self.shape)

    def _between(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from `start` to before `stop`."""
        out = np.empty([stop - start, *self.shape[1:]], self.dtype)
        view, done = out.reshape(-1).view(np.uint8), 0
        while done < len(view):  # a system reads 2 GiB at once, at most
            done += os.preadv(self._file.fileno(), [view[done:].data], start * self._row + done)
        return out

    def _gathered(self, indices: np.ndarray) -> np.ndarray:
        """Return rows [n, ...] by their indices, [n] from 0."""
        out = np.empty([len(indices), *self.shape[1:]], self.dtype)
        order = np.argsort(indices, kind="stable")
        most = max(1, CHUNK_BYTES // (NEAR + self._row))
        for start in range(0, len(order), most):
            places = order[start : start + most]
            out[places] = self._rising(indices[places])
        return out

    def _rising(self, rows: np.ndarray) -> np.ndarray:
        """Return rows by their indices in rising order; those that lie near each other are read at once."""
        ends = np.flatnonzero(np.diff(rows) * self._row > NEAR) + 1
        edges = np.concatenate([[0], ends, [len(rows)]])
        first, last = rows[edges[:-1]], rows[edges[1:] - 1]
        number, size = self._file.fileno(), self._row
        blocks = [
            os.pread(number, (j - i + 1) * size, i * size)
            for i, j in zip(first.tolist(), last.tolist(), strict=True)
        ]
        values = np.frombuffer(b"".join(blocks), self.dtype).reshape(-1, *self.shape[1:])
        starts = np.concatenate([[0], np.cumsum(last - first + 1)[:-1]])  # places of the blocks in `values`
        return values[rows + np.repeat(starts - first, np.diff(edges))]


def _refuse_view(copy: bool | None) -> None:
    if copy is False:
        raise ValueError("Rows are read from their array, which always makes a copy.")


Array = np.ndarray | Rows | Stored


def take(array: Array, indices: np.ndarray) -> Array:
    """Return rows of an array.

    Returns:
      `Rows` of what lies in a file of the user's or is memory-mapped; what `store` returns of a `Stored`
      array, so that its rows lie in their new order; a copy of what lies in memory.
    """
    if isinstance(array, Rows):
        return Rows(array.array, array.indices[indices])
    if isinstance(array, np.memmap):
        return Rows(array, indices)
    if isinstance(array, Stored):
        return store(chunks(Rows(array, indices)))
    return array[indices]


def permutation(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return `rng.permutation(size)`, as int32 of half the memory where this holds the numbers.

    >>> rngs = np.random.default_rng(0), np.random.default_rng(0)
    >>> np.array_equal(permutation(rngs[0], 1000), rngs[1].permutation(1000))
    True
    """
    order = np.arange(size, dtype=np.int32 if size < 2**31 else np.int64)
    rng.shuffle(order)
    return order


def chunks(array: Array) -> Iterator[np.ndarray]:
    """Yield an array [N, ...] in order, about `CHUNK_BYTES` of its rows at a time."""
    size = max(1, CHUNK_BYTES // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), size):
        yield np.asarray(array[start : start + size])


def gather(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Join arrays [n, ...] of one type and shape along their first axis.

    Args:
      parts: Arrays, at least one, taken one at a time.

    Returns:
      An array in memory; beyond `IN_MEMORY` bytes a read-only `np.memmap` of an unnamed file in the folder
      for temporary files (`TMPDIR`), which vanishes with the array.

    Raises:
      InputError: That folder is full or cannot be written.
    """
    joined = _joined(parts, IN_MEMORY)
    return joined.mapped() if isinstance(joined, Stored) else joined


def store(parts: Iterable[np.ndarray]) -> np.ndarray | Stored:
    """Join arrays as `gather` does; beyond `OF_TABLES` bytes the result is `Stored`."""
    return _joined(parts, OF_TABLES)


def _joined(parts: Iterable[np.ndarray], limit: int) -> np.ndarray | Stored:
    """Join arrays in memory, or beyond a limit in bytes in a file."""
    held: list[np.ndarray] = []
    file, shape, rows, size = None, (0,), 0, 0
    dtype = np.dtype(np.uint8)
    with ExitStack() as stack:
        for part in parts:
            shape, dtype = part.shape[1:], part.dtype
            rows, size = rows + len(part), size + part.nbytes
            held.append(part)
            with _writing(limit):
                if file is None and size > limit:
                    file = stack.enter_context(tempfile.TemporaryFile(prefix="probvae-"))
                while file is not None and held:
                    file.write(held.pop(0).tobytes())
        if file is None:
            return np.concatenate(held)
        with _writing(limit):
            file.flush()
        stack.pop_all()  # the array closes the file
        return Stored(file, dtype, (rows, *shape))


@contextmanager
def _writing(limit: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Data of more than {limit:,} bytes need room in {tempfile.gettempdir()}, which cannot be "
            f"written ({error.strerror}): free some, or set TMPDIR to another folder."
        ) from None
