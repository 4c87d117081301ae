"""Tables that lie in temporary files: the numbers are those of tables in memory, and the memory is level."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from table_models import table_model

from probvae import InputError, data
from probvae.config.training import Training
from probvae.data import arrays
from probvae.data.arrays import Rows, Stored, store, take
from probvae.data.dataset import Options
from probvae.data.tables import table_files
from probvae.data.tables.table import Source, Table
from probvae.training.epochs import epoch_order
from probvae.training.trainer import Trainer
from probvae.training.workshop import Workshop

X = np.random.default_rng(0).normal(size=[50, 3]).astype(np.float32)
KEYS = {
    "slice": slice(3, 9),
    "backwards": slice(None, None, -2),
    "empty slice": slice(9, 3),
    "row": -1,
    "indices": np.array([7, 7, 0, 49, -4]),
    "none": np.array([], int),
    "list": [4, 1],
    "batches": np.array([[3, 1, 2], [40, 0, 3]], np.int32),
    "mask": X[:, 0] > 0,
    "column": (slice(None), 1),
    "last": (..., slice(0, 2)),
}


@pytest.fixture
def stored(monkeypatch):
    monkeypatch.setattr(arrays, "OF_TABLES", 100)
    return store(iter([X[:20], X[20:20], X[20:]]))


@pytest.mark.parametrize("near", [0, 50, 2**12])
@pytest.mark.parametrize("key", KEYS)
def test_stored_rows_are_those_of_the_array(key, near, stored, monkeypatch):
    monkeypatch.setattr(arrays, "NEAR", near)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 200)
    found, expected = stored[KEYS[key]], X[KEYS[key]]
    assert type(found) is type(expected) and found.dtype == X.dtype
    np.testing.assert_array_equal(found, expected)


def test_stored_is_an_array_in_a_file(stored):
    assert isinstance(stored, Stored) and type(store([X[:2]])) is np.ndarray
    assert (len(stored), stored.shape, stored.ndim, stored.dtype, stored.nbytes) == (
        50,
        (50, 3),
        2,
        "f4",
        600,
    )
    np.testing.assert_array_equal(stored, X)
    np.testing.assert_array_equal(Rows(stored, np.array([3, 1]))[:], X[[3, 1]])
    order = np.random.default_rng(1).permutation(50)
    taken = take(stored, order)
    assert isinstance(taken, Stored) and type(take(stored, order[:2])) is np.ndarray
    np.testing.assert_array_equal(taken, X[order])
    for wrong in ([50], [-51], np.ones(3, bool)):
        with pytest.raises(IndexError, match="expected"):
            stored[wrong]
    file = taken._file
    del taken
    assert file.closed


# ---- data sets -----------------------------------------------------------------------------------


def frame_of(rows, seed=0):
    """A table of each kind of columns, with missing cells and classes."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(170, 9, rows).round(3),
            "price": rng.lognormal(3, 1, rows),
            "tail": rng.standard_t(2, rows),
            "visits": rng.poisson(3, rows),
            "town": rng.choice(["Busan", "Daegu", "Seoul"], rows),
            "member": rng.random(rows) < 0.3,
            "class": rng.choice(["a", "b", "c"], rows),
        }
    )
    frame.loc[rng.random(rows) < 0.1, ["size", "town"]] = None
    return frame


def write(frame, path):
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path, index=False, row_group_size=128)
    else:
        frame.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_stored_table_is_that_in_memory(ending, tmp_path, monkeypatch):
    """Bit for bit; also where a schema is given, as in a run that goes on."""
    path = write(frame_of(900), tmp_path / f"a{ending}")
    options = {"missing": True, "validation": 0.2}
    whole = data.load(path, label="class", **options)
    monkeypatch.setattr(arrays, "OF_TABLES", 1000)
    cut = data.load(path, label="class", **options)
    again = data.load(path, schema=whole.schema, **options)
    assert cut.schema == whole.schema and cut.num_missing == whole.num_missing
    assert type(whole.train) is np.ndarray and whole.train_labels.dtype == np.int64
    for name in ("train", "test", "validation"):
        for d in (cut, again):
            assert isinstance(getattr(d, name), Stored)
            np.testing.assert_array_equal(getattr(d, name), getattr(whole, name))
            labels = getattr(d, f"{name}_labels")
            np.testing.assert_array_equal(labels, getattr(whole, f"{name}_labels"))
            assert labels.dtype == np.int16
    assert cut.fingerprint() == again.fingerprint() == whole.fingerprint()
    prepared = data.prepare(cut, binarize="none", likelihood="mixed")
    assert prepared.train is cut.train and prepared.test is cut.test
    joined, expected = (data.join_rows(d.train, data.one_hot(d.train_labels, 3)) for d in (cut, whole))
    assert isinstance(joined, Stored)
    np.testing.assert_array_equal(joined, expected)


def test_a_frame_stays_in_memory(monkeypatch):
    monkeypatch.setattr(arrays, "OF_TABLES", 0)
    assert type(data.load(frame_of(50), missing=True).train) is np.ndarray


def test_training_on_a_stored_table_is_that_in_memory(tmp_path, monkeypatch):
    """The weights are the same bit for bit, also of a training that is interrupted and goes on."""
    path = write(frame_of(200)[["size", "visits"]], tmp_path / "a.csv")
    training = Training(batch_size=16, epochs=2, learning_rate=1e-2, seed=3)

    def trainer(shop=None):
        table = data.load(path, missing=True)
        prepared = data.prepare(table, binarize="none", likelihood="mixed")
        if shop is None:
            shop = Workshop.of(table_model(table.schema), prepared, training)
        return Trainer(shop.vae, prepared, training, workshop=shop), shop

    whole, _ = trainer()
    history = whole.fit()
    monkeypatch.setattr(arrays, "OF_TABLES", 500)
    part, shop = trainer()
    assert isinstance(part.data.train, Stored)
    checked = part.vae.contract.check(part.data.train)  # as for Keras
    assert type(checked) is np.ndarray and len(checked) == len(part.data.train)
    states = []
    part.fit(on_state=states.append, should_stop=lambda: bool(part.progress.position))
    assert 0 < states[-1].position < len(part.data.train)
    rest, _ = trainer(shop)
    rest.restore(states[-1])
    resumed = rest.fit()
    assert [row.test_elbo for row in resumed] == [row.test_elbo for row in history]
    for a, b in zip(rest.vae.variables, whole.vae.variables, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- the memory ----------------------------------------------------------------------------------


def made_up(rows, columns=8):
    """A table whose batches are drawn when they are asked for."""

    def batches():
        rng = np.random.default_rng(0)
        for _ in range(rows // 1000):
            yield list(rng.normal(size=[columns, 1000]))

    return Table("made up", {f"c{i}": Source("number") for i in range(columns)}, batches)


def peak(rows):
    """Peak of the memory that arrays take from the reading of a table to the batches of an epoch, bytes."""
    tracemalloc.start()
    try:
        table = table_files.read_table(made_up(rows), Options())
        prepared = data.prepare(table, binarize="none", likelihood="mixed")
        table.fingerprint()
        order = epoch_order(len(prepared.train), seed=0, epoch=0)
        for start in range(0, len(order), 10_000):
            assert prepared.train[order[start : start + 10_000]].dtype == np.float32
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_the_memory_of_a_stored_table_is_that_of_its_order(monkeypatch):
    """Beyond the buffers, a row takes 4 bytes in the order of its epoch, and some more for a moment."""
    monkeypatch.setattr(arrays, "OF_TABLES", 2**19)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 2**18)
    few, many = peak(20_000), peak(120_000)
    assert many - few < 8 * 100_000


def test_a_text_of_too_many_values_is_refused_early(monkeypatch):
    monkeypatch.setattr(table_files, "EARLY", 3000)
    seen = []

    def batches():
        for i in range(100):
            seen.append(i)
            texts = [f"name {i} {j}" for j in range(1000)]
            yield [np.array(texts, object), np.arange(1000.0), np.array(texts, object)]

    table = Table("t", {"a": Source(), "n": Source("number"), "b": Source("text")}, batches)
    with pytest.raises(InputError, match="2 columns of t cannot be used: 'a' holds text of more than"):
        table_files.read_table(table, Options())
    assert len(seen) == 3
    ignored = table_files.read_table(table, Options(kinds={"a": "ignore", "b": "ignore"}))
    assert ignored.columns == ("n",)
