"""The scikit-learn imputer: its contract, and that what it fills in is that of `probvae.impute`."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from test_sklearn import checks_of

from probvae.errors import InputError
from probvae.sampling.imputation import Imputer
from probvae.sklearn import VAEImputer, VAEOutlier, VAETransformer
from probvae.sklearn.mixture import impute

TINY = {"members": 2, "units": (8,), "epochs": 2, "num_draws": 200, "random_state": 0}
CHECKED = VAEImputer(members=1, epochs=1, units=(8,), num_draws=20)
ALPHA = 1e-6
pytestmark = pytest.mark.filterwarnings("ignore:.*effective sample size")  # models of two epochs


def holes(n=80, seed=0):
    """Rows of three numbers, the second of which follows the first, with a fifth of the cells missing."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal([n, 3]) * [1.0, 10.0, 1.0] + [0, 50, 0]
    x[:, 1] += 30 * x[:, 0]
    x[rng.random(x.shape) < 0.2] = np.nan
    return x


FRAME = pd.DataFrame(
    {
        "height": holes()[:, 0] * 10 + 170,
        "sex": pd.Categorical(np.where(np.arange(80) % 5 == 0, None, np.where(np.arange(80) % 2, "f", "m"))),
        "rooms": pd.array([None if i % 7 == 0 else i % 4 for i in range(80)], dtype="Int64"),
        "empty": np.nan,
    },
    index=[f"row {i}" for i in range(80)],
)


def of_member(member, x, **options):
    """The imputation of one member."""
    with member.borrowed(Imputer, Imputer) as imputer:
        return imputer.impute(x, **{"quantiles": (), "seed": member.training_.seed} | options)


@pytest.fixture(scope="module")
def of_array():
    return VAEImputer(2, **TINY).fit(holes())


@pytest.fixture(scope="module")
def of_frame():
    return VAEImputer(2, add_indicator=True, **TINY).fit(FRAME)


@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
@pytest.mark.parametrize(
    ("estimator", "check"), checks_of(CHECKED, "test_checks_of_scikit_learn[check_fit2d_1sample]")
)
def test_checks_of_scikit_learn(estimator, check, eager):
    check(estimator)


def test_missing_cells_of_an_array_are_filled_by_the_models(of_array):
    """The mean of two models, each with half of the draws."""
    x = holes()
    missing, coding = np.isnan(x), of_array.members_[0].coding_
    filled = of_array.transform(x)
    np.testing.assert_array_equal(filled[~missing], x[~missing])
    assert np.isfinite(filled).all()
    one, two = (of_member(member, coding.encode(x), num_samples=100) for member in of_array.members_)
    mean = coding.decode((one.mean + two.mean) / 2)
    np.testing.assert_allclose(filled[missing], mean[missing], rtol=1e-6)
    assert np.abs(filled - coding.decode(one.mean))[missing].max() > 1e-3
    effective = 4 / (1 / one.effective_sample_size + 1 / two.effective_sample_size)
    np.testing.assert_allclose(of_array.effective_sample_size(x), effective)
    assert of_array.transform(x.astype(np.float32)).dtype == np.float32


def test_draws_alternate_between_the_models(of_array):
    """A row has a draw of each, in an order of its own; intervals are quantiles of all draws."""
    x = of_array.members_[0].coding_.encode(holes())
    imputed = impute(of_array.members_, x, num_samples=200, num_draws=2, quantiles=(0.25, 0.75))
    parts = [of_member(member, x, num_samples=100, num_draws=100) for member in of_array.members_]
    first, second = (part.draws[0] for part in parts)
    in_order = np.all((imputed.draws == np.stack([first, second])) | np.isnan(first), axis=(0, 2))
    turned = np.all(imputed.draws == np.stack([second, first]), axis=(0, 2))
    assert np.all(in_order | turned) and in_order.any() and turned.any()
    both = np.sort(np.concatenate([part.draws for part in parts]), axis=0)
    np.testing.assert_array_equal(imputed.quantiles, both[[49, 149]])
    variance = np.mean([part.sd**2 + part.mean**2 for part in parts], axis=0) - imputed.mean**2
    np.testing.assert_allclose(imputed.sd**2, variance, atol=1e-5)


def test_rows_do_not_depend_on_their_company(of_array):
    x = holes()
    order = np.random.default_rng(1).permutation(len(x))[:7]
    np.testing.assert_array_equal(of_array.transform(x[order]), of_array.transform(x)[order])


def test_draws_and_intervals_are_those_of_one_distribution(of_array):
    """A draw lies within the 80% interval with that probability, by binomial test over rows."""
    x = np.tile(holes(400, seed=3), (1, 1))
    x[:, 0], x[:, 1:] = np.nan, np.nan_to_num(x[:, 1:], nan=0.5)
    low, high = of_array.intervals(x, level=0.8)
    draws = of_array.sample(x, num_draws=2)
    assert len(draws) == 2 and not np.array_equal(draws[0], draws[1])
    inside = (low[:, 0] <= draws[0][:, 0]) & (draws[0][:, 0] <= high[:, 0])
    assert stats.binomtest(int(inside.sum()), 400, 0.8).pvalue > ALPHA
    wide = of_array.intervals(x, level=0.99)
    inside = (wide[0][:, 0] <= draws[0][:, 0]) & (draws[0][:, 0] <= wide[1][:, 0])
    assert stats.binomtest(int(inside.sum()), 400, 0.8).pvalue < ALPHA
    np.testing.assert_array_equal(low[:, 1:], x[:, 1:])


def test_frames_come_back_as_frames(of_frame):
    filled = of_frame.transform(FRAME)
    names = ["height", "sex", "rooms"]
    marks = [f"missingindicator_{name}" for name in FRAME.columns]
    assert list(filled.columns) == names + marks == list(of_frame.get_feature_names_out())
    assert filled.index.equals(FRAME.index) and not filled[names].isna().any(axis=None)
    assert (filled.dtypes[names] == FRAME.dtypes[names]).all()
    for name in names:
        seen = FRAME[name].notna()
        assert (filled[name][seen] == FRAME[name][seen]).all()
        np.testing.assert_array_equal(filled[f"missingindicator_{name}"], ~seen)
    low, high = of_frame.intervals(FRAME)
    assert list(low.columns) == names and low.shape == high.shape
    assert (low["height"] <= high["height"]).all() and (low["rooms"] <= high["rooms"]).all()
    assert low["sex"].isna().equals(FRAME["sex"].isna())  # levels without an order
    wide = clone(of_frame).set_params(keep_empty_features=True, add_indicator=False).fit(FRAME)
    assert list(wide.transform(FRAME).columns) == list(FRAME.columns)
    assert (wide.transform(FRAME)["empty"] == 0).all()
    assert of_frame.transform(FRAME[FRAME.columns[::-1]]).equals(filled)


def test_probabilities_of_levels(of_frame):
    p = of_frame.predict_proba(FRAME, "sex")
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    seen = FRAME["sex"].notna()
    assert list(p.columns) == ["f", "m"] and set(np.unique(p[seen])) == {0.0, 1.0}
    filled = of_frame.transform(FRAME)["sex"]
    assert (p.idxmax(axis=1) == filled.astype(object)).all()
    assert (p[~seen].max(axis=1) < 1).all()


def test_same_seed_same_numbers_and_pickles(of_frame):
    again = clone(of_frame).fit(FRAME)
    assert again.transform(FRAME).equals(of_frame.transform(FRAME))
    copy = pickle.loads(pickle.dumps(of_frame))
    assert copy.transform(FRAME).equals(of_frame.transform(FRAME))


def test_few_effective_draws_are_told(of_array):
    far = np.array([[1e3, 1e3, np.nan], [1e3, 1e3, 1e3]])  # nothing is imputed in the second row
    with pytest.warns(UserWarning, match="1 of 2 rows have an effective sample size below 10.*num_draws"):
        of_array.transform(far)


@pytest.mark.parametrize("kind", [VAEImputer, VAEOutlier, VAETransformer])
def test_an_estimator_is_not_fitted_after_a_fit_that_failed(kind):
    estimator = kind()
    names = pd.DataFrame({"name": [f"person {i}" for i in range(150)], "age": np.arange(150)})
    with pytest.raises(InputError, match="too many for categories"):
        estimator.fit(names)
    with pytest.raises(NotFittedError):
        getattr(estimator, "transform" if hasattr(estimator, "transform") else "predict")(names)


def test_mistakes_are_named(of_array, of_frame):
    with pytest.raises(InputError, match=r"level must lie between 0 and 1, .*; got 90"):
        of_array.intervals(holes(), level=90)
    for level in ("wide", None, 1e-17):
        with pytest.raises(InputError, match="level must"):
            of_array.intervals(holes(), level=level)
    with pytest.raises(InputError, match="must be a column of levels \\('sex'"):
        of_frame.predict_proba(FRAME, "height")
    with pytest.raises(InputError, match="must be a column of levels"):
        of_frame.predict_proba(FRAME, ["sex"])
    with pytest.raises(InputError, match="lacks 'sex'"):
        of_frame.transform(FRAME.drop(columns="sex"))
    with pytest.raises(InputError, match="members must be an integer of 1 or more; got 0"):
        VAEImputer(members=0).fit(holes())
    with pytest.raises(InputError, match="all cells are missing"):
        VAEImputer(**TINY).fit(np.full([5, 2], np.nan))
    with pytest.raises(InputError, match="two columns named 'a'"):
        VAEImputer(**TINY).fit(pd.DataFrame(holes(), columns=["a", "a", "b"]))
    with pytest.raises(InputError, match="columns must be a sequence of kinds"):
        VAEImputer(**TINY, columns=3).fit(holes())
    with pytest.raises(InputError, match="batch_size"):
        VAEImputer(epochs=None, batch_size="many").fit(holes())


def test_numbers_have_one_standard_deviation_a_column(of_array, of_frame):
    assert of_array.members_[0].architecture_.columns == ("normal_shared",) * 3
    assert of_frame.members_[0].architecture_.columns[0] == "normal_shared"
    frame = FRAME[["height"]]
    asked = VAEImputer(columns={"height": "normal"}, random_state=0)._base(frame, epochs=1)
    assert asked._coded(frame)[2].columns == ("normal",)


def test_numbers_without_names_are_an_array(of_array):
    """A DataFrame whose columns have no names counts as an array, as in scikit-learn."""
    x = holes()
    np.testing.assert_array_equal(of_array.transform(pd.DataFrame(x)), of_array.transform(x))


def test_columns_without_cells_do_not_shift_others():
    """Kinds, and the columns of `predict_proba`, are those of X; pandas.NA is a missing cell of an array."""
    x = np.where(np.isnan(holes()), pd.NA, holes())
    x[:, 1], x[:, 2] = None, np.arange(80) % 3
    x[::9, 2] = pd.NA
    imputer = VAEImputer(1, columns=("normal", "normal", "categorical:3"), **TINY).fit(x)
    p = imputer.predict_proba(x, 2)
    np.testing.assert_array_equal(p[1], [0, 1, 0])
    for column in (1, 3, -1):
        with pytest.raises(InputError, match=r"column of levels \(2\)"):
            imputer.predict_proba(x, column)


def test_whole_numbers_among_objects_stay_whole(of_frame):
    whole = of_frame.transform(FRAME.astype({"rooms": object}))["rooms"]
    assert {type(value) for value in whole} <= {int, np.int64}
