"""NumPy files of examples."""

from pathlib import Path

import numpy as np

from probvae.data.arrays import gather
from probvae.data.dataset import DataSet, Options
from probvae.data.splits import assemble
from probvae.files import npz


def numpy_file(path: Path, options: Options) -> DataSet:
    """Read a .npz or .npy file.

    Args:
      path: Path of the file. An .npz names its arrays x_train and x_test (and x_validation; y_train,
        y_test, y_validation for labels), or holds one array of examples. An .npy file holds one array.
      options: Kind of the arrays and choice of the splits.

    Raises:
      InputError: The file cannot be used.
    """
    options.refuse(path.name, "folders of images", "color")
    return assemble(path.name, read_arrays(path), options)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a NumPy file as `npz.read_arrays`; large ones go to a temporary file."""
    return npz.read_arrays(path, join=gather)
