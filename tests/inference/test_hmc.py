"""Draws from p(z|x) against the exact posterior, and simulation-based calibration.

Every statistical test has a false-positive rate of at most `ALPHA`, and shows its power on wrong variants.
"""

import numpy as np
import pytest
from linear_gaussian import LinearGaussian
from marked_cases import cases
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value

from probvae import InputError
from probvae.inference import blocks, hmc
from probvae.inference.blocks import Stopped
from probvae.inference.hmc import METHODS, posterior_samples


@pytest.fixture(scope="module", params=cases(METHODS, slow=["nuts"]))
def draws(request):
    """The last draws of 3,000 chains for each of two examples, from a q(z|x) that is wrong."""
    model = LinearGaussian()
    vae, x = model.vae(shift=0.5, stretch=0.5), model.sample(2, seed=4)
    samples = posterior_samples(
        vae, x, seed=1, num_samples=1, num_burnin_steps=60, num_chains=3000, method=request.param
    )
    return model, model.vae().posterior(x).mean().numpy(), samples


def test_moments_are_the_exact_ones(draws):
    """Means and covariances over independent chains by z-test; q(z|x), where they began, is caught."""
    model, mean, samples = draws
    z = samples.z[0].astype(np.float64) - mean  # [C, N, L]
    second = np.einsum("cnl,cnm->cnlm", z, z)
    exact = np.broadcast_to(model.covariance, second.shape[1:])
    assert mean_p_value(z) > ALPHA
    assert mean_p_value(second, exact) > ALPHA
    assert mean_p_value(z + 0.5) < ALPHA
    assert mean_p_value(0.8 * second, exact) < ALPHA
    assert mean_p_value(z[..., ::-1, None] * z[..., None, :], exact) < ALPHA  # coordinates mixed up


def test_step_size_is_adapted(draws):
    """Deterministic given the seed: after a short burn-in the step is neither tiny nor too large."""
    *_, samples = draws
    assert samples.acceptance.shape == samples.step_size.shape == (2,)
    assert np.all((0.6 < samples.acceptance) & (samples.acceptance < 0.99))
    assert np.all((0.1 < samples.step_size) & (samples.step_size < 1.0))
    assert np.isnan(samples.rhat).all() and np.isnan(samples.ess).all()  # of one draw


def test_step_size_follows_the_sharpness():
    """Noise 10 times less, so a posterior as much sharper, needs a smaller step than 0.1 of the above."""
    model = LinearGaussian(noise=0.07)
    samples = posterior_samples(model.vae(), model.sample(3, seed=0), num_samples=1)
    assert np.all(np.abs(samples.acceptance - hmc.TARGET_ACCEPTANCE) < 0.17)
    assert np.all(samples.step_size < 0.05)


def ranks(z_true, draws):
    """Rank of z_true [N, L] among draws [S, N, L]: uniform on 0..S where both are from one posterior."""
    return (draws < z_true).sum(axis=0).ravel()


def uniform_p_value(ranks, num_draws):
    counts = np.bincount(ranks, minlength=num_draws + 1)
    return stats.chisquare(counts).pvalue


def test_simulation_based_calibration():
    """z* ~ p(z), x ~ p(x|z*): the rank of z* among 16 thinned draws is uniform, by chi-square.

    One coordinate only, so that the ranks are independent. Draws from q(z|x) with 0.7 of the
    right scale, or shifted, or of another example, are caught.
    """
    model, n = LinearGaussian(), 1500
    vae = model.vae()
    z_true = vae.prior.sample(n, seed=(0, 8))
    x = vae.likelihood(z_true).sample(seed=(0, 9)).numpy()
    samples = posterior_samples(
        vae,
        x,
        seed=2,
        num_samples=4,
        num_chains=4,
        num_burnin_steps=100,
        num_steps_between_results=6,
        batch_size=500,
    )
    z = samples.z.reshape(16, n, 2)

    def p_value(draws):
        return uniform_p_value(ranks(z_true.numpy()[:, 0], draws[..., 0]), 16)

    assert p_value(z) > ALPHA
    for name, wrong in {
        "narrow": model.vae(stretch=0.7).posterior(x).sample(16, seed=(0, 3)).numpy(),
        "shifted": z + 0.2,
        "another example's": np.roll(z, 1, axis=1),
    }.items():
        assert p_value(wrong) < ALPHA, name
    # The blind spot of the method: draws from the prior are calibrated too. The moments catch those.
    assert p_value(vae.prior.sample([16, n], seed=(0, 4)).numpy()) > ALPHA


@pytest.fixture(scope="module")
def small():
    """Five examples in blocks of two, the last filled up."""
    model, progress = LinearGaussian(), []
    vae, x = model.vae(), model.sample(5, seed=1)
    options = {"num_samples": 40, "num_burnin_steps": 50, "num_chains": 3, "batch_size": 2}

    def run(seed, **kwargs):
        return posterior_samples(vae, x, seed=seed, on_progress=progress.append, **options | kwargs)

    return model, x, run, run(3), progress


def test_shapes_diagnostics_and_progress(small):
    model, x, _, samples, progress = small
    assert samples.z.shape == (40, 3, 5, 2) and samples.z.dtype == np.float32
    assert samples.rhat.shape == samples.ess.shape == (5, 2)
    assert progress[:3] == [0.4, 0.8, 1.0]
    assert np.all(samples.rhat < 1.3) and np.all(samples.ess > 5)
    # every example has its own posterior: draws lie near their own exact mean, not a neighbour's
    mean = model.vae().posterior(x).mean().numpy()
    distance = np.abs(samples.z.mean(axis=(0, 1))[:, None] - mean).sum(-1)
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(5))


def test_rhat_and_ess_see_chains_that_disagree():
    rng = np.random.default_rng(0)
    z = rng.standard_normal([400, 4, 1, 2])
    apart = z + 3 * np.arange(4)[:, None, None]
    assert np.all(hmc._rhat(z) < 1.02)
    between = np.var(np.repeat(3 * np.arange(4), 2), ddof=1)  # the variance of the means of the half chains
    np.testing.assert_allclose(hmc._rhat(apart), np.sqrt(1 + between), rtol=0.15)
    assert np.all(hmc._effective_sample_size(z) > 1000)
    assert np.all(hmc._effective_sample_size(apart) < 100)
    assert hmc._effective_sample_size(z[:, :1]).shape == (1, 2)  # one chain


def test_same_seed_same_draws(small):
    _, _, run, first, _ = small
    np.testing.assert_array_equal(first.z, run(3).z)
    assert not np.any(first.z == run(4).z)


def test_stopped_early_returns_what_is_finished():
    def stop_at_half(fraction):
        if fraction >= 0.5:
            raise Stopped

    def run(x, seed):
        return (x + 1,)

    (result,) = blocks.compiled_in_blocks(run, [np.arange(9)], seed=0, batch_size=3, on_progress=stop_at_half)
    np.testing.assert_array_equal(result, np.arange(1, 7))


def test_acceptance_probability_of_a_divergence_is_zero():
    ratio = np.array([np.nan, -np.inf, 0.5, np.log(0.25)], np.float32)
    np.testing.assert_allclose(hmc.acceptance_probability(ratio), [0, 0, 1, 0.25])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "gibbs"}, "one of hmc, nuts; got 'gibbs'"),
        ({"num_chains": 0}, "num_chains must be a whole number of at least 1; got 0"),
        ({"num_samples": 0}, "num_samples must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
    ],
)
def test_mistakes_are_named(small, kwargs, message):
    _, _, run, _, _ = small
    with pytest.raises(InputError, match=message):
        run(0, **kwargs)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (0, 5)])
def test_wrong_shape_is_named(shape):
    with pytest.raises(InputError, match=r"shape \[N, 5\]; got|one example or more"):
        posterior_samples(LinearGaussian().vae(), np.zeros(shape), seed=0)
