"""Groups of draws and the share of the ELBO: the bounds and gradients of Rainforth et al. 2018, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from linear_gaussian import LinearGaussian
from scipy.special import logsumexp
from tensorflow_probability import distributions as tfd

import probvae
from probvae.errors import InputError
from probvae.objectives import OBJECTIVES, elbo, iwae, log_weights, piwae

MODEL = LinearGaussian(noise=2.0)
VAE = MODEL.vae(shift=0.2, stretch=1.3)
X = tf.constant(MODEL.sample(4, seed=1))
M, K = 3, 5


@pytest.mark.parametrize("beta", [0, 0.05, 1])
def test_groups_and_beta_are_the_hand_written_ones(beta):
    """Groups across the draws, K and M exchanged, or beta on the other term would be caught."""
    log_w = log_weights(VAE, X, num_samples=M * K, seed=3).numpy().astype(float)
    groups = logsumexp(log_w.reshape(M, K, -1), axis=1) - np.log(K)
    expected = beta * log_w.mean(axis=0) + (1 - beta) * groups.mean(axis=0)
    found = iwae(VAE, X, num_samples=K, groups=M, beta=beta, seed=3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    exchanged = (logsumexp(log_w.reshape(K, M, -1), axis=1) - np.log(M)).mean(axis=0)
    strided = (logsumexp(log_w.reshape(K, M, -1), axis=0) - np.log(K)).mean(axis=0)
    for wrong in (exchanged, strided):
        assert np.abs(groups.mean(axis=0) - wrong).max() > 1e-3
    assert np.abs(log_w.mean(axis=0) - groups.mean(axis=0)).min() > 0.05


def test_groups_of_one_draw_are_the_elbo_and_one_group_changes_no_bit():
    np.testing.assert_allclose(
        iwae(VAE, X, num_samples=1, groups=6, seed=2), elbo(VAE, X, num_samples=6, seed=2), rtol=1e-6
    )
    plain = tf.reduce_logsumexp(log_weights(VAE, X, num_samples=K, seed=2), axis=0) - np.log(K)
    np.testing.assert_array_equal(iwae(VAE, X, num_samples=K, seed=2), plain)


def test_batches_of_several_axes_have_the_values_of_their_examples():
    """As those of every class in the M2 model, [C, B, D]."""
    x = tf.reshape(X, [2, 2, -1])
    q = VAE.posterior(x)
    z = q.sample(M * K, seed=(0, 3))
    log_w = VAE.likelihood(z).log_prob(x) + VAE.prior.log_prob(z) - q.log_prob(z)
    expected = (logsumexp(log_w.numpy().reshape(M, K, 2, 2), axis=1) - np.log(K)).mean(axis=0)
    np.testing.assert_allclose(iwae(VAE, x, num_samples=K, groups=M, seed=3), expected, rtol=1e-5)
    assert piwae(VAE, x, num_samples=K, groups=M, seed=3).shape == [2, 2]


PRIOR = tfd.MultivariateNormalDiag(tf.Variable([0.3, -0.2]), tf.Variable([1.2, 0.7]))
TRAINED = probvae.VAE(PRIOR, VAE.encoder, VAE.decoder)


def gradients(objective, *, compiled, **options):
    """Value, gradient of decoder and prior, and gradient of the encoder."""
    generative = [*VAE.decoder.trainable_variables, *PRIOR.trainable_variables]
    variables = [*generative, *VAE.encoder.trainable_variables]

    def step():
        with tf.GradientTape() as tape:
            value = objective(TRAINED, X, seed=2, **options)
        return value, tape.gradient(value, variables)

    value, found = tf.function(step, autograph=False)() if compiled else step()
    assert len(generative) == 4 and all(gradient is not None for gradient in found)
    return value, found[:4], found[4:]


@pytest.mark.parametrize("compiled", [False, True])
def test_piwae_has_the_gradients_of_two_bounds(compiled):
    """At the same draws, so without randomness: with either bound for all parts, it would differ."""
    value, generative, encoder = gradients(piwae, num_samples=K, groups=M, compiled=compiled)
    whole, of_whole, encoder_of_whole = gradients(iwae, num_samples=M * K, compiled=compiled)
    _, of_groups, encoder_of_groups = gradients(iwae, num_samples=K, groups=M, compiled=compiled)
    np.testing.assert_allclose(value, whole, rtol=1e-5)
    for ours, theirs in zip([*generative, *encoder], [*of_whole, *encoder_of_groups], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)
    for right, wrong in ((encoder, encoder_of_whole), (generative, of_groups)):
        assert max(np.abs(a - b).max() for a, b in zip(right, wrong, strict=True)) > 1e-2


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (iwae, {"groups": 0}, "groups must be a whole number of at least 1; got 0"),
        (iwae, {"groups": 2.5}, "groups must be a whole number of at least 1"),
        (iwae, {"beta": 1.5}, "beta must be a finite number from 0 to 1; got 1.5"),
        (iwae, {"beta": float("nan")}, "beta must be a finite number from 0 to 1; got nan"),
        (piwae, {"groups": -1}, "groups must be a whole number of at least 1; got -1"),
        (piwae, {"num_samples": 0}, "num_samples must be a whole number of at least 1; got 0"),
    ],
)
def test_wrong_numbers_of_groups_and_shares_are_refused(objective, options, message):
    with pytest.raises(InputError, match=message):
        objective(VAE, X, seed=0, **options)


def test_no_objective_has_the_name_of_two_bounds():
    """MIWAE is a bound with groups of draws (Rainforth et al.), and one of missing values (Mattei et al.)."""
    assert not {"miwae"} & set(OBJECTIVES)
