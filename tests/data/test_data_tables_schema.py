"""Tables read by a schema: other data, matched by name; and tables in the coding of runs of format 2."""

import warnings

import numpy as np
import pytest

from probvae import InputError, data

HEADER = "h,c,n,k,y,b,when\n"
ROWS = [
    f"{i / 4},{'xyz'[i % 3]},{i},{i % 4},{'pq'[i % 2]},{i % 2 == 0},2020-01-{1 + i % 28:02d}"
    for i in range(120)
]
OTHER = "extra,when,b,k,n,y,c,h\nu,2020-02-03,true,3,1000,q,z,1.5\nv,2021-02-03,0,0,1,p,x,-2.25\n"


def write(path, content):
    path.write_text(content)
    return str(path)


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("trained") / "a.csv", HEADER + "\n".join(ROWS) + "\n")
    return data.load(path, label="y", kinds={"n": "poisson"}).schema


def test_columns_are_matched_by_name(schema, tmp_path):
    expected = {
        "h": [-2.25, 1.5],
        "c": ["x", "z"],
        "n": [1, 1000],
        "k": [0, 3],
        "b": [False, True],
        "when": [np.datetime64("2021-02-03"), np.datetime64("2020-02-03")],
    }
    german = OTHER.replace(",", ";").replace(".5", ",5").replace(".25", ",25").replace("1000", "1.000.000")
    for content, n in ((OTHER, 1000), (german, 1_000_000)):
        d = data.load(write(tmp_path / "b.csv", content), schema=schema)
        assert d.schema == schema and d.remarks == ()
        x, y = np.concatenate([d.train, d.test]), np.concatenate([d.train_labels, d.test_labels])
        back = schema.decode(x[np.argsort(y)])
        assert list(back) == list(expected) and sorted(y) == [0, 1]
        for name, values in (expected | {"n": [1, n]}).items():
            assert back[name].tolist() == np.array(values).tolist(), name
    whole = data.load(write(tmp_path / "b.csv", HEADER + "\n".join(ROWS) + "\n"), schema=schema)
    halves = data.load(write(tmp_path / "b.csv", HEADER + "\n".join(ROWS[::2]) + "\n"), schema=schema)
    wide = {tuple(row) for row in np.concatenate([whole.train, whole.test]).tolist()}
    assert {tuple(row) for row in np.concatenate([halves.train, halves.test]).tolist()} < wide


WRONG = {
    "level": (
        ("z,1.5", "w,1.5"),
        "Column 'c' of b.csv has the levels 'x', 'y', 'z'; got 'w' in row 1, which",
    ),
    "number": (("-2.25", "far"), "Column 'h' of b.csv must hold numbers; got 'far' in row 2"),
    "score": (("-2.25", "1_0"), "Column 'h' of b.csv must hold numbers; got '1_0' in row 2"),
    "support": ((",1000,", ",-1,"), "Column 'n' of b.csv must hold counts .* to be poisson; got -1 in row 1"),
    "half": ((",1000,", ",1.5,"), "Column 'n' of b.csv must hold counts .* to be poisson; got 1.5 in row 1"),
    "coded": (("true,3", "true,9"), "Column 'k' of b.csv has the levels 0, 1, 2, 3; got 9 in row 1"),
    "date": (("2021-02-03", "soon"), "Column 'when' of b.csv must hold dates; got 'soon' in row 2"),
    "boolean": (
        (",0,0,", ",maybe,0,"),
        "Column 'b' of b.csv must hold one of False, True; got 'maybe' in row 2",
    ),
    "absent": (
        ("b,k", "B,k"),
        "b.csv has no column 'b', which the model needs; its columns are extra, when, B",
    ),
    "empty": (
        ("-2.25", ""),
        "Column 'h' of b.csv has 1 missing values, the first in row 2, and the model takes",
    ),
    "class": (("p,x", "r,x"), "Column 'y' of b.csv has the levels 'p', 'q'; got 'r' in row 2"),
    "huge": (("-2.25", "-1e300"), "Column 'h' of b.csv has the value -1e[+]300 in row 2, which is beyond"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_with_file_column_and_row(name, schema, tmp_path):
    change, message = WRONG[name]
    assert change[0] in OTHER
    with pytest.raises(InputError, match=message):
        data.load(write(tmp_path / "b.csv", OTHER.replace(*change)), schema=schema)


def test_rows_are_counted_over_batches(schema, tmp_path, monkeypatch):
    monkeypatch.setattr("probvae.data.tables.table.BATCH", 7)
    rows = [*ROWS[:50], ROWS[50].replace("12.5,", "none,"), *ROWS[51:]]
    with pytest.raises(InputError, match=r"'h' of b\.csv must hold numbers; got 'none' in row 51"):
        data.load(write(tmp_path / "b.csv", HEADER + "\n".join(rows) + "\n"), schema=schema)


def test_texts_stay_texts_and_commas_are_asked_for(tmp_path):
    rows = "\n".join(f"{'0' * (i % 2)}12{i % 3},{i}" for i in range(60))
    with pytest.warns(UserWarning, match="'zip' of a.csv stays text, as it holds 0121"):
        trained = data.load(write(tmp_path / "a.csv", f"zip,v\n{rows}\n")).schema
    d = data.load(write(tmp_path / "b.csv", "v,zip\n5,120\n6,122\n7,122\n"), schema=trained)
    back = trained.decode(np.concatenate([d.train, d.test]))
    assert sorted(back["zip"]) == ["120", "122", "122"] and sorted(back["v"]) == [5, 6, 7]
    other = write(tmp_path / "b.csv", "v;zip\n1,250;120\n2,500;122\n7;122\n")
    with pytest.raises(InputError, match=r"'v' of b.csv must hold numbers, but 1,250 has .* no separator"):
        data.load(other, schema=trained)
    for decimal, most in ((".", 2500), (",", 7)):
        d = data.load(other, schema=trained, decimal=decimal)
        assert trained.decode(np.concatenate([d.train, d.test]))["v"].max() == most


# ---- runs of format 2 ----------------------------------------------------------------------------

OLD = [  # data, options, and the fingerprint that probvae computed at 90071b8
    ("a.csv", {}, "d4f44a3fd0b12dd0f8915138056bcc2b707e5650cd413e7e6c077bc8c013b301"),
    (
        "a.csv",
        {"validation": 0.2, "label": "colour"},
        "471a24625b1682847acb17871f735f61ca8440d6c6892e3efe1dabe60350eb9a",
    ),
    (
        "a.csv",
        {
            "label": "rooms",
            "kinds": {"income": "lognormal", "query": "categorical:5", "half": "categorical"},
        },
        "2ebcfd6cf180fd5c5f38e220fb82c2861dfae514e700314d911f067198532151",
    ),
    (
        "a.csv",
        {"label": "flag", "kinds": {"rooms": "poisson", "code": "ignore"}},
        "645410c358ff6e31ba2cd324c243a2603db43e53cb138b0854a0915a3ed9ab75",
    ),
    ("b.csv", {}, "b5791d16708df7dcdfa0d938e02e4f29a761d1efeaa9fd21e293f991f26b04fb"),
    ("c.parquet", {}, "94c480667cd8ee2e7a4f3892892ed3aa3ccae1f5926e14ef1fbeda70298ddeff"),
    ("c.parquet", {"label": "b"}, "417bc2277db8afbf02ebf9df7cf1f7e19775f6e384d4046069d70ab16a4ab038"),
    (
        "c.parquet",
        {"label": "t", "kinds": {"k": "categorical:6"}},
        "5e9e9fcd48c5d06140f97fccb28b21c6bb4ea7fe89a2a1d4259a80dde2beb50f",
    ),
]


def write_old_files(folder):
    """Tables in which the readers of both formats differ: 007, 1_0, 1E5, True, dates and question marks."""
    rows = ["height,smokes,colour,rooms,flag,income,half,code,hole,under,power,when,query"]
    for i in range(300):
        rows.append(
            f"{160 + i * 37 % 41 / 4},{'yes' if i % 3 else 'no'}, {['red', 'green', 'blue'][i * 7 % 3]},"
            f"{2 + i * 5 % 6},{i % 2 == 0},{1.25 ** (i % 40)},{i % 3 / 2},{i % 20:03d},"
            f"{['NA', '', '1.5', 'nan'][i % 4]},{'12'[i % 2]}_0,{1 + i % 3}E5,2020-01-0{1 + i % 2},"
            f"{'?ab'[i * 11 % 3]}"
        )
    (folder / "a.csv").write_text("\n".join(rows) + "\n")
    (folder / "b.csv").write_text("\n".join(f"{i * 13 % 50 / 8};{i}" for i in range(50)))
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    n = np.arange(100)
    table = {
        "x": n * 7 % 31 / 4,
        "b": n % 3 == 0,
        "t": [*"uvw", *"uvw" * 32, "u"],
        "k": [None if i % 7 == 0 else i % 4 for i in range(100)],
        "f": n % 5 + 1.0,
    }
    pq.write_table(pa.table(table), folder / "c.parquet")


def test_the_old_coding_keeps_the_old_fingerprints(tmp_path):
    write_old_files(tmp_path)
    for name, options, fingerprint in OLD:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            d = data.load(str(tmp_path / name), missing=True, old_coding=True, **options)
        assert d.old_fingerprint() == fingerprint, (name, options)
        lognormal = [c for c in d.schema.columns if c.kind == "lognormal"]
        assert not any(c.logarithm for c in lognormal) and all(
            c.likelihood == c.kind for c in d.schema.columns
        )
