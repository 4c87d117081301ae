"""The imputation of the cells of a DataFrame, against a model whose p(x|z) is known."""

import dataclasses

import numpy as np
import pytest
from table_models import table_model

import probvae
from probvae import InputError
from probvae.data.coding import Column
from probvae.data.schema import Schema
from probvae.data.tables.frames import fill_gaps
from probvae.models.building import build
from probvae.sampling.frame_imputation import to_frames
from probvae.sampling.imputation import Imputation

pd = pytest.importorskip("pandas")

SCHEMA = Schema(
    (5,),
    "table",
    missing=True,
    columns=(
        Column("income", "lognormal", "integer", loc=10.0, scale=0.5, logarithm=True, low=1, high=2, place=4),
        Column("kind", "categorical:3", "text", ("a", "b", "c"), place=0),
        Column("limit", "normal", "number", loc=3.7, low=3.7, high=3.7, place=3),
        Column("rooms", "normal", "integer", loc=4.0, scale=2.0, low=1, high=9, place=1),
        Column("sold", "bernoulli", "boolean", (False, True), place=2),
    ),
)
SD = 0.3  # of the code of rooms and income


@pytest.fixture(scope="module")
def vae():
    """A model with p(x|z) of independent columns that do not depend on z."""
    model = table_model(SCHEMA)
    kernel, bias = model.decoder.trainable_variables[-2:]
    kernel.assign(np.zeros(kernel.shape))
    raw = float(np.log(np.expm1(SD - 1e-2)))  # of a scale with the floor 0.01
    income, kind, limit, rooms, sold = (0.0, raw), (0.0, -20.0, 0.1), (0.0, raw), (0.7, raw), (np.log(3.0),)
    bias.assign([*income, *kind, *limit, *rooms, *sold])
    return model


FRAME = pd.DataFrame(
    {
        "kind": pd.Categorical([None, "b"], ["c", "b", "a"]),
        "rooms": pd.array([None, 3], "Int64"),
        "sold": pd.array([None, False], "boolean"),
        "limit": [np.nan, 3.7],
        "income": [np.nan, 20_000.0],
        "remark": ["x", "y"],
    },
    index=["first", "second"],
)


def test_cells_come_back_in_their_units(vae):
    sd = vae.likelihood(np.zeros([1, 2], np.float32)).stddev().numpy()[0, 3]
    imputed = probvae.impute(vae, FRAME, num_samples=4000, num_draws=50, seed=3)
    values = imputed.values
    assert values.index.equals(FRAME.index) and list(values) == list(FRAME)
    assert values.loc["second"].tolist() == FRAME.loc["second"].tolist()
    # `a` has half of the probability and `c` a little more; the mean of their indices would be `b`
    assert values["kind"].tolist() == ["c", "b"] and values["kind"].dtype == FRAME["kind"].dtype
    expected = np.exp([0.0, -20.0, 0.1]) / np.exp([0.0, -20.0, 0.1]).sum()
    np.testing.assert_allclose(
        imputed.probabilities["kind"].loc["first", ["a", "b", "c"]], expected, atol=0.05
    )
    np.testing.assert_allclose(imputed.probabilities["sold"].loc["first"], [0.25, 0.75], atol=1e-5)
    assert values["sold"].tolist() == [True, False] and values["sold"].dtype == "boolean"
    # the mean 4 + 2 * 0.7 = 5.4, as a whole number where cells are filled in
    assert values["rooms"].tolist() == [5, 3] and values["rooms"].dtype == "Int64"
    np.testing.assert_allclose(imputed.mean["rooms"], [5.4, 3], atol=1e-5)
    np.testing.assert_allclose(imputed.sd["rooms"], [2 * sd, 0], rtol=0.1)  # 4,000 draws: 9 standard errors
    assert values["limit"].tolist() == [3.7, 3.7] and imputed.sd["limit"].tolist() == [0, 0]
    coded = probvae.impute(vae, SCHEMA.encode(FRAME), num_samples=4000, seed=3)
    assert SCHEMA.decode(coded.mean)["kind"].tolist() == ["c", "b"]
    draws = imputed.draws
    assert draws.index.names[0] == "draw" and len(draws) == 100
    assert set(draws.xs("first", level=1)["kind"]) == {"a", "c"}


def test_the_mean_of_a_logarithm_is_that_of_the_values(vae, monkeypatch):
    income, *others = SCHEMA.columns
    wide = dataclasses.replace(income, scale=4.0)
    monkeypatch.setattr(vae, "schema", dataclasses.replace(SCHEMA, columns=(wide, *others)))
    imputed = probvae.impute(vae, FRAME, num_samples=500, num_draws=1000, seed=4)
    sd = 4 * vae.likelihood(np.zeros([1, 2], np.float32)).stddev().numpy()[0, 0]
    mean = np.exp(10 + sd**2 / 2)  # of exp(N(10, sd^2)), about twice the exponential of the mean
    error = mean * np.sqrt(np.expm1(sd**2)) / np.sqrt(1000)
    assert abs(imputed.mean.loc["first", "income"] - mean) < 6 * error < 0.8 * (mean - np.exp(10))
    assert imputed.mean.loc["second", "income"] == pytest.approx(20_000, rel=1e-5)


def test_a_frame_needs_a_schema(vae):
    other = build(vae.architecture)
    with pytest.raises(InputError, match="has no schema of a table"):
        probvae.impute(other, FRAME)
    with pytest.raises(InputError, match=r"'kind'.* got 'oak' in row 1"):
        probvae.impute(vae, FRAME.assign(kind=["oak", "a"]))
    with pytest.raises(InputError, match="'rooms' is missing among 'kind'"):
        probvae.impute(vae, FRAME.drop(columns="rooms"))


def test_dates_keep_their_time_zone_and_blank_cells_are_filled_in():
    columns = (
        Column("kind", "bernoulli", "text", ("a", "b"), place=1),
        Column("sold", "normal", "date", unit="s", loc=1000.0, scale=512.0, place=0),
        Column("price", "lognormal", "number", loc=1.0, logarithm=True, place=2),
    )
    schema = Schema((3,), "table", columns=columns, missing=True)
    seoul = pd.to_datetime(["1970-01-01 09:30", None]).tz_localize("Asia/Seoul")
    frame = pd.DataFrame({"sold": seoul, "kind": [" ", "b"], "price": [0.3, 0.7]})
    x = schema.encode(frame)
    x[np.isnan(x)] = [1.0, 2.0]
    coded = Imputation(x, np.ones([2, 3]), x[None], np.full([2], 9.0), {0: np.array([[0.1, 0.9], [0, 1]])})
    imputed = to_frames(schema, frame, coded, 1)
    seconds = pd.DatetimeIndex(imputed.values["sold"]).as_unit("s").asi8  # since 1970, UTC
    assert seconds.tolist() == [1800, 2024] and imputed.values["sold"].dtype == frame["sold"].dtype
    assert imputed.draws["sold"].tolist() == imputed.mean["sold"].tolist() == imputed.values["sold"].tolist()
    assert imputed.values["kind"].tolist() == imputed.draws["kind"].tolist() == ["b", "b"]
    assert imputed.mean["price"].tolist() == [0.3, 0.7] and imputed.sd["price"].tolist() == [0, 0]
    assert imputed.sd["sold"].tolist() == [0, 512]
    objects = to_frames(schema, frame.astype({"sold": object}), coded, 1)
    assert objects.values["sold"].tolist() == imputed.values["sold"].tolist()


def test_a_mapping_is_no_frame(vae):
    with pytest.raises(InputError, match="x must be an array of numbers; got a dict"):
        probvae.impute(vae, {"kind": ["a"]})


def test_a_column_of_one_text_is_filled_in_with_it():
    frame = pd.DataFrame({"a": np.arange(40.0), "note": ["same"] * 40})
    schema = probvae.data.load(frame, missing=True).schema
    model = table_model(schema)
    frame.loc[0, "note"] = None
    imputed = probvae.impute(model, frame, num_samples=200, num_draws=1)
    assert set(imputed.values["note"]) == {"same"} == set(imputed.draws["note"])
    assert imputed.probabilities["note"].to_numpy().tolist() == [[1.0]] * 40


def test_the_model_of_one_class_fills_in_levels_too():
    """It has the schema of the conditional model, and no architecture."""
    architecture = probvae.Architecture(
        (5,), likelihood="mixed", columns=SCHEMA.likelihoods, network="mlp", units=(4,), missing=True,
        context_dim=2,
    )  # fmt: skip
    model = build(architecture, schema=dataclasses.replace(SCHEMA, classes=("Bonn", "Seoul")))
    imputed = probvae.impute(model.given("Seoul"), FRAME, num_samples=50, num_draws=2, seed=0)
    assert imputed.values["kind"].isin(["a", "b", "c"]).all() and not imputed.values["rooms"].isna().any()
    np.testing.assert_allclose(imputed.probabilities["kind"].sum(axis=1), 1, rtol=1e-5)
    assert imputed.values.loc["second", "income"] == 20_000


def test_gaps_are_filled_in_the_zone_and_with_the_levels_that_come():
    gap, noon = np.array([False, True]), pd.Timestamp("2020-01-01 12:00")
    seoul = pd.Series([noon.tz_localize("Asia/Seoul"), pd.NaT])
    for series in (seoul, seoul.astype(object)):
        assert fill_gaps(series, gap, [noon, noon])[1] == noon.tz_localize("UTC")
    levels = pd.Series(pd.Categorical(["a", None], ["a"]))
    assert fill_gaps(levels, gap, ["a", "b"]).tolist() == ["a", "b"]
    assert fill_gaps(levels, gap, ["a", "a"]).dtype == levels.dtype
