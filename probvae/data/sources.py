"""Data by name. Each entry of `SOURCES` is a function `() -> arrays` x_train, x_test, y_train, y_test."""

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from probvae.data.cifar import read_cifar10
from probvae.data.dataset import Options
from probvae.data.numpy_files import read_arrays
from probvae.data.streams import tfds_arrays
from probvae.errors import InputError

Arrays = dict[str, np.ndarray]

CIFAR10 = "cifar-10-batches-py"
CIFAR10_ORIGIN = f"https://www.cs.toronto.edu/~kriz/{CIFAR10.replace('batches-py', 'python')}.tar.gz"
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def digits() -> Arrays:
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
    x, y = np.stack(large), small.target.astype(np.int64)
    return {"x_train": x[:1500], "y_train": y[:1500], "x_test": x[1500:], "y_test": y[1500:]}


def mnist() -> Arrays:
    """Load MNIST, 60,000 + 10,000 images of 28x28, from Keras's cache or its download."""
    return _from_keras("mnist")


def fashion_mnist() -> Arrays:
    """Load Fashion-MNIST, 60,000 + 10,000 images of 28x28, from Keras's cache or its download."""
    return _from_keras("fashion_mnist")


def cifar10() -> Arrays:
    """Load CIFAR-10, 50,000 + 10,000 colour images of 32x32, from Keras's cache or its download.

    From the archive, whose hash Keras compares; Keras itself would unpickle whatever lies in the folder next
    to it.
    """
    import tf_keras

    with _keras("cifar10"):
        archive = tf_keras.utils.get_file(f"{CIFAR10}.tar.gz", CIFAR10_ORIGIN, file_hash=CIFAR10_SHA256)
        return read_cifar10(Path(archive))


def _from_keras(name: str) -> Arrays:
    import tf_keras

    with _keras(name):
        (x, y), (x_test, y_test) = getattr(tf_keras.datasets, name).load_data()
    return {"x_train": x, "y_train": y.reshape(-1), "x_test": x_test, "y_test": y_test.reshape(-1)}


@contextlib.contextmanager
def _keras(name: str) -> Iterator[None]:
    """Keep Keras from printing, and turn what it raises into an `InputError`."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:  # Keras raises bare exceptions where a download fails
        raise InputError(
            f"{name} is neither in Keras's cache nor can it be downloaded ({error}): use --data "
            "digits, which needs no network, or --data PATH with an .npz file of x_train and x_test."
        ) from None


def kmnist() -> Arrays:
    """Load Kuzushiji-MNIST, 60,000 + 10,000 images of 28x28.

    From its authors' four files kmnist-train-imgs.npz, ... in Keras's cache, ~/.keras/datasets, or
    through TensorFlow Datasets where that is installed.

    References:
      Clanuwat et al. 2018, Deep Learning for Classical Japanese Literature, arXiv:1812.01718.
    """
    folder = Path.home() / ".keras" / "datasets"
    files = {
        f"{key}_{part}": folder / f"kmnist-{part}-{what}.npz"
        for part in ("train", "test")
        for key, what in (("x", "imgs"), ("y", "labels"))
    }
    if all(path.is_file() for path in files.values()):
        contents = {key: read_arrays(path) for key, path in files.items()}
        for key, arrays in contents.items():
            if len(arrays) != 1:
                raise InputError(f"{files[key]} must hold one array; it holds {', '.join(arrays) or 'none'}.")
        return {key: next(iter(arrays.values())) for key, arrays in contents.items()}
    if importlib.util.find_spec("tensorflow_datasets") is not None:
        return tfds_arrays("kmnist", Options())[0]
    names = ", ".join(path.name for path in files.values())
    raise InputError(
        f"kmnist needs its files {names} in {folder} (from http://codh.rois.ac.jp/kmnist), or pip install "
        "'probvae[tfds]', which downloads it."
    )


SOURCES: dict[str, Callable[[], Arrays]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "kmnist": kmnist,
    "cifar10": cifar10,
    "digits": digits,
}
