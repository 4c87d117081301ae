"""Samplers fitted to an aggregate posterior that is known in closed form."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae
from marked_cases import cases
from sklearn.mixture import GaussianMixture
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae.errors import InputError
from probvae.posteriors import DiagonalNormal
from probvae.sampling import samplers
from probvae.sampling.draws import posterior_draws, prior_draws
from probvae.sampling.samplers import SAMPLERS, closeness, fit_sampler

SCALE = 0.3  # of q(z|x)


def four_corners():
    """A VAE with q(z|x) = N(x, 0.3^2 I): over x in {-1, 1}^2, q(z) is a mixture of four normals."""
    encoder = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((2,)), tf_keras.layers.Dense(4), DiagonalNormal(2)]
    )
    bias = np.repeat([0, 2 * np.log(SCALE)], 2)
    encoder.set_weights([np.eye(2, 4), bias])
    decoder = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((2,)), tf_keras.layers.Dense(4), tfpl.IndependentNormal(2)]
    )
    return probvae.VAE(tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)), encoder, decoder)


def corners(n, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 1.0], [n, 2]).astype(np.float32)


def truth():
    loc = np.float32([[a, b] for a in (-1, 1) for b in (-1, 1)])
    components = tfd.MultivariateNormalDiag(loc, SCALE * tf.ones([4, 2]))
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(4)), components)


@pytest.fixture(scope="module")
def fitted(request):
    vae = four_corners()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "POOL", 3000)
        patch.setattr(samplers, "STEPS", 1000)
        patch.setattr(samplers, "COMPONENTS", (1, 4, 8))
        return vae, fit_sampler(vae, corners(600), kind=request.param, seed=1)


@pytest.mark.parametrize("fitted", cases(SAMPLERS, slow=["flow"]), indirect=True)
def test_a_sampler_comes_close_to_the_aggregate_posterior(fitted):
    vae, sampler = fitted
    found = closeness(vae, sampler, corners(2000, seed=1), seed=2)
    best = closeness(vae, truth(), corners(2000, seed=1), seed=2)  # no density does better in expectation
    assert best.gain > 0.5  # KL(q(z) || p(z)) in this toy
    assert found.gain == pytest.approx(found.sampler - found.prior) and found.gain > 10 * found.error
    assert best.gain - 0.15 < found.gain < best.gain + 0.02
    shifted = tfd.MultivariateNormalDiag([1.0, 0.0], tf.ones(2))
    assert closeness(vae, shifted, corners(2000, seed=1), seed=2).gain < 0  # one that is worse is told


LONG = {"flow": "test_a_sampler_stands_in_place_of_the_prior[mixture]"}


@pytest.mark.parametrize("fitted", cases(SAMPLERS, long=LONG), indirect=True)
def test_a_sampler_stands_in_place_of_the_prior(fitted):
    vae, sampler = fitted
    assert isinstance(sampler, tfd.Distribution) and sampler.event_shape == [2] and sampler.batch_shape == []
    draws = prior_draws(vae, 300, sampler=sampler, seed=3)
    near = np.abs(np.abs(draws.z) - 1).max(axis=1) < 4 * SCALE
    assert near.mean() > 0.9 > np.mean(np.abs(np.abs(prior_draws(vae, 300).z) - 1).max(axis=1) < 0.5)
    np.testing.assert_allclose(draws.log_prior, vae.prior.log_prob(draws.z), atol=1e-5)
    tight = prior_draws(vae, 300, sampler=sampler, temperature=0.1, seed=3)
    assert tight.z.std() < draws.z.std()
    again = probvae.VAE(sampler, vae.encoder, vae.decoder)
    assert again.sample(4, seed=1).shape == [4, 2]


def test_the_number_of_components_is_chosen_on_held_out_draws(monkeypatch):
    monkeypatch.setattr(samplers, "POOL", 2000)
    monkeypatch.setattr(samplers, "COMPONENTS", (1, 4, 20))
    chosen = fit_sampler(four_corners(), corners(400), seed=0)
    assert chosen.mixture_distribution.logits.shape == [4]
    asked = fit_sampler(four_corners(), corners(400), components=2, seed=0)
    assert asked.mixture_distribution.logits.shape == [2]


def test_draws_of_the_held_out_tenth_are_not_fitted(monkeypatch):
    """400 examples with two draws each, which here are the examples themselves."""
    parts = []
    monkeypatch.setattr(samplers, "POOL", 800)
    monkeypatch.setattr(
        samplers, "posterior_draws", lambda vae, x, num_draws, seed: np.stack([x] * num_draws)
    )
    monkeypatch.setitem(SAMPLERS, "mixture", lambda z, validation, **options: parts.extend([z, validation]))
    fit_sampler(four_corners(), np.float32(np.arange(800).reshape(400, 2)), seed=0)
    fitted, held_out = ({tuple(row) for row in part} for part in parts)
    assert [len(part) for part in parts] == [2 * 360, 2 * 40] and len(held_out) == 40
    assert not fitted & held_out


def test_the_gain_has_the_standard_error_of_its_mean():
    vae, x = four_corners(), corners(50)
    z = posterior_draws(vae, x, seed=3)[0]
    gain = (truth().log_prob(z) - vae.prior.log_prob(z)).numpy()
    compared = closeness(vae, truth(), x, seed=3)
    assert compared.gain == pytest.approx(gain.mean(), rel=1e-4)
    assert compared.error == pytest.approx(gain.std(ddof=1) / np.sqrt(50), rel=1e-4)


def test_the_mixture_is_scikit_learns():
    z = np.random.default_rng(0).standard_normal([300, 3]) * [1, 2, 0.1] + [0, 5, 0]
    theirs = GaussianMixture(3, random_state=0).fit(z)
    ours = samplers.as_mixture(theirs.weights_, theirs.means_, theirs.covariances_)
    np.testing.assert_allclose(ours.log_prob(np.float32(z)), theirs.score_samples(z), rtol=1e-4, atol=1e-3)
    wrong = samplers.as_mixture(
        theirs.weights_, theirs.means_, np.sqrt(np.abs(theirs.covariances_)) + np.eye(3)
    )
    assert np.abs(wrong.log_prob(np.float32(z)) - theirs.score_samples(z)).max() > 0.1


@pytest.mark.parametrize("kind", cases(SAMPLERS, slow=["flow"]))
def test_a_fit_follows_its_seed_and_leaves_the_model_alone(kind, monkeypatch):
    monkeypatch.setattr(samplers, "POOL", 300)
    monkeypatch.setattr(samplers, "STEPS", 50)
    monkeypatch.setattr(samplers, "CHECK_EVERY", 25)
    vae = four_corners()
    before = [v.numpy() for v in vae.variables]
    first, again, other = (fit_sampler(vae, corners(100), kind=kind, components=3, seed=s) for s in (1, 1, 2))
    z = posterior_draws(vae, corners(50), seed=1)[0]
    np.testing.assert_array_equal(first.log_prob(z), again.log_prob(z))
    assert not np.array_equal(first.log_prob(z), other.log_prob(z))
    for value, variable in zip(before, vae.variables, strict=True):
        np.testing.assert_array_equal(value, variable)


@pytest.mark.parametrize(
    ("options", "n", "message"),
    [
        ({"kind": "copula"}, 50, "mixture, flow; got 'copula'"),
        ({"components": 50}, 50, "as many examples as components"),
        ({}, 2, "got 2 for 2 components"),
    ],
)
def test_mistakes(options, n, message):
    with pytest.raises(InputError, match=message):
        fit_sampler(four_corners(), corners(n), **options)


def test_a_sphere_has_no_sampler():
    vae = tiny_vae("von_mises_fisher", prior="uniform_sphere")
    with pytest.raises(InputError, match="z lies on a sphere"):
        fit_sampler(vae, np.zeros([50, 8, 8, 1], np.float32))
