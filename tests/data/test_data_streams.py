import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from probvae import InputError
from probvae.data import arrays, loading
from probvae.data.streams import from_tf_dataset

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, [30, 6, 5, 1]).astype(np.uint8)
Y = np.arange(30)
Dataset = tf.data.Dataset


def joined(d):
    return np.concatenate([np.asarray(d.train), np.asarray(d.test)])


def of_several_sizes(dtype=tf.uint8):
    sizes = [(6, 5), (8, 8), (4, 9)] * 3

    def elements():
        for h, w in sizes:
            yield np.full([h, w, 3], 200)

    return Dataset.from_generator(elements, output_signature=tf.TensorSpec([None, None, 3], dtype))


@pytest.mark.parametrize("in_memory", [0, 2**20])
def test_pairs(in_memory, monkeypatch):
    monkeypatch.setattr(arrays, "IN_MEMORY", in_memory)
    monkeypatch.setattr("probvae.data.arrays.CHUNK_BYTES", 200)
    d = from_tf_dataset(Dataset.from_tensor_slices((X, Y)), name="mine", validation=0.5, seed=1)
    assert d.name == "mine" and (len(d.train), len(d.validation), len(d.test)) == (14, 13, 3)
    for part in ("train", "validation", "test"):
        labels = getattr(d, f"{part}_labels")
        np.testing.assert_array_equal(getattr(d, part), X[labels])


def test_batches_a_test_set_and_a_limit():
    whole = Dataset.from_tensor_slices(X)
    d = from_tf_dataset(whole.batch(7).repeat(), name="a", test=whole.batch(4), batched=True, limit=10)
    np.testing.assert_array_equal(d.train, X[:10])
    np.testing.assert_array_equal(d.test, X[:10])


@pytest.mark.parametrize(
    ("x", "kind", "shape"),
    [
        (np.ones([20, 3]), "auto", (3,)),
        (np.ones([20, 4, 3]), "auto", (4, 3, 1)),
        (np.ones([20, 4, 3]), "series", (4, 3)),
    ],
)
def test_kinds(x, kind, shape):
    assert from_tf_dataset(Dataset.from_tensor_slices(x), name="a", kind=kind).event_shape == shape


def test_images_of_several_sizes():
    d = from_tf_dataset(of_several_sizes(), name="a", image_size=4)
    assert joined(d).shape == (9, 4, 4, 3) and np.all(joined(d) == 200)
    with pytest.raises(InputError, match=r"one shape; got \[6, 5, 3\] and \[8, 8, 3\]: .*--image-size"):
        from_tf_dataset(of_several_sizes(), name="a")


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Dataset.from_tensor_slices(X[:0]), {}, "a holds no examples"),
        (Dataset.from_tensor_slices(X).repeat(), {}, "a repeats for ever: give a limit"),
        (Dataset.from_tensor_slices({"x": X}), {}, "must have elements x or"),
        (Dataset.from_tensor_slices((X, X, X)), {}, "must have elements x or"),
        (Dataset.from_tensor_slices(X).batch(2), {}, r"must be images .*\[15, 2, 6, 5, 1\]"),
        (Dataset.from_tensor_slices((X, Y / 2)), {}, "labels of a must be 30 integers"),
        (Dataset.from_tensor_slices(["a", "b"]), {}, "one array of images"),
        (Dataset.from_tensor_slices(X), {"color": "rgb"}, "color is for folders"),
        (Dataset.from_tensor_slices(X), {"kind": "video"}, "kind must be one of"),
    ],
)
def test_bad_datasets(dataset, options, message):
    with pytest.raises(InputError, match=message) as caught:
        from_tf_dataset(dataset, name="a", **options)
    assert "\n" not in str(caught.value)


# ---- TensorFlow Datasets -------------------------------------------------------------------------


class Feature:
    def __init__(self, shape, dtype, names=None):
        self.shape, self.dtype, self.names = shape, dtype, names


class Builder:
    """What `tfds.builder` returns, as far as it is used."""

    def __init__(self, splits, features, supervised_keys=None):
        self.elements = splits
        self.info = types.SimpleNamespace(
            splits=dict.fromkeys(splits), features=features, supervised_keys=supervised_keys
        )

    def download_and_prepare(self):
        pass

    def as_dataset(self, *, split, shuffle_files):
        assert shuffle_files is False
        return Dataset.from_tensor_slices(self.elements[split])


IMAGE, LABEL = Feature((6, 5, 1), np.uint8), Feature((), np.int64, ["odd", "even"])
BUILDERS = {
    "whole": Builder(
        {
            "train": {"image": X, "label": Y, "id": Y},
            "test": {"image": X[:4], "label": Y[:4], "id": Y[:4]},
            "validation": {"image": X[:3], "label": Y[:3], "id": Y[:3]},
        },
        {"id": LABEL, "image": IMAGE, "label": LABEL},
    ),
    "train_alone": Builder({"train": {"image": X, "label": Y}}, {"image": IMAGE, "label": LABEL}),
    "unlabelled": Builder({"train": {"image": X}}, {"image": IMAGE}),
    "vectors": Builder(
        {"train": {"x": X[:, 0, :, 0] / 9, "y": Y / 2}},
        {"x": Feature((5,), np.float64), "y": Feature((), np.float32)},
        ("x", "y"),
    ),
    "words": Builder({"train": {"text": ["a"]}}, {"text": Feature((), np.object_)}),
}


@pytest.fixture
def tfds(monkeypatch):
    def builder(name):
        if name not in BUILDERS:
            raise ValueError(f"Dataset {name} not found.\nAvailable datasets:\n - many")
        return BUILDERS[name]

    module = types.ModuleType("tensorflow_datasets")
    module.builder = builder
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


@pytest.mark.usefixtures("tfds")
def test_tfds():
    d = loading.load("tfds:whole")
    assert d.name == "tfds:whole" and d.label_names == ("odd", "even")
    for part, n in (("train", 30), ("test", 4), ("validation", 3)):
        np.testing.assert_array_equal(getattr(d, part), X[:n])
        np.testing.assert_array_equal(getattr(d, f"{part}_labels"), Y[:n])
    drawn = loading.load("tfds:train_alone", validation=0.5)
    assert (len(drawn.train), len(drawn.validation), len(drawn.test)) == (14, 13, 3)
    np.testing.assert_array_equal(drawn.test, X[drawn.test_labels])
    assert loading.load("tfds:unlabelled", image_size=3).event_shape == (3, 3, 1)
    vectors = loading.load("tfds:vectors")
    assert vectors.event_shape == (5,) and vectors.train_labels is None


@pytest.mark.usefixtures("tfds")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "tfds:nothing cannot be had: Dataset nothing not found"),
        ("words", "tfds:words must have a split 'train' and a feature 'image'.* features text"),
    ],
)
def test_bad_tfds(name, message):
    with pytest.raises(InputError, match=message) as caught:
        loading.load(f"tfds:{name}")
    assert "\n" not in str(caught.value)


def test_tfds_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"tfds:mnist needs .*pip install 'probvae\[tfds\]'"):
        loading.load("tfds:mnist")
