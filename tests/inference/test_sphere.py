"""Models on the sphere, evaluated through z in all of R^L."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_vae
from marked_cases import cases
from scipy import special
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd

from probvae.distributions.sphere import Radial, SphericalUniform, VonMisesFisher
from probvae.inference.annealing import ais, bdmc
from probvae.inference.hmc import posterior_samples
from probvae.inference.importance_sampling import importance
from probvae.inference.quadrature import exact
from probvae.inference.sphere import in_space, lengthened, shortened


def sphere_vae(latent_dim, prior="uniform_sphere"):
    return tiny_vae("von_mises_fisher", latent_dim=latent_dim, prior=prior, components=3)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_a_uniform_direction_of_a_normals_length_is_a_unit_normal(size):
    v = np.random.default_rng(0).standard_normal([20, size]).astype(np.float32)
    unit = tfd.MultivariateNormalDiag(tf.zeros(size), tf.ones(size))
    np.testing.assert_allclose(Radial(SphericalUniform(size)).log_prob(v), unit.log_prob(v), atol=1e-4)


@pytest.mark.parametrize("size", [2, 3])
def test_draws_follow_the_radial_density(size):
    """E[p(v) / q(v)] = 1 under draws from q, for the unit normal p; without the radius it is caught."""
    q = Radial(VonMisesFisher(tf.one_hot(0, size), 1.0))
    v = q.sample(20_000, seed=(0, 1))
    unit = tfd.MultivariateNormalDiag(tf.zeros(size), tf.ones(size))
    ratio = np.exp(unit.log_prob(v) - q.log_prob(v))
    assert mean_p_value(ratio, 1.0) > ALPHA
    wrong = ratio * tf.norm(v, axis=-1).numpy() ** (size - 1)
    assert mean_p_value(wrong, 1.0) < ALPHA


QUICK = "test_quadrature_agrees_with_importance_sampling[2-uniform_sphere]"
LONG = dict.fromkeys(((3, "uniform_sphere"), (2, "vamp"), (3, "vamp")), QUICK)


@pytest.mark.parametrize(("latent_dim", "prior"), cases([(2, "uniform_sphere"), *LONG], long=LONG))
def test_quadrature_agrees_with_importance_sampling(latent_dim, prior, x):
    """To 6 Monte Carlo errors and the tolerance; a density taken off the sphere is caught."""
    vae = sphere_vae(latent_dim, prior)
    found = exact(vae, x, tolerance=1e-2)
    drawn = importance(vae, x.numpy(), num_samples=4000)
    assert found.converged.all() and drawn.effective_sample_size.min() > 200
    allowed = 6 * drawn.standard_error + 2e-2
    assert np.all(np.abs(found.log_marginal - drawn.bound) < allowed)
    area = np.log(2) + latent_dim / 2 * np.log(np.pi) - special.gammaln(latent_dim / 2)
    assert area > 4 * allowed.max()  # what a forgotten density of p(z) would add


@pytest.mark.slow
@pytest.mark.long("test_posterior_draws_lie_on_the_sphere_and_have_the_posterior_mean")
def test_annealing_and_its_bracket_on_the_sphere(x):
    vae = sphere_vae(3)
    truth = exact(vae, x, tolerance=1e-2).log_marginal
    found = ais(vae, x, num_chains=16, num_steps=60, seed=0)
    assert np.abs(found.log_marginal - truth).max() < 0.3
    bracket = bdmc(vae, 6, num_chains=8, num_steps=60, seed=1)
    np.testing.assert_allclose(np.linalg.norm(bracket.z, axis=1), 1, atol=1e-5)
    gap = bracket.upper - bracket.lower
    assert gap.mean() < 0.3 and gap.min() > -1


@pytest.mark.slow
def test_posterior_draws_lie_on_the_sphere_and_have_the_posterior_mean(x):
    """Against self-normalized importance sampling, at 6 errors of either; the prior's mean is caught."""
    vae = sphere_vae(2)
    draws = posterior_samples(vae, x[:2], num_samples=400, num_burnin_steps=200, seed=0)
    np.testing.assert_allclose(np.linalg.norm(draws.z, axis=-1), 1, atol=1e-5)
    z = vae.prior.sample(40_000, seed=(0, 1))
    log_w = vae.likelihood(z[:, None]).log_prob(x[:2])
    mean = np.einsum("sn,sl->nl", tf.nn.softmax(log_w, axis=0), z)
    assert np.abs(draws.z.mean(axis=(0, 1)) - mean).max() < 0.1 < np.abs(mean).max()


def test_other_models_stay_as_they_are():
    vae = tiny_vae()
    z = tf.ones([3, 2])
    assert in_space(vae) is vae and lengthened(vae, z, seed=0) is z and shortened(vae, z) is z
    ball = sphere_vae(2)
    long = lengthened(ball, shortened(ball, z), seed=0)
    np.testing.assert_allclose(shortened(ball, long), np.sqrt(0.5) * np.ones([3, 2]), rtol=1e-5)
    assert np.ptp(tf.norm(long, axis=-1)) > 0.01
