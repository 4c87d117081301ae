"""Rows of which one column is the size: conditions on it and on counts, and imputed counts, against grids."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from marked_cases import cases
from scipy import special, stats
from statistics_helpers import ALPHA, mean_p_value
from table_models import model_of_frame

from probvae import InputError, VAEImputer, VAEOutlier, VAETransformer, build, impute, iwae
from probvae.data.conditions import conditions_of
from probvae.distributions.base import at_rows
from probvae.sampling.conditional_draws import columns_in, log_probability, sample_given
from probvae.sampling.draws import decode
from probvae.training.hiding import hide_values

RNG = np.random.default_rng(0)
HOURS = np.exp(RNG.normal(1, 1, 200))
FRAME = pd.DataFrame(
    {
        "calls": RNG.poisson(0.8 * HOURS),
        "heat": RNG.normal(20, 3, 200),
        "hours": HOURS,
        "site": RNG.choice(["a", "b"], 200),
    }
)
KINDS = {"hours": "size", "calls": "poisson"}
CALLS, HEAT, SIZE = 0, 1, 2
AXIS = np.linspace(-4.5, 4.5, 41)
GRID = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2).astype(np.float32)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@pytest.fixture(scope="module")
def model():
    return model_of_frame(FRAME, KINDS, 0.5)


def sizes_on_grid(model):
    """Codes of sizes at the nodes of p(size|z), [G, K]."""
    columns = columns_in(model.likelihood(GRID))
    return columns.mean().numpy()[:, SIZE, None] + columns.stddev().numpy()[:, SIZE, None] * NODES


def test_conditions_on_counts_have_their_probability_over_all_sizes(model):
    """P(calls) and the sizes given calls, against quadrature over z and the size; a fixed size is caught."""
    given = {"calls": (6, 9)}
    conditions = conditions_of(model.schema, given)
    sizes = sizes_on_grid(model)
    log_p = np.stack([log_probability(model, conditions, GRID, s) for s in sizes.T], axis=1)
    log_z = stats.norm.logpdf(GRID).sum(axis=1) + 2 * np.log(AXIS[1] - AXIS[0])
    joint = log_z[:, None] + np.log(WEIGHTS) + log_p
    expected = special.logsumexp(joint)
    drawn = sample_given(model, given, 3000, seed=3, seconds=60)
    assert abs(drawn.log_probability - expected) < 5 * drawn.standard_error + 1e-3 < 0.1
    fixed = special.logsumexp(log_z + log_probability(model, conditions, GRID, 0 * sizes[:, 0]).numpy())
    assert abs(fixed - expected) > 0.2
    mean = np.sum(np.exp(joint - expected) * sizes)
    independent = drawn.x[: int(1 / (1 / 3000 + 1 / drawn.effective_sample_size)), SIZE]
    assert (
        mean_p_value(independent, mean)
        > ALPHA
        > mean_p_value(independent, model.likelihood(GRID).mean()[0, SIZE])
    )
    assert set(drawn.x[:, CALLS]) == {6, 7, 8, 9}


GIVEN = {"value": ({"hours": 30.0}, 30, 30), "range": ({"hours": (10, 20)}, 10, 20)}


@pytest.mark.parametrize("name", cases(GIVEN, slow=("range",)))
def test_counts_follow_the_size_that_is_given(name, model):
    """Counts have the mean and variance of their rate times the size, as means of rows with a given size do.

    The means over all sizes, which have no rows, are caught.
    """
    given, low, high = GIVEN[name]
    drawn = sample_given(model, given, 500, seed=5)
    hours = model.schema.decode(drawn.x)["hours"]
    assert np.all((hours > low - 1e-4) & (hours < high + 1e-4)) and np.ptp(hours) >= 0.9 * (high - low)
    rate, free = (decode(model, drawn.z, rows=rows).mean[:, CALLS] for rows in (drawn.x, None))
    calls = drawn.x[:, CALLS]
    assert mean_p_value((calls - rate) / np.sqrt(rate)) > ALPHA
    assert mean_p_value((calls - rate) ** 2 / rate, 1.0) > ALPHA
    assert mean_p_value((calls - free) ** 2 / free, 1.0) < ALPHA


def test_an_open_range_of_counts_goes_as_far_as_the_size_allows(model):
    [small] = conditions_of(model.schema, {"calls": (1, None)})
    [large, _] = conditions_of(model.schema, {"hours": 10 * HOURS.max(), "calls": (1, None)})
    np.testing.assert_allclose(len(large.codes) / len(small.codes), 10, rtol=0.02)


def test_a_missing_count_is_imputed_at_the_size_of_its_row(model):
    """Mean and draws against p(z | heat, hours, site) on the grid; the mean over all sizes is caught."""
    frame = FRAME.head(3).assign(calls=np.nan, hours=[1.0, 4.0, 400.0])
    x = model.schema.encode(frame)
    imputed = impute(model, x, num_samples=3000, num_draws=400, seed=1)
    columns = columns_in(model.likelihood(GRID))
    for row, mean, draws in zip(x, imputed.mean, np.swapaxes(imputed.draws, 0, 1), strict=True):
        log_p = np.delete(columns.log_prob(row).numpy(), CALLS, axis=1).sum(axis=1)
        w = special.softmax(stats.norm.logpdf(GRID).sum(axis=1) + log_p)
        rates = columns.at_rows(np.nan_to_num(row)).mean().numpy()[:, CALLS]
        expected = w @ rates
        np.testing.assert_allclose(mean[CALLS], expected, rtol=0.07)
        assert abs(w @ columns.mean().numpy()[:, CALLS] / expected - 1) > 0.15
        spread = np.sqrt(w @ (rates + rates**2) - expected**2)
        assert abs(draws[:, CALLS].mean() - expected) < 6 * spread / np.sqrt(400)


def test_the_size_is_needed_and_never_hidden(model):
    x = model.schema.encode(FRAME)
    hidden = np.isnan(hide_values(model, tf.constant(x), 1.0, seed=0))
    assert hidden.any(axis=0).tolist() == [True, True, False, True]
    assert model.contract.may_be_missing.tolist() == [True, True, False, True] and model.contract.missing
    x[3, SIZE] = np.nan
    for call in (model.posterior, lambda x: iwae(model, x, seed=0), lambda x: impute(model, x)):
        with pytest.raises(InputError, match="column 2, the size of the rows, which no row may lack"):
            call(x)
    with pytest.raises(InputError, match="'hours' must hold numbers; got nan"):
        model.schema.check(x)
    frame = FRAME.assign(hours=FRAME["hours"].where(FRAME.index != 6))
    for call in (model.schema.encode, lambda frame: impute(model, frame)):
        with pytest.raises(InputError, match=r"'hours' is the size of the rows, .* missing in row 7"):
            call(frame)


@pytest.mark.slow
def test_rates_are_learned_better_with_the_size():
    """Hours vary 100-fold; a model of the same columns without a size knows the rates worse, row by row.

    The paired difference of squared errors of log-rates has a false-positive rate of 1e-6.
    """
    rng = np.random.default_rng(0)
    z, hours = rng.normal(size=2400), np.exp(rng.uniform(0, np.log(100), 2400))
    calls, faults = (rng.poisson(np.exp(rate) * hours) for rate in (0.5 * z, -1 - 0.5 * z))
    heat = 2 * z + rng.normal(size=2400)
    frame = pd.DataFrame({"hours": hours, "calls": calls, "faults": faults, "heat": heat})
    errors, scores = [], []
    for kind in ("size", "lognormal"):
        kinds = {"hours": kind, "calls": "poisson", "faults": "poisson"}
        fitted = VAETransformer(2, columns=kinds, units=(32,), epochs=80, learning_rate=3e-3, batch_size=32)
        fitted.set_params(random_state=0).fit(frame[:400])
        x, vae = fitted.schema_.encode(frame[400:]), fitted.vae_
        rates = vae.likelihood_at(vae.posterior(x).mean(), x).mean().numpy()[:, 0] / hours[400:]
        errors.append((np.log(rates) - 0.5 * z[400:]) ** 2)
        scores.append(fitted.score_samples(frame[400:]))
    assert errors[0].mean() < errors[1].mean() and scores[0].mean() > scores[1].mean()
    assert mean_p_value(errors[0] - errors[1]) < ALPHA


def test_estimators_refuse_rows_without_a_size():
    """DataFrames and arrays; in an array the size is a kind of the sequence."""
    frame = FRAME.drop(columns="site").assign(hours=FRAME["hours"].where(FRAME.index != 4))
    for fit, message in (
        (lambda: VAEImputer(columns=KINDS).fit(frame), "'hours' of DataFrame is the size of the rows"),
        (
            lambda: VAEImputer(columns=("poisson", "normal", "size")).fit(frame.to_numpy()),
            "column 2, the size of the rows, which no row may lack",
        ),
        (lambda: VAEOutlier(columns=KINDS, missing=True).fit(frame), "'hours' of DataFrame is the size"),
    ):
        with pytest.raises(InputError, match=message):
            fit()


def test_an_array_has_the_scale_of_its_logarithms():
    x = FRAME[["calls", "hours"]].to_numpy()
    transformer = VAETransformer(columns=("poisson", "size"), likelihood="mixed")
    coded, coding, architecture = transformer._coded(x)
    np.testing.assert_allclose(coding.scale[1], np.log(x[:, 1]).std())
    assert architecture.columns == ("poisson", f"size:{float(coding.scale[1])!r}")
    p = build(architecture).likelihood(np.zeros([2, 2], np.float32))
    rates = at_rows(p, coded[[0, 1]]).mean().numpy()[:, 0]
    np.testing.assert_allclose(rates[1] / rates[0], x[1, 1] / x[0, 1], rtol=1e-5)
