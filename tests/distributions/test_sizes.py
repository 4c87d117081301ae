"""Counts whose rates the size of their row multiplies, against scipy and against draws."""

import numpy as np
import pytest
import tensorflow as tf
from likelihood_cases import LOG_PROB
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd

from probvae import InputError
from probvae.distributions.base import at_rows
from probvae.distributions.columns import columns_of, kind_of, params_size
from probvae.distributions.missing import SeenValues
from probvae.models.folding import UnfoldedBatch

COLUMNS = (
    "poisson",
    "size:0.5",
    "negative_binomial",
    "normal",
    "zero_inflated_negative_binomial",
    "ordinal:3",
    "poisson",
)
COUNTS = [i for i, name in enumerate(COLUMNS) if kind_of(name).takes_size]
SIZE, FACTOR = 1, 0.5
STARTS = np.cumsum([0, *(kind_of(name).n for name in COLUMNS)])


def params(*leading, seed=0):
    return np.random.default_rng(seed).normal(size=[*leading, params_size(COLUMNS)]).astype(np.float32)


def by_hand(p, x, changed=0, size=None):
    """Log-probability of each column, from parameters [..., n] of which one has the logarithm of the size."""
    log_size = FACTOR * x[..., SIZE] if size is None else np.log(size)
    out = []
    for i, name in enumerate(COLUMNS):
        own = np.asarray(p[..., STARTS[i] : STARTS[i + 1]], np.float64)
        own = np.broadcast_to(own, [*x.shape[:-1], own.shape[-1]]).copy()
        if i in COUNTS:
            own[..., min(changed, own.shape[-1] - 1)] += log_size
        out.append(LOG_PROB["normal" if i == SIZE else name.split(":")[0]](own, x[..., i]))
    return np.stack(out, axis=-1)


def test_log_prob_is_that_of_scipy_at_the_rate_times_the_size():
    """A size that is left out, or that multiplies another parameter, is caught."""
    p = params(50)
    columns = columns_of(tf.constant(p), COLUMNS)
    x = columns.sample(seed=(0, 1)).numpy()
    expected = by_hand(p, x.astype(np.float64))
    np.testing.assert_allclose(columns.log_prob(x), expected, rtol=1e-4, atol=1e-5)
    for wrong in (by_hand(p, x.astype(np.float64), size=1.0), by_hand(p, x.astype(np.float64), changed=1)):
        assert np.abs(wrong - expected).max() > 0.5
    others = [i for i in range(len(COLUMNS)) if i not in COUNTS]
    plain = columns_of(tf.constant(p), tuple(name.replace("size:0.5", "normal") for name in COLUMNS))
    np.testing.assert_array_equal(
        plain.log_prob(x).numpy()[:, others], columns.log_prob(x).numpy()[:, others]
    )


def test_twice_the_size_is_twice_the_rate():
    p = tfd.Independent(columns_of(tf.constant(params(5)), COLUMNS), 1)
    x = p.sample(seed=(0, 2)).numpy()
    twice = x + np.eye(len(COLUMNS), dtype=np.float32)[SIZE] * np.log(2) / FACTOR
    ratio = (at_rows(p, twice).mean() / at_rows(p, x).mean()).numpy()
    np.testing.assert_allclose(
        ratio, np.where(np.isin(range(len(COLUMNS)), COUNTS), 2, 1) + 0 * ratio, rtol=1e-5
    )
    np.testing.assert_allclose(at_rows(p, x).log_prob(x), p.log_prob(x), rtol=1e-5)
    normal = tfd.Independent(tfd.Normal(np.zeros(3, np.float32), 1.0), 1)
    assert at_rows(normal, x[:, :3]) is normal


def test_draws_are_those_of_the_density():
    """Ranks of counts given the size drawn with them are uniform; those given another row's size are not.

    Each p-value has a false-positive rate of 1e-6, split over four counts.
    """
    p = params(1)
    x = columns_of(tf.constant(p), COLUMNS).sample(4000, seed=(0, 3)).numpy()[:, 0].astype(np.float64)
    u, worst = np.random.default_rng(1).random(len(x)), {}
    for name, sizes in (("own", x[:, SIZE]), ("another's", np.roll(x[:, SIZE], 1)), ("none", 0 * x[:, SIZE])):
        worst[name] = 1.0
        for i in COUNTS:
            own = np.repeat(p[:, STARTS[i] : STARTS[i + 1]].astype(np.float64), len(x), axis=0)
            own[:, 0] += FACTOR * sizes
            grid = np.arange(x[:, i].max() + 1)
            mass = np.exp(LOG_PROB[COLUMNS[i]](own[:, None], grid[None]))  # [N, K]
            below = np.concatenate([np.zeros([len(x), 1]), np.cumsum(mass, axis=1)], axis=1)
            at = np.arange(len(x)), x[:, i].astype(int)
            ranks = below[at] + u * mass[at]
            worst[name] = min(worst[name], len(COUNTS) * stats.kstest(ranks, "uniform").pvalue)
    assert worst["own"] > ALPHA > max(worst["another's"], worst["none"])


def test_moments_are_those_of_draws():
    """The mean is that over all sizes, not the one at the mean of the logarithm."""
    p = 0.6 * params(1, seed=4)
    columns = columns_of(tf.constant(p), COLUMNS)
    x = columns.sample(40_000, seed=(0, 4)).numpy()[:, 0].astype(np.float64)
    assert mean_p_value(x, columns.mean().numpy()[0]) > ALPHA
    assert mean_p_value((x - x.mean(axis=0)) ** 2, columns.variance().numpy()[0]) > ALPHA
    middle = columns.at_rows(columns.mode()).mean().numpy()[0]
    assert mean_p_value(x, middle) < ALPHA
    assert columns.mode().numpy()[0, SIZE] == p[0, STARTS[SIZE]]


def test_batch_axes_broadcast():
    p = params(3, 4)
    columns = tfd.Independent(columns_of(tf.constant(p), COLUMNS), 1)
    x = columns.sample(seed=(0, 5)).numpy()
    for rows in (x, x[0], x[0, 0], np.stack([x, x[::-1]])):
        expected = by_hand(p, np.broadcast_to(rows, [*rows.shape[:-3], *x.shape]).astype(np.float64)).sum(
            axis=-1
        )
        np.testing.assert_allclose(columns.log_prob(rows), expected, rtol=1e-4)
        if rows.ndim <= 3:
            given = at_rows(columns, rows)
            assert given.batch_shape == [3, 4]
            np.testing.assert_allclose(given.log_prob(rows), expected, rtol=1e-4)
    folded = tfd.Independent(columns_of(tf.constant(p.reshape(12, -1)), COLUMNS), 1)
    unfolded = UnfoldedBatch(folded, tf.constant([3, 4]))
    np.testing.assert_allclose(at_rows(unfolded, x[0]).mean(), at_rows(columns, x[0]).mean(), rtol=1e-5)


def test_missing_counts_are_left_out_and_a_missing_size_is_no_number():
    p = params(6)
    seen = SeenValues(tfd.Independent(columns_of(tf.constant(p), COLUMNS), 1))
    x = seen.sample(seed=(0, 6)).numpy()
    x[:, [0, 4]] = np.nan
    expected = np.delete(by_hand(p, np.nan_to_num(x).astype(np.float64)), [0, 4], axis=1).sum(axis=1)
    np.testing.assert_allclose(seen.log_prob(x), expected, rtol=1e-4)
    np.testing.assert_allclose(at_rows(seen, x).log_prob(x), expected, rtol=1e-4)
    x[2, SIZE] = np.nan
    assert np.isnan(seen.log_prob(x)).tolist() == [False, False, True, False, False, False]


def test_a_count_alone_has_no_distribution_without_its_size():
    columns = columns_of(tf.constant(params(2)), COLUMNS)
    x = columns.sample(seed=(0, 7))
    with pytest.raises(InputError, match="depend on its size"):
        columns.of_column(0, "log_prob", tf.constant([1.0]))
    with pytest.raises(InputError, match="depend on its size"):
        columns.moment_of_column(0, "mean")
    np.testing.assert_array_equal(columns.moment_of_column(SIZE, "mean"), columns.mean()[:, SIZE])
    np.testing.assert_allclose(
        columns.at_rows(x).of_column(0, "log_prob", x[:, 0][None])[0], columns.log_prob(x)[:, 0], rtol=1e-5
    )
    assert columns.of_column(SIZE, "cdf", tf.constant([0.0])).shape == [1, 2]
