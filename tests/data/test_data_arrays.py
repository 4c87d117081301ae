import io

import numpy as np
import pytest
import tensorflow as tf

from probvae import InputError, data
from probvae.data import arrays
from probvae.data.arrays import Rows, chunks, gather, take

X = np.random.default_rng(0).normal(size=[20, 3, 2]).astype(np.float32)
INDICES = np.array([7, 7, 0, 19, 4])


def test_rows_are_the_arrays_rows():
    rows, copy = Rows(X, INDICES), X[INDICES]
    assert (len(rows), rows.shape, rows.ndim, rows.dtype) == (5, (5, 3, 2), 3, np.float32)
    assert rows.nbytes == copy.nbytes
    for key in (slice(1, 4), slice(None, 2), np.array([4, 0, 0]), np.array([], int), -1):
        np.testing.assert_array_equal(rows[key], copy[key])
    np.testing.assert_array_equal(np.asarray(rows), copy)
    np.testing.assert_array_equal(tf.constant(rows), copy)
    assert np.asarray(rows, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="always makes a copy"):
        rows.__array__(copy=False)


def test_take_reads_a_file_only_when_asked(tmp_path):
    np.save(tmp_path / "x.npy", X)
    on_file = np.load(tmp_path / "x.npy", mmap_mode="r")
    once = take(on_file, INDICES)
    twice = take(once, np.array([3, 1]))
    assert isinstance(twice, Rows) and twice.array is on_file
    np.testing.assert_array_equal(twice, X[[19, 7]])
    assert type(take(X, INDICES)) is np.ndarray and type(once[:2]) is np.ndarray


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_chunks_are_the_array_in_order(size, monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", size)
    for array in (X, Rows(X, INDICES)):
        parts = list(chunks(array))
        np.testing.assert_array_equal(np.concatenate(parts), array)
        assert len(parts) == {1: len(array), 50: -(-len(array) // 2), 10_000: 1}[size]


@pytest.mark.parametrize("in_memory", [0, 100, 10_000])
def test_what_is_gathered_is_what_was_given(in_memory, monkeypatch):
    monkeypatch.setattr(arrays, "IN_MEMORY", in_memory)
    parts = [X[:3], X[3:3], X[3:4], np.asfortranarray(X[4:])]
    gathered = gather(iter(parts))
    np.testing.assert_array_equal(gathered, X)
    assert gathered.dtype == X.dtype and isinstance(gathered, np.memmap) == (in_memory < X.nbytes)


def test_a_folder_for_temporary_files_that_cannot_be_used(monkeypatch):
    monkeypatch.setattr(arrays, "IN_MEMORY", 0)

    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays.tempfile, "TemporaryFile", lambda **options: Full())
    with pytest.raises(InputError, match=r"No space left on device.*TMPDIR"):
        gather([X])


# ---- arrays that may be something else -----------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 1, 28, 28), (20, 3, 8, 9)])
def test_channels_first_is_told(shape, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=r"looks like channels first: .*transpose\(0, 2, 3, 1\)"):
        data.load(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8).transpose(0, 2, 3, 1))
    assert data.load(tmp_path / "a.npy").event_shape == (*shape[2:], shape[1])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros([20, 30, 1]), "may be series .* --kind series or --kind image"),
        (np.full([20, 30, 4], 2.5), "Rescale it, or say --kind series"),
    ],
    ids=["one", "beyond"],
)
def test_series_are_offered(x, message, tmp_path):
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(InputError, match=message):
        data.load(tmp_path / "a.npy")
    assert data.load(tmp_path / "a.npy", kind="series").event_shape == x.shape[1:]


def test_x_val_is_the_validation_set(tmp_path):
    x, y = np.zeros([20, 3], np.float32), np.arange(20)
    np.savez(tmp_path / "a.npz", x_train=x, x_test=x[:4], x_val=x[:6], y_train=y, y_test=y[:4], y_val=y[:6])
    d = data.load(tmp_path / "a.npz")
    assert len(d.validation) == 6 and d.validation_labels.tolist() == list(range(6))
    np.savez(tmp_path / "a.npz", x_train=x, x_test=x[:4], x_val=x[:6], x_validation=x)
    with pytest.raises(InputError, match="holds x_val and x_validation: leave one out"):
        data.load(tmp_path / "a.npz")


def test_a_palette_of_greys_is_grey(tmp_path):
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 256, [4, 8, 8], dtype=np.uint8)
    for i, image in enumerate(grey):
        picture = Image.fromarray(image).convert("P")
        picture.putpalette([level for k in range(256) for level in (k, k, k)])
        picture.save(tmp_path / f"{i}.png")
    assert data.load(tmp_path).event_shape == (8, 8, 1)
    picture.putpalette([level for k in range(256) for level in (k, 0, 0)])
    picture.save(tmp_path / "0.png")
    assert data.load(tmp_path).event_shape == (8, 8, 3)


def test_a_name_that_is_no_utf8_is_refused(tmp_path):
    path = tmp_path / "tr\udcffees.npy"
    np.save(path, np.zeros([20, 3]))
    with pytest.raises(InputError, match=r"must be text in UTF-8; got .*rename") as caught:
        data.load(path)
    str(caught.value).encode()


def test_classes_of_other_folders_are_matched_by_name(tmp_path):
    from PIL import Image

    for part, names in (("a", "xyz"), ("b", "yz")):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(4):
                Image.fromarray(np.full([8, 8], ord(name), np.uint8)).save(
                    tmp_path / part / name / f"{i}.png"
                )
    schema = data.load(tmp_path / "a").schema
    other = data.load(tmp_path / "b", schema=schema)
    labels = np.concatenate([other.train_labels, other.test_labels])
    pixels = np.concatenate([other.train, other.test])[:, 0, 0, 0]
    assert schema.classes == ("x", "y", "z") and np.all(pixels == ord("x") + labels)
    (tmp_path / "b" / "y").rename(tmp_path / "b" / "w")
    with pytest.raises(InputError, match="b has the class 'w', which the model does not know; it knows x, y"):
        data.load(tmp_path / "b", schema=schema)
