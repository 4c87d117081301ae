"""Importance-weighted bounds against a model whose log p(x) is known.

Statistical tests have a false-positive rate of at most 1e-6 and show their power on wrong variants.
"""

import numpy as np
import pytest
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value

from probvae import elbo
from probvae.inference import blocks, importance_sampling
from probvae.inference.blocks import Stopped
from probvae.inference.estimates import log_mean_exp
from probvae.inference.importance_sampling import importance, summarize


@pytest.fixture(scope="module")
def model():
    return LinearGaussian()


def test_exact_posterior_has_no_error(model, eager):
    x = model.sample(7, seed=0)
    result = importance(model.vae(), x, num_samples=30, seed=0)
    np.testing.assert_allclose(result.bound, model.marginal.logpdf(x), atol=1e-4)
    np.testing.assert_allclose(result.effective_sample_size, 30, rtol=1e-4)
    assert result.standard_error.max() < 1e-4


def test_bound_grows_with_k_towards_the_truth(model):
    """Paired z-tests at `ALPHA` over 2,000 examples; a bound without -log K grows past the truth."""
    x = model.sample(2000, seed=1)
    result = importance(model.vae(shift=0.3, stretch=0.8), x, num_samples=200, seed=0)
    exact = model.marginal.logpdf(x)
    assert result.num_samples.tolist() == [1, 2, 5, 10, 20, 50, 100, 200]
    for low, high in zip(result.curve, [*result.curve[1:3], *[exact] * 6], strict=False):
        t = stats.ttest_1samp(high - low, 0.0, alternative="greater")
        assert t.pvalue < ALPHA
    np.testing.assert_allclose(result.curve[-1], result.bound)
    np.testing.assert_allclose(result.curve[0], result.elbo, atol=1e-9)
    without = result.bound + np.log(200)
    assert stats.ttest_1samp(exact - without, 0.0, alternative="greater").pvalue > 0.5


def test_weights_are_unbiased_and_wrong_ones_are_caught(model):
    """E[exp(bound)] = p(x) at `ALPHA`."""
    x = np.repeat(model.sample(2, seed=2)[:1], 4000, axis=0)
    result = importance(model.vae(stretch=1.3), x, num_samples=10, seed=3)
    ratio = result.bound - model.marginal.logpdf(x)
    assert mean_p_value(np.exp(ratio), 1.0) > ALPHA
    assert mean_p_value(np.exp(ratio + np.log(10)), 1.0) < ALPHA  # logsumexp without -log K
    assert mean_p_value(np.exp(-ratio), 1.0) < ALPHA  # weights in the wrong direction


@pytest.mark.slow
def test_stated_monte_carlo_errors_cover(model):
    """95% intervals contain the truth between 93% and 97% of 4,000 times (6 standard errors wide)."""
    x = np.repeat(model.sample(2, seed=2)[:1], 4000, axis=0)
    shift, stretch = 0.0, 1.2
    vae = model.vae(shift=shift, stretch=stretch)
    result = importance(vae, x, num_samples=400, seed=5)
    truth = model.marginal.logpdf(x)[0]
    kl = 0.5 * (2 * stretch**2 - 2 - 4 * np.log(stretch))  # KL(q || p(z|x)), L = 2
    for difference, error in (
        (result.bound - truth, result.standard_error),
        (result.elbo - (truth - kl), result.elbo_standard_error),
    ):
        inside = np.abs(difference) < 1.96 * error
        assert 0.93 < inside.mean() < 0.97
        half = np.abs(difference) < 1.96 * error / np.sqrt(2)
        assert not 0.93 < half.mean() < 0.97


def test_number_of_samples_is_the_one_asked_for(monkeypatch):
    """Every chunk counts, also a remainder: the draws are as many as K says."""
    drawn = []
    monkeypatch.setattr(blocks, "DECODES", 70)
    monkeypatch.setattr(
        importance_sampling, "summarize", lambda log_w: drawn.append(log_w.shape) or summarize(log_w)
    )
    x = np.random.default_rng(0).integers(0, 2, [13, 8, 8, 1])
    result = importance(tiny_vae(), x, num_samples=103, seed=0)
    assert drawn == [(103, 13)]
    assert result.num_samples[-1] == 103 and result.bound.shape == (13,)


def test_every_example_is_there_in_order(model):
    vae, x = model.vae(stretch=1.2), model.sample(263, seed=0)
    result = importance(vae, x, num_samples=300, seed=0)
    assert result.bound.shape == (263,)
    many = elbo(vae, x, num_samples=300, seed=1).numpy()
    np.testing.assert_allclose(result.elbo, many, atol=6 * np.sqrt(2) * result.elbo_standard_error.max())
    assert np.corrcoef(result.elbo, many)[0, 1] > 0.99


def test_same_seed_same_numbers(model, eager):
    vae, x = model.vae(stretch=1.2), model.sample(3, seed=0)
    first, again, other = (importance(vae, x, num_samples=9, seed=s).bound for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


def test_summary_by_hand():
    weights = np.array([[1.0], [3.0]])
    result = summarize(np.log(weights))
    assert result.bound[0] == pytest.approx(np.log(2))
    assert result.effective_sample_size[0] == pytest.approx(16 / 10)
    assert result.standard_error[0] == pytest.approx(np.std([1, 3], ddof=1) / np.sqrt(2) / 2)
    assert log_mean_exp(np.array([[-2000.0], [-2000.0]]))[0] == pytest.approx(-2000)


def test_pareto_k_tells_light_tails_from_heavy_ones():
    pytest.importorskip("arviz_stats", reason="arviz-stats is absent: install probvae[psis]")
    rng = np.random.default_rng(0)
    light, heavy = rng.uniform(0, 1, [2000, 5]), 1.5 * rng.exponential(size=[2000, 5])
    assert summarize(light).pareto_k.max() < 0.5
    assert summarize(heavy).pareto_k.min() > 0.7  # w = e**(1.5 t) has tail index 1 / 1.5
    assert np.isnan(summarize(light[:10]).pareto_k).all()


def test_stopping_keeps_the_finished_examples(model, eager):
    vae, x = model.vae(), model.sample(600, seed=0)

    def stop_late(fraction):
        if fraction > 0.6:
            raise Stopped

    assert len(importance(vae, x, num_samples=5, on_progress=stop_late).bound) == 250

    def stop_at_once(fraction):
        raise Stopped

    with pytest.raises(Stopped):
        importance(vae, x, num_samples=5, on_progress=stop_at_once)
