import io

import numpy as np
import pytest
import tensorflow as tf

from probvae import InputError
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
