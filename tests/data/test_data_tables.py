import csv
import datetime
import math

import numpy as np
import pytest

from probvae import InputError, data
from probvae.data import arrays, kinds
from probvae.distributions import columns as tables

N = 400
RNG = np.random.default_rng(0)
HEIGHT = RNG.normal(170, 9, N).round(2)
TABLE = {
    "height": HEIGHT.tolist(),
    "smokes": RNG.choice(["yes", "no"], N).tolist(),
    "colour": RNG.choice(["red", "green", "blue"], N).tolist(),
    "rooms": RNG.integers(2, 7, N).tolist(),
    "grade": RNG.integers(0, 4, N).tolist(),
    "born": RNG.integers(1900, 2000, N).tolist(),
    "sold": RNG.integers(0, 2, N).tolist(),
}
KINDS = ("normal", "bernoulli", "categorical:3", "categorical:5", "categorical:4", "normal", "bernoulli")
LEVELS = {
    "smokes": ("no", "yes"),
    "colour": ("blue", "green", "red"),
    "rooms": (2, 3, 4, 5, 6),
    "grade": (0, 1, 2, 3),
    "sold": (0, 1),
}


def write_csv(path, table, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return str(path)


def write_parquet(path, table):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
    return str(path)


WRITERS = {".csv": write_csv, ".parquet": write_parquet}


@pytest.fixture(params=WRITERS)
def path(request, tmp_path):
    return WRITERS[request.param](tmp_path / f"a{request.param}", TABLE)


def kinds_of(d):
    """Kinds of the columns in the order of the data."""
    return tuple(column.kind for _, column in d.schema.in_place)


def levels_of(d):
    return {column.name: column.levels for column in d.schema.columns if column.levels}


def joined(d):
    parts = [d.train, d.test, *([] if d.validation is None else [d.validation])]
    return np.concatenate([np.asarray(p) for p in parts])


def rows_of(table):
    """Rows as a sorted list of texts: what does not depend on their order."""
    return sorted(" ".join(f"{float(v):g}" if _is_number(v) else str(v) for v in row) for row in table)


def _is_number(value):
    try:
        float(value)
    except ValueError:
        return False
    return True


def test_there_and_back(path):
    d = data.load(path, validation=0.2)
    assert (len(d.train), len(d.validation), len(d.test)) == (288, 72, 40)
    assert d.columns == tuple(sorted(TABLE)) and kinds_of(d) == KINDS and levels_of(d) == LEVELS
    assert [column.name for _, column in d.schema.in_place] == list(TABLE) and d.num_missing == (0,) * 7
    assert d.event_shape == (7,) and d.train.dtype == np.float32 and not d.missing
    back = data.in_units(d, joined(d))
    assert rows_of(zip(*back.values(), strict=True)) == rows_of(zip(*TABLE.values(), strict=True))
    np.testing.assert_allclose(np.sort(back["height"]), np.sort(HEIGHT), rtol=1e-6)


def test_normal_columns_are_standardized_by_the_training_set_alone(path):
    d = data.load(path, validation=0.2)
    normal = [kind == "normal" for kind in d.kinds]
    assert np.all(np.abs(d.train[:, normal].mean(axis=0)) <= 1 / 256)
    deviation = d.train[:, normal].std(axis=0)
    assert np.all((2**-0.5 <= deviation) & (deviation <= 2**0.5))
    assert np.all(np.abs(d.validation[:, normal].mean(axis=0)) > 1 / 256)
    for column in d.schema.columns:
        assert math.log2(column.scale).is_integer() and (column.loc * 256 / column.scale).is_integer()
        assert column.kind == "normal" or (column.loc, column.scale) == (0, 1)
    seen = np.sort(data.in_units(d, d.train)["born"])
    [born] = [column for column in d.schema.columns if column.name == "born"]
    assert (born.low, born.high, born.type) == (seen[0], seen[-1], "integer") and seen.dtype == np.int64


def test_batches_and_temporary_files_change_nothing(path, monkeypatch):
    d = data.load(path)
    monkeypatch.setattr("probvae.data.tables.table.BATCH", 7)
    monkeypatch.setattr(arrays, "OF_TABLES", 100)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 100)
    cut = data.load(path)
    assert isinstance(cut.train, arrays.Stored) and cut.schema == d.schema
    for name in ("train", "test"):
        np.testing.assert_allclose(getattr(cut, name), getattr(d, name), atol=1e-6)


def test_a_table_fits_the_mixed_likelihood(path):
    d = data.load(path)
    prepared = data.prepare(d, binarize="none", likelihood="mixed")
    np.testing.assert_array_equal(prepared.test, d.test)
    assert prepared.train is d.train
    with pytest.raises(InputError, match="poisson likelihood"):
        data.prepare(d, binarize="none", likelihood="poisson")


def test_kinds_may_be_given(path):
    kinds = {"rooms": "poisson", "grade": "categorical:9", "height": "ignore", "born": "lognormal"}
    d = data.load(path, kinds=kinds)
    assert d.columns == tuple(sorted({*TABLE} - {"height"}))
    assert kinds_of(d) == (*KINDS[1:3], "poisson", "categorical:9", "lognormal", "bernoulli")
    assert dict(zip(d.columns, d.kinds, strict=True))["born"] == "normal"  # of the logarithm
    back = data.in_units(d, joined(d))
    assert sorted(joined(d)[:, d.columns.index("rooms")]) == sorted(TABLE["rooms"])
    assert sorted(back["born"]) == sorted(TABLE["born"])


@pytest.mark.parametrize(("label", "names"), [("colour", ("blue", "green", "red")), ("born", ())])
def test_a_column_of_labels(label, names, path):
    d = data.load(path, label=label, validation=0.5)
    assert label not in d.columns and d.label_names == names and d.schema.label == label
    labels = np.concatenate([d.train_labels, d.test_labels, d.validation_labels])
    back = data.in_units(d, joined(d))
    found = [names[i] for i in labels] if names else labels.tolist()
    pairs = sorted(zip(np.round(back["height"], 2).tolist(), found, strict=True))
    assert pairs == sorted(zip(TABLE["height"], TABLE[label], strict=True))


# ---- guesses -------------------------------------------------------------------------------------

GUESSES = {
    "halves": (np.arange(200) / 2, "normal"),
    "years": (np.arange(200) + 1900, "normal"),
    "few_rows_of_integers": ([1, 2, 3, 4, 5], "normal"),
    "stars": (np.arange(200) % 5 + 1, "categorical:5"),
    "halves_of_stars": (np.arange(200) % 5 / 2, "normal"),
    "twenty": (np.arange(400) % 20, "categorical:20"),
    "twenty_one": (np.arange(1000) % 21, "normal"),
    "bits": ([0, 1, 1], "bernoulli"),
    "signs": ([-1, 1, 1], "bernoulli"),
    "zeros": ([0, 0, 0], "bernoulli"),
    "sevens": ([7, 7, 7], "normal"),
    "many_sevens": ([7] * 1000, "normal"),
    "answers": (["yes", "no", "yes"], "bernoulli"),
    "one_word": (["a", "a", "a"], "bernoulli"),
    "words": (["a", "b", "c"], "categorical:3"),
    "mixed": (["1", "2", "many"], "categorical:3"),
    "tiny": (np.arange(50) * 1e-30, "normal"),
}


@pytest.mark.parametrize("name", GUESSES)
def test_guesses(name, tmp_path):
    values, kind = GUESSES[name]
    d = data.load(write_csv(tmp_path / "a.csv", {"c": values}))
    assert d.kinds == (kind,) and np.all(np.isfinite(joined(d)))
    back = data.in_units(d, joined(d))["c"]
    if kind == "normal":
        np.testing.assert_allclose(np.sort(back), np.sort(values), rtol=1e-6, atol=1e-6 * np.max(values))
    else:
        assert rows_of([[v] for v in back]) == rows_of([[v] for v in values])


def test_kinds_are_those_of_the_mixed_likelihood():
    coded = {kinds.kind_of_codes(name) for name in kinds.NUMBERS}
    assert {*coded, "lognormal", "bernoulli"} == set(tables.KINDS)  # lognormal in runs of format 2
    assert {name for name, kind in kinds.LEVELS.items() if kind.sized} == set(tables.SIZED)
    for name, kind in kinds.NUMBERS.items():
        own = tables.kind_of(kinds.distribution_of(name))
        assert (own.standardizes, own.counts) == (kind.standardized, kind.whole)
        assert (own.log_size, own.takes_size) == (kind.is_size, kind.whole)


# ---- missing values ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", WRITERS)
def test_empty_cells_are_missing_values(ending, tmp_path):
    empty = "" if ending == ".csv" else None
    table = {"a": [1.5, 2.5, None, 4.0] * 5, "b": ["x", empty, "y", "x"] * 5, "c": [3, 4, 5, 60] * 5}
    path = WRITERS[ending](tmp_path / f"a{ending}", table)
    with pytest.raises(InputError, match=r"empty cells in 2 of its columns, 5 in 'a': .* --missing"):
        data.load(path)
    d = data.load(path, missing=True)
    assert d.missing and d.kinds == ("normal", "bernoulli", "normal")
    assert np.isnan(joined(d)).sum(axis=0).tolist() == [5, 5, 0]
    back = data.in_units(d, joined(d))
    assert sorted(back["b"]) == [""] * 5 + ["x"] * 10 + ["y"] * 5
    assert d.num_missing == (5, 5, 0) and abs(np.nanmean(d.train[:, 0])) <= 1 / 256
    prepared = data.prepare(d, binarize="none", likelihood="mixed")
    assert np.isnan(prepared.test).sum() == np.isnan(d.test).sum()


def test_words_for_missing_values(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n" + "1.5, x\nNA,nan\nNaN,y\n null ,N/A\n2,\n" * 3)
    d = data.load(str(tmp_path / "a.csv"), missing=True)
    assert np.isnan(joined(d)).sum(axis=0).tolist() == [9, 9] and d.schema.missing_cells[0] == "NA"


# ---- .csv ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_quotes(delimiter, tmp_path):
    table = {"a b": [1.5, 2.5, 3.5], 'say "x"': ["p;q", "r\ts", "t,u"]}
    d = data.load(write_csv(tmp_path / "a.csv", table, delimiter))
    assert d.columns == tuple(sorted(table))
    assert sorted(data.in_units(d, joined(d))['say "x"']) == sorted(table['say "x"'])


def test_first_rows(tmp_path):
    path = tmp_path / "A.CSV"
    path.write_bytes("\ufeffé,b\r\n1,2\r\n\r\n3,4.5\r\n".encode())
    assert data.load(str(path)).columns == ("b", "é")
    path.write_text("1,2.5\n3,4.5\n,6.5\n")
    d = data.load(str(path), missing=True)
    assert d.columns == ("column_1", "column_2") and len(joined(d)) == 3
    path.write_text(",b\n1,2.5\n2,4.5\n")
    assert data.load(str(path)).columns == ("b", "column_1")


# ---- .parquet ------------------------------------------------------------------------------------


def test_parquet_types(tmp_path):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "int8": pa.array([1, 2, None, 40], pa.int8()),
            "big": pa.array([2**60, 2**61, 0, 1], pa.int64()),
            "bool": pa.array([True, False, None, True]),
            "text": pa.array(["a", "b", "c", None], pa.large_string()),
            "coded": pa.array(["a", "b", "c", None]).dictionary_encode(),
            "day": pa.array([datetime.date(2020, 1, 1), None, datetime.date(1969, 12, 31), None]),
            "time": pa.array([1, 2, 3, None], pa.timestamp("ms", "UTC")),
            "list": pa.array([[1], [2], [3], [4]]),
        }
    )
    path = write_parquet(tmp_path / "a.parquet", table)
    with pytest.raises(InputError, match=r"Column 'list' of a.parquet holds list.*leave it out .*ignore'}"):
        data.load(path, missing=True)
    with pytest.warns(UserWarning, match="'time' of a.parquet has fractions of seconds, which are rounded"):
        d = data.load(path, missing=True, kinds={"list": "ignore"}, seed=1)
    assert kinds_of(d) == ("normal", "normal", "bernoulli", *["categorical:3"] * 2, "normal", "normal")
    back = data.in_units(d, joined(d))
    assert sorted(back["text"]) == sorted(back["coded"]) == ["", "a", "b", "c"]
    np.testing.assert_allclose(np.sort(back["big"]), [0, 1, 2**60, 2**61], rtol=1e-6, atol=1e12)
    assert back["big"].dtype == np.int64 and sorted(back["bool"], key=str) == [False, None, True, True]
    assert back["day"].dtype == "M8[D]" and str(np.nanmin(back["day"])) == "1969-12-31"
    assert back["time"].dtype == "M8[s]" and np.isnat(back["time"]).sum() == 1


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    refuse(tmp_path / "a.parquet", r"pip install 'probvae\[parquet\]'")


# ---- tables that cannot be used ------------------------------------------------------------------


def refuse(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        data.load(str(path), **options)
    assert "\n" not in str(caught.value)


BAD = {
    "empty": ("", "is empty: its first row must name the columns"),
    "header": ("a,b\n", "two rows or more; it holds none"),
    "one": ("a,b\n1,2\n", "two examples or more; it holds 1"),
    "ragged": ("a,b\n1,2\n3,4\n5\n", "Line 4 of .* has 1 cells; its first line has 2"),
    "twice": ("a,a\n1,2\n", "two columns named 'a'"),
    "infinite": ("a\n1\ninf\n", "'a' of .* has values that are not finite, .* the first, inf, in row 2 "),
    "large": ("a\n1\n1e39\n", "'a' of .* has values that are not finite, or beyond 1e[+]38"),
    "void": ("a,b\n1,\n2,\n3,\n", "Column 'b' of .* is empty: leave it out"),
    "prose": ("a\n" + "".join(f"row {i}\n" for i in range(101)), "text of more than 100 distinct values"),
    "essay": ("a\n" + "".join(f"row {i}\n" for i in range(2000)), "text of more than 100 distinct values"),
    "quotes": ('a,b\n1,2\n"3,4\n', "cannot be read as a .csv file"),
    "long": ("a\n" + "1" * 200_000 + "\n", "cells of at most 131,072 characters; one has 200,000"),
    "many": ("a,b\n1,2\n3,4\n5,6,7\n", "Line 4 of .* has 3 cells; its first line has 2"),
    "short": ("a,b\n1,2\n3,\n5\n", "Line 4 of .* has 1 cells; its first line has 2"),
    "latin": ("a\nä\n".encode("latin-1"), "must be text in UTF-8; its byte 0xe4 is none: save it in UTF-8"),
    "zip": (b"PK\x03\x04\x00\x00a\nb", "must be text in UTF-8; it has NUL characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_csv(name, tmp_path):
    content, message = BAD[name]
    path = tmp_path / f"{name}.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse(path, message)


def test_bad_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    for content in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"):
        (tmp_path / "a.parquet").write_bytes(content)
        refuse(tmp_path / "a.parquet", "cannot be read as a .parquet file")
    write_parquet(tmp_path / "a.parquet", TABLE)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "a.parquet").write_bytes(content[:-9])
    refuse(tmp_path / "a.parquet", "cannot be read as a .parquet file")
    refuse(tmp_path / "b.parquet", "There is no file .*b.parquet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": {"weight": "normal"}}, "no column 'weight'; its columns are height, smokes"),
        ({"label": "weight"}, "no column 'weight'"),
        ({"label": "height"}, "'height' of a.csv must hold integers or text to be the labels"),
        ({"kinds": {"height": "cauchy"}}, "'height' of a.csv must have a kind among normal, .* got 'cauchy'"),
        ({"kinds": {"height": "normal:3"}}, "must have a kind among"),
        ({"kinds": {"smokes": "normal"}}, "holds text, which cannot be normal"),
        ({"kinds": {"height": "poisson"}}, r"must hold counts .* not all of them whole"),
        ({"kinds": {"height": "continuous_bernoulli"}}, "must hold numbers from 0 to 1"),
        ({"kinds": {"grade": "lognormal"}}, "must hold positive numbers to be lognormal; found 0 to 3"),
        ({"kinds": {"rooms": "bernoulli"}}, "two distinct values to be bernoulli; it has 5"),
        ({"kinds": {"rooms": "categorical:4"}}, "categorical:K with K from 5 to 1,000; got '4'"),
        ({"kinds": {"rooms": "categorical:many"}}, "categorical:K with K from 5"),
        ({"kinds": dict.fromkeys(TABLE, "ignore")}, "no column left to model"),
        ({"image_size": 8}, "image_size is for images; a.csv is none"),
        ({"delimiter": "::"}, "delimiter must be one character, or tab; got '::'"),
        ({"decimal": "x"}, "decimal must be one of auto, ., ,; got 'x'"),
        ({"kind": "series"}, "is a table, whose rows are vectors; got kind 'series'"),
    ],
)  # fmt: skip
def test_bad_options(options, message, tmp_path):
    refuse(write_csv(tmp_path / "a.csv", TABLE), message, **options)


def test_a_label_must_be_there_in_every_row(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"a": [1.5, 2.5, 3.5], "y": [1, "", 2]})
    refuse(path, "'y' of a.csv cannot hold the labels: 1 of its cells are empty", label="y", missing=True)


def test_units_are_for_tables():
    digits = data.load("digits")
    with pytest.raises(InputError, match="digits is no table"):
        data.in_units(digits, digits.test)
