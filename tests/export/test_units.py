"""Exports in the units of the data: their values are those of the schema, their densities those in units."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from alone import ALONE
from marked_cases import cases

import probvae
from probvae import Architecture, InputError
from probvae.data.binarizations import BINARIZATIONS
from probvae.data.coding import NUMBERS, Column
from probvae.data.schema import Schema
from probvae.data.value_types import TYPES
from probvae.export import card
from probvae.export.folder import export_model
from probvae.export.image_values import BINARIZE
from probvae.export.table_values import SUPPORT, TEXTS, tensor_names
from probvae.models.building import build

TINY = {"units": (8,), "latent_dim": 2, "network": "mlp"}
COLUMNS = (  # in the order of their names, which is not that of the data
    Column("2020 %", "poisson", "integer", low=0, high=9, place=7),
    Column("band", "ordinal:3", "text", ("young", "middle", "old"), place=9),
    Column("class", "categorical:3", "text", ("b", "a", "Größe"), place=0),
    Column("floor", "categorical:3", "integer", (-1, 4, 2), place=6),
    Column("gain", "student_t", "number", loc=0.5, scale=4.0, low=-9, high=9, place=10),
    Column("income", "lognormal", "number", loc=10.0, scale=0.5, logarithm=True, low=1, high=2, place=5),
    Column("limit", "normal", "number", loc=3.7, low=3.7, high=3.7, place=4),
    Column("rate", "continuous_bernoulli", "number", low=0, high=1, place=8),
    Column("rooms", "normal", "integer", loc=4.0, scale=2.0, low=1, high=9, place=3),
    Column("seed", "normal", "date", unit="D", loc=19_000.0, scale=256.0, low=1, high=2, place=2),
    Column("sold", "bernoulli", "boolean", (False, True), place=1),
    Column("tons", "size", "number", loc=1.0, scale=0.5, logarithm=True, low=1, high=2, place=13),
    Column("visits", "zero_inflated_negative_binomial", "integer", low=0, high=9, place=11),
    Column("wealth", "log_student_t", "number", loc=9.0, scale=2.0, logarithm=True, low=1, high=2, place=12),
)
SCHEMA = Schema((len(COLUMNS),), "table", columns=COLUMNS, missing=True)
NAMES = dict(zip(SCHEMA.names, tensor_names(SCHEMA), strict=True))
RAW = {
    "2020 %": np.array([3.0, np.nan, 0.0]),
    "class": np.array(["Größe", "", "b"]),
    "floor": np.array([2.0, -1.0, np.nan]),
    "income": np.array([20_000.0, np.nan, 1.5]),
    "limit": np.array([3.7, np.nan, 3.7]),
    "rate": np.array([0.25, 1.0, np.nan]),
    "rooms": np.array([3.0, np.nan, 7.0]),
    "seed": np.array(["2021-05-06", "NaT", "1969-12-31"], "M8[D]"),
    "sold": np.array([True, None, False], object),
    "band": np.array(["old", "", "young"]),
    "gain": np.array([-3e6, np.nan, 0.5]),
    "visits": np.array([0.0, np.nan, 12.0]),
    "wealth": np.array([1e9, np.nan, 2.5]),
    "tons": np.array([2.0, 5.0, 0.25]),
}


def of_raw(raw):
    """Values as the tensors of an export take them."""
    tensors = {}
    for name, values in raw.items():
        if values.dtype.kind == "M":
            values = np.where(np.isnat(values), np.nan, values.astype("int64").astype(float))
        elif values.dtype.kind in "Ob":
            values = np.array(["" if v is None else str(v).lower() for v in values.tolist()])
        tensors[NAMES[name]] = tf.constant(values)
    return tensors


def assert_values(found, raw):
    expected = of_raw(raw)
    assert set(found) == set(expected)
    for name, values in expected.items():
        if values.dtype == tf.string:
            assert found[name].numpy().tolist() == values.numpy().tolist(), name
        else:
            assert found[name].dtype == tf.float64, name
            np.testing.assert_allclose(found[name], tf.cast(values, tf.float64), rtol=1e-6, err_msg=name)


def with_weights(vae):
    rng = np.random.default_rng(2)
    for variable in vae.trainable_variables:
        variable.assign_add(0.1 * rng.standard_normal(variable.shape))
    return vae


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A model of a table, the folder of its export, and its signatures."""
    fields = {**TINY, "likelihood": "mixed", "columns": SCHEMA.likelihoods, "missing": True}
    vae = with_weights(build(Architecture(SCHEMA.event_shape, **fields), seed=1, schema=SCHEMA))
    folder = tmp_path_factory.mktemp("units") / "out"
    export_model(vae, folder)
    return vae, folder, tf.saved_model.load(str(folder / "saved_model")).signatures


def test_the_choices_are_those_of_the_schema():
    assert set(SUPPORT) == set(NUMBERS) and set(BINARIZE) == set(BINARIZATIONS)
    assert set(TEXTS) == set(TYPES) - {"number", "integer", "date"}
    assert NAMES == {name: name for name in SCHEMA.names} | {
        "2020 %": "column_2020",
        "class": "column_class",
        "seed": "column_seed",
    }
    odd = ("a b", "a_b", "A-B", "年", "%", "_z", "x", "None")
    columns = tuple(Column(name, "normal", place=i) for i, name in enumerate(odd))
    names = tensor_names(Schema((8,), "table", columns=columns))
    assert names == ("a_b_2", "a_b", "A_B_3", "column", "column_2", "column_z", "x", "column_None")


def test_a_table_is_scored_and_drawn_in_its_units(table):
    vae, _, signatures = table
    x = SCHEMA.encode(RAW)
    arguments = {"num_samples": tf.constant(7), "seed": tf.constant(5)}
    found = signatures["log_prob"](**of_raw(RAW), **arguments)
    coded = signatures["log_prob_x"](x=tf.constant(x), **arguments)
    slope = SCHEMA.log_slope(x)
    assert np.abs(slope).max() > 10
    for name, bound in (("elbo", probvae.elbo), ("iwae", probvae.iwae)):
        log_p = bound(vae, x, num_samples=7, seed=5).numpy()
        np.testing.assert_allclose(coded[name], log_p, rtol=1e-5)
        np.testing.assert_allclose(found[name], log_p + slope, atol=1e-4)
    assert found["problem"].numpy().tolist() == [b""] * 3
    encoded = signatures["encode"](**of_raw(RAW))
    np.testing.assert_allclose(encoded["loc"], vae.posterior(x).mean(), atol=1e-5)
    np.testing.assert_allclose(encoded["scale"], vae.posterior(x).stddev(), atol=1e-5)
    drawn = dict(signatures["sample"](number=tf.constant(40), seed=tf.constant(9)))
    z = drawn.pop("z")
    assert_values(drawn, SCHEMA.decode(vae.sample(40, seed=9)))
    decoded = signatures["decode"](z=z)
    assert set(decoded.pop("problem").numpy()) == {b""}
    assert_values(decoded, centers(*moments(vae.likelihood(z))))
    wrong = signatures["decode"](z=tf.constant([[np.nan, 0.0], [0.0, 0.0]]))
    assert wrong["problem"].numpy().tolist() == [b"z must hold finite numbers.", b""]
    assert wrong["column_class"].numpy()[0] == b"" and np.isnan(wrong["rooms"][0])
    again = signatures["log_prob"](**drawn, **arguments)  # what it gives it takes
    assert np.all(np.isfinite(again["iwae"]))


def centers(mean, stddev, mode):
    """Central values; those of dates as numbers, without rounding."""
    i = SCHEMA.names.index("seed")
    dates = COLUMNS[i].moments(mean[:, i], stddev[:, i])[0]
    return SCHEMA.centers(mean, stddev, mode) | {"seed": dates}


def moments(p):
    return p.mean().numpy(), p.stddev().numpy(), p.mode().numpy()


WRONG = {
    "2020 %": (1.5, "counts 0, 1, 2, ..."),
    "class": ("oak", "one of its levels"),
    "floor": (3.0, "one of its levels"),
    "income": (0.0, "positive numbers"),
    "rate": (1.01, "numbers from 0 to 1"),
    "rooms": (np.inf, "numbers"),
    "seed": (1e300, "numbers"),
    "sold": ("perhaps", "one of its levels"),
    "tons": (np.nan, "positive numbers"),
}


def test_what_the_model_does_not_know_gets_no_score(table):
    _, _, signatures = table
    good = {name: values[:1] for name, values in of_raw(RAW).items()}
    cells = {name: tf.repeat(values, len(WRONG) + 1) for name, values in good.items()}
    for row, (name, (value, _)) in enumerate(WRONG.items(), start=1):
        values = cells[NAMES[name]].numpy()
        values[row] = value
        cells[NAMES[name]] = tf.constant(values)
    found = signatures["log_prob"](**cells, num_samples=tf.constant(2), seed=tf.constant(0))
    encoded = signatures["encode"](**cells)
    for values in (found["elbo"], found["iwae"], encoded["loc"], encoded["scale"]):
        assert np.isfinite(values[0]).all() and np.isnan(values[1:]).all()
    problems = [text.decode() for text in found["problem"].numpy()]
    assert problems[0] == "" and encoded["problem"].numpy().tolist() == found["problem"].numpy().tolist()
    for problem, (name, (_, expected)) in zip(problems[1:], WRONG.items(), strict=True):
        end = ", and no value may be missing." if name == "tons" else " or be missing."
        assert problem == f"Column {name!r} must hold {expected}{end}"


def code_of(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "model_card.md").read_text(), flags=re.DOTALL)


def test_the_folder_says_what_its_tensors_are(table):
    vae, folder, _ = table
    assert {path.name for path in folder.iterdir()} == {"saved_model", "schema.json", "model_card.md"}
    assert Schema.from_json((folder / "schema.json").read_text()) == vae.schema
    lines = (folder / "model_card.md").read_text().splitlines()
    for line in (
        "| class | `column_class` | string | categorical:3 | text |  | b, a, Größe |  |  |",
        "| seed | `column_seed` | float64 | normal | date | days since 1970-01-01 | 1970-01-02 to 1970-01-03 "
        "| 19000 | 256 |",
        "| sold | `sold` | string | bernoulli | boolean |  | false, true |  |  |",
        "| income | `income` | float64 | lognormal | number |  | 1 to 2 | 10 | 0.5 |",
    ):
        assert line in lines
    _, applied = code_of(folder)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(applied, names)
    raw = {**RAW, "seed": np.where(np.isnat(RAW["seed"]), np.nan, RAW["seed"].astype("int64"))}
    np.testing.assert_allclose(names["encode"](raw), SCHEMA.encode(RAW), rtol=1e-6)
    p = moments(vae.likelihood(np.zeros([4, 2], np.float32)))
    found = names["centers"](*p)
    for name, values in centers(*p).items():
        same = np.allclose if values.dtype.kind == "f" else np.array_equal
        assert same(found[name], values), name


@pytest.mark.slow
def test_the_example_of_a_card_runs_with_tensorflow_alone(table):
    _, folder, _ = table
    example, _ = code_of(folder)
    done = subprocess.run([sys.executable, "-c", ALONE + example + REPORT], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr[-800:]
    found = json.loads(done.stdout)
    assert found == {"drawn": [16] * len(COLUMNS), "bounds": ["elbo", "iwae", "problem"]}


def test_the_card_says_what_its_densities_are_of(table):
    vae, _, _ = table
    row = card.Row("elbo", "ELBO", -3.0, None, None, "nats", "")
    trained = card.render(vae, card.Provenance("a", rows=(row,)), [])
    evaluated = card.render(vae, card.Provenance("a", rows=(row,), conditions={"num_images": 9}), [])
    coded = "The table is that of the training, whose log p(x) is that of coded x, in nats."
    assert coded in trained and coded not in evaluated
    assert "log p(x) is the log-density of a row in the units of its columns" in evaluated


REPORT = """
import json
print(json.dumps({"drawn": [len(v) for v in drawn.values()], "bounds": sorted(bounds)}))
"""


@pytest.mark.slow
def test_onnx_files_give_what_the_values_need(table, tmp_path):
    pytest.importorskip("tf2onnx")
    vae, _, _ = table
    export_model(vae, tmp_path / "out", ["onnx"], parts=["decoder"])
    session = pytest.importorskip("onnxruntime").InferenceSession(str(tmp_path / "out" / "decoder.onnx"))
    z = np.random.default_rng(0).standard_normal([5, 2]).astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"z": z}), strict=True))
    expected = dict(zip(("mean", "stddev", "mode"), moments(vae.likelihood(z)), strict=True))
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)
    text = (tmp_path / "out" / "model_card.md").read_text()
    assert "- `decoder.onnx`: z [N, 2] -> mean, stddev, mode" in text


@pytest.mark.parametrize("binarization", cases(["threshold", "dynamic"], slow=["dynamic"]))
def test_images_are_taken_with_their_grey_levels(binarization, tmp_path):
    schema = Schema(
        (4, 4, 1), "image", white=255, divisor=255, binarization=binarization, classes=("Busan", "Seoul")
    )
    vae = with_weights(build(Architecture((4, 4, 1), **TINY, context_dim=2), seed=1, schema=schema))
    export_model(vae, tmp_path / "out", label="Seoul")
    signatures = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures
    grey = np.random.default_rng(0).integers(0, 256, [50, 4, 4, 1]).astype(np.uint8)
    black_and_white = np.where(grey > 127, 255, 0).astype(np.uint8)
    images = grey if binarization == "threshold" else black_and_white
    arguments = {"num_samples": tf.constant(3), "seed": tf.constant(1)}
    found = signatures["log_prob"](images=tf.constant(images), **arguments)
    x = schema.encode(images)
    np.testing.assert_allclose(
        found["elbo"], probvae.elbo(vae.given("Seoul"), x, num_samples=3, seed=1), rtol=1e-5
    )
    coded = signatures["log_prob_x"](x=tf.constant(x), **arguments)
    np.testing.assert_allclose(found["iwae"], coded["iwae"], rtol=1e-5)
    if binarization == "dynamic":
        drawn = signatures["log_prob"](images=tf.constant(grey), **arguments)
        assert np.mean(drawn["elbo"] != found["elbo"]) > 0.9
    sample = signatures["sample"](number=tf.constant(4), seed=tf.constant(9))
    assert sample["images"].dtype == tf.uint8
    np.testing.assert_array_equal(sample["images"], schema.decode(vae.given(1).sample(4, seed=9)))
    decoded = signatures["decode"](z=sample["z"])["images"]
    np.testing.assert_allclose(decoded, 255 * vae.given(1).likelihood(sample["z"]).mean(), rtol=1e-5)
    text = (tmp_path / "out" / "model_card.md").read_text()
    assert "class Seoul of a conditional one" in text and "The classes: 0 Busan, 1 Seoul." in text
    with pytest.raises(InputError, match="The classes are Busan, Seoul; got 'Jeju'"):
        export_model(vae, tmp_path / "other", label="Jeju")


def test_images_of_another_range_get_no_score():
    from probvae.export.image_values import Images

    images = np.full([3, 2, 2, 1], 0.5, np.float32)
    images[1] *= 100
    images[2, 0] = np.nan
    coded = Images(Schema((2, 2, 1), "image")).encode({"images": tf.constant(images)}, tf.constant([0, 1]))
    expected = "Images must hold values from 0 to 1, and no value may be missing."
    assert [text.decode() for text in coded.problem.numpy()] == ["", expected, expected]
