"""Draws, temperature, paths and traversals, each against a formula of its own."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_vae
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.distributions.chain import Chain
from probvae.errors import InputError
from probvae.sampling import draws, paths
from probvae.sampling.draws import posterior_predictive, prior_draws
from probvae.sampling.paths import PATHS, interpolate, traverse
from probvae.sampling.temperature import tempered

T = np.linspace(0, 1, 7)


@pytest.fixture(scope="module")
def vae():
    """One model for all tests; none of them changes it."""
    return tiny_vae("tril")


def ends(latent_dim=5, n=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal([2, n, latent_dim])


# ---- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
def test_paths_start_and_end_where_they_should(name):
    z0, z1 = ends()
    path = PATHS[name](z0, z1, T)
    assert path.shape == (7, 4, 5)
    np.testing.assert_allclose(path[0], z0, atol=1e-14)
    np.testing.assert_allclose(path[-1], z1, atol=1e-14)


def test_linear_is_halfway_at_a_half():
    z0, z1 = ends()
    np.testing.assert_allclose(paths.linear(z0, z1, T)[3], (z0 + z1) / 2)


def test_spherical_is_slerp_where_the_norms_are_equal():
    a, b = (z / np.linalg.norm(z, axis=-1, keepdims=True) for z in ends())
    angle = np.arccos(np.sum(a * b, axis=-1, keepdims=True))
    t = T[:, None, None]
    slerp = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)  # Shoemake's formula
    np.testing.assert_allclose(paths.spherical(3 * a, 3 * b, T), 3 * slerp, atol=1e-12)
    assert np.abs(paths.linear(a, b, T) - slerp).max() > 0.1


def test_spherical_norms_are_linear_and_its_pace_is_even():
    z0, z1 = ends(seed=1)
    path = paths.spherical(z0, z1, T)
    norms = np.linalg.norm(path, axis=-1)
    np.testing.assert_allclose(norms, np.linspace(norms[0], norms[-1], 7), rtol=1e-12)
    units = path / norms[..., None]
    turns = np.arccos(np.sum(units[1:] * units[:-1], axis=-1))
    np.testing.assert_allclose(turns, np.broadcast_to(turns[0], turns.shape), rtol=1e-6)
    assert np.linalg.norm(paths.linear(z0, z1, T), axis=-1)[3].max() < norms[3].max()


@pytest.mark.parametrize(
    ("z0", "z1", "middle_norm"),
    [
        ([1.0, 0.0], [-1.0, 0.0], 1.0),  # opposite: some half circle
        ([1.0, 2.0], [1.0, 2.0], 5**0.5),  # the same
        ([1.0, 2.0], [2.0, 4.0], 1.5 * 5**0.5),  # one direction
        ([0.0, 0.0], [0.0, 2.0], 1.0),  # from the origin: straight
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([3.0], [-1.0], 1.0),  # one dimension: straight
        ([1e-200, 0.0], [0.0, 1e150], 5e149),
    ],
)
def test_spherical_paths_of_special_ends(z0, z1, middle_norm):
    path = paths.spherical(np.array(z0), np.array(z1), np.array([0, 0.5, 1]))
    scale = 1e-12 * max(1, np.abs(z1).max())
    np.testing.assert_allclose(path[[0, 2]], [z0, z1], atol=scale)
    assert np.linalg.norm(path[1]) == pytest.approx(middle_norm, abs=scale)


@pytest.mark.parametrize("path", PATHS)
def test_interpolation_holds_its_ends_exactly_and_is_decoded(vae, path):
    z0, z1 = np.float32(ends(2))
    samples = interpolate(vae, z0, z1, steps=5, path=path, seed=1)
    np.testing.assert_array_equal(samples.z[[0, -1]], [z0, z1])
    assert samples.x.shape == samples.mean.shape == (5, 4, 8, 8, 1)
    np.testing.assert_allclose(samples.mean, vae.likelihood(samples.z).mean(), atol=1e-6)
    np.testing.assert_allclose(samples.log_prior, vae.prior.log_prob(samples.z), atol=1e-5)


def test_a_traversal_changes_one_coordinate(vae):
    z = np.float32([[0.5, -1.0], [2.0, 0.0]])
    samples = traverse(vae, z, dimension=1, values=np.array([-2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(samples.z[..., 0], [[0.5, 2.0]] * 3)
    np.testing.assert_array_equal(samples.z[..., 1], [[-2.0, -2.0], [0.0, 0.0], [3.0, 3.0]])
    assert samples.mean.shape == (3, 2, 8, 8, 1)


@pytest.mark.parametrize("prior", ["uniform_sphere", "vamp"])
def test_a_sphere_has_paths_and_no_straight_lines(prior):
    vae = tiny_vae("von_mises_fisher", prior=prior)
    z0, z1 = np.float32([0.6, 0.8]), np.float32([-1.0, 0.0])
    path = interpolate(vae, z0, z1, steps=9)
    np.testing.assert_allclose(np.linalg.norm(path.z, axis=-1), 1, atol=1e-6)
    with pytest.raises(InputError, match="choose the path spherical"):
        interpolate(vae, z0, z1, path="linear")
    with pytest.raises(InputError, match="no coordinate changes alone"):
        traverse(vae, z0, dimension=0, values=np.zeros(2))


# ---- draws -----------------------------------------------------------------------------------------


def test_prior_draws_are_the_priors(vae):
    samples = prior_draws(vae, 4000, seed=1)
    assert samples.mean.shape == samples.x.shape == (4000, 8, 8, 1) and samples.log_likelihood is None
    assert mean_p_value(samples.z) > ALPHA and mean_p_value(samples.z**2, 1.0) > ALPHA
    assert mean_p_value(samples.z, 0.2) < ALPHA  # a prior of another mean would be caught
    assert set(np.unique(samples.x)) <= {0.0, 1.0} and 0 < samples.mean.min() <= samples.mean.max() < 1
    assert mean_p_value((samples.x - samples.mean).reshape(4000, -1)) > ALPHA
    np.testing.assert_allclose(samples.mean[::50], vae.likelihood(samples.z[::50]).mean(), atol=1e-6)


def test_draws_follow_their_seed(vae):
    first, again, other = (prior_draws(vae, 20, seed=s) for s in (1, 1, 2))
    for name in ("z", "mean", "x"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_many_values_are_decoded_block_by_block(vae, monkeypatch):
    z = np.random.default_rng(0).standard_normal([3, 5, 2])
    whole = draws.decode(vae, z)
    monkeypatch.setattr(draws, "BLOCK", 64 * 4)
    parts = draws.decode(vae, z)
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-6)
    assert parts.x.shape == whole.x.shape and parts.log_prior.shape == (3, 5)


def test_posterior_predictive_draws_from_the_posterior(vae, x):
    samples = posterior_predictive(vae, x, num_draws=800, seed=3)
    assert samples.z.shape == (800, 5, 2) and samples.mean.shape == samples.x.shape == (800, 5, 8, 8, 1)
    q = vae.posterior(x)
    assert mean_p_value(samples.z, q.mean().numpy()) > ALPHA
    assert mean_p_value(samples.z, q.mean().numpy() + 0.5 * q.stddev().numpy()) < ALPHA
    np.testing.assert_allclose(
        samples.log_likelihood, vae.likelihood(samples.z).log_prob(x), rtol=1e-5, atol=1e-4
    )


# ---- temperature -----------------------------------------------------------------------------------


def normals():
    loc, scale = np.float32([1.0, -2.0]), np.float32([0.5, 3.0])
    tril = tf.linalg.cholesky([[1.0, 0.5], [0.5, 2.0]])
    return {
        "diagonal": tfd.MultivariateNormalDiag(loc, scale),
        "tril": tfd.MultivariateNormalTriL(loc, tril),
        "independent": tfd.Independent(tfd.Normal(loc, scale), 1),
        "sample": tfd.Sample(tfd.Normal(1.0, 2.0), 2),
    }


@pytest.mark.parametrize("name", normals())
def test_the_temperature_of_a_normal_scales_its_deviation(name):
    p = normals()[name]
    cold = tempered(p, 0.5)
    z = cold.sample(4000, seed=(0, 1)).numpy()
    loc, deviation = p.mean().numpy(), p.stddev().numpy()
    assert mean_p_value(z, loc) > ALPHA
    standardized = ((z - loc) / deviation) ** 2
    assert mean_p_value(standardized, 0.25) > ALPHA
    assert mean_p_value(standardized, 0.5) < ALPHA  # the variance times T, not T^2, would be caught
    powers = p.log_prob(z) / 0.25 - cold.log_prob(z)  # p(z)^(1/T^2) up to a constant
    np.testing.assert_allclose(powers, powers[0], atol=1e-3)
    assert np.ptp(p.log_prob(z) / 0.5 - cold.log_prob(z)) > 1


def test_the_temperature_of_a_mixture_is_that_of_its_components():
    p = tiny_vae(prior="mixture", components=3).prior
    cold = tempered(p, 0.3)
    z = cold.sample(5, seed=(0, 1)).numpy()
    weights = p.mixture_distribution.probs_parameter().numpy()
    loc, scale = (m().numpy() for m in (p.components_distribution.mean, p.components_distribution.stddev))
    densities = stats.norm.pdf(z[:, None], loc, 0.3 * scale).prod(axis=-1) @ weights
    np.testing.assert_allclose(cold.log_prob(z), np.log(densities), rtol=1e-4, atol=1e-4)


def test_the_temperature_of_a_vamp_prior_is_that_of_its_components():
    vae = tiny_vae(prior="vamp", components=3)
    cold = tempered(vae.prior, 0.5)
    q = vae.prior.now().components_distribution  # q(z|u_k)
    np.testing.assert_allclose(cold.components_distribution.mean(), q.mean(), rtol=1e-5)
    np.testing.assert_allclose(cold.components_distribution.stddev(), 0.5 * q.stddev(), rtol=1e-4)


def test_the_temperature_of_a_flow_is_that_of_its_base():
    bijector = tfb.Chain([tfb.Shift([1.0, 0.0]), tfb.Sinh()])
    flow = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(2)), bijector)
    z = tempered(flow, 0.5).sample(4000, seed=(0, 1))
    assert mean_p_value(bijector.inverse(tf.identity(z)).numpy() ** 2, 0.25) > ALPHA
    assert mean_p_value(bijector.inverse(tf.identity(z)).numpy() ** 2, 1.0) < ALPHA


def test_the_temperature_of_a_hierarchy_is_that_of_its_conditionals():
    def below(z):
        return tfd.Independent(tfd.Normal(10.0 * z, 2.0), 1)

    chain = Chain(tfd.Independent(tfd.Normal([1.0], 0.5), 1), [below], (1, 1))
    cold = tempered(chain, 0.5)
    z = cold.sample(4000, seed=(0, 1)).numpy()
    residuals = np.stack([(z[:, 0] - 1) / 0.5, (z[:, 1] - 10 * z[:, 0]) / 2], axis=1)
    assert mean_p_value(residuals**2, 0.25) > ALPHA and mean_p_value(residuals**2, 1.0) < ALPHA
    expected = stats.norm.logpdf(residuals, scale=0.5).sum(axis=1) - np.log(0.5 * 2)
    np.testing.assert_allclose(cold.log_prob(z), expected, rtol=1e-4, atol=1e-3)


def test_temperature_one_is_the_prior_and_draws_may_be_tempered(vae):
    assert tempered(vae.prior, 1.0) is vae.prior
    hot, cold = (prior_draws(vae, 1000, temperature=t, seed=1) for t in (2.0, 0.1))
    assert hot.z.std() > 1.5 and cold.z.std() < 0.15
    np.testing.assert_allclose(cold.log_prior, vae.prior.log_prob(cold.z), atol=1e-5)  # of p(z), not of T


# ---- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae, x: prior_draws(vae, 0), "n must be a whole number of at least 1; got 0"),
        (lambda vae, x: prior_draws(vae, 2, temperature=0.0), "above 0; got 0"),
        (lambda vae, x: prior_draws(vae, 2, temperature=-1.0), "above 0; got -1"),
        (lambda vae, x: prior_draws(vae, 2, temperature=float("nan")), "above 0; got nan"),
        (lambda vae, x: prior_draws(vae, 2, temperature=float("inf")), "above 0; got inf"),
        (lambda vae, x: tempered(tfd.SphericalUniform(3), 0.5), "the prior is a SphericalUniform"),
        (lambda vae, x: draws.decode(vae, np.zeros([3, 4])), r"shape \[..., 2\]; got \[3, 4\]"),
        (
            lambda vae, x: posterior_predictive(vae, x[:, :4]),
            r"shape \[N, 8, 8, 1\]; got \[5, 4, 8, 1\]",
        ),
        (lambda vae, x: posterior_predictive(vae, x[:0]), "x must hold one example or more"),
        (lambda vae, x: interpolate(vae, x[0], x[0], path="bent"), "linear, spherical; got 'bent'"),
        (
            lambda vae, x: interpolate(vae, np.zeros(2), np.zeros(2), steps=1),
            "whole number of at least 2; got 1",
        ),
        (lambda vae, x: interpolate(vae, np.zeros(2), np.zeros([3, 2])), "ends of one shape"),
        (lambda vae, x: traverse(vae, np.zeros(2), dimension=2, values=[0]), "from 0 to 1; got 2"),
    ],
)
def test_mistakes(call, message, vae, x):
    with pytest.raises(InputError, match=message):
        call(vae, x)
