"""Data by name or by path: their checks, their splits, their binarization.

`load` reads; `prepare` turns examples into the values that a likelihood models. Each entry of `SOURCES` is
data by name, of `READERS` the reader of a kind of file, of `BINARIZATIONS` a way from grey levels to x.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from probvae.data.dataset import DataSet, Options
from probvae.data.folders import folder
from probvae.data.numpy_files import numpy_file
from probvae.data.schema import Schema
from probvae.data.sources import SOURCES
from probvae.data.splits import assemble
from probvae.data.streams import tfds_arrays
from probvae.data.tables import table_files
from probvae.data.tables.frames import is_frame
from probvae.errors import InputError

READERS: dict[str, Callable[[Path, Options], DataSet]] = {
    ".npz": numpy_file,
    ".npy": numpy_file,
    ".csv": table_files.text_file,
    ".tsv": table_files.text_file,
    ".parquet": table_files.parquet_file,
}
TFDS = "tfds:"


def load(
    source: Any,
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
    delimiter: str = "",
    decimal: str = "auto",
    na: Sequence[str] = (),
) -> DataSet:
    """Load data by name or path, or from a DataFrame.

    Args:
      source: A key of `SOURCES`; "tfds:NAME", any name that TensorFlow Datasets knows; the path of a file
        whose ending is a key of `READERS`; a folder of images; or a `pandas.DataFrame`. Of data that name no
        test set a tenth is held out.
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
      kinds: Kinds of the columns of a table by name: "normal", "poisson", "categorical", "ordinal",
        "ignore" and others of `probvae.data.kinds`, in place of what `probvae.data.tables.guesses` finds.
      schema: Schema of a model that the data are for: columns and classes are matched by name, and coded as
        in its training. None fits a schema to the training set.
      old_coding: Whether columns are coded as in runs of format 2.
      delimiter: Character between the cells of a .csv or .tsv file, or "tab"; empty for a guess.
      decimal: Decimal mark of a .csv or .tsv file, "." or ","; "auto" takes the comma where every number of a
        column has it.
      na: Texts that stand for missing cells of a .csv or .tsv file, in any case, besides the empty one; by
        default NA, N/A, nan, null and ?.

    Returns:
      `DataSet`.

    Raises:
      InputError: There is no such source, or it cannot be used.
    """
    options = Options(
        seed,
        kind,
        image_size,
        crop,
        color,
        missing,
        validation,
        label,
        kinds or {},
        schema,
        old_coding,
        delimiter,
        decimal,
        tuple(na),
    )
    data = read(source, options)
    for remark in data.remarks:
        warnings.warn(remark, stacklevel=2)
    return data


def read(source: Any, options: Options) -> DataSet:
    """Read data without warnings: remarks on them are in their `remarks` only.

    Args:
      source: As in `load`.
      options: The other arguments of `load`.
    """
    if is_frame(source):
        return table_files.frame(source, options)
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            "Data must be the name of a data set, a path or a DataFrame; got "
            f"{type(source).__name__}: save arrays by numpy.savez."
        )
    source = str(source)
    _refuse_undecodable("The name of the data", source)
    data = _read(source, options)
    for name in data.schema.classes:
        _refuse_undecodable(f"A class of {data.name}", name)
    return data


def _refuse_undecodable(what: str, name: str) -> None:
    """Refuse a name that is no text in UTF-8, as the files of a run could not hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise InputError(f"{what} must be text in UTF-8; got {shown!r}: rename the file or folder.") from None


def _read(source: str, options: Options) -> DataSet:
    if source in SOURCES:
        options.refuse(source, "folders of images", "color")
        return assemble(source, SOURCES[source](), options, levels=255)
    if source.startswith(TFDS):
        options.refuse(source, "folders of images", "color")
        arrays, label_names = tfds_arrays(source.removeprefix(TFDS), options)
        return assemble(source, arrays, options, label_names=label_names)
    path = Path(source).expanduser()
    if os.path.isdir(path):  # False for names that are too long
        return folder(path, options)
    if path.suffix.lower() not in READERS:
        *endings, last = READERS
        raise InputError(
            f"Data must be one of {', '.join(SOURCES)} or {TFDS}NAME, the path of an {', '.join(endings)} or "
            f"{last} file, or a folder of images; got {source!r}."
        )
    return READERS[path.suffix.lower()](path, options)
