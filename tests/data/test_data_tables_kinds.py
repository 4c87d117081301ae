"""Kinds of columns that users name: ordered levels, heavy tails, further zeros; from file to samples."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats
from table_models import table_model

import probvae
from probvae import InputError, data
from probvae.cli import evaluate, export, sample, train
from probvae.data import Schema
from probvae.data.coding import Column, fit

N = 200
RNG = np.random.default_rng(0)
SIZES = ["low", "medium", "high"]
Z = RNG.normal(size=N)
FRAME = pd.DataFrame(
    {
        "size": np.array(SIZES)[np.clip(np.rint(1 + Z), 0, 2).astype(int)],
        "stars": np.clip(np.rint(3 + Z), 1, 5).astype(int),
        "change": Z + stats.t.rvs(2, size=N, random_state=1),
        "pay": np.exp(6 + Z + stats.t.rvs(3, size=N, random_state=2)),
        "visits": np.where(RNG.random(N) < 0.4, 0, RNG.poisson(np.exp(2 + Z / 2))),
    }
)
KINDS = {
    "size": "ordinal:low<medium<high",
    "stars": "ordinal",
    "change": "student_t",
    "pay": "log_student_t",
    "visits": "zero_inflated_negative_binomial",
}


def column_of(d, name):
    return d.schema.columns[d.columns.index(name)]


def test_kinds_come_back_from_schema_json():
    d = data.load(FRAME, kinds=KINDS)
    assert d.columns == ("change", "pay", "size", "stars", "visits")
    counts = "zero_inflated_negative_binomial"
    assert d.kinds == ("student_t", "student_t", "ordinal:3", "ordinal:5", counts)
    schema = Schema.from_json(d.schema.to_json())
    assert schema == d.schema and [c.kind for c in schema.columns][1] == "log_student_t"
    assert column_of(d, "size").levels == tuple(SIZES) and column_of(d, "stars").levels == (1, 2, 3, 4, 5)
    back = data.to_frame(schema, schema.encode(FRAME))
    for name in ("size", "stars", "visits"):
        assert (back[name] == FRAME[name]).all()
    np.testing.assert_allclose(back[["change", "pay"]], FRAME[["change", "pay"]], rtol=1e-5, atol=1e-6)
    for change in ({"logarithm": False}, {"kind": "student_t"}, {"kind": "log_student_t:3"}):
        content = json.loads(d.schema.to_json())
        content["columns"][1] |= change
        with pytest.raises(InputError, match=r"schema\.json is damaged"):
            Schema.from_json(json.dumps(content))


ORDERED = pd.Series(pd.Categorical(FRAME["size"], SIZES, ordered=True))
LEVELS = {  # values, kind, and levels in their order
    "categorical": (ORDERED, "ordinal", tuple(SIZES)),
    "numbers": (FRAME["stars"] * 10, "ordinal", (10, 20, 30, 40, 50)),
    "from zero": (FRAME["stars"] - 1, "ordinal:7", (0, 1, 2, 3, 4, 5, 6)),
    "halves": (FRAME["stars"] / 2, "ordinal", (0.5, 1.0, 1.5, 2.0, 2.5)),
    "named": (FRAME["stars"], "ordinal:5<4<3<2<1<0", (5, 4, 3, 2, 1, 0)),
    "spaces": (FRAME["size"], "ordinal:none < low < medium < high", ("none", *SIZES)),
    "falling": (
        pd.Series(pd.Categorical(FRAME["stars"], [5, 4, 3, 2, 1], ordered=True)),
        "ordinal",
        (5, 4, 3, 2, 1),
    ),
    "booleans": (FRAME["stars"] > 2, "ordinal", (False, True)),
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_have_their_order(name):
    values, kind, levels = LEVELS[name]
    frame = pd.DataFrame({"a": values, "b": FRAME["change"]})
    d = data.load(frame, kinds={"a": kind})
    assert column_of(d, "a").levels == levels and d.kinds[0] == f"ordinal:{len(levels)}"
    back = data.to_frame(d.schema, d.schema.encode(frame))
    assert (back["a"] == values).all() and back["a"].dtype == values.dtype
    assert Schema.from_json(d.schema.to_json()) == d.schema


REFUSED = {
    "order": ("size", "ordinal", "order is not known.* --column-kinds 'size=ordinal:high<low<medium'"),
    "absent": ("size", "ordinal:low<high", "'medium', which is not .* 'size=ordinal:low<high<medium'"),
    "twice": ("size", "ordinal:low<low<high<medium", "must have distinct levels"),
    "words": ("stars", "ordinal:few<many", "holds no text, but the levels few, many"),
    "few": ("stars", "ordinal:4", "must be ordinal:K with K from 5 to 1,000; got '4'"),
    "many": ("stars", "ordinal:2000", "must be ordinal:K with K from 5 to 1,000; got '2000'"),
    "unordered": ("size", "categorical:low<high", "must have a kind among normal, .* ordinal:K"),
    "reals": ("change", "zero_inflated_negative_binomial", "must hold counts"),
    "signs": ("change", "log_student_t", r"must hold positive numbers to be log_student_t; found [-.\d]* to"),
    "text": ("size", "student_t", "holds text, which cannot be student_t"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    column, kind, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        data.load(FRAME, kinds={column: kind})


HOURS = pd.DataFrame({"hours": FRAME["pay"] / 99, "calls": FRAME["visits"], "days": FRAME["stars"]})
OF_SIZE = {"hours": "size", "calls": "poisson", "days": "normal"}


def test_a_size_comes_back_from_schema_json():
    """The scale of its logarithms stands in the kind of its distribution; old files have no other text."""
    d = data.load(HOURS, kinds=OF_SIZE)
    column = column_of(d, "hours")
    assert d.kinds == ("poisson", "normal", f"size:{column.scale!r}") and column.logarithm and column.is_size
    schema = Schema.from_json(d.schema.to_json())
    assert schema == d.schema and schema.sha256() == d.schema.sha256()
    x = schema.encode(HOURS)
    relative = np.exp(x[:, 2].astype(float) * column.scale)  # the size, relative to about its geometric mean
    np.testing.assert_allclose(relative * np.exp(column.loc), HOURS["hours"], rtol=1e-5)
    assert abs(np.log(relative).mean()) < 0.1  # a tenth of the rows is held out
    assert "hours  size " in str(d.schema)
    for changes in (
        [(2, {"logarithm": False})],
        [(1, {"kind": "size", "logarithm": True})],
        [(0, {"kind": "normal"})],
    ):
        content = json.loads(d.schema.to_json())
        for place, change in changes:
            content["columns"][place] |= change
        with pytest.raises(InputError, match=r"schema\.json is damaged"):
            Schema.from_json(json.dumps(content))


SIZE_REFUSED = {
    "missing": (
        {"hours": HOURS["hours"].where(HOURS.index != 4)},
        {},
        "1 of its cells .*, the first in row 5: fill",
    ),
    "same": ({"hours": 2.0}, {}, "the same in all of them: leave it out by .*hours=ignore"),
    "zero": ({"hours": HOURS["days"] - 1}, {}, "must hold positive numbers to be size; found 0 to 4"),
    "text": ({"hours": FRAME["size"]}, {}, "holds text, which cannot be size"),
    "two": ({}, {"days": "size"}, "One column, at most, can be the size of the rows; got 'hours', 'days'"),
    "no counts": ({}, {"calls": "normal"}, "no column is a count: give one a kind of counts"),
    "words": ({}, {"hours": "size:2"}, "must have a kind among .*size"),
}


@pytest.mark.parametrize("name", SIZE_REFUSED)
def test_what_cannot_be_a_size_is_refused(name):
    cells, kinds, message = SIZE_REFUSED[name]
    for missing in (False, True):
        with pytest.raises(InputError, match=message):
            data.load(HOURS.assign(**cells), kinds=OF_SIZE | kinds, missing=missing)


def test_a_file_without_a_size_is_refused_by_a_schema_with_one(tmp_path):
    schema = data.load(HOURS, kinds=OF_SIZE, missing=True).schema
    HOURS.assign(hours=HOURS["hours"].where(HOURS.index != 8)).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"'hours' of a\.csv is the size .* missing in row 9"):
        data.load(str(tmp_path / "a.csv"), schema=schema, missing=True)


def test_outliers_do_not_move_the_scale():
    """Quartiles decide the scale of the bulk; with mean and deviation it would vanish in x."""
    values = stats.norm.ppf((np.arange(2000) + 0.5) / 2000) * 3 + 50
    wild = np.where(np.arange(2000) % 50 == 0, values * 1e6, values)

    def fitted(kind, parts):
        column = Column("a", kind)
        return fit("data", [column], lambda: (part[:, None] for part in np.array_split(wild, parts)))[0]

    robust = fitted("student_t", 7)
    assert robust.scale == 4 and abs(robust.loc - 50) < 0.1 and fitted("normal", 7).scale > 1e6
    assert fitted("student_t", 1) == robust
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probvae.data.coding.SORTED", 300)  # every eighth row
        assert fitted("student_t", 7).scale == 4 and fitted("student_t", 7) == fitted("student_t", 1)
    same = fit("data", [Column("a", "student_t")], lambda: iter([np.array([[1.0]] * 90 + [[2.0]] * 10)]))[0]
    assert 0 < same.scale < 1 < 1.05 < same.loc + 0.001  # equal quartiles: mean and deviation


def test_logarithms_with_heavy_tails():
    """The density of a value is that of its code with the slope; the centre is the median."""
    d = data.load(FRAME, kinds=KINDS)
    column = column_of(d, "pay")
    codes = column.encode(FRAME["pay"]).astype(np.float64)
    density = stats.t.logpdf(codes, 3, 0.2, 0.7) + column.log_slope(codes)
    pay = FRAME["pay"].to_numpy()
    loc, scale = column.loc + column.scale * 0.2, column.scale * 0.7
    np.testing.assert_allclose(density, stats.t.logpdf(np.log(pay), 3, loc, scale) - np.log(pay), atol=1e-4)
    np.testing.assert_allclose(column.center(np.array([0.2]), np.array([0.9])), np.exp(loc))
    assert np.isnan(column.moments(0.2, 0.9)[1])


def test_missing_cells_of_all_kinds_are_filled_in():
    frame = FRAME.head(12).copy()
    frame["size"] = pd.Categorical(frame["size"], SIZES, ordered=True)
    schema = data.load(frame, kinds=KINDS | {"size": "ordinal"}, missing=True).schema
    frame = frame.astype({"stars": "Int64", "visits": "Int64"})
    for i, name in enumerate(frame):
        frame.loc[frame.index[i::5], name] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few effective draws of an untrained model
        filled = probvae.impute(table_model(schema), frame, num_samples=40, num_draws=2)
    assert not filled.values.isna().any().any() and (filled.values.dtypes == frame.dtypes).all()
    assert list(filled.probabilities["size"].columns) == SIZES
    median = (filled.probabilities["size"].cumsum(axis=1) >= 0.5 - 1e-6).idxmax(axis=1)
    assert (filled.values["size"].astype(str) == median).all()
    assert (filled.mean["pay"] > 0).all() and np.isfinite(filled.sd).all().all()
    assert (filled.sd["pay"][frame["pay"].isna()] > 0).all() and len(filled.draws) == 24


@pytest.mark.slow
@pytest.mark.long("test_missing_cells_of_all_kinds_are_filled_in")
def test_from_a_file_to_samples_by_the_commands(tmp_path):
    frame = FRAME.mask(np.random.default_rng(3).random(FRAME.shape) < 0.1)
    frame.to_csv(tmp_path / "a.csv", index=False)
    run, kinds = str(tmp_path / "run"), ",".join(f"{name}={kind}" for name, kind in KINDS.items())

    def invoke(command, *arguments):
        done = CliRunner().invoke(command.main, [str(a) for a in arguments])
        assert done.exit_code == 0, done.output
        return done.output

    options = ["--missing", "--units", 8, "--epochs", 1, "--column-kinds", kinds]
    printed = invoke(train, "--data", tmp_path / "a.csv", "--output", run, *options)
    assert all(kind.partition(":")[0] in printed for kind in KINDS.values())
    invoke(evaluate, run, "--limit", 20, "--num-samples", 20, "--gap-images", 0, "--ais-images", 0)
    assert (tmp_path / "run" / "evaluation").is_dir()
    invoke(sample, run, "--num", 50)
    drawn = pd.read_csv(tmp_path / "run" / "samples" / "prior" / "samples.csv")
    assert set(drawn["size"]) <= set(SIZES) and drawn["stars"].between(1, 5).all()
    assert (drawn["pay"] > 0).all() and (drawn["visits"] == drawn["visits"].round()).all()
    invoke(export, run, "--output", tmp_path / "out")
    assert "ordinal:3" in (tmp_path / "out" / "model_card.md").read_text()
