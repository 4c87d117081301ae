"""Drawn rows against the data of a table: planted differences are found first, and chance is chance."""

import functools
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probvae.data.tables.table_files import whole_frame
from probvae.errors import InputError
from probvae.evaluation import copies
from probvae.evaluation.bars import bars_of
from probvae.evaluation.cells import bins_of, names_of, numbers_of
from probvae.evaluation.columns import cramers_v, distance_of, scaled_to
from probvae.evaluation.table_check import TableCheck, check_rows
from probvae.files import records

KINDS = {"pay": "lognormal", "grade": "ordinal:low<mid<high", "visits": "poisson", "height": "normal"}


def people(n, seed, lost=False):
    """Rows in which pay depends on height; `lost` breaks that and keeps each column."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "height": np.rint(170 + 8 * z),
            "pay": np.exp(8 + z + 0.5 * rng.normal(size=n)),
            "grade": np.array(["low", "mid", "high"])[
                np.clip(np.rint(rng.normal(1, 0.8, n)), 0, 2).astype(int)
            ],
            "visits": rng.poisson(2.0, n),
            "city": rng.choice(["Seoul", "Busan", "Jeju"], n, p=[0.6, 0.3, 0.1]),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
        }
    )
    if lost:
        frame["pay"] = rng.permutation(frame["pay"])
    return frame


@functools.cache
def schema():
    return whole_frame(people(4000, 0), kinds=KINDS, missing=True)[1]


@functools.cache
def rows(n, seed, lost=False):
    x = schema().encode(people(n, seed, lost))
    x.flags.writeable = False
    return x


def changed(x, name, change):
    x, place = x.copy(), schema().names.index(name)
    x[:, place] = change(x[:, place])
    return x


def test_rows_of_the_same_distribution_differ_as_chance_says():
    """Distances are near the expected ones, within six of their standard errors."""
    check = check_rows(schema(), rows(4000, 0), rows(500, 1), rows(4000, 2))
    assert [m.name for m in check.marginals] == [b.name for b in check.bars] == list(people(1, 0))
    for one in (*check.marginals, *check.pairs):
        assert abs(one.distance - one.expected) < 6 * max(one.error, 0.003), one
    assert check.num_pairs == len(check.pairs) == 15
    place = check.associations.names.index
    assert check.associations.data[place("height")][place("pay")] == pytest.approx(0.88, abs=0.05)
    assert not check.copies.found and "no sign of copies" in check.copies.verdict()
    assert check.copies.draws_equal == 0


def test_the_error_and_the_expected_distance_are_those_of_repeated_samples():
    rng, p, q = np.random.default_rng(0), np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4])
    same = np.array([distance_of(rng.multinomial(400, p), rng.multinomial(900, p)) for _ in range(2000)])
    # Means of 2,000 have relative errors of about 1%: 6% is beyond 5 of them.
    assert same[:, 0].mean() == pytest.approx(same[:, 2].mean(), rel=0.06)
    other = np.array([distance_of(rng.multinomial(400, p), rng.multinomial(900, q)) for _ in range(2000)])
    assert other[:, 0].mean() == pytest.approx(0.2, abs=0.02)  # 0.2, and the noise of a bin
    assert other[:, 0].std() == pytest.approx(
        other[:, 1].mean(), rel=0.1
    )  # standard error of a deviation: 1.6%


def test_a_wrong_marginal_is_first_and_does_not_hide_a_lost_correlation():
    wrong = changed(rows(4000, 3, True), "city", lambda codes: np.where(np.arange(4000) % 2, codes, 1))
    check = check_rows(schema(), rows(4000, 0), rows(500, 1), wrong)
    excess = {m.name: m.distance - m.expected for m in check.marginals}
    assert max(excess, key=excess.get) == "city" and excess["city"] > 0.3
    assert all(value < 0.03 for name, value in excess.items() if name != "city")
    worst = next(m for m in check.marginals if m.name == "city").largest
    assert worst.name == "Jeju" and worst.data == pytest.approx(0.1, abs=0.05)
    first, second = check.pairs[:2]
    assert {first.first, first.second} == {"height", "pay"} and first.distance > 0.3
    assert first.data > 0.8 and abs(first.model) < 0.1  # 0.1 is six standard errors of a correlation of 4,000
    assert second.distance - second.expected < 0.05


def test_copies_are_found_and_fresh_rows_are_not():
    """The p-value of fresh rows is uniform below 0.001: one false alarm in a thousand models."""
    train, held_out = rows(4000, 0), rows(500, 1)
    some = np.concatenate([train[:50], rows(950, 4)])  # one row in twenty is a copy
    found = check_rows(schema(), train, held_out, some).copies
    assert found.found and found.draws_equal == pytest.approx(0.05) and "may be copies" in found.verdict()
    assert found.near.p_value < 1e-6 and found.near.low > found.near.expected
    noisy = train[:2000] + np.where(schema_is_number(), 0.01, 0.0).astype(np.float32)
    assert check_rows(schema(), train, held_out, noisy).copies.found
    gone = held_out.copy()
    gone[:, ::2][np.random.default_rng(0).random(gone[:, ::2].shape) < 0.5] = np.nan
    fresh = check_rows(schema(), train, gone, rows(2000, 5)).copies  # rows with missing cells are no nearer
    assert fresh.near.p_value > 1e-6 and fresh.middle.p_value > 1e-6


def schema_is_number():
    return np.array([not column.levels for column in schema().columns])


def test_p_values_of_nearness_are_those_of_exchangeable_rows():
    """Of 300 p-values under the null at most 5% are below 0.05, with ties too; six deviations are 0.075."""
    rng = np.random.default_rng(0)
    for draw in (rng.random, lambda n: rng.integers(0, 5, n).astype(float)):
        ps = np.array([copies.nearness(draw(99), draw(60), 0.5, rng).p_value for _ in range(300)])
        assert np.mean(ps < 0.05) < 0.125 and np.mean(ps < 0.2) > 0.05
    near = copies.nearness(np.arange(1.0, 100.0), np.zeros(50), 0.01, rng)
    assert near.share == 1 and near.expected == pytest.approx(0.01)
    assert near.p_value == pytest.approx(stats.betabinom.pmf(50, 50, 1, 99))


# ---- bins and bars -----------------------------------------------------------------------------------


def test_values_have_names_and_units():
    column = dict(zip(schema().names, schema().columns, strict=True))
    numbers = dict(zip(schema().names, numbers_of(schema(), rows(4000, 0)).T, strict=True))
    frame = people(4000, 0)
    np.testing.assert_allclose(numbers["height"], frame["height"])
    np.testing.assert_allclose(numbers["pay"], frame["pay"], rtol=1e-4)

    def names(name, most=8):
        return names_of(column[name], bins_of(column[name], numbers[name], most))

    assert names("grade") == ["low", "mid", "high"]
    assert names("visits", 20)[:3] == ["0", "1", "2"] and names("visits", 20)[-1] == "other values"
    assert all(part[:2] == "20" or part[-2:].isdecimal() for part in names("day")[1].split(" to "))
    for name in column:
        bins = bins_of(column[name], numbers[name], 8)
        assert 0 <= bins.of(numbers[name]).min() and bins.of(numbers[name]).max() < bins.number <= 8
        assert len(names(name)) == bins.number and bins.of(np.array([np.nan])) == -1


def test_axes_fit_skewed_columns():
    column = dict(zip(schema().names, schema().columns, strict=True))
    numbers = dict(zip(schema().names, numbers_of(schema(), rows(4000, 0)).T, strict=True))
    for name, scale in {"pay": "log", "height": "linear", "visits": "linear", "day": "date"}.items():
        bars = bars_of(column[name], numbers[name], numbers[name])
        assert bars.scale == scale and bars.data == bars.model and sum(bars.data) == pytest.approx(1)
        assert np.all(np.diff(bars.edges) > 0) and len(bars.edges) == len(bars.data) + 1
        assert max(bars.data) < 0.4  # no bar holds most of the rows
    day = bars_of(column["day"], numbers["day"], numbers["day"])
    assert abs(day.edges[0] - 1_577_836_800) < 86_401 * 31  # January 2020
    gains = np.where(np.arange(4000) % 10, 0.0, np.rint(numbers["pay"]))  # most are zero, the others skewed
    bars = bars_of(column["visits"], gains, np.where(gains == 0, 7.0, gains))
    assert bars.scale == "log" and bars.left_out == ("0", pytest.approx(0.9), pytest.approx(0))
    assert sum(bars.data) == pytest.approx(0.1) and sum(bars.model) == pytest.approx(1)
    both = np.random.default_rng(0).standard_cauchy(4000)
    assert bars_of(column["height"], both, both).scale == "asinh"
    bars = bars_of(column["city"], numbers["city"], numbers["city"])
    assert bars.names == ("Seoul", "Busan", "Jeju") and not bars.edges


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0], [0.0, 1e300], [-1e-300, 1e-300, 5.0]])
def test_odd_columns_have_bars(values):
    for column in schema().columns:
        if not column.levels:
            bars = bars_of(column, np.array(values), np.array([1.0, np.nan, np.inf]))
            assert np.all(np.diff(bars.edges) > 0) and len(bars.data) + 1 == len(bars.edges)


def test_marginals_are_scaled_and_associations_are_known():
    data, draws = np.array([[30.0, 10], [10, 50]]), np.array([[5.0, 15], [5, 75]])
    scaled = scaled_to(draws, data / 100)
    np.testing.assert_allclose(scaled.sum(axis=0), [0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(scaled.sum(axis=1), [0.4, 0.6], atol=1e-6)
    assert scaled[0, 0] * scaled[1, 1] / scaled[0, 1] / scaled[1, 0] == pytest.approx(
        5, rel=0.1
    )  # odds ratio
    assert cramers_v(np.eye(3) * 100) == pytest.approx(1, abs=1e-6)
    assert cramers_v(np.outer([10.0, 20, 30], [1, 2])) == 0 and np.isnan(cramers_v(np.array([[3.0, 4]])))


def test_what_is_checked_is_read_again_and_damage_is_refused():
    check = check_rows(schema(), rows(300, 0), rows(1, 1), rows(200, 2))
    assert check.copies is None
    text = records.to_text(check)
    assert records.to_text(records.from_text(TableCheck, text, "a")) == text
    for damaged in (
        "[]",
        "{}",
        text.replace('"distance"', '"distant"', 1),
        text.replace('"seed": 0', '"seed": "0"'),
    ):
        with pytest.raises(InputError, match="damaged"):
            records.from_text(TableCheck, damaged, "a")


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="one or more"):
        check_rows(schema(), rows(300, 0), rows(100, 1), rows(300, 0)[:0])
    assert "probvae.evaluation.table_check" in sys.modules
