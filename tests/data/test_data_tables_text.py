"""What cells of text files stand for: numbers, dates, booleans, missing cells; and what a user is told."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from probvae import InputError, data
from probvae.config.training import Training


def load(path, content, **options):
    """Data of a file with this content, and the warnings."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = data.load(str(path), **options)
    return loaded, [str(warning.message) for warning in caught]


def values(loaded):
    """Values of each column, sorted, as numbers or texts."""
    parts = [loaded.train, loaded.test]
    decoded = loaded.schema.decode(np.concatenate([np.asarray(part) for part in parts]))
    return {name: sorted(column.tolist(), key=str) for name, column in decoded.items()}


def column(*cells):
    return "a;b\n" + "".join(f"{cell};{i}\n" for i, cell in enumerate(cells))


# ---- numbers -------------------------------------------------------------------------------------

NUMBERS = {  # cells of a column of a file with semicolons, and what they are read as
    "points": (["1.5", "2", "-3e1", "+.5"], [-30.0, 0.5, 1.5, 2.0]),
    "commas": (["1,5", "2", "-3,25"], [-3.25, 1.5, 2.0]),
    "comma_and_three_digits": (["1,5", "1,234"], [1.234, 1.5]),
    "thousands": (["1,234,567", "1,234", "12"], [12, 1234, 1_234_567]),
    "thousands_and_point": (["1,234.5", "1,234"], [1234.0, 1234.5]),
    "thousands_and_comma": (["1.234,5", "2.345", "7"], [1234.5, 2345.0, 7.0]),
    "three_digits": (["1.234", "2.345"], [1.234, 2.345]),
}
TEXTS = {  # cells that stay text, and the warning
    "ids": (["007", "12", "13"], "'a' of a.csv stays text, as it holds 007: --column-kinds a=normal reads"),
    "exponents": (["1E5", "2E7", "3e9"], "stays text, as it holds 1E5 and the like alone"),
    "underscores": (["1_2", "3", "4"], "stays text, as it holds 1_2"),
    "ambiguous": (["1,234", "2,345", "7"], r"1,234 has either a decimal comma or a thousands separator"),
    "both": (["1,5", "1.5", "2"], "some of its numbers have a decimal point and some a comma"),
    "spaces": (["1 234", "12 345 678"], "as cells like '1 234' are neither plain numbers nor dates"),
    "units": (["$5", "7 €", "8%"], "as cells like '$5' are neither plain numbers nor dates like 2020-12-31"),
    "days": (["31/12/2020", "1.2.2021", "2/3/21 10:00"], "as cells like '31/12/2020' are neither"),
    "nearly": (
        [*map(str, range(20)), "-"],
        "95.2% of its cells are numbers, but not '-': --na 'NA,N/A,nan,null,?,-' reads it otherwise",
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name, tmp_path):
    cells, expected = NUMBERS[name]
    loaded, said = load(tmp_path / "a.csv", column(*cells))
    assert said == [] and loaded.schema.columns[0].type == ("integer" if name == "thousands" else "number")
    assert loaded.schema.columns[0].kind in ("normal", "bernoulli")
    np.testing.assert_allclose(sorted(values(loaded)["a"]), sorted(expected), rtol=1e-6)


@pytest.mark.parametrize("name", TEXTS)
def test_cells_that_look_like_numbers_stay_text(name, tmp_path):
    cells, message = TEXTS[name]
    loaded, said = load(tmp_path / "a.csv", column(*cells))
    assert loaded.schema.columns[0].type == "text" and values(loaded)["a"] == sorted(cells)
    assert len(said) == 1 and message in said[0] and said == [*loaded.remarks]
    quiet, said = load(tmp_path / "a.csv", column(*cells), kinds={"a": "categorical"})
    assert said == [] and values(quiet)["a"] == sorted(cells)


def test_dates_as_text_of_a_frame_are_told():
    """Text of a DataFrame stays text; a remark or the refusal says how dates are read."""
    dates = [f"2024-{1 + i % 12:02d}-{1 + i // 12 % 28:02d}" for i in range(120)]
    for count in (2, 120):
        frame = pd.DataFrame({"a": [dates[i % count] for i in range(120)], "b": np.arange(120) * 0.5})
        if count == 2:
            with pytest.warns(
                UserWarning, match="cells like '2024-01-01' are dates, which pandas.to_datetime"
            ):
                assert data.load(frame).schema.columns[0].type == "text"
        else:
            with pytest.raises(
                InputError, match=r"too many for categories \(.*which pandas.to_datetime reads\)"
            ):
                data.load(frame)
            assert data.load(frame.assign(a=pd.to_datetime(frame["a"]))).schema.columns[0].type == "date"


def test_what_a_warning_offers_mends(tmp_path):
    def numbers(cells, **options):
        loaded, said = load(tmp_path / "a.csv", column(*cells), **options)
        assert said == []
        return sorted(values(loaded)["a"])

    assert numbers(TEXTS["ids"][0], kinds={"a": "normal"}) == [7, 12, 13]
    assert numbers(["1E2", "2E1", "3E0"], kinds={"a": "normal"}) == [3, 20, 100]
    assert numbers(TEXTS["ambiguous"][0], decimal=".") == [7, 1234, 2345]
    np.testing.assert_allclose(numbers(TEXTS["ambiguous"][0], decimal=","), [1.234, 2.345, 7], rtol=1e-6)
    words = ("NA", "N/A", "nan", "null", "?", "-")
    found = numbers(TEXTS["nearly"][0], na=words, missing=True)
    np.testing.assert_array_equal(found, [*range(20), np.nan])


def test_the_comma_of_a_file_with_commas_stands_in_quotes(tmp_path):
    loaded, said = load(
        tmp_path / "a.csv", 'a,b\n"1,234,567",x\n"2,000",y\n"1,5,6",z\n', kinds={"b": "ignore"}
    )
    assert values(loaded)["a"] == ["1,234,567", "1,5,6", "2,000"]
    assert len(said) == 1 and "as cells like '1,5,6' are neither plain numbers nor dates" in said[0]
    loaded, _ = load(tmp_path / "a.csv", 'a,b\n"1,234,567",x\n"2,000",y\n')
    assert values(loaded)["a"] == [1_234_567, 2000]


# ---- dates and booleans --------------------------------------------------------------------------


def test_dates_and_booleans(tmp_path):
    content = (
        "day,time,zone,fraction,yes,mixed\n"
        "2020-02-29,2020-01-01 10:00,2020-01-01T10:00:00Z,2020-01-01T00:00:00.25,True,2020-01-01\n"
        "1969-12-31,2020-01-01T10:00:05,2020-01-01T10:00:00+02:00,2020-01-01T00:00:01,false,2020-02-30\n"
        "2021-12-31,,2020-01-02 00:00 -0530,2020-01-01T00:00:02,TRUE,2020-01-02\n"
    )
    loaded, said = load(tmp_path / "a.csv", content, missing=True)
    back = values(loaded)
    types = {c.name: (c.type, c.unit, c.kind) for c in loaded.schema.columns}
    assert types["day"] == ("date", "D", "normal") and types["time"] == ("date", "s", "normal")
    assert types["yes"] == ("boolean", "", "bernoulli") and types["mixed"] == ("text", "", "categorical:3")
    assert list(map(str, back["day"])) == ["1969-12-31", "2020-02-29", "2021-12-31"]
    assert [str(v) for v in back["time"]] == ["2020-01-01 10:00:00", "2020-01-01 10:00:05", "None"]
    assert [str(v) for v in back["zone"]] == [
        f"2020-01-0{d} {t}:00" for d, t in ((1, "08:00"), (1, "10:00"), (2, "05:30"))
    ]
    assert back["yes"] == [False, True, True] and len(said) == 2
    assert "'zone' of a.csv has times of a time zone, which are kept in UTC" in said[0]
    assert "'fraction' of a.csv has fractions of seconds" in said[1]


def test_dates_say_how_finely_x_holds_them(tmp_path):
    seconds = np.datetime64("2000-01-01", "s") + np.linspace(0, 1e9, 200).astype(int)
    loaded, said = load(tmp_path / "a.csv", "a\n" + "\n".join(map(str, seconds)) + "\n")
    [sentence] = said
    step = int(sentence.split(" is held to ")[1].split()[0])
    worst = np.max(np.abs(np.sort(loaded.schema.decode(loaded.train)["a"])[:, None] - seconds).min(axis=1))
    assert 1 < worst.astype(int) <= step < 120


# ---- missing cells -------------------------------------------------------------------------------


def test_missing_cells(tmp_path):
    content = "a,b\n" + "1.5, ? \nna,null\nNaN,y\n.,N/A\n2,\n" * 3
    loaded, _ = load(tmp_path / "a.csv", content.replace(".,N/A", "NULL,N/A"), missing=True)
    assert loaded.num_missing == (9, 12) and loaded.schema.columns[1].levels == ("y",)
    loaded, _ = load(tmp_path / "a.csv", content, missing=True, na=["NA", "nan", "."])
    assert loaded.num_missing == (9, 3) and loaded.schema.columns[1].levels == ("?", "N/A", "null", "y")
    assert loaded.schema.missing_cells == ("NA", "nan", ".")
    other = "a,b\n.,y\n3,?\n"
    loaded, _ = load(tmp_path / "b.csv", other, missing=True, schema=loaded.schema)
    assert loaded.num_missing == (1, 0)


# ---- files ---------------------------------------------------------------------------------------


def test_first_rows_and_delimiters(tmp_path):
    rows = "39, State-gov,7\n41, Private,8\n42, State-gov,9\n43, Private,9\n"
    loaded, _ = load(tmp_path / "a.csv", rows)
    assert (
        loaded.columns == ("column_1", "column_2", "column_3") and len(loaded.train) + len(loaded.test) == 4
    )
    loaded, _ = load(tmp_path / "a.csv", "name,2020\nx,1.5\ny,2.5\n")
    assert loaded.columns == ("2020", "name")
    loaded, _ = load(tmp_path / "a.csv", '"a;b;c;d",e\n1,2\n3,4\n')
    assert loaded.columns == ("a;b;c;d", "e")
    loaded, _ = load(tmp_path / "a.csv", "a|b,c\n1|2,5\n3|4,5\n", delimiter="|")
    assert values(loaded)["b,c"] == [2.5, 4.5]
    for delimiter in ("tab", "\t", ""):
        loaded, _ = load(tmp_path / "a.tsv", "a\tb,c,d\n1\t2\n3\t4\n", delimiter=delimiter)
        assert loaded.columns == ("a", "b,c,d")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_with_a_mark(encoding, tmp_path):
    loaded, _ = load(tmp_path / "a.csv", "é,b\nü,1\nß,2\n".encode(encoding))
    assert loaded.columns == ("b", "é") and values(loaded)["é"] == ["ß", "ü"]


def test_short_rows_are_found_in_any_chunk(tmp_path):
    rows = [f"{i},{i % 3}" for i in range(2000)]
    load(tmp_path / "a.csv", "\n".join(["a,b", *rows, "5,"]), missing=True)
    with pytest.raises(InputError, match=r"Line 1,902 of a\.csv has 1 cells"):
        load(tmp_path / "a.csv", "\n".join(["a,b", *rows[:1900], "5", *rows]), missing=True)


# ---- what is said --------------------------------------------------------------------------------


def test_all_bad_columns_are_named_with_what_mends_them(tmp_path):
    lines = [f"person {i},{i if i else '-'},,{i / 7}" for i in range(120)]
    content = "\n".join(["a=b,size,none,x", *lines]) + "\n"
    with pytest.raises(InputError) as caught:
        load(tmp_path / "a.csv", content, kinds={"x": "poisson"})
    message = str(caught.value)
    assert "4 columns of a.csv cannot be used: 'a=b' holds text of more than 100 distinct values" in message
    assert "'size' holds text of more than 100 distinct values" in message and "'none' is empty" in message
    assert (
        "add --column-kinds a=b=ignore --column-kinds none=ignore --column-kinds x=normal "
        "--na 'NA,N/A,nan,null,?,-' (kinds={'a=b': 'ignore', 'none': 'ignore', 'x': 'normal'})" in message
    )
    mended = Training(column_kinds=("a=b=ignore", "none=ignore", "x=normal"), na=("NA,N/A,nan,null,?,-",))
    kinds = {"a=b": "ignore", "none": "ignore", "x": "normal"}
    loaded, _ = load(tmp_path / "a.csv", content, kinds=kinds, na=mended.na, missing=True)
    assert loaded.columns == ("size", "x") and loaded.kinds == ("normal", "normal")


def test_a_schema_is_shown_as_a_table(tmp_path):
    content = "when,n,<b>\n" + "".join(f"2020-01-0{1 + i % 9},{i},{'xy'[i % 2]}\n" for i in range(40))
    loaded, _ = load(tmp_path / "a.csv", content.replace(",7,", ",,"), missing=True)
    lines = data.schema_text.as_table(loaded.schema, loaded.num_missing).splitlines()
    assert lines[0].split() == ["name", "kind", "type", "levels", "or", "range", "missing"]
    assert lines[1].split() == ["when", "normal", "date", "2020-01-01", "to", "2020-01-09"]
    assert lines[2].split() == ["n", "normal", "integer", "0", "to", "39", "1"]
    assert lines[3].split() == ["<b>", "bernoulli", "text", "x,", "y"]
    assert "\n".join(line.removesuffix(" 1").rstrip() for line in lines[1:2]) in repr(loaded.schema)
    html = loaded.schema._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html


def test_pandas_is_not_loaded_before_data_are_read():
    code = (
        "import sys, probvae, probvae.cli.train\n"
        "from probvae.data import Schema\n"
        "assert 'pandas' not in sys.modules and 'pyarrow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
