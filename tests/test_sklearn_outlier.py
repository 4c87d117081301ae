"""The scikit-learn outlier detector: its contract, its density, its p-values and its explanations."""

import pickle

import numpy as np
import pandas as pd
import pytest
from marked_cases import cases
from scipy import stats
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from test_sklearn import checks_of

from probvae import objectives
from probvae.errors import InputError
from probvae.sklearn import VAEOutlier, VAETransformer
from probvae.sklearn.conformal import ALL, NONE, Conformal, folds_of, lower_fence
from probvae.sklearn.outlier import _terms

TINY = {"members": 2, "units": (8,), "epochs": 2, "num_draws": 50, "random_state": 0}
CHECKED = VAEOutlier(members=2, units=(8,), epochs=1, num_draws=10, trim=0.0)
ALPHA = 1e-6


def rows(n=80, seed=0):
    """Rows of three numbers of different scales, the second of which follows the first."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal([n, 3]) * [1.0, 10.0, 0.1] + [0, 50, 0]
    x[:, 1] += 30 * x[:, 0]
    return x


FRAME = pd.DataFrame(
    {
        "size": rows()[:, 0] * 10 + 170,
        "kind": pd.Categorical(np.where(np.arange(80) % 3, "f", "m")),
        "count": np.arange(80) % 4,
    },
    index=[f"row {i}" for i in range(80)],
)


@pytest.fixture(scope="module")
def of_array():
    return VAEOutlier(**TINY).fit(rows())


@pytest.fixture(scope="module")
def of_frame():
    return VAEOutlier(**TINY).fit(FRAME)


@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
@pytest.mark.parametrize(
    ("estimator", "check"), checks_of(CHECKED, "test_checks_of_scikit_learn[check_fit2d_1sample]")
)
def test_checks_of_scikit_learn(estimator, check):  # compiled: they score more rows than they train on
    check(estimator)


# ---- the density ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases(["of_array", "of_frame"], slow=["of_frame"]))
def test_scores_are_the_log_mean_density_of_the_members(name, request):
    detector, x = request.getfixturevalue(name), rows() if name == "of_array" else FRAME
    bounds = np.stack([member.score_samples(x) for member in detector.members_])
    scores = detector.score_samples(x)
    np.testing.assert_allclose(scores, logsumexp(bounds, axis=0) - np.log(2), rtol=1e-5, atol=1e-4)
    assert np.abs(scores - bounds.mean(axis=0)).max() > 1e-3  # the mean of logarithms is another one
    np.testing.assert_array_equal(detector.decision_function(x), scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(x), np.where(scores < detector.offset_, -1, 1))


def test_scores_do_not_depend_on_the_company_of_rows(of_array):
    order = np.random.default_rng(1).permutation(80)[:7]
    np.testing.assert_array_equal(
        of_array.score_samples(rows()[order]), of_array.score_samples(rows())[order]
    )


def test_monte_carlo_error_is_that_of_repeated_draws(of_array):
    """Over 1,000 other seeds, the variance of scores is the square of the error, by a chi-square test."""
    row, other = rows()[:1], pickle.loads(pickle.dumps(of_array))
    score, error = of_array.score_samples(row, return_error=True)
    np.testing.assert_array_equal(score, of_array.score_samples(row))
    x = other._x(row)
    draws = np.repeat(x, 1_000, axis=0) * (1 + 1e-7 * np.arange(1_000)[:, None]).astype(
        np.float32
    )  # new hashes
    bounds, errors = other._terms(draws)
    for scores, own in zip(bounds, errors, strict=True):
        ratio = 999 * scores.var(ddof=1) / np.mean(np.square(own))
        low, high = stats.chi2(999).ppf([ALPHA / 2, 1 - ALPHA / 2])
        assert 0.8 * low < ratio < 1.25 * high  # the errors are estimates, too
        assert not 0.8 * low < 2 * ratio < 1.25 * high and not 0.8 * low < ratio / 2 < 1.25 * high
    assert errors.min() > 0 and error.shape == (1,)


# ---- p-values ------------------------------------------------------------------------------------


def conformal(held_out, fold=ALL):
    return Conformal(held_out, np.full(len(held_out), fold))


def test_p_values_of_usual_rows_are_uniform():
    """Of 20,000 tables with 19 held-out rows, 1/20 have a new row of p <= 0.05, by a binomial test."""
    rng = np.random.default_rng(0)
    held_out, new = rng.standard_normal([20_000, 19]), rng.standard_normal(20_000)
    p = np.array([conformal(h).p_values(np.array([[s]]))[0] for h, s in zip(held_out, new, strict=True)])
    assert stats.binomtest(int(np.sum(p <= 0.0501)), 20_000, 0.05).pvalue > ALPHA
    assert stats.kstest(p - rng.random(20_000) / 20, "uniform").pvalue > ALPHA  # smoothed within its steps
    level, without_one = 2.01 / 19, (p * 20 - 1) / 19
    for values, right in ((p, True), (without_one, False)):
        test = stats.binomtest(int(np.sum(values <= level)), 20_000, level, alternative="greater")
        assert (test.pvalue > ALPHA) == right


def test_p_values_count_ties_and_compare_within_members():
    scores = np.array([[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]])  # by two members
    crossed = Conformal.of(scores, np.array([0, 1, 0, 1]))
    np.testing.assert_array_equal(crossed.held_out, [0, 11, 2, 13])
    new = np.array([[2.0, -1.0], [11.0, 9.0]])
    np.testing.assert_allclose(crossed.p_values(new), [(1 + 3) / 5, 1 / 5])
    split = Conformal.of(scores, np.array([NONE, ALL, ALL, NONE]))
    np.testing.assert_allclose(split.held_out, logsumexp(scores[:, 1:3], axis=0) - np.log(2))
    np.testing.assert_allclose(split.p_values(scores), [1 / 3, 2 / 3, 1, 1])


def test_folds_leave_out_each_row_once_or_a_fifth():
    folds = folds_of(103, 5, np.random.RandomState(0))
    assert sorted(np.bincount(folds)) == [20, 20, 21, 21, 21]
    folds = folds_of(500, 5, np.random.RandomState(0))
    assert np.sum(folds == ALL) == 100 and np.sum(folds == NONE) == 400
    assert np.sum(folds_of(9_000, 5, np.random.RandomState(0)) == ALL) == 1_000


@pytest.mark.parametrize("size", cases([60, 600], slow=[60]))
def test_held_out_scores_are_those_of_new_rows(size):
    """Scores of held-out and of new rows have one distribution; those of rows of an overfit do not."""
    options = TINY | {"units": (64,), "epochs": 40, "batch_size": 4 if size == 60 else 64}
    x = np.random.default_rng(0).standard_normal([size, 8])
    detector = VAEOutlier(6, **options, trim=0.0, validation=0.0, learning_rate=1e-2).fit(x)
    new = np.random.default_rng(1).standard_normal([1_000, 8])
    p = detector.p_values(new)
    assert stats.binomtest(int(np.sum(p <= 0.1)), 1_000, 0.1).pvalue > ALPHA
    if size == 60:
        wrong = conformal(detector.score_samples(x)).p_values(detector._member_scores(detector._x(new)))
        assert stats.binomtest(int(np.sum(wrong <= 0.1)), 1_000, 0.1).pvalue < ALPHA


# ---- parts of columns ----------------------------------------------------------------------------


def test_parts_of_columns_sum_to_the_mean_of_log_likelihoods(of_array):
    """The sum of the parts less the score is the divergence of p(z|x) from p(z), which is not negative."""
    x = of_array._x(rows())
    member, row = of_array.members_[0], x[0]
    parts = _terms(member, x)[2]
    with member._model() as model:
        terms = objectives.log_terms(model.vae, row[None], num_samples=20_000, seed=3)
    log_w, log_likelihood = (
        np.asarray(v[:, 0], np.float64) for v in (terms.log_weights, terms.log_likelihood)
    )
    mean = np.sum(softmax(log_w) * log_likelihood)
    assert abs(parts[0].sum() - mean) < 6 * np.std(log_likelihood) / np.sqrt(50)
    total = of_array.explain(rows()) + of_array.typical_parts_
    score, error = of_array.score_samples(rows(), return_error=True)
    rate = total.sum(axis=1) - score
    assert (rate > -6 * error).all() and rate.mean() > 6 * np.sqrt(np.sum(error**2)) / len(error)
    np.testing.assert_allclose(
        of_array.explain(rows()).mean(axis=0), 0, atol=1e-4
    )  # 80 rows: all are typical


def test_parts_name_the_column_that_is_unusual(of_array, of_frame):
    x = np.repeat(rows().mean(axis=0)[None], 3, axis=0)
    x[np.arange(3), np.arange(3)] += 8 * rows().std(axis=0)
    assert list(np.argmin(of_array.explain(x), axis=1)) == [0, 1, 2]
    odd = FRAME[:2].copy()
    odd.loc["row 1", "size"] = 400.0
    parts = of_frame.explain(odd)
    assert list(parts.columns) == list(FRAME.columns) and list(parts.index) == ["row 0", "row 1"]
    assert parts.loc["row 1"].idxmin() == "size" and parts.loc["row 1", "size"] < -3
    assert of_frame.explain(odd.assign(further=1)).equals(parts)
    turned = of_frame.explain(odd[odd.columns[::-1]])
    assert turned[odd.columns].equals(parts)


# ---- the detector --------------------------------------------------------------------------------


def test_outliers_among_the_rows_of_fit_are_found():
    """Of 200 rows near a line, 10 far from it are among the least usual, though `fit` has seen them."""
    x = np.random.default_rng(0).standard_normal([200, 1]) * [[1.0, 1.0, 1.0]]
    x += 0.1 * np.random.default_rng(1).standard_normal(x.shape)
    x[:10] = np.random.default_rng(2).standard_normal([10, 3]) * 1.5
    x[:10, 1] += 3 * np.sign(x[:10, 1] - x[:10, 0])
    detector = VAEOutlier(
        1, **TINY | {"epochs": 30, "batch_size": 16, "learning_rate": 1e-2}, contamination=0.05
    ).fit(x)
    assert np.sum(detector.predict(x) == -1) == 10
    assert np.sum(detector.predict(x[:10]) == -1) >= 9
    assert (detector.fit_predict(x) == detector.predict(x)).all()


def test_missing_cells_count_for_nothing():
    x = rows()
    x[::4, 2] = np.nan
    detector = VAEOutlier(**TINY, missing=True).fit(x)
    assert np.isfinite(detector.score_samples(x)).all()
    np.testing.assert_array_equal(detector.explain(x)[::4, 2], -detector.typical_parts_[2])
    with pytest.raises(ValueError, match="contains NaN"):
        VAEOutlier(**TINY).fit(x)


def test_same_seed_same_numbers_and_pickles(of_frame):
    scores = of_frame.score_samples(FRAME)
    np.testing.assert_array_equal(clone(of_frame).fit(FRAME).score_samples(FRAME), scores)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(of_frame)).score_samples(FRAME), scores)


def test_fence_of_held_out_scores(of_array):
    assert of_array.offset_ == lower_fence(of_array.held_out_scores_)
    scores = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    assert np.mean(scores < lower_fence(scores)) == pytest.approx(
        0.0035, abs=2e-4
    )  # Tukey 1977: 0.7% of both


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 1}, "members must be an integer of 2 or more; got 1"),
        ({"trim": 0.5}, "trim must be a number from 0 to below 0.5; got 0.5"),
        ({"contamination": 0.6}, "contamination must be .* at most 0.5; got 0.6"),
        ({"contamination": "some"}, "contamination must be .* got 'some'"),
        ({"max_samples": 1}, "max_samples must be an integer of 2 or more; got 1"),
        ({"num_draws": 0}, "num_draws must be an integer of 1 or more; got 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(InputError, match=message):
        VAEOutlier(**TINY | options).fit(rows())


def test_numbers_have_one_standard_deviation_for_all_rows_in_arrays_and_frames():
    x = np.random.default_rng(0).standard_normal([40, 3])
    frame = pd.DataFrame(x, columns=list("cab"))
    options = {"members": 2, "units": (4,), "epochs": 1, "random_state": 0}
    of_numbers, of_frame = VAEOutlier(**options).fit(x), VAEOutlier(**options).fit(frame)
    np.testing.assert_array_equal(of_numbers.score_samples(x), of_frame.score_samples(frame))
    assert of_numbers.members_[0].architecture_.likelihood == "normal_shared"


@pytest.mark.slow
def test_numbers_beside_texts_have_one_standard_deviation_unless_a_kind_is_asked_for():
    x = np.random.default_rng(0).standard_normal([40, 2])
    frame = pd.DataFrame(x, columns=list("ab")).assign(d=["x", "y"] * 20, e=np.exp(3 * x[:, 0]))
    options = {"members": 2, "units": (4,), "epochs": 1, "random_state": 0}
    kinds = {c.name: c.kind for c in VAEOutlier(**options).fit(frame).members_[0].schema_.columns}
    assert kinds["a"] == kinds["b"] == "normal_shared" and kinds["d"] == "bernoulli"
    asked = VAEOutlier(columns={"a": "normal"}, **options).fit(frame).members_[0].schema_
    assert {c.name: c.kind for c in asked.columns} == {**kinds, "a": "normal"}


def test_a_member_is_trained_on_few_rows_of_its_own(monkeypatch):
    """Drawn without replacement from those that it may see; all of these where there are no more."""
    x, seen = np.arange(80.0)[:, None] + [0.0, 1.0], []
    learn = VAETransformer._learn

    def spy(self, rows, coding, architecture, weights=None):
        seen.append(coding.decode(rows)[:, 0])
        return learn(self, rows, coding, architecture, weights)

    monkeypatch.setattr(VAETransformer, "_learn", spy)
    options = {"members": 2, "units": (2,), "epochs": 1, "trim": 0.0, "random_state": 0}
    VAEOutlier(max_samples=30, **options).fit(x)
    first, second = (np.unique(np.rint(rows)) for rows in seen)
    assert len(first) == len(second) == 30 and len(np.intersect1d(first, second)) == 0
    VAEOutlier(max_samples=40, **options).fit(x)
    np.testing.assert_array_equal(np.sort(np.concatenate([np.rint(rows) for rows in seen[2:]])), x[:, 0])
