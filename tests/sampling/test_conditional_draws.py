"""Rows given conditions, against a grid over z on which every probability is summed by hand."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from marked_cases import cases
from scipy import stats
from table_models import model_of_frame

from probvae.data.conditions import conditions_of, parse
from probvae.data.tables.table_files import whole_frame
from probvae.errors import InputError
from probvae.sampling import conditional_draws
from probvae.sampling.conditional_draws import columns_in, log_probability, sample_given

ALPHA = 1e-6
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(18, 90, 200),
        "height": RNG.normal(170, 9, 200),
        "income": np.exp(RNG.normal(10, 1, 200)),
        "visits": RNG.poisson(3, 200),
        "job": RNG.choice(["clerk", "farmer", "other=none"], 200),
        "grade": pd.Categorical(RNG.choice(["low", "mid", "top"], 200), ["low", "mid", "top"], ordered=True),
    }
)
KINDS = {"age": "normal", "height": "student_t", "income": "lognormal", "visits": "poisson"}
AXIS = np.linspace(-5, 5, 81)
GRID = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return model_of_frame(FRAME, KINDS, 0.7)


def weights_on_grid(vae, given):
    """Probabilities of the grid's z given the conditions, and log P(conditions)."""
    conditions = conditions_of(vae.schema, given)
    log_w = stats.norm.logpdf(GRID).sum(axis=1) + log_probability(vae, conditions, GRID).numpy()
    w = np.exp(log_w - log_w.max())
    return w / w.sum(), log_w.max() + np.log(w.sum()) + 2 * np.log(AXIS[1] - AXIS[0])


GIVEN = {
    "a value": {"height": 180.0},
    "a range": {"age": (30, 40)},
    "an open range": {"income": (60_000.0, None), "height": (None, 165.0)},
    "levels": {"job": ["clerk", "farmer"], "grade": ("mid", None), "visits": 9},
    "counts": {"visits": (5, None), "age": 50, "job": "clerk"},
}


def test_conditions_have_the_probability_of_their_values(model):
    """P(condition|z) is the sum of its codes, or the integral over its range, of p(x_d|z)."""
    z = np.random.default_rng(0).standard_normal([6, 2]).astype(np.float32)
    columns = columns_in(model.likelihood(z))
    ranges = {"low": {"age": (20, 40)}, "middle": {"height": (160.0, 180.0)}, "high": {"age": (95, 110)}}
    for name, given in {**GIVEN, **ranges}.items():
        expected = 1.0
        for condition in conditions_of(model.schema, given):
            codes = condition.codes
            if codes is None:
                low, high = np.clip([condition.low, condition.high], -60, 60)
                codes = np.linspace(low, high, 200_001)
            p = np.exp(columns.of_column(condition.index, "log_prob", tf.constant(codes, tf.float32)).numpy())
            axis = np.asarray(codes, np.float64)
            expected *= p.sum(axis=0) if condition.codes else np.trapezoid(p, axis, axis=0)
        ours = np.exp(log_probability(model, conditions_of(model.schema, given), z))
        np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=1e-6, err_msg=name)
        assert np.any(expected > 1e-3), name


@pytest.mark.parametrize("name", cases(GIVEN, slow=("a value", "a range", "levels")))
def test_rows_are_those_of_the_model(name, model):
    """Every column by Kolmogorov-Smirnov test against the grid, at the number of independent draws.

    Rows without the conditions are caught, and so is a wrong probability of the conditions.
    """
    given, columns = GIVEN[name], columns_in(model.likelihood(GRID))
    w, log_probability = weights_on_grid(model, given)
    drawn = sample_given(model, given, 1000, seed=3, seconds=60)
    assert abs(drawn.log_probability - log_probability) < 5 * drawn.standard_error + 1e-3
    assert drawn.standard_error < 0.1 and drawn.effective_sample_size >= 1000
    free = sample_given(model, {"visits": (0, None)}, 1000, seed=4)
    independent = 1000 / (1 + 1000 / drawn.effective_sample_size)
    caught = 0
    for i, column in enumerate(model.schema.columns):
        if column.name in given:
            continue
        grid = np.quantile(free.x[:, i], np.linspace(0, 1, 60)).astype(np.float32)
        if column.levels or column.kind == "poisson":
            grid = np.unique(grid.round())
            p = np.exp(columns.of_column(i, "log_prob", tf.range(grid.max() + 1)).numpy())
            cdf = np.cumsum(p @ w)[grid.astype(int)]
        else:
            cdf = columns.of_column(i, "cdf", tf.constant(grid)).numpy() @ w
        distances = [
            np.abs((rows.x[:, i] <= grid[:, None] + 1e-6).mean(axis=1) - cdf).max() for rows in (drawn, free)
        ]
        assert stats.kstwo.sf(distances[0], int(independent)) > ALPHA, column.name
        caught += stats.kstwo.sf(distances[1], int(independent)) < ALPHA
    assert caught
    values = model.schema.decode(drawn.x)
    for key, condition in given.items():
        rows = pd.Series(values[key])
        if isinstance(condition, list):
            assert set(rows) == set(condition)
        elif key == "grade":
            assert set(rows) == {"mid", "top"}
        elif isinstance(condition, tuple):
            low, high = (e if e is not None else s * np.inf for e, s in zip(condition, (-1, 1), strict=True))
            assert rows.between(low * (1 - 1e-5), high * (1 + 1e-5)).all() and rows.nunique() > 5
        else:
            assert (rows == condition).all() if isinstance(condition, str) else np.allclose(rows, condition)


def test_draws_in_a_range_are_those_of_the_column(model):
    """Kolmogorov-Smirnov test at one z; a uniform distribution on the range is caught."""
    z = np.tile(np.float32([[0.3, -0.2]]), [4000, 1])
    columns = columns_in(model.likelihood(z[:1]))
    ranges = [("height", (150.0, 171.0)), ("age", (40, None)), ("income", (None, 20_000.0))]
    for name, given in [*ranges, ("height", (185.0, 190.0)), ("age", (90, None))]:  # two of the upper tail
        (condition,) = conditions_of(model.schema, {name: given})
        rows = conditional_draws._rows_at(model, [condition], tf.constant(z), (0, 1))[:, condition.index]

        def cdf(x, index=condition.index):
            return columns.of_column(index, "cdf", tf.constant(x, tf.float32)).numpy()[:, 0]

        low, high = (cdf([end])[0] for end in (condition.low, condition.high))
        ours = stats.kstest((cdf(rows) - low) / (high - low), "uniform").pvalue
        assert ours > ALPHA, name
        flat = np.linspace(rows.min(), rows.max(), 4000)
        assert stats.kstest((cdf(flat) - low) / (high - low), "uniform").pvalue < ALPHA, name


def test_draws_of_codes_are_those_of_the_column(model):
    """Chi-square test at one z; equal probabilities are caught."""
    z = np.tile(np.float32([[0.3, -0.2]]), [4000, 1])
    columns = columns_in(model.likelihood(z[:1]))
    for name, given in (("visits", [0, 1, 2, 3]), ("grade", ["low", "top"])):
        (condition,) = conditions_of(model.schema, {name: given})
        rows = conditional_draws._rows_at(model, [condition], tf.constant(z), (0, 1))[:, condition.index]
        codes = np.array(condition.codes, np.float32)
        p = np.exp(columns.of_column(condition.index, "log_prob", tf.constant(codes)).numpy()[:, 0])
        counts = [np.sum(rows == code) for code in codes]
        assert stats.chisquare(counts, 4000 * p / p.sum()).pvalue > ALPHA, name
        assert stats.chisquare(counts).pvalue < ALPHA, name


def test_same_seed_same_rows(model):
    """Same seed, same rows; another seed, others."""
    drawn, again = (sample_given(model, {"visits": (4, 6)}, 200, seed=5) for _ in range(2))
    np.testing.assert_array_equal(drawn.x, again.x)
    assert np.any(sample_given(model, {"visits": (4, 6)}, 200, seed=6).x != drawn.x)


def test_texts_of_conditions(model):
    schema = model.schema
    texts = ["job=other=none", "age=30..40", "income=..5e4", "visits=1|3", "grade=mid..", "height=171.5"]
    given = parse(schema, texts)
    assert given == {
        "job": "other=none",
        "age": ("30", "40"),
        "income": (None, "5e4"),
        "visits": ["1", "3"],
        "grade": ("mid", None),
        "height": "171.5",
    }
    found = {schema.names[c.index]: c for c in conditions_of(schema, given)}
    assert found["visits"].codes == (1.0, 3.0) and found["grade"].codes == (1.0, 2.0)
    age = schema.columns[schema.names.index("age")]
    ends = age.unscaled(np.array([found["age"].low, found["age"].high]))
    np.testing.assert_allclose(ends, [29.5, 40.5])
    assert found["income"].low == -np.inf and found["job"].is_value


def test_ranges_hold_whole_values_and_reach_beyond_the_support(model):
    """Whole numbers and days up to both ends of a range; levels that are numbers have ranges too."""
    days = pd.date_range("2020-01-01", periods=100)
    schema = whole_frame(pd.DataFrame({"day": days, "few": np.arange(100) % 5 + 1}))[1]
    first, few = conditions_of(schema, {"few": (0, 2.5), "day": ("2020-02-01", "2020-02-01")})
    day = schema.columns[first.index]
    middle = (days[31] - pd.Timestamp(0)).days
    np.testing.assert_allclose(day.unscaled([first.low, first.high]), [middle - 0.5, middle + 0.5])
    assert few.codes == (0.0, 1.0)
    assert parse(schema, ["few=2..3"]) == {"few": ("2", "3")}
    age, height, income, visits = conditions_of(
        model.schema, {"visits": (-3, 2), "income": (0, 9.0), "age": np.array([30]), "height": (170, 170)}
    )
    assert age.is_value and height.is_value and income.low == -np.inf and visits.codes == (0, 1, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("age=30", "must be a mapping"),
        ({"age": 30.5}, "whole numbers"),
        ({"age": (30.2, 30.8)}, "holds no whole number"),
        ({"age": {"low": 3}}, "must hold numbers"),
        ({"visits": (None, -1)}, "it holds 0"),
        ({}, "a condition on a column or more"),
        ({"size": 3}, "names the column 'size'; the columns are age, grade"),
        ({"job": "king"}, "has the levels .* got 'king'"),
        ({"job": ("clerk", "farmer")}, "have no order"),
        ({"age": (40, 30)}, "must rise"),
        ({"age": [30, 31]}, "not several values"),
        ({"age": "old"}, "must hold numbers"),
        ({"income": (None, -5.0)}, "positive numbers"),
        ({"visits": (0, 1e6)}, "from 1 to 10,000 values"),
        ({"age": (1, 2, 3)}, "a pair"),
        ({"age": np.nan}, "a missing one"),
        ({"job": []}, "has no value"),
        ({"height": 1e4, "age": -1e4}, "draws of z are effective"),
    ],
)
def test_mistakes_are_named(given, message, model):
    with pytest.raises(InputError, match=message):
        sample_given(model, given, 100, seed=0, seconds=0.0)
    with pytest.raises(InputError, match="got 'weight=3'"):
        parse(model.schema, ["weight=3"])
    with pytest.raises(InputError, match="twice"):
        parse(model.schema, ["age=3", "age=4"])
