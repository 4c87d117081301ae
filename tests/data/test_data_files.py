import io
import struct
import zipfile

import numpy as np
import pytest

from probvae import InputError, data
from probvae.data import arrays
from probvae.data.arrays import Rows
from probvae.data.numpy_files import read_arrays

IMAGES = np.random.default_rng(0).integers(0, 256, [20, 6, 5])


@pytest.mark.parametrize(
    ("images", "levels"),
    [
        (IMAGES.astype(np.uint8), 255),
        (IMAGES, 255),
        (IMAGES[..., None].astype(np.int16), 255),
        ((IMAGES / 255).astype(np.float64), 1),
        ((IMAGES / 255).astype(">f4"), 1),
        (np.asfortranarray(IMAGES.astype(np.uint8)), 255),
        (IMAGES > 127, 1),
        ((IMAGES > 127).astype(np.uint8), 1),
        (np.stack([IMAGES] * 3, axis=-1), 255),
    ],
)
def test_npy_of_every_type(images, levels, tmp_path):
    np.save(tmp_path / "a.npy", images)
    loaded = data.load(str(tmp_path / "a.npy"), seed=1)
    assert loaded.levels == levels and len(loaded.train) == 18 and len(loaded.test) == 2
    assert loaded.train.dtype == (np.float32 if images.dtype.kind == "f" else np.uint8)
    both = np.concatenate([loaded.train, loaded.test]).astype(float)
    expected = images.reshape(20, 6, 5, -1).astype(float)
    by_row = [np.unique(a.reshape(20, -1).round(5), axis=0) for a in (both, expected)]
    np.testing.assert_allclose(by_row[0], by_row[1], atol=1e-5)
    again = data.load(str(tmp_path / "a.npy"), seed=1)
    np.testing.assert_array_equal(loaded.train, again.train)
    assert not np.array_equal(loaded.test, data.load(str(tmp_path / "a.npy"), seed=2).test)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_npy_of_the_right_type_is_not_copied(dtype, tmp_path):
    np.save(tmp_path / "a.npy", (IMAGES > 127).astype(dtype))
    loaded = data.load(str(tmp_path / "a.npy"), validation=0.2)
    parts = (loaded.train, loaded.test, loaded.validation)
    assert all(isinstance(part, Rows) and isinstance(part.array, np.memmap) for part in parts)
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(20))


def test_npz_with_names_and_with_labels_for_one_array(tmp_path):
    x = IMAGES.astype(np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, x_test=x[:3], y_train=np.arange(20), y_test=np.arange(3))
    named = data.load(str(tmp_path / "a.npz"))
    assert named.test_labels.tolist() == [0, 1, 2] and named.name == "a.npz"
    np.savez_compressed(tmp_path / "b.npz", pictures=x, kinds=np.arange(20))
    split = data.load(str(tmp_path / "b.npz"), seed=3)
    np.testing.assert_array_equal(split.test[..., 0], x[split.test_labels])
    assert sorted([*split.test_labels, *split.train_labels]) == list(range(20))


def test_npz_reads_as_numpy_does(tmp_path, monkeypatch):
    everything = {
        "c": np.arange(60.0).reshape(5, 4, 3),
        "fortran": np.asfortranarray(np.arange(12).reshape(4, 3)),
        "scalar": np.float32(3),
        "empty": np.zeros([0, 4]),
        "text": np.array(["a", "bc"]),
        "big_endian": np.arange(5).astype(">i4"),
    }
    np.savez_compressed(tmp_path / "a.npz", **everything)
    for _ in range(2):
        found = read_arrays(tmp_path / "a.npz")
        assert set(found) == set(everything)
        for name, array in everything.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype.kind == array.dtype.kind
        monkeypatch.setattr(arrays, "IN_MEMORY", 10)  # from here on, through temporary files
        monkeypatch.setattr("probvae.files.npz.CHUNK_BYTES", 10)
    assert isinstance(found["c"], np.memmap)


@pytest.mark.parametrize(
    ("x", "kind", "shape"),
    [
        (np.zeros([20, 4]), "auto", (4,)),
        (np.zeros([20, 4]), "vector", (4,)),
        (np.zeros([20, 4]), "series", (4, 1)),
        (np.zeros([20, 4, 3]), "series", (4, 3)),
        (np.zeros([20, 4, 3]), "auto", (4, 3, 1)),
        (np.zeros([20, 4, 3]), "image", (4, 3, 1)),
    ],
)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_kinds_of_arrays(x, kind, shape, ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    (np.save if ending == "npy" else np.savez)(path, x)
    loaded = data.load(str(path), kind=kind)
    assert loaded.event_shape == shape and loaded.levels == 1 and loaded.train.dtype == np.float32


def test_vectors_hold_any_numbers_and_missing_ones_where_allowed(tmp_path):
    x = np.random.default_rng(0).normal(0, 1e6, [20, 3])
    np.save(tmp_path / "a.npy", x)
    loaded = data.load(str(tmp_path / "a.npy"))
    both = np.concatenate([loaded.train, loaded.test])
    np.testing.assert_allclose(np.sort(both[:, 0]), np.sort(x[:, 0]), rtol=1e-6)
    x[4, 1] = x[5, 2] = np.nan
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(InputError, match=r"a.npy has 2 NaN, the first at \(4, 1\): .* --missing"):
        data.load(str(tmp_path / "a.npy"))
    holes = data.load(str(tmp_path / "a.npy"), missing=True)
    assert holes.missing and not loaded.missing
    assert np.isnan(np.concatenate([holes.train, holes.test])).sum() == 2
    assert data.prepare(holes, binarize="none", likelihood="normal").train is holes.train


def test_images_are_resized(tmp_path):
    x = np.zeros([20, 8, 8, 2], np.float32)
    x[:, 4:, :, 1] = 1
    for array, levels in ((x, 1), (np.uint8(x * 255), 255), (x > 0, 255)):
        np.save(tmp_path / "a.npy", array)
        loaded = data.load(str(tmp_path / "a.npy"), image_size=4)
        assert loaded.event_shape == (4, 4, 2) and loaded.levels == levels
        top, bottom = (np.asarray(loaded.train)[:, row].mean((0, 1)) / levels for row in (0, 3))
        np.testing.assert_allclose([*top, *bottom], [0, 0, 0, 1], atol=0.03)


# ---- files that cannot be used -------------------------------------------------------------------

THREE = np.zeros([3, 2, 2])
BAD = {
    "text.npy": (b"hello", "cannot be read"),
    "empty.npz": (b"", "cannot be read"),
    "cut.npz": (b"PK\x03\x04 and no more", "cannot be read"),
    "flat.npy": (np.zeros([4]), "one array of images"),
    "one.npy": (np.zeros([1, 3, 3]), "two examples or more; it holds 1"),
    "none.npy": (np.zeros([0, 3, 3]), "two examples or more; it holds 0"),
    "thin.npy": (np.zeros([9, 3, 0]), r"shape is \[9, 3, 0\]"),
    "deep.npy": (np.zeros([9, 3, 3, 3, 1]), r"shape is \[9, 3, 3, 3, 1\]"),
    "large.npy": (np.full([9, 3, 3], 3.5), "found float64 from 3.5 to 3.5. Rescale"),
    "negative.npy": (np.full([9, 3, 3], -1), "found int64 from -1 to -1"),
    "nan.npy": (np.full([9, 3, 3], np.nan), r"81 NaN, the first at \(0, 0, 0, 0\): .* --missing"),
    "infinite.npy": (np.full([9, 3], -np.inf), r"27 values that are not finite, the first at \(0, 0\)"),
    "huge.npy": (np.full([9, 3], 1e300), "float32 can hold; found 1e[+]300 to 1e[+]300"),
    "complex.npy": (np.zeros([9, 3, 3], complex), "must hold numbers; its type is complex128"),
    "words.npy": (np.full([9, 3, 3], "a"), "must hold numbers"),
    "pickled.npy": (np.full([9, 3, 3], None), "cannot be read .* Python objects"),
    "pickled.npz": ({"x": np.full([9, 3, 3], None)}, "cannot be read .* Python objects"),
    "half.npz": ({"x_train": THREE}, "no x_test"),
    "other_half.npz": ({"x_test": THREE}, "no x_train"),
    "two.npz": ({"a": THREE, "b": THREE}, "one array of images"),
    "shapes.npz": ({"x_train": THREE, "x_test": np.zeros([3, 2, 3])}, "one shape and range"),
    "ranges.npz": ({"x_train": IMAGES, "x_test": np.zeros([3, 6, 5])}, "one shape and range"),
    "labels.npz": (
        {"x_train": THREE, "x_test": THREE, "y_test": np.zeros(4, int)},
        "y_test of labels.npz must be 3 integers",
    ),
    "real_labels.npz": ({"x": THREE, "y": np.zeros(3)}, "labels of real_labels.npz must be 3 integers"),
}


def refuse(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        data.load(str(path), **options)
    assert "\n" not in str(caught.value)


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
    refuse(path, message)


def npy(shape, content=b"\x00" * 16):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    "shape", ["(99999999999, 28, 28)", "(4611686018427387904, 8, 8)", "(2, 3)", "(-4, -4)"]
)
def test_a_declared_shape_must_be_that_of_the_bytes(shape, tmp_path):
    """Nothing of the declared size is allocated: 16 bytes follow each header."""
    (tmp_path / "a.npy").write_bytes(npy(shape))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy(shape))
    for name in ("a.npy", "a.npz"):
        refuse(tmp_path / name, r"cannot be read .* (16 are there|its shape is \[-4, -4\])")


def test_damaged_files_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, x=IMAGES.astype(np.uint8))
    content = bytearray(buffer.getvalue())
    content[300] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    refuse(tmp_path / "a.npz", "cannot be read .*CRC")
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    refuse(tmp_path / "a.npy", "cannot be read .* 4,800 bytes, but 4,799 are there")


def test_options_that_do_not_fit(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros([9, 4]))
    refuse(tmp_path / "a.npy", "image_size is for images", image_size=8)
    refuse(tmp_path / "a.npy", r"must be images .*\[9, 4\]", kind="image")
    refuse(tmp_path / "a.npy", "color is for folders", color="grey")
    refuse(tmp_path / "absent.npy", "There is no file .*absent.npy")
    holes = np.full([9, 4, 4], np.nan)
    holes[:, 0] = 1
    np.save(tmp_path / "a.npy", holes)
    refuse(tmp_path / "a.npy", "cannot be resized", missing=True, image_size=2)
