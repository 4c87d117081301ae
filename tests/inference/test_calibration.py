"""The certificate of an encoder against models whose posterior is known.

The tests of the tests repeat a certificate on independent simulations: `repeats` draws them all at once, and
divides them. False-positive rates are stated where numbers are compared.
"""

import dataclasses
import types
import unittest.mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conditional_models import ConditionalLinearGaussian
from linear_gaussian import LinearGaussian
from marked_cases import cases
from scipy import stats
from statistics_helpers import ALPHA
from tensorflow_probability import layers as tfpl

import probvae
from probvae.figures.calibration import coverage_curves, rank_histograms
from probvae.inference import calibration, ranks
from probvae.inference.blocks import Stopped
from probvae.inference.calibration import certify
from probvae.seeds import as_seed

N = 1000


def blind(model):
    """A VAE of this model whose q(z|x) is p(z)."""
    vae = model.vae()
    dense = tf_keras.layers.Dense(2 * model.latent, kernel_initializer="zeros", name="dense")
    inputs = tf_keras.layers.InputLayer((len(model.bias),))
    encoder = tf_keras.Sequential([inputs, dense, tfpl.IndependentNormal(model.latent)])
    unit = np.log(np.expm1(1.0))  # the softplus of it is 1
    dense.set_weights([dense.get_weights()[0], np.repeat([0.0, unit], model.latent)])
    return probvae.VAE(vae.prior, encoder, vae.decoder)


def repeats(vae, number, simulations=N, seed=0):
    """Certificates of independent simulations."""
    z, x = calibration._simulate(vae, number * simulations, as_seed((seed, 1)), 1000)
    points = calibration._Points(*calibration._simulate(vae, simulations, as_seed((seed, 2)), 1000))
    found = calibration._compare(vae, z, x, points, as_seed((seed, 3)), 1000, lambda fraction: None)
    groups = [[array[i::number] for array in (*found, z)] for i in range(number)]
    with unittest.mock.patch.object(calibration, "pareto_k", return_value=None):  # which takes long
        return [calibration._certificate(group[:-1], group[-1], 0.05, 0, True) for group in groups]


# ---- statistics of ranks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ranks.TESTS)
def test_p_values_of_uniform_ranks_are_uniform(name):
    rng = np.random.default_rng(0)
    p = [ranks.TESTS[name](rng.integers(0, 100, 400), 99) for _ in range(1000)]
    assert stats.kstest(p, "uniform").pvalue > ALPHA
    assert stats.kstest(np.sqrt(p), "uniform").pvalue < ALPHA


def test_each_test_finds_its_kind():
    rng = np.random.default_rng(1)
    z, draws = rng.standard_normal(N), rng.standard_normal([99, N])
    two = np.where(rng.random(N) < 0.5, -1, 1) * 0.8 + 0.6 * z  # two modes, of mean 0 and variance 1
    for kind, wrong in (
        ("location", z + 0.3),
        ("dispersion", 1.3 * z),
        ("dispersion", z / 1.3),
        ("histogram", two),
    ):
        p = {name: test(np.sum(draws < wrong, axis=0), 99) for name, test in ranks.TESTS.items()}
        assert p[kind] < ALPHA, (kind, p)
    assert min(test(np.sum(draws < z, axis=0), 99) for test in ranks.TESTS.values()) > 1e-3
    narrow = np.sum(draws < 1.3 * z, axis=0)
    assert ranks.location_p_value(narrow, 99) > 1e-3  # the mean says nothing of the width


def test_the_combination_is_uniform_for_one_test_and_bounded_by_the_best():
    p = np.linspace(0.01, 0.9, 20)
    np.testing.assert_allclose([ranks.combined([each]) for each in p], p)
    np.testing.assert_allclose(ranks.combined([1e-6] + [0.5] * 9), 1e-5, rtol=1e-3)  # ten tests
    assert ranks.combined([1e-6, 1e-6]) < 1.01e-6  # dependent ones cost nothing
    assert ranks.combined([1.0, 1e-6]) < 1e-5


def test_coverage_counts_the_nominal_share_of_every_rank():
    every = np.arange(400)
    for found in (ranks.central, ranks.lowest, ranks.highest):
        assert [c.share for c in found("", every, 399)] == [0.5, 0.9]
    assert [c.share for c in ranks.highest("", np.full(10, 399), 399)] == [1.0, 1.0]
    assert [c.share for c in ranks.lowest("", np.full(10, 399), 399)] == [0.0, 0.0]
    assert [c.share for c in ranks.central("", np.full(10, 150), 399)] == [1.0, 1.0]
    assert [c.share for c in ranks.central("", np.full(10, 50), 399)] == [0.0, 1.0]
    coverage = ranks.lowest("", np.arange(200), 399)[0]
    expected = stats.binomtest(200, 200).proportion_ci(method="wilson")
    assert (coverage.low, coverage.high) == (expected.low, expected.high)


def test_sizes_are_the_factors_and_their_intervals_cover():
    """95% intervals of 200 repeats: fewer than 170 would have probability 1e-6."""
    rng, covered, shifted = np.random.default_rng(2), 0, 0
    for _ in range(200):
        z = rng.standard_normal([400, 1]) * 1.3 + 0.2
        draws = rng.standard_normal([99, 400, 1])
        size = ranks.size_of(z, draws.mean(axis=0), draws.var(axis=0, ddof=1), 99)
        covered += size.width_low[0] < 1.3 < size.width_high[0]
        shifted += abs(size.shift[0] - 0.2) < 1.96 * size.shift_error[0]
    assert covered > 170 and shifted > 170
    np.testing.assert_allclose(size.width, 1.3, atol=0.25)


# ---- the certificate -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact():
    return LinearGaussian().vae()


@pytest.fixture(scope="module")
def certificate(exact):
    return certify(exact, 400, seed=1, tolerance=0.12)


def test_an_exact_posterior_passes(certificate):
    assert certificate.passed and certificate.p_value > 1e-3 and certificate.simulated
    assert {c.region for c in certificate.coverages} == {
        "highest-density region",
        "region of highest p(x, z)",
        "ball round a predicted point",
        "interval of z[0]",
        "interval of z[1]",
    }
    np.testing.assert_allclose(certificate.size.width, 1, atol=0.2)
    assert all(place.shape == (400,) for place in certificate.places.values())
    assert "no difference was found" in repr(certificate) and "passed" in repr(certificate)
    assert certificate.pareto_k is None or np.nanmax(certificate.pareto_k) < 0.5


def test_the_same_seed_gives_the_same_certificate(exact, certificate):
    again = certify(exact, 400, seed=1, tolerance=0.12)
    assert again.p_values == certificate.p_values and again.coverages == certificate.coverages


WRONG = {
    "narrow": lambda: (LinearGaussian().vae(stretch=0.7), "times too narrow in z"),
    "wide": lambda: (LinearGaussian().vae(stretch=1.4), "times too wide in z"),
    "shifted": lambda: (LinearGaussian().vae(shift=0.2), "of its deviations too high in z"),
    "blind to x": lambda: (blind(LinearGaussian()), "NOT the posterior"),
}


@pytest.mark.parametrize("name", cases(WRONG, slow=["wide", "shifted"]))
def test_wrong_posteriors_are_found_and_described(name):
    vae, words = WRONG[name]()
    found = certify(vae, 300, seed=0, tolerance=0.1)
    assert not found.passed and found.p_value < ALPHA and words in found.verdict, found
    if name == "narrow":
        np.testing.assert_allclose(found.size.width, 1 / 0.7, rtol=0.2)
    if name == "blind to x":  # what ranks of the coordinates and of log q cannot see
        seen = {name: p for name, p in found.p_values.items() if not name.startswith(("balls", "log p"))}
        assert min(seen.values()) > 1e-4
        assert min(p for name, p in found.p_values.items() if name.startswith("balls")) < ALPHA


def test_the_draws_are_those_of_each_x():
    """A q(z|x) of the neighbour's x is found, and log-weights are log p(x, z) - log q(z|x)."""
    model = LinearGaussian()
    vae = model.vae()
    z, x = calibration._simulate(vae, 200, as_seed(0), 64)
    assert x.shape == (200, 5)
    residual = x - vae.likelihood(z).mean()
    assert stats.kstest(np.ravel(residual) / model.noise, "norm").pvalue > ALPHA
    points = calibration._Points(z, x)
    turned = calibration._compare(vae, z, np.roll(x, 1, axis=0), points, as_seed(1), 64, lambda f: None)
    found = calibration._compare(vae, z, x, points, as_seed(1), 64, lambda f: None)
    assert (
        ranks.dispersion_p_value(turned[0][:, 0], 399) < ALPHA < ranks.dispersion_p_value(found[0][:, 0], 399)
    )
    log_p = model.marginal.logpdf(x)
    np.testing.assert_allclose(found[6], np.repeat(log_p[:, None], 99, axis=1), atol=2e-3)  # q is exact
    exact_mean = vae.posterior(x).mean().numpy()
    np.testing.assert_allclose(found[4], exact_mean, atol=6 * np.sqrt(model.covariance.max() / 399))
    np.testing.assert_allclose(found[5].mean(axis=0), np.diag(model.covariance), rtol=0.1)


def test_ties_are_broken_at_random():
    draws, true = tf.zeros([9, 4000]), tf.zeros([4000])
    counts = np.bincount(calibration._rank(true, draws, as_seed(0)), minlength=10)
    assert len(counts) == 10 and stats.chisquare(counts).pvalue > ALPHA


def test_conditional_models_draw_their_y():
    model = ConditionalLinearGaussian(contexts=3)
    vae = probvae.models.ConditionalVAE(*model.networks(), context_dim=3)
    with pytest.raises(probvae.InputError, match=r"without a p\(y\)"):
        certify(vae, 100, seed=0)
    y = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert certify(vae.with_contexts(probvae.models.observed_contexts(y)), 300, seed=0).p_value > 1e-3


def test_examples_whose_chains_disagree_are_left_out(monkeypatch):
    vae, x = LinearGaussian().vae(), LinearGaussian().sample(60, seed=0)

    def samples(vae, x, **options):
        z = vae.posterior(x).sample([5, 4], seed=(0, 7)).numpy()
        return types.SimpleNamespace(z=z, reliable=np.arange(len(x)) >= 10)

    monkeypatch.setattr(calibration, "posterior_samples", samples)
    found = certify(vae, 100, seed=0, x=x, tolerance=0.4)
    assert found.unknown == 10 and len(found.places["z[0]"]) == 50 and found.p_value > 1e-3
    with pytest.raises(probvae.InputError, match="those of 15 of 25 do: give more examples"):
        certify(vae, 100, seed=0, x=x[:25])


@pytest.mark.slow
def test_data_of_ones_own_are_compared_with_draws_of_the_posterior():
    model = LinearGaussian()
    x = model.sample(60, seed=0)
    right = certify(model.vae(), 60 + 40, seed=0, x=x, tolerance=0.3)
    wrong = certify(model.vae(stretch=0.5), 60 + 40, seed=0, x=x, tolerance=0.3)
    assert not right.simulated and right.p_value > 1e-3 and wrong.p_value < 1e-4
    assert len(right.places["z[0]"]) == 60 - right.unknown


def test_mistakes_are_named(exact):
    for message, options in (
        ("num_simulations must be a whole number of at least 100", {"num_simulations": 99}),
        ("tolerance must be", {"tolerance": 0.0}),
        ("tolerance must be", {"tolerance": 1.0}),
        ("A seed must be", {"seed": "a"}),
        (r"x must have the shape \[N, 5\]", {"x": np.zeros([30, 4])}),
    ):
        with pytest.raises(probvae.InputError, match=message):
            certify(exact, **options)


def test_the_words_say_what_is_known(certificate):
    fine, worst = certificate.coverages, certificate.coverages[0]._replace(share=0.2)
    for passed, p_value, words in (
        (True, 0.3, "no difference was found"),
        (True, 0.001, "significant and negligible"),
        (False, 0.3, "not known: the 50% highest-density region holds 20%"),
        (False, 0.001, "NOT the posterior: the 50% highest-density region holds 20%"),
    ):
        coverages = fine if passed else (worst, *fine[1:])
        text = dataclasses.replace(certificate, passed=passed, p_value=p_value, coverages=coverages).verdict
        assert text.startswith(words)


def test_the_pictures_show_the_curves_and_the_worst_coordinates_first(certificate):
    axes = coverage_curves(certificate).axes[0]
    assert len(axes.get_legend().get_texts()) == 4
    line = axes.lines[1]
    at = {round(float(x), 3): y for x, y in zip(*line.get_data(), strict=True)}
    highest = {c.nominal: c.share for c in certificate.coverages if c.region == "highest-density region"}
    assert at[0.5] == pytest.approx(highest[0.5]) and at[0.9] == pytest.approx(highest[0.9])
    panels = rank_histograms(certificate).axes
    shown = [panel.get_title(loc="left").split(", p")[0] for panel in panels]
    p = {name: min(p for test, p in certificate.p_values.items() if test.startswith(name)) for name in shown}
    assert sorted(shown) == ["z[0]", "z[1]"] and list(p.values()) == sorted(p.values())
    assert sum(bar.get_height() for bar in panels[0].patches[1:]) == 400


# ---- how often -----------------------------------------------------------------------------------

FOUR = "four dimensions, 10% narrow"
POWER = {  # model, q, share of 200 repeats that must be found at p < 0.01
    "one dimension, 10% narrow": (1, {"stretch": 0.9}, 0.90),
    FOUR: (4, {"stretch": 0.9}, 0.99),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(POWER, long={FOUR: "test_a_slightly_narrow_posterior_is_found[one]"}))
def test_a_slightly_narrow_posterior_is_found(name):
    latent, wrong, share = POWER[name]
    p_values = [c.p_value for c in repeats(LinearGaussian(latent=latent).vae(**wrong), 200)]
    assert np.mean(np.array(p_values) < 0.01) >= share


@pytest.mark.slow
@pytest.mark.parametrize("latent", cases([1, 4], long={4: "test_an_exact_posterior_is_rarely_rejected[1]"}))
def test_an_exact_posterior_is_rarely_rejected(latent):
    """At the 5% level: fewer than 175 of 200 have probability 1e-5 for p-values that are exact."""
    found = repeats(LinearGaussian(latent=latent).vae(), 200)
    assert sum(c.p_value > 0.05 for c in found) >= 175
    assert sum(c.passed for c in found) >= 190


@pytest.mark.slow
def test_the_prior_for_a_posterior_is_always_rejected():
    found = repeats(blind(LinearGaussian(latent=4)), 200)
    assert all(c.p_value < ALPHA and not c.passed for c in found)


def test_stopped_early_certifies_what_is_finished(monkeypatch):
    """The certificate of two blocks of three; below 20 examples there is none."""
    vae, compare, progress = LinearGaussian().vae(), calibration._compare, []

    def stop(fraction):
        progress.append(fraction)
        if fraction > 0.5:
            raise Stopped

    certificate = certify(vae, 100, seed=0, batch_size=40, on_progress=stop)
    assert {len(places) for places in certificate.places.values()} == {68}  # two blocks of 34
    monkeypatch.setattr(calibration, "_compare", lambda *args: [np.zeros([19, 1])])
    with pytest.raises(Stopped):
        certify(vae, 100, seed=0)

    def from_data(vae, x, seed, batch_size, on_progress):
        on_progress(1.0)
        return (np.zeros([len(x), 2], np.float32), x), 0

    monkeypatch.setattr(calibration, "_compare", compare)
    monkeypatch.setattr(calibration, "_from_data", from_data)
    progress.clear()
    certify(vae, 100, seed=0, x=LinearGaussian().sample(20, seed=1), on_progress=progress.append)
    assert progress == [0.5, 1.0]  # draws of p(z|x), then the comparison
