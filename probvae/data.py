"""Images by name or by path, their checks, their binarization.

Each entry of `SOURCES` is a function `() -> ImageData`; each entry of `BINARIZATIONS` says how grey
levels become the values that the likelihood models.
"""

import contextlib
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from probvae.errors import InputError
from probvae.likelihoods import check_support
from probvae.seeds import Seed

HELD_OUT = 0.1  # of a file that names no test set


class ImageData(NamedTuple):
    """A training set and a test set of images.

    Attributes:
      name: what the user called it.
      train, test: [N, H, W, C], uint8 or float32; divided by `levels` they lie in [0, 1].
      train_labels, test_labels: [N], or None.
      levels: 255 for 8-bit images, 1 for values that lie in [0, 1] as they are.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    levels: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.train.shape[1:]

    def fingerprint(self) -> str:
        """SHA-256 over shapes and values of both sets: two runs with the same one saw the same images."""
        digest = hashlib.sha256()
        for images in (self.train, self.test):
            digest.update(f"{images.dtype}{images.shape}{self.levels}".encode())
            digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()


class Prepared(NamedTuple):
    """Images as the model sees them.

    Attributes:
      train: [N, H, W, C], what is held in memory and gathered by index.
      test: [M, H, W, C], fixed values of x.
      feed: (gathered batch, seed) -> x, float32: what each training step does to its batch.
    """

    train: np.ndarray
    test: np.ndarray
    feed: Callable[[tf.Tensor, Seed], tf.Tensor]


# ---- reading -------------------------------------------------------------------------------------


def digits() -> ImageData:
    """Load scikit-learn's 1,797 handwritten digits, scaled from 8x8 to 28x28.

    The first 1,500 train and the last 297, by other writers, test. Needs no network.

    References:
      Alpaydin & Kaynak 1998, UCI: Optical Recognition of Handwritten Digits.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    small = load_digits()
    large = [
        np.asarray(Image.fromarray(np.uint8(image * (255 / 16))).resize((28, 28), Image.Resampling.BICUBIC))
        for image in small.images
    ]
    images, labels = np.stack(large)[..., None], small.target.astype(np.int64)
    return ImageData("digits", images[:1500], images[1500:], labels[:1500], labels[1500:], 255)


def mnist() -> ImageData:
    """Load MNIST, 60,000 + 10,000 images of 28x28, from Keras's cache or its download."""
    return _from_keras("mnist")


def fashion_mnist() -> ImageData:
    """Load Fashion-MNIST, 60,000 + 10,000 images of 28x28, from Keras's cache or its download."""
    return _from_keras("fashion_mnist")


def _from_keras(name: str) -> ImageData:
    import tf_keras

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            (x, y), (x_test, y_test) = getattr(tf_keras.datasets, name).load_data()
    except Exception as error:  # Keras raises bare exceptions where a download fails
        raise InputError(
            f"{name} is neither in Keras's cache nor can it be downloaded ({error}): use --data "
            "digits, which needs no network, or --data PATH with an .npz file of x_train and x_test."
        ) from None
    return ImageData(name, x[..., None], x_test[..., None], y, y_test, 255)


SOURCES: dict[str, Callable[[], ImageData]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "digits": digits,
}


def load(source: str, *, seed: int = 0) -> ImageData:
    """Load images by name or path.

    Args:
      source: a key of `SOURCES`, or the path of an .npz or .npy file of images [N, H, W] or
        [N, H, W, C], integers from 0 to 255 or floats from 0 to 1. An .npz names its arrays x_train and
        x_test (y_train, y_test for labels), or holds one array of images, of which a tenth, chosen by
        `seed`, is held out.
      seed: of that choice.

    Returns:
      `ImageData`.

    Raises:
      InputError: no such source, or a file that cannot be used.
    """
    if source in SOURCES:
        return SOURCES[source]()
    path = Path(source)
    if path.suffix not in (".npz", ".npy"):
        names = ", ".join(SOURCES)
        raise InputError(f"Data must be one of {names} or the path of an .npz or .npy file; got {source!r}.")
    arrays = _read_arrays(path)
    if "x_train" not in arrays:
        arrays = _hold_out(path, arrays, seed)
    if "x_test" not in arrays:
        raise InputError(f"{path} holds x_train but no x_test: add the test images under that name.")
    train, levels = _as_images(f"x_train of {path.name}", arrays["x_train"])
    test, test_levels = _as_images(f"x_test of {path.name}", arrays["x_test"])
    if train.shape[1:] != test.shape[1:] or levels != test_levels:
        raise InputError(
            f"x_train and x_test of {path} must hold images of one shape and range; got "
            f"{list(train.shape[1:])} in [0, {levels}] and {list(test.shape[1:])} in [0, {test_levels}]."
        )
    labels = [
        _as_labels(f"{y} of {path.name}", arrays.get(y), len(x))
        for y, x in (("y_train", train), ("y_test", test))
    ]
    return ImageData(path.name, train, test, labels[0], labels[1], levels)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            return {"x": file} if isinstance(file, np.ndarray) else {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"There is no file {path}: give the path of an .npz or .npy file.") from None
    except MemoryError:
        raise InputError(f"{path} declares arrays larger than the memory.") from None
    except Exception as error:  # numpy, zipfile and zlib raise many kinds on damaged files
        raise InputError(f"{path} cannot be read as a NumPy file: {str(error).splitlines()[0]}.") from None


def _hold_out(path: Path, arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Split a file's one array of images, and its labels, into a training and a test set."""
    images = [name for name, array in arrays.items() if array.ndim >= 3]
    if len(images) != 1:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        raise InputError(
            f"{path} must hold x_train and x_test, or one array of images [N, H, W] or [N, H, W, C]; it "
            f"holds {shapes}."
        )
    x = arrays[images[0]]
    if len(x) < 2:
        raise InputError(f"{path} must hold two images or more; it holds {len(x)}.")
    order = np.random.default_rng(seed).permutation(len(x))
    cut = max(1, int(len(x) * HELD_OUT))
    split = {"x_train": x[order[cut:]], "x_test": x[order[:cut]]}
    labels = [a for a in arrays.values() if a.ndim == 1 and len(a) == len(x)]
    if len(labels) == 1:
        split |= {"y_train": labels[0][order[cut:]], "y_test": labels[0][order[:cut]]}
    return split


def _as_images(what: str, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Check an array of images; return it as [N, H, W, C] and its number of levels."""
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise InputError(f"{what} must be images [N, H, W] or [N, H, W, C]; its shape is {list(x.shape)}.")
    x = x[..., None] if x.ndim == 3 else x
    if x.dtype == bool:
        return x.astype(np.uint8), 1
    if not (np.issubdtype(x.dtype, np.integer) or np.issubdtype(x.dtype, np.floating)):
        raise InputError(f"{what} must hold numbers; its type is {x.dtype}.")
    bad = ~np.isfinite(x)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(f"{what} has {int(bad.sum()):,} values that are not finite, the first at {first}.")
    low, high = x.min(), x.max()
    if np.issubdtype(x.dtype, np.integer) and low >= 0 and high <= 255:
        return x.astype(np.uint8), 255 if high > 1 else 1
    if np.issubdtype(x.dtype, np.floating) and low >= 0 and high <= 1:
        return x.astype(np.float32), 1
    raise InputError(
        f"{what} must hold integers from 0 to 255 or floats from 0 to 1; found {x.dtype} from {low:g} to "
        f"{high:g}. Rescale it."
    )


def _as_labels(what: str, y: np.ndarray | None, size: int) -> np.ndarray | None:
    if y is None:
        return None
    if y.shape != (size,) or not np.issubdtype(y.dtype, np.integer):
        raise InputError(
            f"{what} must be {size} integers, one for each image; got {y.dtype} of shape {list(y.shape)}."
        )
    return y


# ---- binarization --------------------------------------------------------------------------------

Binarize = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Binarization(NamedTuple):
    """How grey levels in [0, 1] become x.

    Attributes:
      train, test: (grey levels, generator) -> values to keep.
      redraw: whether every training step draws 0 or 1 anew, with the grey level as probability.
    """

    train: Binarize
    test: Binarize
    redraw: bool


def _above_half(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (grey > 0.5).astype(np.uint8)


def _draw(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (rng.random(grey.shape, np.float32) < grey).astype(np.uint8)


def _keep(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return grey


# threshold: the tutorial's. static: drawn once (Larochelle & Murray 2011; Salakhutdinov & Murray
# 2008). dynamic: drawn at every step (Burda et al. 2016), the test set once. none: as it is.
BINARIZATIONS: dict[str, Binarization] = {
    "threshold": Binarization(_above_half, _above_half, redraw=False),
    "static": Binarization(_draw, _draw, redraw=False),
    "dynamic": Binarization(_keep, _draw, redraw=True),
    "none": Binarization(_keep, _keep, redraw=False),
}


def prepare(
    data: ImageData, *, binarize: str = "threshold", likelihood: str = "bernoulli", seed: int = 0
) -> Prepared:
    """Turn images into the values that a likelihood models.

    Args:
      data: the images.
      binarize: a key of `BINARIZATIONS`.
      likelihood: a key of `probvae.likelihoods.LIKELIHOODS`, whose support is checked.
      seed: of the draws that are made once.

    Returns:
      `Prepared`.

    Raises:
      InputError: the values lie outside the likelihood's support.
    """
    how = BINARIZATIONS[binarize]
    rng_train, rng_test = np.random.default_rng([seed, 1]).spawn(2)
    test = _in_chunks(how.test, data.test, data.levels, rng_test)
    advice = f"--binarize is {binarize!r}: choose threshold, static or dynamic."
    check_support(likelihood, test, what=f"Test images of {data.name}", advice=advice)
    if how.redraw:
        levels = float(data.levels)

        def redraw(batch: tf.Tensor, seed: Seed) -> tf.Tensor:
            uniform = tf.random.stateless_uniform(tf.shape(batch), seed)
            return tf.cast(uniform * levels < tf.cast(batch, tf.float32), tf.float32)

        return Prepared(data.train, test, redraw)
    train = _in_chunks(how.train, data.train, data.levels, rng_train)
    check_support(likelihood, train, what=f"Training images of {data.name}", advice=advice)
    return Prepared(train, test, lambda batch, seed: tf.cast(batch, tf.float32))


def _in_chunks(
    how: Binarize, images: np.ndarray, levels: int, rng: np.random.Generator, size: int = 5000
) -> np.ndarray:
    """Apply `how` to grey levels, a chunk at a time so that no large float copy is made."""
    chunks = range(0, len(images), size)
    return np.concatenate([how(images[i : i + size] / np.float32(levels), rng) for i in chunks])
