"""What a run knows of its data, at the doors of evaluate, sample, resume, and of older runs."""

import csv
import dataclasses
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

import probvae
from probvae import InputError, data, runs
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.coding import Column
from probvae.data.schema import Schema
from probvae.models import saving
from probvae.models.building import build
from probvae.runs import evaluation, known_data
from probvae.runs.known_data import differences
from probvae.runs.reports import tables
from probvae.runs.run import Run

N = 120
RNG = np.random.default_rng(0)
KIND = RNG.choice(["ash", "beech", "oak"], N)
TREES = {
    "height": (20 + 4 * (KIND == "oak") + RNG.normal(0, 3, N)).round(2).tolist(),
    "kind": KIND.tolist(),
    "income": np.exp(RNG.normal(10.5, 0.5, N)).astype(int).tolist(),
    "city": RNG.choice(["Busan", "Seoul"], N).tolist(),
}
QUICK = {"limit": 8, "num_samples": 5, "train_images": 8, "gap_images": 0, "ais_images": 0, "overwrite": True}
TINY = {"units": (6,), "latent_dim": 1}


def write(path, table):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return str(path)


def rows_of(folder):
    with (folder / "samples.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A conditional run on a table, with a lognormal column."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"column_kinds": ("income=lognormal",), "label": "city", "labels": "condition"}
    training = {"epochs": 2, "learning_rate": 1e-2, **options}
    whole = {**TINY, "missing": False}
    runs.train(whole, training, data=write(folder / "trees.csv", TREES), output=folder / "run")
    return folder


@pytest.mark.slow
def test_the_same_rows_score_alike_wherever_they_come_from(folder, tmp_path):
    own = runs.evaluate(folder / "run", output=tmp_path / "own", **QUICK)
    backwards = dict(reversed(TREES.items()))
    other = write(tmp_path / "other.csv", backwards)
    np.testing.assert_array_equal(Run(folder / "run", other).prepared.test, Run(folder / "run").prepared.test)
    assert not own.skipped and differences(Run(folder / "run"), Run(folder / "run", other).examples) == ""
    table = own.metrics["results"]  # of a table: no statistics over its columns, no images, no bits of units
    assert not any(key.startswith("predictive") for key in table) and "bits_per_dimension" not in table
    assert "image" not in "".join(line["name"] + line["note"] for line in table.values())
    remarks = {name: remark for name, _, remark in tables.headline(Run(folder / "run"))}
    assert "units of x" in remarks["Test ELBO"] and "units of x" in remarks["Reconstruction"]
    # the density is that of the rows in the file: log p(code) + log |d code / d value|
    run = Run(folder / "run")
    rows = np.flatnonzero(run.test.labels[:8] == 1)
    height, income = (run.schema.columns[run.schema.names.index(name)] for name in ("height", "income"))
    values = run.schema.decode(run.test.x[rows])
    slope = -math.log(height.scale) - math.log(income.scale) - np.log(values["income"])
    coded = probvae.inference.exact(run.model.of_class("Seoul"), run.test.x[rows]).log_marginal
    np.testing.assert_allclose(own.per_example["exact"][rows], coded + slope, atol=0.02)  # two grids of 6e-3


WRONG = {
    "levels": ({"kind": ["x"] * N}, "'kind' of other.csv has the levels 'ash', 'beech', 'oak'; got"),
    "classes": ({"city": ["Paris"] * N}, "Paris"),
    "column": ({"height": None}, "no column 'height', which the model needs"),
    "support": ({"income": [-5] * N}, "'income' of other.csv must hold positive numbers to be lognormal"),
    "text": ({"height": ["tall"] * N}, "'height' of other.csv must hold numbers; got 'tall' in row 1"),
    "missing": ({"height": ["", *TREES["height"][1:]]}, "'height'.*--missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_model_does_not_know_is_refused(name, folder, tmp_path):
    changes, message = WRONG[name]
    table = {name: values for name, values in {**TREES, **changes}.items() if values is not None}
    other = write(tmp_path / "other.csv", table)
    for door in (
        lambda: runs.evaluate(folder / "run", data=other, output=tmp_path / "e"),
        lambda: runs.sample(folder / "run", "reconstructions", data=other, output=tmp_path / "s"),
        lambda: Run(folder / "run", other).test,
    ):
        with pytest.raises(InputError, match=message) as caught:
            door()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "e").exists() and not (tmp_path / "s").exists()


def test_other_units_are_told(folder, tmp_path):
    metres = {**TREES, "height": [1000 * h for h in TREES["height"]]}
    other = Run(folder / "run", write(tmp_path / "mm.csv", metres))
    told = differences(Run(folder / "run"), other.examples)
    assert "column 'height' from 1" in told and "trained on 1" in told
    # a file under the same name in other units is not the data of the run
    before = (folder / "trees.csv").read_text()
    write(folder / "trees.csv", metres)
    try:
        with pytest.raises(InputError, match="holds other data than the run was trained on"):
            _ = Run(folder / "run").data
        with pytest.raises(InputError, match="are not those that the run"):
            runs.resume(folder / "run", epochs=3)
        drawn = runs.sample(folder / "run", label="Seoul", num=50, output=tmp_path / "drawn")
    finally:
        (folder / "trees.csv").write_text(before)
    table = rows_of(drawn.folder)
    assert all(0 < float(row["height"]) < 100 for row in table)  # not of the file that lay there


def test_other_ranges_are_told_as_the_data_write_them():
    pd = pytest.importorskip("pandas")
    days = pd.Timestamp("1960-01-01") + pd.to_timedelta(np.arange(40), "D")
    frame = pd.DataFrame({"day": days, "count": 1_000_000 + 7 * np.arange(40)})
    other = frame.assign(day=frame["day"] + pd.Timedelta("1000D"), count=frame["count"] + 7_000_000)
    told = known_data._ranges(data.load(other, schema=data.load(frame).schema))
    dates, counts = r"19\d\d-\d\d-\d\d to 19\d\d-\d\d-\d\d", r"\d{7} to \d{7}"
    assert re.fullmatch(f"column 'day' from {dates}, trained on {dates}", told[0])
    assert re.fullmatch(f"column 'count' from {counts}, trained on {counts}", told[1])


def test_samples_need_no_data_file(folder, tmp_path):
    (folder / "trees.csv").rename(folder / "gone.csv")
    try:
        drawn = runs.sample(folder / "run", "classes", num=4, output=tmp_path / "drawn")
    finally:
        (folder / "gone.csv").rename(folder / "trees.csv")
    rows = rows_of(drawn.folder)
    assert list(rows[0]) == ["draw", "class", "height", "kind", "income"]
    assert {row["class"] for row in rows} == {"Busan", "Seoul"}
    assert {row["kind"] for row in rows} <= {"ash", "beech", "oak"}
    assert all(float(row["income"]).is_integer() and 1_000 < float(row["income"]) < 1e6 for row in rows)
    means = runs.sample(folder / "run", num=3, label="Seoul", pixels="mean", output=tmp_path / "mean").samples
    assert means.mean.shape == (3, 3)
    with pytest.raises(InputError, match="The classes are Busan, Seoul; got 'Paris'"):
        runs.sample(folder / "run", label="Paris", output=tmp_path / "none")
    with np.load(drawn.folder / "samples.npz") as arrays:
        assert "column/kind" in arrays and "x" not in arrays


def test_a_schema_is_part_of_a_model(folder, tmp_path):
    vae = probvae.load(folder / "run")
    assert vae.schema == Run(folder / "run").schema and vae.schema.classes == ("Busan", "Seoul")
    probvae.save(vae, tmp_path / "model")
    assert probvae.load(tmp_path / "model").schema == vae.schema
    one = vae.given("Seoul")
    np.testing.assert_array_equal(vae.given(1).sample(2, seed=0), one.sample(2, seed=0))
    (tmp_path / "model" / "schema.json").unlink()
    with pytest.raises(InputError, match=r"schema.json is missing"):
        probvae.load(tmp_path / "model")
    for change, message in (({"loc": float("nan")}, "JSON"), ({"kind": "cauchy"}, "damaged")):
        content = json.loads(vae.schema.to_json())
        content["columns"][0] |= change
        with pytest.raises(InputError, match=message):
            Schema.from_json(json.dumps(content))
    with pytest.raises(InputError, match=r"The schema must be that of x of shape"):
        build(Architecture(event_shape=(2,), network="mlp", units=(4,)), schema=Schema.of_arrays((3,)))
    grey = Architecture(event_shape=(1,), likelihood="logistic_mixture", network="mlp", units=(4,))
    table = Schema((1,), "table", columns=(Column("a", "bernoulli", "text", ("n", "y")),))
    with pytest.raises(InputError, match="is for the grey levels of images, and the data are a table"):
        build(grey, schema=table)


def test_one_model_in_other_units_differs_by_the_jacobian(folder):
    schema = Run(folder / "run").schema
    columns = list(schema.columns)
    i = schema.names.index("height")
    loc, scale = 1000 * columns[i].loc, 1000 * columns[i].scale
    columns[i] = dataclasses.replace(columns[i], loc=loc, scale=scale)
    metres, millimetres = schema, dataclasses.replace(schema, columns=tuple(columns))
    values = schema.decode(Run(folder / "run").test.x[:8])
    in_mm = {**values, "height": 1000 * values["height"]}
    x, other = metres.encode(values), millimetres.encode(in_mm)
    np.testing.assert_allclose(other, x, atol=1e-5)
    difference = millimetres.log_slope(other) - metres.log_slope(x)
    np.testing.assert_allclose(difference, -np.log(1000), atol=1e-5)


SCALED = dict(reversed({**TREES, "height": [32 * h for h in TREES["height"]]}.items()))


def test_other_units_and_orders_of_columns_are_the_same_x(tmp_path):
    tables = {"a": TREES, "b": SCALED, "c": {**TREES, "height": [3 * h for h in TREES["height"]]}}
    paths = [write(tmp_path / f"{name}.csv", table) for name, table in tables.items()]
    a, b, other = (data.load(path, kinds={"income": "lognormal"}).train for path in paths)
    np.testing.assert_array_equal(a, b)
    assert np.any(other != a)  # no power of two


@pytest.mark.slow
def test_other_units_and_orders_of_columns_train_the_same_model(tmp_path):
    training = {"epochs": 1, "learning_rate": 1e-2, "column_kinds": ("income=lognormal",)}
    weights = []
    for name, table in (("a", TREES), ("b", SCALED)):
        path = write(tmp_path / f"{name}.csv", table)
        run = runs.train(TINY, training, data=path, output=tmp_path / name)
        weights.append(run.model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- runs of format 2 ----------------------------------------------------------------------------


@pytest.fixture
def old_run(tmp_path):
    """A run as version 0.1.0 wrote it: config.json of format 2, no schema.json."""
    path = write(tmp_path / "trees.csv", TREES)
    examples = data.load(path, old_coding=True)
    fields = {"likelihood": "mixed", "network": "mlp", "columns": examples.kinds, "event_shape": (4,)}
    vae = build(Architecture(**TINY, **fields))
    folder = tmp_path / "old"
    folder.mkdir()
    saving.save(vae, folder, Training(data=path, binarize="none"))
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("schema_sha256") is None
    (folder / "config.json").write_text(json.dumps(config | {"format": 2}))
    metrics = {"data": {"fingerprint_sha256": examples.old_fingerprint()}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_an_old_run_keeps_its_coding_while_its_data_are_the_same(old_run, tmp_path):
    run = Run(old_run)
    assert run.schema.remark.endswith("units not verified")
    assert run.schema.names == tuple(TREES)  # the order of the file
    assert run.model.schema == run.schema  # which `impute` and exports take tables by
    other = write(tmp_path / "other.csv", dict(reversed(TREES.items())))
    np.testing.assert_array_equal(Run(old_run, other).test.x, run.test.x)


@pytest.mark.slow
def test_an_old_run_is_evaluated_on_its_data(old_run, tmp_path):
    results = runs.evaluate(old_run, outliers=str(tmp_path / "trees.csv"), **QUICK)  # its own rows
    assert "auroc_score_log_marginal" in results.results
    assert not results.skipped and len(results.per_example["exact"]) == 8


def test_an_old_run_without_its_data_has_no_schema(old_run, tmp_path):
    write(tmp_path / "trees.csv", {**TREES, "height": [1.0, *TREES["height"][1:]]})
    assert Run(old_run).schema is None
    for door in (lambda: runs.evaluate(old_run), lambda: Run(old_run).test):
        with pytest.raises(InputError, match="which kept no names, levels and units of its table"):
            door()
    drawn = runs.sample(old_run, num=2, output=tmp_path / "drawn")
    assert any("in the coding of the model" in line for line in drawn.lines)


# ---- images --------------------------------------------------------------------------------------


def test_images_are_read_as_in_training(tmp_path):
    images = (RNG.random([40, 8, 8]) * 255).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images[:30], x_test=images[30:])
    run = runs.train({"filters": (3, 4)}, {"epochs": 0}, data=tmp_path / "a.npz", output=tmp_path / "run")
    assert run.schema.white == 255 and run.schema.binarization == "threshold"
    np.testing.assert_array_equal(run.schema.encode(images[30:, ..., None]), run.test.x)
    for name, x, message in (
        ("range", images / 255, "knows images from 0 to 255; those of b.npz lie from 0 to 1"),
        ("channels", np.stack([images] * 3, axis=-1), "x of shape .*; b.npz holds"),
        ("size", images[:, :4], "x of shape"),
    ):
        np.savez(tmp_path / "b.npz", x_train=x[:30], x_test=x[30:])
        with pytest.raises(InputError, match=message):
            runs.evaluate(tmp_path / "run", data=str(tmp_path / "b.npz"), output=tmp_path / name)
    dark = np.minimum(images, 1)  # integers that are 0 or 1 are dark, not white
    np.savez(tmp_path / "b.npz", x_train=dark[:30], x_test=dark[30:])
    assert Run(tmp_path / "run", str(tmp_path / "b.npz")).test.x.max() == 0
    # outliers may be of classes that the model does not know
    for k, image in enumerate(images[:20]):
        (tmp_path / "classes" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "classes" / "ab"[k % 2] / f"{k}.png")
    assert evaluation._outliers(str(tmp_path / "classes"), run, None).shape == (2, 8, 8, 1)
    # names that nobody can match with numbers are no labels
    assert Run(tmp_path / "run", str(tmp_path / "classes")).examples.test_labels is None
