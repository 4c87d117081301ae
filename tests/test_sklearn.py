"""The scikit-learn transformer: its contract, its units, and that what it says of rows is the model's."""

import pickle
import pickletools

import numpy as np
import pytest
import sklearn
from marked_cases import cases
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import probvae
from probvae.errors import InputError
from probvae.sklearn import VAETransformer

TINY = {"units": (8,), "epochs": 2, "random_state": 0}
QUICK = {  # of scikit-learn's checks: those that fit at most once; `pytest -m slow` runs them all
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_estimator_repr",
    "check_estimators_unfitted",
    "check_estimators_empty_data_messages",
    "check_complex_data",
    "check_fit1d",
    "check_fit2d_1sample",
    "check_set_params",
}


def name_of(check):
    return getattr(check, "func", check).__name__


@pytest.fixture(scope="module")
def wine():
    return load_wine().data


@pytest.fixture(scope="module")
def fitted(wine):
    return VAETransformer(3, units=(16,), epochs=20, random_state=0).fit(wine)


@pytest.fixture(scope="module")
def tiny(wine):
    return VAETransformer(**TINY).fit(wine)


def checks_of(estimator, neighbour=None):
    """Return scikit-learn's checks of an estimator, the longer ones marked slow, or long with a neighbour."""
    longer = [pytest.mark.slow, *([pytest.mark.long(neighbour)] if neighbour else [])]
    return [
        pytest.param(estimator, check, id=name_of(check), marks=() if name_of(check) in QUICK else longer)
        for estimator, check in parametrize_with_checks([estimator]).args[1]
    ]


@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
@pytest.mark.parametrize(("estimator", "check"), checks_of(VAETransformer(epochs=2, units=(8,))))
def test_checks_of_scikit_learn(estimator, check, eager):
    check(estimator)


# ---- what it says of rows ------------------------------------------------------------------------


def test_transform_and_back_are_the_means_of_the_distributions(wine, fitted):
    x = ((wine - wine.mean(0)) / wine.std(0)).astype(np.float32)
    np.testing.assert_allclose(fitted.loc_, wine.mean(0))
    z = fitted.transform(wine)
    np.testing.assert_allclose(z, fitted.vae_.posterior(x).mean(), atol=1e-5)
    back = fitted.vae_.likelihood(z.astype(np.float32)).mean() * wine.std(0) + wine.mean(0)
    np.testing.assert_allclose(fitted.inverse_transform(z), back, rtol=1e-4)
    assert fitted.transform(wine.astype(np.float32)).dtype == np.float32
    assert list(fitted.get_feature_names_out()) == [f"vaetransformer{i}" for i in range(3)]


@pytest.mark.slow
def test_a_reconstruction_keeps_most_of_what_varies(wine):
    vae = VAETransformer(5, units=(64,), epochs=150, learning_rate=3e-3, random_state=0).fit(wine)
    off = np.mean(((vae.inverse_transform(vae.transform(wine)) - wine) / wine.std(0)) ** 2)
    assert off < 0.5  # the mean alone is off by 1


def test_the_bound_approaches_the_density_of_the_model():
    """With many draws the bound is log p(x), which quadrature gives, in the units of X."""
    x = np.random.default_rng(3).standard_normal([40, 2]) * [5.0, 0.1] + [100.0, 0.0]
    vae = VAETransformer(1, units=(4,), epochs=3, score_num_samples=3000, random_state=0).fit(x)
    z, dz = np.linspace(-8, 8, 4001, retstep=True)
    scaled = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    log_p = np.stack([vae.vae_.likelihood(z[:, None].astype(np.float32)).log_prob(row) for row in scaled])
    exact = np.log(np.sum(np.exp(log_p) * stats.norm.pdf(z) * dz, axis=1)) - np.log(x.std(0)).sum()
    off = np.abs(vae.score_samples(x) - exact)
    assert np.median(off) < 0.01 and off.mean() < 0.05  # a bound: less tight on the few outlying rows
    one = vae.set_params(score_num_samples=1).score(x)
    assert one < exact.mean() - 0.005  # the ELBO is lower
    assert abs(one + np.log(x.std(0)).sum() - exact.mean()) > 0.5  # and without the units, wrong


@pytest.mark.slow
def test_scores_do_not_depend_on_units(wine, tiny):
    large = VAETransformer(**TINY).fit(wine * 1000)
    change = wine.shape[1] * np.log(1000)
    np.testing.assert_allclose(large.score_samples(wine * 1000), tiny.score_samples(wine) - change, atol=0.01)


def test_a_score_is_that_of_the_row_alone(wine, fitted):
    all_rows = fitted.score_samples(wine)
    np.testing.assert_array_equal(fitted.score_samples(wine[::-7]), all_rows[::-7])
    twice = fitted.score_samples(wine[[0, 0]] + np.array([[0.0], [1e-3]]))
    assert twice[0] == all_rows[0] != twice[1]
    assert fitted.score(wine) == all_rows.mean()


def test_samples_are_in_the_units_of_x(wine, fitted):
    x = fitted.sample(2000, random_state=1)
    assert x.shape == (2000, wine.shape[1])
    assert np.all(np.abs(x.mean(0) - wine.mean(0)) < 0.5 * wine.std(0))
    np.testing.assert_array_equal(
        fitted.sample(3), fitted.sample(3)
    )  # the estimator's random_state is an int
    assert np.any(fitted.sample(3, random_state=2) != fitted.sample(3))


@pytest.mark.parametrize(
    ("likelihood", "options"),
    [
        pytest.param("bernoulli", {}, marks=pytest.mark.slow),
        pytest.param("continuous_bernoulli", {}, marks=pytest.mark.slow),
        pytest.param("poisson", {}, marks=pytest.mark.slow),
        pytest.param("categorical", {"classes": 2}, marks=pytest.mark.slow),
        ("mixed", {"columns": ["bernoulli", "normal", "categorical:2"]}),
    ],
)
def test_likelihoods_by_name(likelihood, options):
    x = np.random.default_rng(0).integers(0, 2, [40, 3])
    vae = VAETransformer(likelihood=likelihood, **options, **TINY).fit(x)
    assert vae.architecture_.likelihood == likelihood
    assert np.all(np.isfinite(vae.score_samples(x)))
    expected = [0, x[:, 1].mean(), 0] if likelihood == "mixed" else [0, 0, 0]
    np.testing.assert_allclose(vae.loc_, expected)


def test_missing_values(wine):
    x = wine.copy()
    x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    vae = VAETransformer(missing=True, **TINY).fit(x)
    assert np.all(np.isfinite(vae.transform(x))) and np.all(np.isfinite(vae.score_samples(x)))
    seen = np.array([[*x[0, :1], *[np.nan] * 12]])
    assert np.isfinite(vae.score_samples(seen)[0])
    with pytest.raises(ValueError, match="NaN"):
        VAETransformer(**TINY).fit(x)


# ---- among scikit-learn's tools --------------------------------------------------------------------


@pytest.mark.slow
def test_in_a_pipeline_and_a_grid_search(wine):
    y = load_wine().target
    pipeline = make_pipeline(VAETransformer(4, units=(32,), epochs=40, random_state=0), LogisticRegression())
    assert pipeline.fit(wine, y).score(wine, y) > 0.85  # the largest class is 0.4 of the rows
    search = GridSearchCV(VAETransformer(**TINY), {"latent_dim": np.array([1, 2])}, cv=2).fit(wine)
    assert search.best_params_["latent_dim"] in (1, 2) and np.all(search.cv_results_["mean_test_score"] < 0)


def test_clone_and_pickle(wine, fitted):
    assert clone(fitted).get_params() == fitted.get_params() and not hasattr(clone(fitted), "weights_")
    text = pickle.dumps(fitted)
    modules = {arg.split(" ")[0] for op, arg, _ in pickletools.genops(text) if op.name == "GLOBAL"}
    names = {arg for op, arg, _ in pickletools.genops(text) if op.name == "SHORT_BINUNICODE"}
    assert not any("tensorflow" in name or "keras" in name for name in modules | names)
    again = pickle.loads(text)  # our own
    np.testing.assert_array_equal(again.transform(wine), fitted.transform(wine))
    np.testing.assert_array_equal(again.score_samples(wine), fitted.score_samples(wine))


def test_the_seed_decides(wine, tiny):
    first = tiny.transform(wine)
    again, other = (VAETransformer(**{**TINY, "random_state": s}).fit(wine).transform(wine) for s in (0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize(
    ("option", "value"),
    cases(
        [("dropout", 0.5), ("weight_decay", 5.0), ("average", 0.9)],
        slow=[("weight_decay", 5.0), ("average", 0.9)],
    ),
)
def test_options_of_training_change_the_weights_and_not_the_model(wine, tiny, option, value, eager):
    vae = VAETransformer(**TINY, **{option: value}).fit(wine)
    assert [w.shape for w in vae.weights_] == [w.shape for w in tiny.weights_]
    assert max(np.abs(a - b).max() for a, b in zip(vae.weights_, tiny.weights_, strict=True)) > 1e-3
    older = vae.__getstate__()
    again = VAETransformer.__new__(VAETransformer)
    again.__setstate__({name: value for name, value in older.items() if name != option})
    assert again.get_params()[option] == 0  # a pickle of before the option
    np.testing.assert_array_equal(again.transform(wine), vae.transform(wine))


@pytest.mark.slow
def test_a_warm_start_goes_on(wine):
    vae = VAETransformer(warm_start=True, **{**TINY, "epochs": 10}).fit(wine)
    first, loc = vae.history_["objective"], vae.loc_
    vae.fit(wine[:100])
    assert vae.history_["objective"][0] > first[3] and np.all(vae.loc_ == loc)
    cold = VAETransformer(**TINY).fit(wine).fit(wine)
    assert cold.history_["objective"][0] < first[3]
    with pytest.raises(InputError, match="ask for another"):
        vae.set_params(latent_dim=1).fit(wine)


def test_rows_held_out_end_a_fit(wine, capsys):
    vae = VAETransformer(
        validation=0.3, patience=1, verbose=True, **{**TINY, "epochs": 60, "learning_rate": 0.05}
    )
    found = vae.fit(wine).history_["validation_elbo"]
    assert 1 < len(found) < 60 and np.argmax(found) == len(found) - 2
    assert capsys.readouterr().out.count("validation ELBO") == len(found)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"likelihood": "bernoulli"}, "X must be 0 or 1 for the bernoulli"),
        ({"likelihood": "gaussian"}, "likelihood must be one of"),
        ({"latent_dim": 0}, "latent_dim must be from 1"),
        ({"network": "conv"}, "conv"),
        ({"score_num_samples": 0}, "score_num_samples must be an integer of 1 or more; got 0"),
        ({"likelihood": "mixed", "columns": ("normal",)}, "columns"),
        ({"patience": 2}, "patience needs a validation set"),
    ],
)
def test_bad_parameters_are_one_sentence(wine, options, sentence):
    with pytest.raises(InputError, match=sentence):
        VAETransformer(**{**TINY, **options}).fit(wine)


def test_values_that_float32_cannot_hold(wine, fitted):
    with pytest.raises(InputError, match="beyond the range of float32"):
        fitted.transform(wine * 1e300)
    with pytest.raises(InputError, match="too large to be standardized"):
        VAETransformer(**TINY).fit(wine * 1e300)
    with pytest.raises(InputError, match="3 values; got 2"):
        fitted.inverse_transform(wine[:, :2])
    pd = pytest.importorskip("pandas")
    tiny = {"a": [1e-300, 2e-300], "b": ["u", "v"]}
    for close in (pd.DataFrame(tiny), np.array([[1e-300], [2e-300]])):
        with pytest.raises(InputError, match="too close to be standardized"):
            VAETransformer(**TINY).fit(close)


def test_it_is_a_public_name():
    assert probvae.VAETransformer is VAETransformer and int(sklearn.__version__.split(".")[0]) == 1


def test_frames_go_in_and_come_out_with_their_types():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(rng.choice(["oak", "ash", "fir"], 80), ["fir", "oak", "ash"]),
            "income": np.exp(rng.normal(10, 0.5, 80)).astype(int),
            "born": pd.Timestamp("1990-01-01", tz="Asia/Seoul")
            + pd.to_timedelta(rng.integers(0, 3000, 80), "D"),
            "sold": rng.random(80) < 0.5,
        }
    )
    kinds = {"income": "lognormal"}
    options = {"units": (8,), "epochs": 2, "learning_rate": 1e-2, "random_state": 0, "score_num_samples": 5}
    vae = VAETransformer(columns=kinds, **options).fit(frame)
    drawn = vae.sample(30)
    assert list(drawn) == list(frame) and drawn["kind"].dtype == frame["kind"].dtype
    assert drawn["sold"].dtype == bool and drawn["born"].dtype.kind == "M"
    assert drawn["income"].dtype.kind == "i" and drawn["income"].between(1_000, 500_000).all()
    back = vae.inverse_transform(vae.transform(frame))
    assert set(back["kind"]) <= {"oak", "ash", "fir"} and back["income"].between(5_000, 100_000).all()
    assert (
        back["born"].between("1990-01-01", "1998-12-31").all() and back["born"].dtype == frame["born"].dtype
    )
    assert vae.vae_.schema == vae.schema_  # which `impute` takes frames by
    # the density is that of the columns in their units: in thousands of an income, 1,000 times as high
    scores = vae.score_samples(frame)
    thousands = frame.assign(income=frame["income"] / 1000)
    other = VAETransformer(columns=kinds, **options).fit(thousands)
    assert abs(other.score(thousands) - scores.mean() - np.log(1000)) < 1  # other draws, other weights
    # columns in another order, and pickles, are the same model
    np.testing.assert_array_equal(vae.score_samples(frame[["born", "sold", "income", "kind"]]), scores)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(vae)).score_samples(frame), scores)
    with pytest.raises(InputError, match="X must have one row or more"):
        vae.transform(frame.head(0))
    assert VAETransformer(columns=kinds)._takes_schema(frame[["income"]])  # numbers alone, of named kinds
    with pytest.raises(InputError, match=r"'kind' .* got 'elm' in row 1"):
        vae.transform(frame.assign(kind=["elm"] * 80))
    with pytest.raises(InputError, match="X must be 0 or 1"):
        VAETransformer(likelihood="bernoulli", **options).fit(np.eye(4)).score_samples(np.eye(4) * 1000)


def test_a_lognormal_column_of_an_array_is_standardized():
    rng = np.random.default_rng(1)
    x = np.stack([np.exp(rng.normal(10, 0.3, 200)), rng.normal(size=200)], axis=1)
    options = {"likelihood": "mixed", "columns": ("lognormal", "normal"), "units": (8,), "random_state": 0}
    vae = VAETransformer(epochs=3, learning_rate=1e-2, score_num_samples=5, **options).fit(x)
    drawn = vae.sample(500)
    assert np.all(drawn[:, 0] > 0) and 9.5 < np.median(np.log(drawn[:, 0])) < 10.5
    # log p(x) is that of a lognormal, up to what 3 epochs leave: without the Jacobian it is 8.8 too high
    exact = stats.lognorm(0.3, scale=np.exp(10)).logpdf(x[:, 0]) + stats.norm.logpdf(x[:, 1])
    assert abs(vae.score(x) - exact.mean()) < 2
