"""Columns and their codes: scales that are exact, densities and moments in units against closed forms."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probvae.data.coding import Column, fit
from probvae.data.kinds import NUMBERS
from probvae.data.schema import Schema
from probvae.errors import InputError
from probvae.export.table_values import _Numbers as numbers_of

RNG = np.random.default_rng(0)


def fitted(values, kind="normal", type="number"):
    column = Column("a", kind, type, logarithm=kind == "lognormal")
    return fit("data", [column], lambda: iter([np.asarray(values, np.float64)[:, None]]))[0]


@pytest.mark.parametrize("deviation", [0.003, 0.9, 1.3, 1.5, 700.0])
def test_the_scale_is_the_power_of_two_nearest_to_the_deviation(deviation):
    values = deviation * stats.norm.ppf((np.arange(2000) + 0.5) / 2000) + 40
    column = fitted(values)
    exponent = np.log2(column.scale)
    assert exponent == round(exponent) and abs(exponent - np.log2(values.std())) <= 0.5
    assert abs(column.loc - values.mean()) <= column.scale / 512 and column.loc % (column.scale / 256) == 0
    # data in units that differ by a power of two have the same codes, and whole numbers come back exactly
    for factor in (2.0**-7, 2.0**9):
        np.testing.assert_array_equal(fitted(values * factor).encode(values * factor), column.encode(values))
    whole = np.rint(values * 2**13 / max(1.0, deviation)).astype(np.int64)
    np.testing.assert_array_equal(fitted(whole, type="integer").decode(fitted(whole).encode(whole)), whole)


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_a_density_of_values_is_that_of_the_code_with_its_slope(kind):
    values = np.exp(RNG.normal(8, 0.5, 300))
    column = fitted(values, kind)
    codes = column.encode(values).astype(np.float64)
    mean, deviation = 0.3, 0.8  # of p(code)
    density = stats.norm.logpdf(codes, mean, deviation) + column.log_slope(codes)
    if kind == "normal":
        exact = stats.norm(column.loc + column.scale * mean, column.scale * deviation)
    else:
        exact = stats.lognorm(column.scale * deviation, scale=np.exp(column.loc + column.scale * mean))
    np.testing.assert_allclose(density, exact.logpdf(values), atol=1e-4)
    np.testing.assert_allclose(column.moments(mean, deviation), (exact.mean(), exact.std()), rtol=1e-12)
    assert column.log_slope(np.array([np.nan])).tolist() == [0]


def test_central_values_are_means_and_most_probable_levels():
    columns = (
        Column("a", "lognormal", "integer", loc=8.0, scale=0.5, logarithm=True, low=1, high=9, place=1),
        Column("b", "categorical:3", "text", ("x", "y", "z"), place=0),
        Column("c", "normal", "integer", loc=7.0, low=7, high=7, place=2),
    )
    schema = Schema((3,), "table", columns=columns)
    centers = schema.centers([[0.2, 1.0, 0.4]], [[0.6, 0.8, 1.0]], [[0.2, 2.0, 0.4]])
    assert (
        list(centers) == ["b", "a", "c"] and centers["b"].tolist() == ["z"] and centers["c"].tolist() == [7]
    )
    sold = Schema((1,), "table", columns=(Column("sold", "normal", "date", unit="D", loc=40.0, scale=8.0),))
    assert sold.centers([[0.2]], [[1.0]], [[0.2]])["sold"] == np.datetime64("1970-02-12")
    np.testing.assert_allclose(centers["a"], stats.lognorm(0.3, scale=np.exp(8.1)).mean())
    assert schema.has_units and not Schema((3,), "table", columns=columns[1:2] * 3).has_units


def test_images_are_coded_as_their_range_says():
    schema = Schema((2, 2, 1), "image", white=255, divisor=255, binarization="threshold")
    images = np.array([0, 127, 128, 255], np.uint8).reshape(1, 2, 2, 1)
    assert schema.encode(images).ravel().tolist() == [0, 0, 1, 1]
    assert schema.decode(schema.encode(images)).ravel().tolist() == [0, 0, 255, 255]
    static = Schema((40, 40, 1), "image", white=255, divisor=255, binarization="static")
    grey = np.full([1, 40, 40, 1], 51, np.uint8)  # 1 with probability 0.2: 1,600 draws, 6 standard errors
    x = static.encode(grey, seed=1)
    assert abs(x.mean() - 0.2) < 0.06 and np.array_equal(x, static.encode(grey, seed=1))
    assert Schema((2, 2, 1), "image", white=255).encode(images).max() == 255  # counts are not divided


def test_digits_that_name_classes_are_names():
    schema = Schema((1,), "vector", classes=("1", "10", "3"))
    assert [schema.class_index(name) for name in schema.classes] == [0, 1, 2]
    assert [schema.class_index(k) for k in (0, 1, np.int64(2))] == [0, 1, 2]  # numbers, not names
    for unknown in ("0", "2", 3, -1, 1.0):
        with pytest.raises(InputError, match="The classes are 1, 10, 3; got"):
            schema.class_index(unknown)
    assert Schema((1,), "vector", classes=("cat", "dog")).class_index("1") == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1.0, 2.0], "b": ["x"]}, "'a' has 2 values and 'b' 1"),
        ({"a": 1.0, "b": "x"}, "Column 'a' must hold one value for each row"),
        ({"a": [[1.0]], "b": [["x"]]}, r"got an array of shape \[1, 1\]"),
        (
            pd.DataFrame([[1.0, "x", "y"]], columns=["a", "b", "b"]),
            "or two columns of this name",
        ),
    ],
)
def test_a_table_has_one_value_for_each_row_and_column(table, message):
    columns = (Column("a", "normal"), Column("b", "bernoulli", "text", ("x", "y")))
    with pytest.raises(InputError, match=message):
        Schema((2,), "table", columns=columns).encode(table)


def test_x_holds_numbers():
    schema = Schema((1,), "table", columns=(Column("a", "normal"),))
    for method in (schema.check, schema.decode, schema.log_slope):
        with pytest.raises(InputError, match="x must hold numbers"):
            method([["a"]])


def test_values_that_x_cannot_hold_are_refused():
    for values in ([[np.inf]], [[1e300]]):
        with pytest.raises(InputError, match="within the range of float32; got"):
            Schema((1,), "vector").encode(values)
    with pytest.raises(InputError, match="integers from 0 to 255; got bool from 0 to 1"):
        Schema((1, 1, 1), "image", white=255, divisor=255).encode(np.array([[[[True]]]]))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (Schema((1,), "table", columns=(Column("a", "categorical:2", "text", ("u", "u")),)), "levels"),
        (Schema((1,), "table", columns=(Column("a", "categorical:3", "text", ("u", "v")),)), "has 2 levels"),
        (Schema((1,), "vector", classes=("u", "u")), "one name"),
    ],
)
def test_levels_and_classes_are_told_apart(schema, problem):
    with pytest.raises(InputError, match=f"schema.json is damaged .*{problem}"):
        Schema.from_json(schema.to_json())


def test_numbers_that_differ_little_from_each_other_are_not_constant():
    values = 2.0**53 - 1000 + 2 * np.arange(500)
    column = fitted(values)
    assert not column.is_constant and 0.5 < column.encode(values).std() < 2
    assert fitted([7.3, 7.3, 7.3]).scale == 1 and fitted([7.3, 7.3, 7.3]).is_constant


@pytest.mark.parametrize("kind", [name for name, kind in NUMBERS.items() if kind.of_logarithms])
def test_whole_numbers_with_logarithms_stay_positive(kind):
    column = Column("a", kind, "integer", loc=1.0, scale=0.5, logarithm=True, low=1, high=9)
    codes = np.array([-40.0, -3.0, -2.0, 0.0, np.nan], np.float32)  # of 2e-9, 0.61, 1, 2.7 and a missing one
    values = column.decode(codes)
    np.testing.assert_array_equal(values, [1, 1, 1, 3, np.nan])
    np.testing.assert_array_equal(column.numbers(values[:-1]), values[:-1])  # the column takes its draws
    exported = numbers_of(column).write(codes[:, np.newaxis])[:, 0]
    np.testing.assert_array_equal(exported, [1, 1, 1, 3, np.nan])
