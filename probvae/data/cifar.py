"""The archive of CIFAR-10: pickles, read without running any code that they name."""

import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

TRAIN, TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)
SHAPE = (3, 32, 32)
LARGEST = 2**26  # bytes of a batch, at most; the batches of CIFAR-10 have 31 million
NUMPY = {  # the functions that the pickle of an array needs; NumPy 2 renamed their modules
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Arrays(pickle.Unpickler):
    """Unpickles dicts, lists, texts, numbers and arrays; refuses all that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what an array needs.

        Raises:
          ValueError: The pickle names any other function.
        """
        if (module, name) not in NUMPY:
            raise ValueError(f"a batch of CIFAR-10 must hold arrays; it asks for {module}.{name}")
        return NUMPY[module, name]


def read_cifar10(archive: Path) -> dict[str, np.ndarray]:
    """Read x_train, y_train, x_test, y_test, uint8, from cifar-10-python.tar.gz.

    Raises:
      ValueError, KeyError, OSError, tarfile.TarError, pickle.UnpicklingError: The archive is another or
      damaged.
    """
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            name = Path(member.name).name  # a key, not a path to write to
            if member.isfile() and name in TRAIN + TEST and member.size <= LARGEST:
                batches[name] = _batch(members.extractfile(member))
    arrays = {}
    for part, names in (("train", TRAIN), ("test", TEST)):
        arrays[f"x_{part}"] = np.concatenate([batches[name][0] for name in names])
        arrays[f"y_{part}"] = np.concatenate([batches[name][1] for name in names])
    return arrays


def _batch(file: Any) -> tuple[np.ndarray, np.ndarray]:
    batch = _Arrays(file, encoding="bytes").load()
    x = np.asarray(batch[b"data"]).reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
    return x, np.array(batch[b"labels"], np.uint8)
