import numpy as np
import pytest
import tensorflow as tf
from statistics_helpers import ALPHA, mean_p_value

from probvae import InputError, data
from probvae.data import BINARIZATIONS, ImageData, prepare


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_digits_are_scikit_learns(digits):
    assert digits.train.shape == (1500, 28, 28, 1) and digits.test.shape == (297, 28, 28, 1)
    assert digits.train.dtype == np.uint8 and digits.levels == 255
    assert digits.train_labels[:10].tolist() == list(range(10))
    assert digits.train.max() == 255 and 20 < digits.train.mean() < 100


def test_real_mnist(mnist_path):
    mnist = data.load(str(mnist_path))
    assert mnist.train.shape == (60_000, 28, 28, 1) and mnist.test.shape == (10_000, 28, 28, 1)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    x = prepare(mnist).test
    np.testing.assert_array_equal(x, (mnist.test / 255.0 > 0.5))  # the tutorial's own formula


def test_fingerprint_tells_images_apart(digits):
    changed = digits.test.copy()
    changed[3, 4, 5] ^= 1
    prints = {d.fingerprint() for d in (digits, digits._replace(name="x"), digits._replace(test=changed))}
    assert len(prints) == 2


def test_threshold_is_the_tutorials():
    grey = np.uint8([0, 127, 128, 255]).reshape(1, 2, 2, 1)
    x = prepare(ImageData("grey", grey, grey, None, None, 255))
    assert x.test.ravel().tolist() == [0, 0, 1, 1]
    assert x.feed(tf.constant(x.train), (0, 1)).dtype == tf.float32


def test_static_is_drawn_once_and_dynamic_at_every_step():
    """Frequencies by z-test at `ALPHA`; thresholding would be caught."""
    grey = np.full([2000, 2, 2, 1], 64, np.uint8)
    images = ImageData("grey", grey, grey[:50], None, None, 255)
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
    prepared = prepare(ImageData("binary", x, x, None, None, 1), binarize=binarize)
    np.testing.assert_array_equal(prepared.test, x)
    np.testing.assert_array_equal(prepared.feed(tf.constant(prepared.train), (0, 1)), x)


def test_grey_levels_are_refused_for_bernoulli(digits):
    with pytest.raises(InputError, match=r"0 or 1 for the bernoulli .* from 0 to 1, .* choose threshold"):
        prepare(digits, binarize="none")


IMAGES = np.random.default_rng(0).integers(0, 256, [20, 6, 5])


@pytest.mark.parametrize(
    ("images", "levels"),
    [
        (IMAGES.astype(np.uint8), 255),
        (IMAGES, 255),
        (IMAGES[..., None].astype(np.int16), 255),
        ((IMAGES / 255).astype(np.float64), 1),
        (IMAGES > 127, 1),
        ((IMAGES > 127).astype(np.uint8), 1),
        (np.stack([IMAGES] * 3, axis=-1), 255),
    ],
)
def test_npy_of_every_kind(images, levels, tmp_path):
    np.save(tmp_path / "a.npy", images)
    loaded = data.load(str(tmp_path / "a.npy"), seed=1)
    assert loaded.levels == levels and len(loaded.train) == 18 and len(loaded.test) == 2
    both = np.concatenate([loaded.train, loaded.test]).astype(float) / levels
    expected = images.reshape(20, 6, 5, -1) / (images.max() if levels == 255 or images.dtype != float else 1)
    assert sorted(both.sum((1, 2, 3)).round(4)) == sorted(
        np.sum(expected * (images.max() / levels), (1, 2, 3)).round(4)
    )
    assert (loaded.train == data.load(str(tmp_path / "a.npy"), seed=1).train).all()


def test_npz_with_names_and_with_labels_for_one_array(tmp_path):
    x = IMAGES.astype(np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, x_test=x[:3], y_train=np.arange(20), y_test=np.arange(3))
    named = data.load(str(tmp_path / "a.npz"))
    assert named.test_labels.tolist() == [0, 1, 2] and named.name == "a.npz"
    np.savez(tmp_path / "b.npz", pictures=x, kinds=np.arange(20))
    split = data.load(str(tmp_path / "b.npz"), seed=3)
    np.testing.assert_array_equal(split.test[..., 0], x[split.test_labels])
    assert sorted([*split.test_labels, *split.train_labels]) == list(range(20))


BAD = {
    "text.npy": (b"hello", "cannot be read"),
    "vectors.npy": (np.zeros([4, 3]), "one array of images"),
    "one.npy": (np.zeros([1, 3, 3]), "two images or more"),
    "none.npy": (np.zeros([0, 3, 3]), "two images or more"),
    "thin.npy": (np.zeros([9, 3, 0]), r"shape is \[9, 3, 0\]|\[8, 3, 0\]"),
    "large.npy": (np.full([9, 3, 3], 3.5), "found float64 from 3.5 to 3.5. Rescale"),
    "negative.npy": (np.full([9, 3, 3], -1), "found int64 from -1 to -1"),
    "nan.npy": (np.full([9, 3, 3], np.nan), "72 values that are not finite, the first at"),
    "complex.npy": (np.zeros([9, 3, 3], complex), "must hold numbers; its type is complex128"),
    "words.npy": (np.full([9, 3, 3], "a"), "must hold numbers"),
    "pickled.npy": (np.full([9, 3, 3], None), "cannot be read"),
    "half.npz": ({"x_train": np.zeros([3, 2, 2])}, "no x_test"),
    "two.npz": ({"a": np.zeros([3, 2, 2]), "b": np.zeros([3, 2, 2])}, "one array of images"),
    "shapes.npz": ({"x_train": np.zeros([3, 2, 2]), "x_test": np.zeros([3, 2, 1])}, "one shape and range"),
    "labels.npz": (
        {"x_train": np.zeros([3, 2, 2]), "x_test": np.zeros([3, 2, 2]), "y_test": np.zeros(4, int)},
        "y_test of labels.npz must be 3 integers",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(name, tmp_path):
    content, message = BAD[name]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(InputError, match=message) as caught:
        data.load(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["mnist7", "absent.npz", "photo.jpg"])
def test_unknown_sources(source):
    with pytest.raises(InputError, match=r"npz or .npy"):
        data.load(source)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_data_that_cannot_be_had_names_the_ways_out(name, monkeypatch):
    import tf_keras

    def refuse():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(getattr(tf_keras.datasets, name), "load_data", refuse)
    with pytest.raises(InputError, match=rf"{name} is neither .* --data digits, .* --data PATH"):
        data.load(name)


def test_keras_data(monkeypatch):
    import tf_keras

    arrays = (IMAGES.astype(np.uint8), np.arange(20)), (IMAGES[:4].astype(np.uint8), np.arange(4))
    monkeypatch.setattr(tf_keras.datasets.mnist, "load_data", lambda: arrays)
    loaded = data.load("mnist")
    assert loaded.train.shape == (20, 6, 5, 1) and loaded.test_labels.tolist() == [0, 1, 2, 3]
