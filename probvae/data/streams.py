"""Data sets of `tf.data` and of TensorFlow Datasets (`tfds`), read once into arrays or a temporary file."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.data.arrays import CHUNK_BYTES, gather
from probvae.data.dataset import DataSet, Options
from probvae.data.images import resize
from probvae.data.splits import assemble
from probvae.errors import InputError, with_fields

# Names of plain data sets: for NAMESPACE:NAME, TensorFlow Datasets would download and run community code.
PLAIN_NAME = re.compile(r"[A-Za-z]\w*(/[\w.+-]+)?(:(\d+|\*)(\.(\d+|\*))*)?", re.ASCII)

Pick = Callable[[Any], tuple[Any, Any]]  # element -> x, and y or None


def from_tf_dataset(
    dataset: tf.data.Dataset,
    *,
    name: str,
    test: tf.data.Dataset | None = None,
    limit: int | None = None,
    batched: bool = False,
    **options: Any,
) -> DataSet:
    """Read a `tf.data.Dataset` of x, or of pairs (x, y).

    Args:
      dataset: Data set of single examples: images [H, W] or [H, W, C], vectors [D], or series with
        kind="series"; y is an integer.
      name: Name of the data, for messages and results.
      test: Data set of test examples; None holds out a tenth of `dataset`.
      limit: Number of examples read from each data set, at most; needed if one repeats for ever.
      batched: Whether the elements are batches.
      **options: Options of `probvae.data.load`.

    Returns:
      `DataSet`.

    Raises:
      InputError: The elements cannot be used.

    >>> ones = tf.data.Dataset.from_tensor_slices(tf.ones([20, 3]))
    >>> from_tf_dataset(ones, name="ones").train.shape
    (18, 3)
    """
    chosen = with_fields(Options, options, "from_tf_dataset")
    chosen.refuse(name, "folders of images", "color")
    parts = {"": dataset} if test is None else {"_train": dataset, "_test": test}
    arrays: dict[str, np.ndarray] = {}
    for part, elements in parts.items():
        if batched:
            elements = elements.unbatch()
        arrays |= read_elements(elements, _pair(name, elements), name, chosen, limit=limit, part=part)
    return assemble(name, arrays, chosen)


def _pair(name: str, dataset: tf.data.Dataset) -> Pick:
    """Return the function that takes x and y from an element."""
    spec = dataset.element_spec
    if isinstance(spec, tf.TensorSpec):
        return lambda element: (element, None)
    if isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(s, tf.TensorSpec) for s in spec):
        return lambda element: element
    raise InputError(f"{name} must have elements x or (x, y), dense tensors; it has {spec}: map it to those.")


def read_elements(
    dataset: tf.data.Dataset,
    pick: Pick,
    name: str,
    options: Options,
    *,
    limit: int | None = None,
    part: str = "",
) -> dict[str, np.ndarray]:
    """Read single elements of a `tf.data.Dataset`.

    Args:
      dataset: Data set to read.
      pick: Function from an element to x, and y or None.
      name: Name of the data, for messages.
      options: `image_size`, the size for images of several sizes.
      limit: Number of elements, at most.
      part: Ending of the names x and y of the arrays.

    Raises:
      InputError: There are no elements, or they have no end or several shapes.
    """
    if limit is not None:
        dataset = dataset.take(limit)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError(f"{name} repeats for ever: give a limit, or leave out its repeat().")
    spec, _ = pick(dataset.element_spec)
    if not isinstance(spec, tf.TensorSpec):
        raise InputError(f"{name} must have dense tensors as examples; it has {spec}.")
    fixed = spec.shape.is_fully_defined()
    size = max(1, CHUNK_BYTES // max(1, spec.shape.num_elements() * spec.dtype.size)) if fixed else 1
    labels: list[np.ndarray] = []
    shape: tuple[int, ...] | None = None

    def parts() -> Iterator[np.ndarray]:
        nonlocal shape
        for element in dataset.batch(min(size, 1024)).as_numpy_iterator():
            x, y = pick(element)
            if not fixed and options.image_size is not None and x.dtype == np.uint8 and x.ndim == 4:
                x, _ = resize(x, 255, options.image_size, options.crop)
            shape = x.shape[1:] if shape is None else shape
            if x.shape[1:] != shape:
                raise InputError(
                    f"{name} must hold examples of one shape; got {list(shape)} and {list(x.shape[1:])}: "
                    "give the size to bring 8-bit images to, such as --image-size 64."
                )
            if y is not None:
                labels.append(y)
            yield x

    everything = parts()
    first = next(everything, None)
    if first is None:
        raise InputError(f"{name} holds no examples.")
    arrays = {f"x{part}": gather(itertools.chain([first], everything))}
    return arrays | ({f"y{part}": np.concatenate(labels)} if labels else {})


def tfds_arrays(name: str, options: Options) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read a data set of TensorFlow Datasets from its folder or its download.

    Args:
      name: Name for `tfds.load`: "mnist", "emnist/letters", "cifar10:3.0.2".
      options: `image_size`.

    Returns:
      Arrays x_train, y_train, x_test, ... of the splits, or x and y of the training set if there is no test
      set; and the names of the classes.

    Raises:
      InputError: The name is not plain; or tensorflow-datasets is not installed, has no such data or cannot
        get them; or the data hold no images.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise InputError(
            "tfds: takes NAME, NAME/CONFIG and NAME/CONFIG:VERSION of TensorFlow Datasets' own data; got "
            f"{name!r}, which could name code to download."
        )
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(f"tfds:{name} needs tensorflow-datasets: pip install 'probvae[tfds]'.") from None
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        splits = set(builder.info.splits)
    except Exception as error:  # tfds raises its own kinds, those of its downloads, and bare ones
        reason = [*str(error).splitlines(), type(error).__name__][0].rstrip(".")
        raise InputError(f"tfds:{name} cannot be had: {reason}.") from None
    features = builder.info.features
    keys = builder.info.supervised_keys or ()
    x_key = next((key for key in ("image", *keys[:1]) if key in features), None)
    if x_key is None or "train" not in splits:
        raise InputError(
            f"tfds:{name} must have a split 'train' and a feature 'image', or supervised keys; it has the "
            f"splits {', '.join(sorted(splits))} and the features {', '.join(features)}."
        )
    y_key = next((key for key in ("label", *keys[1:2]) if key in features and key != x_key), None)
    if y_key and not (features[y_key].shape == () and tf.as_dtype(features[y_key].dtype).is_integer):
        y_key = None
    arrays: dict[str, np.ndarray] = {}
    for part in ("train", "test", "validation") if "test" in splits else ("train",):
        if part in splits:
            elements = builder.as_dataset(split=part, shuffle_files=False)
            arrays |= read_elements(
                elements,
                lambda element: (element[x_key], element[y_key] if y_key else None),
                f"tfds:{name}",
                options,
                part=f"_{part}" if "test" in splits else "",
            )
    return arrays, tuple(getattr(features[y_key], "names", None) or ()) if y_key else ()
