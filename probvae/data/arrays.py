"""Arrays that may be larger than memory: rows of a file by index, and values gathered part by part."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from probvae.errors import InputError

CHUNK_BYTES = 2**23  # bytes read at a time
IN_MEMORY = 2**30  # bytes of gathered values beyond which they go to an unnamed temporary file


class Rows:
    """Selected rows of an array, read on demand.

    A split of a memory-mapped file is held as indices of 8 bytes a row in place of a copy. Slicing and
    indexing by an int array copy the selected rows into memory; `np.asarray` copies all of them.

    Attributes:
      array: Array [N, ...], usually an `np.memmap`.
      indices: Indices of the rows in their order, [M] int.

    >>> rows = Rows(np.arange(10) ** 2, np.array([7, 2, 5]))
    >>> len(rows), rows[:2].tolist(), rows[np.array([2, 0])].tolist()
    (3, [49, 4], [25, 49])
    """

    def __init__(self, array: np.ndarray, indices: np.ndarray) -> None:
        self.array, self.indices = array, np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Any) -> np.ndarray:
        return np.asarray(self.array[self.indices[key]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Rows are read from their array, which always makes a copy.")
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


Array = np.ndarray | Rows


def take(array: Array, indices: np.ndarray) -> Array:
    """Return rows of an array: `Rows` of what lies in a file, a copy of what lies in memory."""
    if isinstance(array, Rows):
        return Rows(array.array, array.indices[indices])
    if isinstance(array, np.memmap):
        return Rows(array, indices)
    return array[indices]


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
    held: list[np.ndarray] = []
    file, shape, rows, size = None, (0,), 0, 0
    dtype = np.dtype(np.uint8)
    with ExitStack() as stack:
        for part in parts:
            shape, dtype = part.shape[1:], part.dtype
            rows, size = rows + len(part), size + part.nbytes
            held.append(part)
            with _writing():
                if file is None and size > IN_MEMORY:
                    file = stack.enter_context(tempfile.TemporaryFile(prefix="probvae-"))
                while file is not None and held:
                    file.write(held.pop(0).tobytes())
        if file is None:
            return np.concatenate(held)
        with _writing():
            file.flush()
        return np.memmap(file, dtype, "r", shape=(rows, *shape))  # the map outlives the closed file


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Data of more than {IN_MEMORY:,} bytes need room in {tempfile.gettempdir()}, which cannot be "
            f"written ({error.strerror}): free some, or set TMPDIR to another folder."
        ) from None
