"""DataFrames in and out: names, dtypes, categories; values that come back as they were."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probvae import InputError, data
from probvae.data import Schema

N = 40
FRAME = pd.DataFrame(
    {
        "zebra": np.arange(N),
        "int8": np.arange(N).astype("int8"),
        "Int64": pd.array([None if i % 5 == 0 else i for i in range(N)], "Int64"),
        "float32": np.arange(N, dtype="float32") / 4,
        "bool": np.arange(N) % 2 == 0,
        "boolean": pd.array([None if i % 7 == 0 else i % 2 == 0 for i in range(N)], "boolean"),
        "ordered": pd.Categorical(
            ["lo" if i % 3 else "hi" for i in range(N)], categories=["lo", "mid", "hi"], ordered=True
        ),
        "coded": pd.Categorical([[20, 10, None][i % 3] for i in range(N)]),
        "text": ["7" if i % 4 else None for i in range(N)],
        "string": pd.array(["x" if i % 4 else "y" for i in range(N)], "string"),
        "day": pd.date_range("2020-01-01", periods=N),
        "hour": pd.date_range("2020-01-01", periods=N, freq="h").where(np.arange(N) % 9 > 0),
        "zone": pd.date_range("2020-01-01", periods=N, freq="h", tz="Europe/Berlin"),
        "dates": [datetime.date(2020, 1, 1 + i % 20) for i in range(N)],
        "objects": [True if i % 2 else None for i in range(N)],
        "decimals": [decimal.Decimal(i) / 8 for i in range(N)],
        "a,b=c": np.arange(N) * 0.25,
    }
)


def same(back, frame):
    """Whether all values are equal or missing in both."""
    return bool(((back == frame) | (back.isna() & frame.isna())).all())


def test_a_frame_comes_back_with_its_dtypes(monkeypatch):
    monkeypatch.setattr("probvae.data.tables.table.BATCH", 7)
    d = data.load(FRAME, missing=True, validation=0.2)
    assert d.name == "DataFrame" and d.columns == tuple(sorted(FRAME)) and d.remarks == ()
    columns = {column.name: column for column in d.schema.columns}
    kinds = {name: (column.kind, column.type) for name, column in columns.items()}
    assert kinds["zebra"] == kinds["Int64"] == kinds["int8"] == ("normal", "integer")
    assert kinds["bool"] == kinds["boolean"] == kinds["objects"] == ("bernoulli", "boolean")
    assert kinds["text"] == kinds["string"] == ("bernoulli", "text")
    assert kinds["day"] == kinds["hour"] == kinds["zone"] == kinds["dates"] == ("normal", "date")
    assert kinds["coded"] == ("categorical:2", "integer") and kinds["ordered"] == ("ordinal:3", "text")
    assert columns["ordered"].levels == ("lo", "mid", "hi") == columns["ordered"].categories
    assert [columns[name].unit for name in ("day", "hour", "dates")] == ["D", "s", "D"]
    schema = Schema.from_json(d.schema.to_json())
    assert schema == d.schema
    back = data.to_frame(schema, schema.encode(FRAME))
    assert list(back) == list(FRAME)
    for name in FRAME:
        assert back[name].dtype == FRAME[name].dtype and same(back[name], FRAME[name]), name
    draws = schema.encode(FRAME)
    draws[:, d.columns.index("int8")] += 100.0  # beyond int8
    draws[3, d.columns.index("zebra")] = np.nan
    drawn = data.to_frame(schema, draws)
    assert drawn["int8"].min() > 127 and drawn["zebra"].dtype == "Int64" and drawn["zebra"].isna().sum() == 1


def test_files_and_frames_of_one_table_have_the_same_values(tmp_path):
    frame = FRAME[["zebra", "float32", "bool", "text", "day", "string"]]
    frame.to_csv(tmp_path / "a.csv", index=False)
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "a.parquet")
    whole = data.load(frame, missing=True)
    for name, numeric in (("a.csv", ("text",)), ("a.parquet", ())):
        d = data.load(str(tmp_path / name), missing=True)
        keep = [i for i, column in enumerate(d.columns) if column not in numeric]
        np.testing.assert_array_equal(np.asarray(d.train)[:, keep], np.asarray(whole.train)[:, keep])


def test_permuted_levels_and_columns_give_the_same_x():
    other = FRAME[list(FRAME)[::-1]].assign(
        ordered=FRAME["ordered"].cat.reorder_categories(["mid", "hi", "lo"])
    )
    first, second = data.load(FRAME, missing=True), data.load(other, missing=True)
    place = first.columns.index("ordered")  # here the order has a meaning
    np.testing.assert_array_equal(np.delete(first.train, place, 1), np.delete(second.train, place, 1))
    np.testing.assert_array_equal(
        np.choose(first.train[:, place].astype(int), [2, 0, 1]), second.train[:, place]
    )
    first, second = (data.load(f, missing=True, kinds={"ordered": "categorical"}) for f in (FRAME, other))
    np.testing.assert_array_equal(first.train, second.train)
    assert first.kinds == second.kinds and first.columns == second.columns


def test_labels_of_frames():
    for name, classes in (("ordered", ("hi", "lo")), ("bool", ("False", "True")), ("zebra", ())):
        d = data.load(FRAME, label=name, missing=True)
        assert d.label_names == classes and d.schema.label == name
        back = data.to_frame(d.schema, np.asarray(d.train))
        numbers = (back["float32"] * 4).astype(int)
        expected = FRAME[name].astype(str)[numbers].tolist()
        assert [classes[y] if classes else str(y) for y in d.train_labels] == expected
        again = data.load(FRAME, schema=d.schema, missing=True)
        np.testing.assert_array_equal(again.train_labels, d.train_labels)


BAD = {
    "mixed": ({"a": [1, "x", 2.5] * 5}, r"'a' of DataFrame holds values of several types \(mixed-integer\)"),
    "two": (
        {"a": [[1], [2]] * 5, "b": pd.timedelta_range("1D", periods=10), "c": range(10)},
        r"2 columns of DataFrame .* --column-kinds a=ignore --column-kinds b=ignore \(kinds={'a': 'ignore'",
    ),
    "names": ({0: [1, 2]}, r"named by strings; got 0: rename them, .* frame.columns.map\(str\)"),
    "none": ({"a": [None, None]}, r"'a' of DataFrame is empty"),
    "empty": ({}, "The DataFrame has no columns"),
    "rows": ({"a": []}, "two rows or more"),
}


@pytest.mark.parametrize("name", BAD)
def test_frames_that_cannot_be_used(name):
    columns, message = BAD[name]
    with pytest.raises(InputError, match=message):
        data.load(pd.DataFrame(columns))


def test_options_of_files_are_refused():
    with pytest.raises(InputError, match=r"delimiter is for .csv and .tsv files; a DataFrame is none"):
        data.load(FRAME, delimiter=";")
    with pytest.raises(InputError, match=r"na is for .csv and .tsv files; digits is none"):
        data.load("digits", na=["x"])
    twice = pd.concat([FRAME[["zebra"]], FRAME[["zebra"]]], axis=1)
    with pytest.raises(InputError, match="two columns named 'zebra'"):
        data.load(twice)
    with pytest.raises(InputError, match="array, no table"):
        data.to_frame(data.load("digits").schema, np.zeros([2, 3]))


# ---- properties ----------------------------------------------------------------------------------

WHOLE = st.integers(-(2**22), 2**22)
COLUMNS = {
    "categories": (st.sampled_from(["a", "b", "c", " d"]), "category", 0),
    "texts": (st.sampled_from(["1", "01", "ä", "NA"]), object, 0),
    "booleans": (st.booleans(), "boolean", 0),
    "integers": (st.integers(0, 2**24), "Int64", 0),
    "numbers": (st.floats(-1e6, 1e6).map(lambda v: round(v, 9)), "float64", 1e-6),
    "days": (
        WHOLE.map(lambda n: pd.Timestamp("1970-01-01") + pd.Timedelta(days=n // 100)),
        "datetime64[s]",
        0,
    ),
    "times": (WHOLE.map(lambda n: pd.Timestamp("2020-01-01") + pd.Timedelta(seconds=n)), "datetime64[s]", 0),
}


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_values_come_back(drawn):
    """Exactly, and real numbers to 1e-6 of the larger of the column's scale and the value."""
    cells = {
        name: drawn.draw(st.lists(st.none() | values, min_size=12, max_size=12))
        for name, (values, _, _) in COLUMNS.items()
    }
    for name, values in cells.items():
        values[:6] = [next((v for v in values if v is not None), drawn.draw(COLUMNS[name][0]))] * 6
        values[3] = None
    frame = pd.DataFrame({name: pd.Series(cells[name], dtype=COLUMNS[name][1]) for name in cells})
    schema = data.load(frame[sorted(frame)], missing=True, kinds={"texts": "categorical"}).schema
    back = data.to_frame(schema, schema.encode(frame))
    for column in schema.columns:
        name = column.name
        if COLUMNS[name][2]:
            spread = np.maximum(column.scale, np.abs(frame[name] - column.loc))
            assert ((back[name] - frame[name]).abs() <= COLUMNS[name][2] * spread)[frame[name].notna()].all()
            assert (back[name].isna() == frame[name].isna()).all()
        else:
            assert same(back[name], frame[name]), name
