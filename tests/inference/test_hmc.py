"""Draws from p(z|x) against the exact posterior, and simulation-based calibration.

Every statistical test has a false-positive rate of at most `ALPHA`, and shows its power on wrong variants.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from marked_cases import cases
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae import InputError
from probvae.inference import blocks, chains
from probvae.inference.blocks import Stopped
from probvae.inference.convergence import rhat
from probvae.inference.hmc import METHODS, PosteriorSamples, posterior_samples
from probvae.inference.sphere import in_space


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
    assert np.all((0.3 < samples.step_size) & (samples.step_size < 2.0))
    assert np.isnan(samples.rhat).all() and np.isnan(samples.ess).all()  # of one draw


class Stretched(LinearGaussian):
    """A model whose p(z|x) has variances from 1/2 down to 1/(2 condition), in directions that are no axes."""

    def __init__(self, latent, condition):
        super().__init__(observed=latent, latent=latent, noise=1.0)
        rng = np.random.default_rng(0)
        left, right = (np.linalg.qr(rng.standard_normal([latent, latent]))[0] for _ in range(2))
        precision = 2 * np.logspace(0, np.log10(condition), latent)
        self.weights = left * np.sqrt(precision - 1) @ right.T
        self.covariance = right / precision @ right.T
        self.marginal = stats.multivariate_normal(self.bias, self.weights @ self.weights.T + np.eye(latent))


@pytest.mark.parametrize(
    ("latent", "condition"),
    cases(
        [(8, 100), (2, 1), (2, 100), (20, 1), (20, 100), (20, 1e4)],
        slow=[(8, 100), (2, 1), (20, 1), (20, 100), (20, 1e4)],
    ),
)
def test_normal_targets_mix(latent, condition):
    """From a q(z|x) that is shifted and narrow; with eight fixed steps, R-hat was 3.8 for (20, 1)."""
    model = Stretched(latent, condition)
    vae, x = model.vae(shift=0.3, stretch=0.7), model.sample(2, seed=1)
    samples = posterior_samples(vae, x, num_samples=2000, seed=0)
    assert samples.rhat.max() < 1.01 and samples.reliable.all()
    mean, scale = model.vae().posterior(x).mean().numpy(), np.sqrt(np.diag(model.covariance))
    error = (samples.z.mean(axis=(0, 1)) - mean) / scale * np.sqrt(samples.ess)
    assert np.abs(error).max() < stats.norm.isf(ALPHA / 2 / error.size)


def two_modes():
    """A model of x = z^2 + noise, with a q(z|x) that knows the mode at +1 alone."""
    encoder = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((1,)), tf_keras.layers.Dense(2), tfpl.IndependentNormal(1)]
    )
    encoder.layers[0].set_weights([np.zeros([1, 2]), np.float32([1.0, -2.0])])
    decoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((1,)),
            tf_keras.layers.Lambda(tf.square),
            tfpl.DistributionLambda(lambda loc: tfd.MultivariateNormalDiag(loc, 0.1 * tf.ones_like(loc))),
        ]
    )
    return probvae.VAE(tfd.MultivariateNormalDiag(tf.zeros(1), tf.ones(1)), encoder, decoder)


@pytest.mark.slow
def test_a_mode_that_the_encoder_misses_is_found():
    """The chains that start in q(z|x) agree, and would be called reliable without the others."""
    samples = posterior_samples(two_modes(), np.ones([8, 1]), seed=0)
    assert np.all(rhat(samples.z[:, :2]) < 1.05)
    assert np.all(samples.rhat > 1.5) and not np.any(samples.reliable)
    assert "Not to be trusted for 8 of 8 examples: R-hat is above 1.01 for 8" in repr(samples)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [("diagonal", "realnvp"), ("diagonal", "vamp"), ("von_mises_fisher", "uniform_sphere")],
)
def test_chains_start_from_every_prior(posterior, prior, x):
    vae = in_space(tiny_vae(posterior, prior=prior, components=3))
    start = chains.starts(vae, x, 5, tf.constant([0, 1]))
    assert start.shape == (5, len(x), 2) and np.all(np.isfinite(start))
    assert chains.starts(vae, x, 1, tf.constant([0, 1])).shape == (1, len(x), 2)


def test_half_of_the_chains_start_far_from_the_encoder():
    vae, x = two_modes(), np.ones([500, 1], np.float32)
    start = chains.starts(vae, x, 4, tf.constant([0, 1])).numpy()
    assert np.all(start[:2] > 0) and np.mean(np.any(start[2:] < 0, axis=0)) > 0.95
    assert np.all(np.abs(np.abs(start[2:]) - 1) < 0.9)  # where p(x|z) is not negligible


def test_windows_and_draws_have_seeds_of_their_own(monkeypatch):
    """What the chains do is left out: that takes long step by step, and the seeds do not depend on it."""
    seeds = []

    def recorded(num_results, current_state, kernel, *, trace_fn, seed, **kwargs):
        seeds.append(tuple(seed.numpy()))
        traced = trace_fn(current_state, kernel.bootstrap_results(current_state))
        return [tf.repeat(part[None], num_results, axis=0) for part in (current_state, traced)]

    monkeypatch.setattr(tfp.mcmc, "sample_chain", recorded)
    model, options = LinearGaussian(), {"num_burnin_steps": 6, "num_steps_between_results": 0}
    x = tf.constant(model.sample(2, seed=0))
    chains.draw(
        model.vae(), x, tf.constant([0, 1]), kernel=chains.hamiltonian, num_chains=2, num_results=2, **options
    )
    assert len(seeds) == len(set(seeds)) == 4  # windows and draws


def test_lengths_are_random():
    """Of trajectories: on a normal target, a fixed number of tiny steps would move z by one amount."""
    kernel = chains.hamiltonian(lambda z: 0 * z, tf.constant(1.0))
    results = kernel.bootstrap_results(tf.zeros([1]))
    lengths = set()
    for seed in range(60):
        _, after = kernel.one_step(tf.zeros([1]), results, seed=tf.constant([0, seed]))
        lengths.add(int(after.accepted_results.num_leapfrog_steps))
    assert lengths == {1, 2, 3, 4, 5, 6}


def ranks(z_true, draws):
    """Rank of z_true [N, L] among draws [S, N, L]: uniform on 0..S where both are from one posterior."""
    return (draws < z_true).sum(axis=0).ravel()


def uniform_p_value(ranks, num_draws):
    counts = np.bincount(ranks, minlength=num_draws + 1)
    return stats.chisquare(counts).pvalue


@pytest.mark.slow
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
    assert samples.rhat.shape == samples.ess.shape == samples.ess_tail.shape == (5, 2)
    assert progress[:3] == [0.4, 0.8, 1.0]
    assert np.all(samples.rhat < 1.2) and np.all(samples.ess > 30) and not samples.reliable.any()
    # every example has its own posterior: draws lie near their own exact mean, not a neighbour's
    mean = model.vae().posterior(x).mean().numpy()
    distance = np.abs(samples.z.mean(axis=(0, 1))[:, None] - mean).sum(-1)
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(5))


def test_text_says_whether_draws_can_be_trusted():
    rng = np.random.default_rng(0)
    fine = dict.fromkeys(("rhat",), np.ones([3, 2])) | dict.fromkeys(
        ("ess", "ess_tail"), np.full([3, 2], 400.0)
    )
    z, acceptance = rng.standard_normal([500, 4, 3, 2]), np.ones(3)

    def samples(**changes):
        return PosteriorSamples(z, acceptance, acceptance, **fine | changes)

    assert samples().reliable.all() and "All reliable: R-hat is at most 1.01" in repr(samples())
    for name, bad in {"rhat": 1.02, "ess": 399.0, "ess_tail": np.nan}.items():
        one = fine[name].copy()
        one[1, 1] = bad
        np.testing.assert_array_equal(samples(**{name: one}).reliable, [True, False, True])
        assert "Not to be trusted for 1 of 3 examples" in repr(samples(**{name: one}))
    unknown = samples(rhat=np.full([3, 2], np.nan))
    assert not unknown.reliable.any() and "too few to see whether chains agree" in repr(unknown)


def test_same_seed_same_draws(small):
    """Of one block, compiled once."""
    model, x, *_ = small
    options = {"kernel": chains.hamiltonian, "num_chains": 2, "num_results": 3, "num_burnin_steps": 10}
    draw = functools.partial(chains.draw, model.vae(), x, num_steps_between_results=0, **options)
    draw = tf.function(draw, autograph=False)
    first, again, other = (draw(tf.constant([0, seed]))[0].numpy() for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


def test_blocks_have_seeds_of_their_own():
    def run(x, seed):
        return (tf.repeat(seed[None], x.shape[0], axis=0),)

    def seeds(seed):
        (drawn,) = blocks.compiled_in_blocks(
            run, [np.arange(6)], seed=seed, batch_size=2, on_progress=lambda fraction: None
        )
        return drawn

    first = seeds(3)
    assert len(np.unique(np.concatenate([first, seeds(4)]), axis=0)) == 6  # three blocks, two seeds
    np.testing.assert_array_equal(first, seeds(3))


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
    np.testing.assert_allclose(chains.acceptance_probability(ratio), [0, 0, 1, 0.25])


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
