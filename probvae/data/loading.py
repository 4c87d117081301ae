"""Data by name or by path: their checks, their splits, their binarization.

`load` reads; `prepare` turns examples into the values that a likelihood models. Each entry of `SOURCES` is
data by name, of `READERS` the reader of a kind of file, of `BINARIZATIONS` a way from grey levels to x.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from probvae.data.dataset import DataSet, Options
from probvae.data.folders import folder
from probvae.data.numpy_files import numpy_file
from probvae.data.schema import Schema
from probvae.data.sources import SOURCES
from probvae.data.splits import assemble
from probvae.data.streams import tfds_arrays
from probvae.data.tables.table_files import csv_file, parquet_file
from probvae.errors import InputError

READERS: dict[str, Callable[[Path, Options], DataSet]] = {
    ".npz": numpy_file,
    ".npy": numpy_file,
    ".csv": csv_file,
    ".parquet": parquet_file,
}
TFDS = "tfds:"


def load(
    source: str | Path,
    *,
    seed: int = 0,
    kind: str = "auto",
    image_size: int | tuple[int, ...] | None = None,
    crop: str = "center",
    color: str = "auto",
    missing: bool = False,
    validation: float = 0.0,
    label: str | None = None,
    kinds: Mapping[str, str] | None = None,
    schema: Schema | None = None,
    old_coding: bool = False,
) -> DataSet:
    """Load data by name or path.

    Args:
      source: A key of `SOURCES`; "tfds:NAME", any name that TensorFlow Datasets knows; the path of a file
        whose ending is a key of `READERS`; or a folder of images. Of data that name no test set a tenth is
        held out.
      seed: Seed of the draws of the test set and of the validation set.
      kind: Kind of the examples in arrays: "image" [N, H, W] or [N, H, W, C], integers from 0 to 255 or
        floats from 0 to 1; "series" [N, T] or [N, T, C]; "vector" [N, D]; "auto" takes two axes as vectors,
        all else as images.
      image_size: Size of the images: pixels, or (height, width).
      crop: Crop of images, a key of `CROPS`.
      color: Colours of folders of images: "rgb", "grey", or "auto", RGB if any image has colours.
      missing: Whether values may be missing: NaN, and empty cells of a table.
      validation: Fraction of the training set that is held out for validation.
      label: Column of a table that holds the labels.
      kinds: Kinds of the columns of a table by name: "normal", "poisson", "bernoulli", "categorical",
        "categorical:K" or "ignore", in place of what `probvae.data.tables.columns.guess` finds.
      schema: Schema of a model that the data are for: columns and classes are matched by name, and coded as
        in its training. None fits a schema to the training set.
      old_coding: Whether columns are coded as in runs of format 2.

    Returns:
      `DataSet`.

    Raises:
      InputError: There is no such source, or it cannot be used.
    """
    options = Options(
        seed, kind, image_size, crop, color, missing, validation, label, kinds or {}, schema, old_coding
    )
    source = str(source)
    if source in SOURCES:
        options.refuse(source, "folders of images", "color")
        return assemble(source, SOURCES[source](), options, levels=255)
    if source.startswith(TFDS):
        options.refuse(source, "folders of images", "color")
        arrays, label_names = tfds_arrays(source.removeprefix(TFDS), options)
        return assemble(source, arrays, options, label_names=label_names)
    path = Path(source).expanduser()
    if path.is_dir():
        return folder(path, options)
    if path.suffix.lower() not in READERS:
        *endings, last = READERS
        raise InputError(
            f"Data must be one of {', '.join(SOURCES)} or {TFDS}NAME, the path of an {', '.join(endings)} or "
            f"{last} file, or a folder of images; got {source!r}."
        )
    return READERS[path.suffix.lower()](path, options)
