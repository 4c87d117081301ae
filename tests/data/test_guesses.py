"""Guesses of the kinds of numbers, from samples of known distributions."""

import re

import numpy as np
import pandas as pd
import pytest

from probvae import data
from probvae.data.tables import samples
from probvae.data.tables.samples import Sample, shape_of

RNG = np.random.default_rng(0)
N = 1500


def guesses(**columns):
    """The guessed kinds of columns by name."""
    loaded = data.load(pd.DataFrame(columns))
    assert len(loaded.reasons) == len(columns) and all(loaded.reasons)
    return {column.name: column.kind for column in loaded.schema.columns}


def test_a_sample_does_not_depend_on_the_batches(monkeypatch):
    monkeypatch.setattr(samples, "SAMPLED", 50)
    numbers = np.arange(1000.0)
    kept = []
    for size in (1, 7, 60, 1000):
        sample = Sample()
        for start in range(0, 1000, size):
            sample.add(numbers[start : start + size])
        kept.append(np.sort(sample.numbers))
    assert all(np.array_equal(kept[0], other) for other in kept) and len(kept[0]) == 50
    assert 300 < kept[0].mean() < 700  # six standard errors of 40; the first 50 numbers have a mean of 25
    whole = Sample()
    whole.add(numbers[:40])
    assert np.array_equal(whole.numbers, numbers[:40])


def test_the_shape_of_a_sample():
    shape = shape_of(np.array([-100.0, *range(1, 10), 200.0]))
    assert (shape.size, shape.low_tail, shape.high_tail, shape.skew) == (11, 1, 1, 0)
    assert shape.mean == pytest.approx(145 / 11) and shape.skewness > 1
    exponential = -np.log1p(-(np.arange(10_000) + 0.5) / 10_000)
    low, middle, high = -np.log([0.875, 0.5, 0.125])
    assert shape_of(exponential).skew == pytest.approx((high + low - 2 * middle) / (high - low), abs=1e-3)
    assert shape_of(exponential).skewness == pytest.approx(2, abs=0.05)
    assert shape_of(np.ones(5)).low_tail == 0


# ---- positive numbers ----------------------------------------------------------------------------


def test_positive_skewed_numbers_are_lognormal():
    found = guesses(
        lognormal=np.exp(RNG.normal(3, 0.7, N)),
        exponential=RNG.exponential(5, N),
        whole=np.rint(np.exp(RNG.normal(9, 0.9, N))).astype(int) + 1,
        small=np.exp(RNG.normal(size=N)) * 1e-30,
    )
    assert set(found.values()) == {"lognormal"}


def test_other_numbers_stay_normal():
    """Positive and symmetric, skewed around another place, skewed to the left, or with zeros."""
    skewed = RNG.exponential(size=N)
    found = guesses(
        symmetric=RNG.normal(50, 3, N),
        shifted=skewed + 1000,
        left=20 - skewed,
        signed=skewed - 0.5,
        zeros=np.where(skewed < 0.3, 0, skewed),
        uniform=RNG.random(N),
    )
    assert set(found.values()) == {"normal"}
    few = guesses(few=np.exp(RNG.normal(0, 0.5, 60)))
    assert few == {"few": "normal"}  # within four standard errors of a symmetric distribution


def test_normal_columns_are_guessed_to_be_so():
    """False positives: none in 400 columns of 100 to 2,500 positive numbers (0.01 are expected)."""
    for rows in (100, 2500):
        columns = {f"c{i}": RNG.normal(9, 1, rows) for i in range(200)}
        assert set(guesses(**columns).values()) == {"normal"}


# ---- heavy tails ---------------------------------------------------------------------------------


def test_tails_on_both_sides_are_those_of_a_student_t():
    found = guesses(
        t2=RNG.standard_t(2, N),
        t3=RNG.standard_t(3, N) * 1e6 + 4,
        cauchy=RNG.standard_cauchy(N),
        laplace=RNG.laplace(size=N),
        whole=np.rint(1000 * RNG.standard_t(3, N)).astype(int),
    )
    assert set(found.values()) == {"student_t"}
    assert guesses(a=np.exp(RNG.standard_t(3, N))) == {"a": "log_student_t"}


def test_tails_on_one_side_and_spikes_are_not():
    """Nor are light tails, a few outliers, and numbers of which most are equal."""
    normal = RNG.normal(size=N)
    found = guesses(
        normal=normal,
        t20=RNG.standard_t(20, N),
        one_side=np.where(np.arange(N) % 50 == 0, 40, normal),
        few=np.where(np.arange(N) % 300 == 0, 40 * np.sign(normal), normal),
        spike=np.where(np.arange(N) % 4 == 0, 60 * normal, 0.1 * normal),
        equal=np.where(np.arange(N) % 3 == 0, normal, 0),
    )
    assert set(found.values()) == {"normal"}


# ---- counts --------------------------------------------------------------------------------------


def test_counts_are_told_by_their_variance_and_zeros():
    few = {"poisson": np.repeat([0, 1, 2, 3, 4], [42, 21, 5, 1, 1])}  # too few rows for categories
    assert guesses(**few) == {"poisson": "poisson"}
    spread = RNG.negative_binomial(1, 0.05, N)
    found = guesses(
        spread=spread,
        floats=spread.astype(float),
        many_zeros=RNG.negative_binomial(0.5, 0.05, N),
        inflated=np.where(RNG.random(N) < 0.6, 0, 1 + RNG.poisson(30, N)),
        large=np.where(RNG.random(N) < 0.9, 0, RNG.negative_binomial(2, 1e-4, N)),
    )
    assert found == {
        "spread": "negative_binomial",
        "floats": "negative_binomial",
        "many_zeros": "negative_binomial",
        "inflated": "zero_inflated_negative_binomial",
        "large": "zero_inflated_negative_binomial",
    }


def test_other_whole_numbers_are_no_counts():
    """Without zeros, of both signs, symmetric, skewed to the left, or piled up at the largest."""
    spread = RNG.negative_binomial(1, 0.05, N)
    found = guesses(
        ages=np.rint(RNG.normal(45, 12, N)).clip(18, 90).astype(int),
        signed=spread - 5,
        uniform=np.arange(N) % 40,
        scores=100 - spread.clip(0, 100),
        capped=spread.clip(0, 30),
        halves=spread / 2,
    )
    assert set(found.values()) == {"normal"}
    few = guesses(few=RNG.poisson(2, N))["few"]
    assert few.startswith("categorical:")  # few and frequent, as before


def test_a_guess_can_be_overruled():
    frame = pd.DataFrame({"a": np.exp(RNG.normal(size=N))})
    loaded = data.load(frame, kinds={"a": "normal"})
    assert loaded.kinds == ("normal",) and loaded.reasons == ("given",)
    assert data.load(frame).reasons == ("positive, skewed",)
    assert data.load(frame.head(90), schema=data.load(frame).schema).reasons == ()


def test_the_reason_tells_of_a_frequent_number():
    rng = np.random.default_rng(0)
    hours = np.where(rng.random(2000) < 0.47, 40, rng.integers(1, 80, 2000))
    loaded = data.load(pd.DataFrame({"a hours": hours, "b normal": rng.normal(size=2000)}))
    assert loaded.kinds == ("normal", "normal")
    assert re.fullmatch(r"numbers; 4[5-9]% are 40", loaded.reasons[0]) and loaded.reasons[1] == "numbers"
