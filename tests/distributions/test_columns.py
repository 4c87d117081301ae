import likelihood_cases as cases
import numpy as np
import pytest
import tensorflow as tf
from likelihood_cases import COLUMNS, LOG_PROB, fit_p_value, masses
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd

from probvae import InputError
from probvae.distributions.columns import (
    KINDS,
    SIZED,
    Columns,
    columns_of,
    first_misfit,
    inputs,
    kind_of,
    params_size,
    to_support,
)
from probvae.likelihoods import LIKELIHOODS, check_support

ALL_KINDS = [*KINDS, *(f"{name}:5" for name in SIZED)]
SIZES = [kind_of(name).n for name in COLUMNS]
STARTS = np.cumsum([0, *SIZES])


def params(leading=(6,), seed=0):
    return np.random.default_rng(seed).standard_normal([*leading, params_size(COLUMNS)]).astype(np.float32)


def log_prob_by_hand(p, x):
    """Log-probability of each column, [..., D], from parameters column after column."""
    out = []
    for i, name in enumerate(COLUMNS):
        own = p[..., STARTS[i] : STARTS[i + 1]].astype(np.float64)
        out.append(LOG_PROB[name.split(":")[0]](own, x[..., i]))
    return np.stack(out, axis=-1)


def test_every_column_has_its_own_parameters():
    p = params()
    columns = columns_of(tf.constant(p), COLUMNS)
    assert columns.batch_shape == [6, len(COLUMNS)] and columns.event_shape == []
    x = columns.sample(seed=(0, 1)).numpy()
    expected = log_prob_by_hand(p, x.astype(np.float64))
    np.testing.assert_allclose(columns.log_prob(x), expected, rtol=1e-4, atol=1e-5)
    rows = LIKELIHOODS["mixed"]((len(COLUMNS),), columns=COLUMNS).head()(tf.constant(p))
    np.testing.assert_allclose(rows.log_prob(x), expected.sum(axis=1), rtol=1e-5)
    swapped = log_prob_by_hand(p, x[:, [0, 3, 2, 1, 4, 5, 6]].astype(np.float64))
    assert np.abs(swapped - expected).max() > 0.1


def test_columns_stand_in_their_places():
    """Places whose inverse is another order."""
    parts = [tfd.Normal([20.0, 0.0], 1.0), tfd.Normal([10.0], 1.0)]
    columns = Columns(parts, [[2, 0], [1]])
    np.testing.assert_array_equal(columns.mean(), [0, 10, 20])
    np.testing.assert_allclose(
        columns.log_prob(tf.constant([0.0, 10.0, 20.0])), -0.5 * np.log(2 * np.pi), rtol=1e-5
    )


def test_draws_fit_their_columns():
    """Mean and variance of 20,000 draws, by z-tests; columns in another order are caught."""
    columns = columns_of(tf.constant(0.5 * params(())), COLUMNS)
    draws = columns.sample(20_000, seed=(0, 1)).numpy().astype(np.float64)
    light = [0, 1, 2, 3, 4, 6]  # the lognormal's tail is too heavy for a z-test
    mean = columns.mean().numpy()
    assert mean_p_value(draws[:, light], mean[light]) > ALPHA
    squares = (draws - mean) ** 2
    assert mean_p_value(squares[:, light[:-1]], columns.variance().numpy()[light[:-1]]) > ALPHA
    assert mean_p_value(draws[:, [3, 1]], mean[[1, 3]]) < ALPHA
    np.testing.assert_allclose(columns.stddev() ** 2, columns.variance(), rtol=1e-5)
    mode = columns.mode().numpy()
    check_support("mixed", mode[None], columns=COLUMNS)
    highest, others = columns.log_prob(mode).numpy(), columns.log_prob(draws[:50].astype(np.float32)).numpy()
    assert np.all(highest[:5] >= others[:, :5] - 1e-6)  # the mode of a negative binomial is TFP's affair


@pytest.mark.parametrize("name", ALL_KINDS)
def test_kinds(name):
    """Normalized, and drawn from: chi-square test of 20,000 draws; those of other parameters are caught."""
    p = params((), seed=3)[:1].repeat(kind_of(name).n) * np.linspace(0.5, 1, kind_of(name).n)
    one, grid = columns_of(tf.constant(p, tf.float32), (name,)), cases.GRIDS[name.split(":")[0]]
    mass = masses(name, one.log_prob(grid.astype(np.float32)[:, None])[:, 0], grid)
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-4)
    draws = one.sample(20_000, seed=(0, 1)).numpy()[:, 0]
    assert fit_p_value(draws, grid, mass) > ALPHA
    other = columns_of(tf.constant(p + np.where(np.arange(len(p)) % 2, 0.3, -0.3), tf.float32), (name,))
    assert fit_p_value(other.sample(20_000, seed=(0, 1)).numpy()[:, 0], grid, mass) < ALPHA


def test_one_distribution_for_all_columns_of_a_kind():
    assert len(columns_of(tf.zeros([400]), ("normal", "bernoulli") * 100 + ("bernoulli",) * 100).parts) == 2


def test_inputs():
    x = np.float32([[3, -1, 2, np.nan, 1, np.e, 0], [0, 0, np.nan, 2, 0, 1, np.nan]])
    nan = np.nan
    expected = [
        [np.log(4), -1, 0, 0, 1, nan, 1, 1, 0],
        [0, 0, nan, nan, nan, 2, 0, 0, nan],
    ]
    np.testing.assert_allclose(inputs(tf.constant(x), COLUMNS), expected, rtol=1e-6, atol=1e-7)
    between = inputs(tf.constant([[1.25]]), ("categorical:3",))
    np.testing.assert_allclose(between, [[0, 0.75, 0.25]])


def test_to_support():
    x = to_support(COLUMNS).forward(tf.constant(np.random.default_rng(0).normal(0, 9, [50, 7]), tf.float32))
    low, high = np.min(x, axis=0), np.max(x, axis=0)
    assert np.all(low[[0, 2, 4, 5, 6]] >= 0) and high[2] <= 2 and high[4] <= 1
    assert low[1] < -3 and high[2] > 1.9 and high[0] > 3


def test_misfits_are_named():
    x = np.array([[1, -1.0, 2, 0, 1, 3, 0], [np.nan] * 7])
    assert first_misfit(x, COLUMNS) == ""
    check_support("mixed", x, columns=COLUMNS)
    for i, value in ((0, -1), (1, np.inf), (2, 3), (4, 0.5), (5, 0), (6, 0.5)):
        wrong = x.copy()
        wrong[0, i] = value
        with pytest.raises(
            InputError, match=rf"found column {i} \({COLUMNS[i]}: .*\) with values from {value}"
        ):
            check_support("mixed", wrong, columns=COLUMNS)
    with pytest.raises(InputError, match="found 7 columns for 0 kinds"):
        check_support("mixed", x)


UNKNOWN = [
    "gauss",
    "categorical",
    "categorical:1",
    "categorical:x",
    "categorical:-2",
    "size",
    "size:0",
    "size:inf",
]


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_kinds_are_refused(name):
    with pytest.raises(
        InputError, match=f"must be one of normal, .* categorical:K, .* or size:SCALE .* got '{name}'"
    ):
        kind_of(name)


def test_as_many_kinds_as_columns():
    with pytest.raises(InputError, match=r"got 2 kinds for x of shape \(3,\)"):
        LIKELIHOODS["mixed"]((3,), columns=("normal", "normal")).head()
    assert isinstance(columns_of(tf.zeros([2]), ("normal",)), tfd.Distribution)
