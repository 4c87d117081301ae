"""`runs.impute` and `probvae-impute`: the missing cells of files are filled in, and nothing else changes."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import probvae
from probvae import InputError, runs
from probvae.cli.impute import main
from probvae.data.dataset import Options
from probvae.data.tables.filling import read_whole
from probvae.data.tables.table_files import whole_frame

RNG = np.random.default_rng(0)
N = 40
HOMES = pd.DataFrame(
    {
        "id": [f"h{i:03d}" for i in range(N)],
        "rooms": RNG.integers(1, 60, N),
        "price": np.round(RNG.normal(50, 9, N), 2),
        "garden": RNG.choice(["Yes", "No"], N),
        "sold": pd.date_range("2020-01-01", periods=N).astype(str),
        "city": RNG.choice(["Seoul", "Busan; old"], N),
    }
)
TINY = {"latent_dim": 1, "units": (4,)}
GAPS = [(0, "rooms"), (1, "price"), (1, "garden"), (2, "sold"), (3, "city"), (5, "price"), (5, "rooms")]
OPTIONS = {"num_samples": 20}


def with_gaps(frame, missing=None):
    frame = frame.astype(object)
    for row, column in GAPS:
        frame.loc[row, column] = missing
    return frame


def write(path, frame, **options):
    frame.to_csv(path, index=False, sep=";", decimal=",", **options)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on a file with decimal commas, and tables with gaps."""
    folder = tmp_path_factory.mktemp("imputing")
    training = {"epochs": 1, "column_kinds": ("id=ignore",)}
    runs.train(TINY, training, data=write(folder / "homes.csv", HOMES), output=folder / "run")
    prices = HOMES.assign(price=[f"{p:.2f}".replace(".", ",") for p in HOMES["price"]])
    write(folder / "gaps.csv", with_gaps(prices, "NA")[["city", *prices.columns[:-1]]])
    return folder


@pytest.fixture(autouse=True)
def few_draws():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def lines(path):
    return path.read_text().splitlines()


def test_only_missing_cells_change(folder, tmp_path):
    done = runs.impute(folder / "run", folder / "gaps.csv", output=tmp_path / "full.csv", **OPTIONS)
    before, after = (pd.read_csv(p, sep=";", dtype=str) for p in (folder / "gaps.csv", done.paths[0]))
    assert list(after.columns) == list(before.columns) and done.rows == N
    changed = {
        (row, before.columns[place]) for row, place in np.argwhere(before.to_numpy() != after.to_numpy())
    }
    assert changed == set(GAPS)
    assert done.missing == {"city": 1, "garden": 1, "price": 2, "rooms": 2, "sold": 1}
    assert after["rooms"].str.fullmatch("[0-9]+").all()
    assert after["price"].str.fullmatch(r"[0-9]+,[0-9]+").all()
    assert after["sold"].str.fullmatch("2020-[0-9]{2}-[0-9]{2}").all()
    assert set(after["garden"]) == {"Yes", "No"} and set(after["city"]) == {"Seoul", "Busan; old"}


def test_draws_and_cells(folder, tmp_path):
    options = {**OPTIONS, "num_draws": 3, "level": 0.8}
    done = runs.impute(folder / "run", folder / "gaps.csv", output=tmp_path / "full.csv", **options)
    assert [path.name for path in done.paths] == ["full.csv", "full-draws.csv", "full-cells.csv"]
    draws = pd.read_csv(done.paths[1], sep=";", dtype=str)
    gaps = pd.read_csv(folder / "gaps.csv", sep=";", dtype=str)
    assert draws["draw"].tolist() == [str(r) for r in (1, 2, 3) for _ in range(N)]
    assert not draws.isna().any().any()
    seen = gaps.notna().to_numpy()
    for _, table in draws.groupby("draw"):
        np.testing.assert_array_equal(table.drop(columns="draw").to_numpy()[seen], gaps.to_numpy()[seen])
    assert draws[draws["id"] == "h001"]["price"].nunique() == 3
    cells = pd.read_csv(done.paths[2], decimal=",")
    assert sorted(zip(cells["row"] - 1, cells["column"], strict=True)) == sorted(GAPS)
    numbers = cells[cells["column"].isin(["price"])]
    low, value, high = (numbers[c].str.replace(",", ".").astype(float) for c in ("low", "value", "high"))
    assert (low < value).all() and (value < high).all()
    levels = cells[cells["column"].isin(["city", "garden"])]
    assert levels["low"].isna().all() and levels["probability"].astype(float).between(0.5, 1).all()
    full = pd.read_csv(done.paths[0], sep=";", dtype=str)
    for _, cell in cells.iterrows():
        assert full.loc[cell["row"] - 1, cell["column"]] == cell["value"]


def test_values_are_those_of_the_model_for_the_same_rows_in_python(folder, tmp_path):
    done = runs.impute(folder / "run", folder / "gaps.csv", output=tmp_path / "full.csv", seed=3, **OPTIONS)
    frame = pd.read_csv(folder / "gaps.csv", sep=";", decimal=",")
    vae = probvae.load(folder / "run")
    expected = probvae.impute(vae, frame.assign(sold=pd.to_datetime(frame["sold"])), seed=3, **OPTIONS)
    for row, column in GAPS:
        ours = done.imputed.values[column].iloc[row]
        assert ours == expected.values[column].iloc[row] or np.isclose(
            ours, expected.values[column].iloc[row], rtol=1e-5
        )


BOOLEANS = {  # cells of a file, and the text of a missing False
    ("TRUE", ""): "FALSE",
    ("True", ""): "False",
    ("true", ""): "false",
    ("1", ""): "0",
    ("", ""): "false",
    ("0", ""): "0",
}


@pytest.mark.parametrize("cells", BOOLEANS)
def test_booleans_and_zones_are_written_as_in_the_file(tmp_path, cells):
    frame = pd.DataFrame(
        {"b": [True, False], "t": pd.to_datetime(["2020-01-01 10:30:00", "2020-01-02 11:00:01"])}
    )
    schema = whole_frame(frame, missing=True)[1]
    times = pd.DataFrame({"b": cells, "t": ["2020-01-01T10:30:00+09:00", ""]})
    times.to_csv(tmp_path / "a.csv", index=False)
    times.replace("", None).to_parquet(tmp_path / "a.parquet")
    values = frame.assign(b=False)
    for name in ("a.csv", "a.parquet")[: 1 + ("true" in cells)]:
        filled = read_whole(tmp_path / name, schema, Options(schema=schema, missing=True)).filled(values)
        assert filled["b"][1] == BOOLEANS[cells]
        assert filled["t"].tolist() == [times["t"][0], "2020-01-02T11:00:01+00:00"]


@pytest.mark.parametrize("between", ["T", " "])
def test_times_are_written_as_in_the_file(folder, tmp_path, between):
    """By the schema alone: no model is needed to see what is written."""
    times = [f"2020-01-{day:02d}{between}10:30:00" for day in range(1, 21)]
    frame = pd.DataFrame({"t": times, "n": np.arange(20) % 7})
    schema = whole_frame(frame.assign(t=pd.to_datetime(frame["t"])), missing=True)[1]
    frame.assign(t=["", *times[1:]]).to_csv(tmp_path / "a.csv", index=False)
    whole = read_whole(tmp_path / "a.csv", schema, Options(schema=schema, missing=True))
    values = whole.typed.assign(t=whole.typed["t"].fillna(pd.Timestamp("2020-03-04 05:06:07")))
    assert whole.filled(values)["t"].tolist() == [f"2020-03-04{between}05:06:07", *times[1:]]


@pytest.mark.parametrize("ending", [".parquet", ".tsv"])
def test_other_forms(folder, tmp_path, ending):
    typed = with_gaps(HOMES).assign(sold=lambda f: pd.to_datetime(f["sold"])).infer_objects()
    typed = typed.astype({"rooms": "Int64", "city": "category"})
    path = tmp_path / f"gaps{ending}"
    typed.to_parquet(path) if ending == ".parquet" else typed.to_csv(path, sep="\t", index=False)
    (full,) = runs.impute(folder / "run", path, output=tmp_path / f"full{ending}", **OPTIONS).paths
    read = pd.read_parquet if ending == ".parquet" else lambda p: pd.read_csv(p, sep="\t")
    before, after = read(path), read(full)
    assert not after.isna().any().any()
    if ending == ".parquet":
        assert after.dtypes.to_dict() == before.dtypes.to_dict()
    seen = before.notna().to_numpy()
    np.testing.assert_array_equal(after.to_numpy(object)[seen], before.to_numpy(object)[seen])


@pytest.mark.slow
def test_a_conditional_run_imputes_each_row_by_the_model_of_its_class(tmp_path):
    training = {"epochs": 1, "column_kinds": ("id=ignore",), "label": "city", "labels": "condition"}
    table = HOMES.drop(columns="sold")
    table.to_csv(tmp_path / "homes.csv", index=False)
    run = runs.train(TINY, training, data=tmp_path / "homes.csv", output=tmp_path / "run")
    gaps = table.astype(object)
    gaps.loc[[0, 7], "price"] = None
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    done = runs.impute(run, tmp_path / "gaps.csv", **OPTIONS)
    assert done.paths == [tmp_path / "run" / "imputed" / "gaps.csv"]
    for row in (0, 7):
        vae = run.model_of(str(table["city"][row]))
        expected = probvae.impute(vae, run.schema.encode(gaps.iloc[[row]]), **OPTIONS).mean
        place = run.schema.names.index("price")
        column = run.schema.columns[place]
        assert np.isclose(
            done.imputed.mean["price"].iloc[row], column.unscaled(expected[0, place]), rtol=1e-4
        )
    gaps.drop(columns="city").to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(InputError, match=r"conditional.*no column 'city'"):
        runs.impute(run, tmp_path / "none.csv", **OPTIONS)


WRONG = {
    "itself": (["{gaps}", "--output", "{gaps}"], "the table itself"),
    "exists": (["{gaps}", "--output", "{run}/config.csv"], "add --overwrite"),
    "form": (["{gaps}", "--output", "full.parquet"], "must end in .csv or .tsv"),
    "image": (["picture.png"], "must end in .csv or .tsv or .parquet"),
    "absent": (["nowhere.csv"], "does not exist"),
    "level": (["{gaps}", "--level", "1.5"], "between 0 and 1"),
    "tiny": (["{gaps}", "--level", "1e-17"], "between 0 and 1"),
    "draws": (["{gaps}", "--draws", "0"], "--draws"),
    "damaged": (["{damaged}"], "cannot be read as a .parquet file"),
    "folder": (["{gaps}", "--output", "{run}/x.csv", "--draws", "2", "--overwrite"], "is a folder"),
    "column": (["{other}"], "has no column"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_write_nothing(folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arguments, message = WRONG[name]
    (folder / "run" / "config.csv").write_text("kept")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n3,4\n")
    damaged = folder / "damaged.parquet"
    damaged.write_bytes(b"PAR1" + bytes(99))
    (folder / "run" / "x-draws.csv").mkdir(exist_ok=True)
    places = {
        "damaged": damaged,
        "gaps": folder / "gaps.csv",
        "run": folder / "run",
        "other": tmp_path / "other.csv",
    }
    before = (folder / "gaps.csv").read_text()
    result = CliRunner().invoke(main, [str(folder / "run"), *[a.format(**places) for a in arguments]])
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.csv"]
    assert (folder / "gaps.csv").read_text() == before
    assert (folder / "run" / "config.csv").read_text() == "kept"
    assert not (folder / "run" / "x.csv").exists()


def test_a_model_that_takes_no_missing_cells_is_refused(folder, tmp_path):
    run = runs.train({**TINY, "missing": False}, {"epochs": 0}, folder / "homes.csv", tmp_path / "run")
    with pytest.raises(InputError, match="takes no missing cells"):
        runs.impute(run, folder / "gaps.csv")


def test_few_effective_draws_are_told_at_both_doors(folder, tmp_path):
    few = "1 of 1 rows have an effective sample size below 10.*num_samples"
    HOMES.head(1).assign(price=None).to_csv(tmp_path / "one.csv", index=False)
    with pytest.warns(UserWarning, match=few):
        runs.impute(folder / "run", tmp_path / "one.csv", output=tmp_path / "full.csv", num_samples=5)
    arguments = [str(folder / "run"), str(tmp_path / "one.csv"), "--num-samples", "5", "--overwrite"]
    result = CliRunner().invoke(main, [*arguments, "--output", str(tmp_path / "full.csv"), "--quiet"])
    assert re.search(f"Warning: {few}", result.stderr), result.output


def test_the_command_says_what_it_did(folder, tmp_path):
    output = tmp_path / "new" / "full.csv"
    arguments = [
        str(folder / "run"),
        str(folder / "gaps.csv"),
        "--output",
        str(output),
        "--num-samples",
        "20",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert f"filled in 7 cells, written to {output.parent}: full.csv" in result.output
    assert CliRunner().invoke(main, arguments).exit_code == 2
    assert CliRunner().invoke(main, [*arguments, "--overwrite", "--quiet"]).exit_code == 0
