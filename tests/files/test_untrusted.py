"""Files made to do harm: refused in one line, before they take memory, time or run code."""

import io
import os
import pickle
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from probvae import InputError, data
from probvae.config.architecture import Architecture
from probvae.config.json_file import from_json, to_json
from probvae.data.dataset import Options
from probvae.data.tables import table, text_files
from probvae.errors import LONGEST
from probvae.files import npz, reading

ZEROS = np.zeros([9, 4, 4], np.uint8)


class Harm:
    """An object whose unpickling would be noticed."""

    def __reduce__(self):
        return os.putenv, ("PROBVAE_HARM", "done")


def refuse(source, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        data.load(str(source), **options)
    text = str(caught.value)
    assert text.isprintable() and len(text) <= LONGEST


def npy(header, content=b"", version=1, length=None):
    """An .npy file with any header."""
    length = struct.pack("<H" if version == 1 else "<I", len(header) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + content


def header(shape="(9, 4, 4)", dtype="'|u1'", fortran=False):
    return f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}}}"


def archive(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


# ---- NumPy files ---------------------------------------------------------------------------------

ARRAYS = {
    "long header": (npy(header() + " " * 20_000, bytes(144)), "longer than 10,000 bytes"),
    "endless header": (npy(header(), bytes(144), version=2, length=2**32 - 1), "longer than 10,000 bytes"),
    "no header": (b"\x93NUMPY\x01\x00", "header is cut off"),
    "version": (npy(header(), bytes(144), version=7), "format .* is unknown"),
    "code": (npy(header(shape="__import__('os').getpid()"), bytes(144)), "cannot be read"),
    "objects": (npy(header(dtype="'|O'"), bytes(144 * 8)), "Python objects"),
    "fields": (npy(header(dtype="[('a', '<f4'), ('b', '<f4')]"), bytes(144 * 8)), "numbers or short texts"),
    "fields of objects": (npy(header(dtype="[('a', '|O')]"), bytes(144 * 8)), "Python objects"),
    "subarray": (npy(header(dtype="('<f4', (2, 2))"), bytes(144 * 16)), "numbers or short texts"),
    "text without size": (npy(header("(99999999999,)", "'<U0'")), "numbers or short texts"),
    "enormous item": (npy(header("(2,)", "'<U500000000'")), "numbers or short texts"),
    "negative": (npy(header("(-9, -4, 4)"), bytes(144)), r"its shape is \[-9, -4, 4\]"),
    "beyond int64": (npy(header(f"(0, {2**70}, 4)")), "its shape is"),
    "huge and empty": (npy(header(f"(0, {2**62}, 4)")), "shape is|cannot be read"),
    "scalar": (npy(header("()"), b"\x01"), "one array of images"),
    "bool as size": (npy(header("(True, 4, 4)"), bytes(16)), "two examples or more"),
    "many axes": (npy(header(str((1,) * 70)), b"\x01"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("name", ARRAYS)
def test_headers(name, ending, tmp_path):
    content, message = ARRAYS[name]
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        path.write_bytes(content)
    else:
        archive(path, [("x.npy", content)])
    tracemalloc.start()
    refuse(path, message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_fortran_order_is_read(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, [9, 4, 5]).astype(np.uint8)
    np.save(tmp_path / "a.npy", np.asfortranarray(x))
    np.testing.assert_array_equal(npz.read_arrays(tmp_path / "a.npy")["x"], x)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x.npy", "x.npy"], "two arrays are named 'x'"),
        (["../x.npy"], r"named '\.\./x', which is no plain name"),
        (["/x.npy"], "which is no plain name"),
        (["a\\x.npy"], "which is no plain name"),
        (["a\x1b[2J\n.npy"], "which is no plain name"),
        ([".npy"], "which is no plain name"),
        ([f"{i}.npy" for i in range(10_001)], "10,001 arrays, more than 10,000"),
        ([f"{i}.npy" for i in range(99)], "and 91 more"),
        ([], "must hold x_train and x_test"),
        (["x.txt"], "must hold x_train and x_test"),
    ],
)
def test_names_in_archives(names, message, tmp_path):
    content = npy(header(), bytes(144))
    refuse(archive(tmp_path / "a.npz", [(name, content) for name in names]), message)


def test_zip_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "HARMLESS", 2**20)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros([2, 2**12, 2**12], np.uint8))
    refuse(
        tmp_path / "a.npz", r"declares values of 33,\d{3},\d{3} bytes, more than 200 times .* as .npy files"
    )
    monkeypatch.setattr(reading, "HARMLESS", 2**30)
    assert len(data.load(str(tmp_path / "a.npz")).test) == 1


def test_a_size_that_lies(tmp_path):
    """The directory declares what the compressed bytes do not hold."""
    path = archive(
        tmp_path / "a.npz", [("x.npy", npy(header(), bytes(144)))], compression=zipfile.ZIP_DEFLATED
    )
    content = path.read_bytes()
    size = len(npy(header(), bytes(144)))
    entry = content.index(b"PK\x01\x02")
    for declared in (2**31, size - 16, size + 16):
        changed = bytearray(content)
        changed[entry + 24 : entry + 28] = struct.pack("<I", declared)
        path.write_bytes(changed)
        refuse(path, "declares values of|are there|cannot be read")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(method, tmp_path):
    refuse(archive(tmp_path / "a.npz", [("x.npy", b"")], compression=method), "another way than NumPy's")


# ---- images --------------------------------------------------------------------------------------


def png(width, height, content=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def test_a_folder_of_bad_images(tmp_path):
    """What can be read is read; all else is named, nothing waited for."""
    for i in range(3):
        Image.fromarray(ZEROS[i]).save(tmp_path / f"good{i}.png")
    frames = [Image.fromarray(np.full([4, 4], i % 256, np.uint8)) for i in range(500)]
    for ending in ("gif", "webp", "tif"):
        frames[0].save(tmp_path / f"good.{ending}", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    Image.fromarray(ZEROS[0]).save(tmp_path / "good.jpg", exif=exif)
    os.rename(tmp_path / "good2.png", tmp_path / "good2.bmp")  # its content counts, not its name
    bad = {
        "bomb.png": png(65535, 65535, b"\0" * 100),
        "large.png": png(2**13 + 1, 2**13, b"\0" * 100),
        "short.png": png(4, 4, b"\0" * 3),
        "cut.png": (tmp_path / "good0.png").read_bytes()[:-30],
        "empty.png": b"",
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n",
        "other.png": b"\x93NUMPY",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(tmp_path / "pipe.png", tmp_path / "to_pipe.png")
    os.symlink("/dev/zero", tmp_path / "to_device.png")
    os.symlink(tmp_path / "loop.png", tmp_path / "loop.png")
    os.symlink(tmp_path, tmp_path / "loop")
    found = data.load(str(tmp_path))
    assert set(found.skipped) == {*bad, "to_pipe.png", "to_device.png", "loop.png"}
    assert len(found.train) + len(found.test) == 7


def test_names_of_files_are_shown_in_one_line(tmp_path):
    (tmp_path / "a\n\x1b[2J.png").write_bytes(b"")
    for i in range(2):
        Image.fromarray(ZEROS[i]).save(tmp_path / f"{i}.png")
    sentence = data.skipped_sentence(data.load(str(tmp_path)))
    assert sentence.isprintable() and r"a \x1b[2J.png" in sentence


@pytest.mark.parametrize("ending", ["npz", "npy", "csv", "parquet"])
def test_a_pipe_is_not_waited_for(ending, tmp_path):
    os.mkfifo(tmp_path / f"a.{ending}")
    refuse(tmp_path / f"a.{ending}", "is no regular file")
    os.symlink("/dev/zero", tmp_path / f"b.{ending}")
    refuse(tmp_path / f"b.{ending}", "is no regular file")


# ---- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1" * 5000, "rows of at most 4,096 characters"),
        (b"a,b\n" + b'"1\n",' * 5000, "Line 2 of a.csv has 5,001 cells; its first line has 2"),
        (b'a,b\n"' + b"1\n" * 50_000, "cannot be read as a .csv file: .* EOF inside string"),
        (b"a,b\n1,2\n" * 99 + b'"' + b"1\n" * 500_000, "each quoted cell with a quote"),
        (b"a\n1\n2\x00\n", "NUL characters"),
        ("a\n1\n2\n".encode("utf-16-le"), "NUL characters"),
        ("a\n1\n2\n".encode("utf-32"), "NUL characters"),
        ("a\n1\n2\n".encode("utf-16")[:-1], "must be text in UTF-16; its byte .* is none: save it in UTF-8"),
        (b"a\n" + b"1" * 3000 + b"\n2\n", "cells of at most 2,048 characters; one has 3,000"),
        (b"a,b\n1," + b"2" * 2000 + b"\n", "two examples or more|finite, or beyond"),
        (",".join(f"c{i}" for i in range(60)).encode() + b"\n", "at most 50 columns; it has 60"),
        (b'"a\n\x1b[2J",b\n1,2\n3,4\n', "no column 'nothing'; its columns are"),
    ],
)
def test_tables(content, message, tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_LINE", 4096)
    monkeypatch.setattr(text_files, "MAX_CELL", 2048)
    monkeypatch.setattr(text_files, "BATCH_CHARACTERS", 2**17)
    monkeypatch.setattr(table, "MAX_COLUMNS", 50)
    (tmp_path / "a.csv").write_bytes(content)
    refuse(
        tmp_path / "a.csv", message, label="nothing" if b"1b[2J" in content or b"\x1b" in content else None
    )


def test_a_parquet_bomb_and_text_that_is_none(tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    monkeypatch.setattr(reading, "HARMLESS", 2**20)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.zeros(10**6), "b": np.ones(10**6)}), path)
    refuse(path, "16,000,000 bytes, more than 200 times .*: save it as a .csv file")
    pq.write_table(pa.table({"a": ["first", "other"] * 9}), path, compression="none")
    path.write_bytes(path.read_bytes().replace(b"first", b"\xff\xfe\xfd\xfc\xfb"))
    refuse(path, "cannot be read as a .parquet file: .*codec")


def test_long_texts_of_many_rows_are_in_memory_once(tmp_path):
    """Half a gigabyte of text from a file of some kilobytes."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    levels = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 1] * 125, pa.int32()), pa.array(["x" * 10**6, "y" * 10**6])
    )
    pq.write_table(pa.table({"a": levels, "b": np.arange(500.0)}), tmp_path / "a.parquet", store_schema=False)
    tracemalloc.start()
    found = data.load(str(tmp_path / "a.parquet"), missing=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**26 and found.kinds == ("bernoulli", "normal")
    x = np.concatenate([found.train, found.test])[:, 0]
    assert (np.sum(x == 0), np.sum(x == 1), np.sum(np.isnan(x))) == (125, 250, 125)


def test_long_cells_take_linear_time(tmp_path):
    cells = ["9" * 130_000 + "x", "1,234" * 26_000, "1." * 65_000, "1_2" * 40_000 + "x"]
    (tmp_path / "a.csv").write_text("a;b\n" + "".join(f"{cell};1\n" for cell in cells))
    start = time.process_time()
    assert data.load(str(tmp_path / "a.csv")).schema.columns[0].kind == "categorical:4"
    assert time.process_time() - start < 10


def test_batches_of_long_rows_are_short(tmp_path, monkeypatch):
    rows = [f"{i},{'ab'[i % 2] * 50}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["n,text", *rows]))
    whole = data.load(str(tmp_path / "a.csv"))
    monkeypatch.setattr(text_files, "BATCH_CHARACTERS", 120)
    monkeypatch.setattr(text_files, "EXCESS", 100)
    opened = text_files.open_text(tmp_path / "a.csv", Options())
    lengths = [len(batch[0]) for batch in opened.batches()]
    assert lengths[0] <= 8 and set(lengths[1:]) == {2} and sum(lengths) == 40
    np.testing.assert_array_equal(data.load(str(tmp_path / "a.csv")).train, whole.train)


# ---- configurations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"latent_dim": 2', '"latent_dim": 2, "latent_dim": 3'), "the key 'latent_dim' is there twice"),
        (('"latent_dim": 2', '"latent_dim": NaN'), "NaN is no number in JSON"),
        (('"latent_dim": 2', f'"latent_dim": {"9" * 5000}'), "integer has 5,000 digits"),
        (('"latent_dim": 2', f'"latent_dim": {"[" * 9}{"]" * 9}'), "lie too deep"),
        (('"latent_dim": 2', '"latent_dim": 2, "\\ud800": 1'), "half of a surrogate pair"),
        (('"latent_dim": 2', '"latent_dim": 2, "a\\n\\u001b[2J": 1'), "unknown key"),
        (('"format": 3', '"format": [1]'), "must be of format 3"),
        (("28", "1000000"), r"shape \[1000000, 1000000, 1\] must have at most 268,435,456 values"),
    ],
)
def test_configurations(change, message):
    with pytest.raises(InputError, match=message) as caught:
        from_json(to_json(Architecture()).replace(*change))
    assert str(caught.value).isprintable() and len(str(caught.value)) <= LONGEST


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_shape": (10**6,) * 3}, "at most 268,435,456 values in a layer"),
        ({"units": (65_536,) * 1000}, "units must have at most 64 sizes; got 1,000"),
        ({"network": "mlp", "units": (65_536,) * 64}, "at most 1,073,741,824 weights"),
        (
            {"network": "conv1d", "event_shape": (9, 1), "filters": (4096,) * 13},
            "at most 1,073,741,824 weights",
        ),
        ({"network": "residual_conv", "filters": (1,) * 50}, "at most 268,435,456 values in a layer"),
        ({"latent_dim": 4096, "posterior": "tril"}, "at most 1,073,741,824 weights"),
        ({"likelihood": "categorical", "classes": 65_536, "event_shape": (99, 99, 1)}, "values in a layer"),
        ({"prior": "vamp", "components": 10**5, "event_shape": (999, 999, 3)}, "weights"),
        (
            {"likelihood": "mixed", "columns": (f"categorical:{'9' * 5000}",), "event_shape": (1,)},
            "at most 65,536 classes",
        ),
    ],
)
def test_models_that_nobody_can_have_meant(options, message):
    with pytest.raises(InputError, match=message):
        Architecture(**options)


def test_models_that_are_large_are_allowed():
    Architecture((256, 256, 3), latent_dim=512)
    Architecture((1024, 1024, 3), filters=(32, 64, 128, 256, 512), latent_dim=256)
    Architecture((20_000,), network="mlp", units=(4096, 4096), latent_dim=64)


# ---- pickles of CIFAR-10 -------------------------------------------------------------------------


class Python2(pickle._Pickler):
    """Pickles texts and bytes as Python 2 did, whose files the archive holds."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        content = value if isinstance(value, bytes) else value.encode()
        self.write(b"T" + struct.pack("<i", len(content)) + content)

    dispatch[bytes] = dispatch[str] = save_text


def cifar10(path, harm=None):
    """An archive like the real one, with four images a batch."""
    x = np.random.default_rng(0).integers(0, 256, [4, 3072]).astype(np.uint8)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(path, "w:gz") as members:
        for name in [*names, "batches.meta"]:
            batch = {b"data": x, b"labels": [0, 1, 2, 3]}
            if name == harm:
                batch[b"labels"] = Harm()
            file = io.BytesIO()
            Python2(file, protocol=2).dump(batch)
            content = file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return x


def test_cifar10_runs_no_code(tmp_path, monkeypatch):
    import tf_keras

    path = tmp_path / "a.tar.gz"
    monkeypatch.setattr(tf_keras.utils, "get_file", lambda *arguments, **options: str(path))
    monkeypatch.delenv("PROBVAE_HARM", raising=False)
    x = cifar10(path)
    found = data.load("cifar10")
    assert found.train.shape == (20, 32, 32, 3) and found.test_labels.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found.test, x.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1))
    for harm in ("data_batch_3", "test_batch"):
        cifar10(path, harm)
        refuse("cifar10", "must hold arrays; it asks for .*putenv")


@pytest.mark.parametrize("name", ["user:data", "../data", "a/b/data_dir=x", "a=b", "", "huggingface:x/y"])
def test_names_that_could_download_code(name):
    refuse(f"tfds:{name}", "could name code to download")
