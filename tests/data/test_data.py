import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from statistics_helpers import ALPHA, mean_p_value

from probvae import InputError
from probvae.data import arrays, loading
from probvae.data.arrays import Rows
from probvae.data.binarization import BINARIZATIONS, prepare
from probvae.data.dataset import DataSet


@pytest.fixture(scope="module")
def digits():
    return loading.load("digits")


def test_digits_are_scikit_learns(digits):
    assert digits.train.shape == (1500, 28, 28, 1) and digits.test.shape == (297, 28, 28, 1)
    assert digits.train.dtype == np.uint8 and digits.levels == 255
    assert digits.train_labels[:10].tolist() == list(range(10))
    assert digits.train.max() == 255 and 20 < digits.train.mean() < 100
    assert digits.event_shape == (28, 28, 1)
    assert digits.validation is None and digits.columns == () and not digits.missing


def test_real_mnist(mnist_path):
    mnist = loading.load(str(mnist_path))
    assert mnist.train.shape == (60_000, 28, 28, 1) and mnist.test.shape == (10_000, 28, 28, 1)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    x = prepare(mnist).test
    np.testing.assert_array_equal(x, (mnist.test / 255.0 > 0.5))  # the tutorial's own formula


def test_fingerprint_tells_images_apart(digits):
    def change(**fields):
        return dataclasses.replace(digits, **fields).fingerprint()

    changed = digits.test.copy()
    changed[3, 4, 5] ^= 1
    assert digits.fingerprint() == change(name="x")
    prints = [digits.fingerprint(), change(test=changed), change(validation=changed), change(levels=1)]
    prints += [
        change(schema=dataclasses.replace(digits.schema, classes=("a",))),
        change(train=digits.test, test=digits.train),
    ]
    assert len(set(prints)) == len(prints)


def test_fingerprint_does_not_depend_on_the_chunks(digits, tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", digits.train[:50])
    in_file = loading.load(str(tmp_path / "a.npy"))
    whole = digits.fingerprint(), in_file.fingerprint()
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 3000)
    assert whole == (digits.fingerprint(), in_file.fingerprint())
    other = loading.load(str(tmp_path / "a.npy"), seed=1)
    assert other.fingerprint() != in_file.fingerprint()


# ---- binarization --------------------------------------------------------------------------------


def test_threshold_is_the_tutorials():
    grey = np.uint8([0, 127, 128, 255]).reshape(1, 2, 2, 1)
    x = prepare(DataSet("grey", grey, grey, None, None, 255))
    assert x.test.ravel().tolist() == [0, 0, 1, 1]
    assert x.feed(tf.constant(x.train), (0, 1)).dtype == tf.float32


def test_static_is_drawn_once_and_dynamic_at_every_step():
    """Frequencies by z-test at `ALPHA`; thresholding would be caught."""
    grey = np.full([2000, 2, 2, 1], 64, np.uint8)
    images = DataSet("grey", grey, grey[:50], None, None, 255)
    static, again = (prepare(images, binarize="static", seed=1) for _ in range(2))
    np.testing.assert_array_equal(static.train, again.train)
    assert not np.array_equal(static.train, prepare(images, binarize="static", seed=2).train)
    assert not np.array_equal(static.train[:50], static.test)
    dynamic = prepare(images, binarize="dynamic", seed=1)
    first, second, repeated = (dynamic.feed(tf.constant(dynamic.train), (0, s)).numpy() for s in (1, 2, 1))
    np.testing.assert_array_equal(first, repeated)
    assert not np.array_equal(first, second)
    for x in (static.train, first):
        assert set(np.unique(x)) == {0, 1}
        assert mean_p_value(x.reshape(-1), 64 / 255) > ALPHA
        assert mean_p_value(x.reshape(-1), 0.0) < ALPHA


@pytest.mark.parametrize("binarize", BINARIZATIONS)
def test_binary_images_pass_unchanged(binarize):
    x = np.random.default_rng(0).integers(0, 2, [10, 3, 3, 1]).astype(np.uint8)
    images = DataSet("binary", x, x, None, None, 1, validation=x[:4])
    prepared = prepare(images, binarize=binarize)
    np.testing.assert_array_equal(prepared.test, x)
    np.testing.assert_array_equal(prepared.validation, x[:4])
    np.testing.assert_array_equal(prepared.feed(tf.constant(prepared.train), (0, 1)), x)


@pytest.mark.parametrize("binarize", BINARIZATIONS)
def test_missing_values_stay_missing(binarize):
    x = np.random.default_rng(0).integers(0, 2, [10, 3, 3, 1]).astype(np.float32)
    x[:, 1, 1] = np.nan
    prepared = prepare(DataSet("holes", x, x, None, None, 1, missing=True), binarize=binarize)
    np.testing.assert_array_equal(prepared.test, x)
    np.testing.assert_array_equal(prepared.feed(tf.constant(prepared.train), (0, 1)), x)


@pytest.mark.parametrize("binarize", BINARIZATIONS)
def test_chunks_do_not_change_what_is_prepared(binarize, digits, monkeypatch):
    images = dataclasses.replace(digits, train=digits.train[:70], test=digits.test[:31])
    likelihood = "normal" if binarize == "none" else "bernoulli"
    whole = prepare(images, binarize=binarize, likelihood=likelihood)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 784 * 9)
    cut = prepare(images, binarize=binarize, likelihood=likelihood)
    np.testing.assert_array_equal(whole.test, cut.test)
    np.testing.assert_array_equal(whole.train, cut.train)


def test_grey_levels_are_kept_as_they_are_and_scaled_at_every_step(digits):
    prepared = prepare(digits, binarize="none", likelihood="normal")
    assert prepared.train is digits.train and prepared.test.dtype == np.float32
    np.testing.assert_array_equal(prepared.test, digits.test / np.float32(255))
    x = prepared.feed(tf.constant(prepared.train[:9]), (0, 1)).numpy()
    np.testing.assert_array_equal(x, digits.train[:9] / np.float32(255))


@pytest.mark.parametrize("part", ["test", "train"])
def test_grey_levels_are_refused_for_bernoulli(part, digits):
    binary = np.zeros([2, 28, 28, 1], np.uint8)
    images = digits if part == "test" else dataclasses.replace(digits, test=binary)
    with pytest.raises(InputError, match=r"0 or 1 for the bernoulli .* from 0 to 1, .* choose threshold"):
        prepare(images, binarize="none")


def test_vectors_and_series_are_not_binarized():
    x = np.ones([5, 3], np.float32)
    vectors = DataSet("v", x, x, None, None, 1)
    with pytest.raises(InputError, match=r"Only images .* shape \[3\]: set --binarize to none"):
        prepare(vectors)
    assert prepare(vectors, binarize="none").train is x


# ---- larger than memory --------------------------------------------------------------------------


@pytest.mark.parametrize("binarize", BINARIZATIONS)
def test_a_file_streams_all_the_way(binarize, tmp_path, monkeypatch):
    """With next to no memory for values, the results are those of the array in memory."""
    x = np.random.default_rng(0).integers(0, 256, [40, 6, 5]).astype(np.uint8)
    np.save(tmp_path / "a.npy", x)
    options = {"seed": 1, "validation": 0.2}
    likelihood = "normal" if binarize == "none" else "bernoulli"
    whole = prepare(
        loading.load(str(tmp_path / "a.npy"), **options), binarize=binarize, likelihood=likelihood
    )
    monkeypatch.setattr(arrays, "IN_MEMORY", 50)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 100)
    loaded = loading.load(str(tmp_path / "a.npy"), **options)
    assert isinstance(loaded.train, Rows) and isinstance(loaded.train.array, np.memmap)
    prepared = prepare(loaded, binarize=binarize, likelihood=likelihood)
    assert (prepared.train is loaded.train) == (binarize in ("dynamic", "none"))
    for part in ("train", "test", "validation"):
        np.testing.assert_array_equal(getattr(prepared, part), getattr(whole, part))
    assert isinstance(prepared.test, np.memmap)
    batch = prepared.train[np.array([3, 0, 7])]
    assert type(batch) is np.ndarray and prepared.feed(tf.constant(batch), (0, 1)).shape == (3, 6, 5, 1)


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["mnist7", "absent.npz", "photo.jpg", "table.xls"])
def test_unknown_sources(source):
    with pytest.raises(InputError, match=r"\.npz.*\.npy"):
        loading.load(source)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_data_that_cannot_be_had_names_the_ways_out(name, monkeypatch):
    import tf_keras

    def refuse(*arguments, **options):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(getattr(tf_keras.datasets, name), "load_data", refuse)
    monkeypatch.setattr(tf_keras.utils, "get_file", refuse)
    with pytest.raises(InputError, match=rf"{name} is neither .* --data digits, .* --data PATH"):
        loading.load(name)


def test_keras_data(monkeypatch):
    import tf_keras

    x = np.random.default_rng(0).integers(0, 2, [20, 6, 5]).astype(np.uint8)
    y = np.arange(20)
    monkeypatch.setattr(tf_keras.datasets.mnist, "load_data", lambda: ((x, y), (x[:4], y[:4])))
    loaded = loading.load("mnist", validation=0.5)
    assert loaded.train.shape == (10, 6, 5, 1)
    assert loaded.test_labels.tolist() == [0, 1, 2, 3] and loaded.levels == 255
    assert sorted([*loaded.train_labels, *loaded.validation_labels]) == list(range(20))


def test_kmnist_from_its_authors_files(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"kmnist needs .*kmnist-train-imgs.npz.*datasets.*probvae\[tfds\]"):
        loading.load("kmnist")
    folder = tmp_path / ".keras" / "datasets"
    folder.mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, [9, 28, 28]).astype(np.uint8)
    for part, n in (("train", 9), ("test", 4)):
        np.savez_compressed(folder / f"kmnist-{part}-imgs.npz", x[:n])
        np.savez_compressed(folder / f"kmnist-{part}-labels.npz", np.arange(n).astype(np.uint8))
    loaded = loading.load("kmnist")
    np.testing.assert_array_equal(loaded.train[..., 0], x)
    assert loaded.test_labels.tolist() == [0, 1, 2, 3]


# ---- options -------------------------------------------------------------------------------------


def test_named_images_are_resized():
    loaded = loading.load("digits", image_size=(14, 16))
    assert loaded.event_shape == (14, 16, 1) and loaded.levels == 255


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "video"}, "kind must be one of auto, image, series, vector; got 'video'"),
        ({"color": "cmyk"}, "color must be one of"),
        ({"color": "rgb"}, "color is for folders of images; digits is none"),
        ({"crop": "left", "image_size": 9}, "crop must be one of center, none, pad; got 'left'"),
        ({"image_size": 0}, "image_size must be a number of pixels from 1 to 4,096"),
        ({"image_size": (3, 4, 5)}, r"image_size must be .* got \(3, 4, 5\)"),
        ({"validation": 1.0}, "validation must be a fraction"),
        ({"validation": -0.1}, "validation must be a fraction"),
        ({"label": "y"}, "label is for tables .* digits is none"),
        ({"kinds": {"y": "normal"}}, "kinds is for tables"),
        ({"kind": "vector"}, r"x_train of digits must be vectors \[N, D\]; its shape is \[1500, 28, 28\]"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message) as caught:
        loading.load("digits", **options)
    assert "\n" not in str(caught.value)
