"""Rows of which one column is the size: conditions on it and on counts, and imputed counts, against grids."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import special, stats
from statistics_helpers import ALPHA, mean_p_value
from table_models import table_model

from probvae import InputError, impute, iwae
from probvae.data.conditions import conditions_of
from probvae.data.tables.table_files import whole_frame
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
    """A model whose columns depend on z, with weights far from those of the start."""
    _, schema = whole_frame(FRAME, kinds=KINDS, missing=True)
    vae = table_model(schema)
    rng = np.random.default_rng(1)
    for v in vae.decoder.trainable_variables:
        v.assign(v + 0.5 * rng.standard_normal(v.shape))
    return vae


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


def test_counts_follow_the_size_that_is_given(model):
    """Counts have the mean and variance of their rate times the size, as means of rows with a given size do.

    The means over all sizes, which have no rows, are caught.
    """
    for given, (low, high) in (({"hours": 30.0}, (30, 30)), ({"hours": (10, 20)}, (10, 20))):
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
    [_, large] = conditions_of(model.schema, {"hours": 10 * HOURS.max(), "calls": (1, None)})
    np.testing.assert_allclose(len(large.codes) / len(small.codes), 10, rtol=0.02)


def test_a_missing_count_is_imputed_at_the_size_of_its_row(model):
    """Mean and draws against p(z | heat, hours, site) on the grid; the mean over all sizes is caught."""
    frame = FRAME.head(3).assign(calls=np.nan, hours=[1.0, 4.0, 400.0])
    x = model.schema.encode(frame)
    imputed = impute(model, x, num_samples=6000, num_draws=400, seed=1)
    columns = columns_in(model.likelihood(GRID))
    for row, mean, draws in zip(x, imputed.mean, np.swapaxes(imputed.draws, 0, 1), strict=True):
        log_p = np.delete(columns.log_prob(row).numpy(), CALLS, axis=1).sum(axis=1)
        w = special.softmax(stats.norm.logpdf(GRID).sum(axis=1) + log_p)
        rates = columns.at_rows(np.nan_to_num(row)).mean().numpy()[:, CALLS]
        expected = w @ rates
        np.testing.assert_allclose(mean[CALLS], expected, rtol=0.05)
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
