import numpy as np
import pytest
import tensorflow as tf
from conftest import shared_vae
from linear_gaussian import LinearGaussian
from marked_cases import cases
from statistics_helpers import ALPHA, same_mean_p_value
from tensorflow_probability import distributions as tfd

import probvae
from probvae import InputError
from probvae.inference.marginal import METHODS


@pytest.mark.parametrize("method", cases(METHODS, slow=["exact"]))
def test_is_a_distribution_over_x(method):
    p = shared_vae().marginal(num_samples=5, method=method)  # p(x)
    assert isinstance(p, tfd.Distribution)
    assert p.event_shape == [8, 8, 1] and p.batch_shape == []
    x = p.sample([3, 2], seed=(0, 1))
    assert x.shape == [3, 2, 8, 8, 1]
    log_p = p.log_prob(x)
    assert log_p.shape == [3, 2]
    if method == "exact":  # the draws of the others depend on what is in the batch
        np.testing.assert_allclose(p.log_prob(x[0]), log_p[0], atol=0.02)
    assert p.log_prob(x[0, 0]).shape == []
    np.testing.assert_array_equal(log_p, p.log_prob(x))
    np.testing.assert_allclose(tf.function(p.log_prob)(x), log_p, rtol=1e-4)


def test_methods_agree_with_the_closed_form_in_order():
    model = LinearGaussian()
    vae, x = model.vae(stretch=1.3), model.sample(300, seed=0)
    truth = model.marginal.logpdf(x)
    np.testing.assert_allclose(vae.marginal(method="exact").log_prob(x), truth, atol=2e-3)
    iwae = vae.marginal(num_samples=500, method="iwae").log_prob(x).numpy()
    elbo = vae.marginal(num_samples=500, method="elbo").log_prob(x).numpy()
    assert np.abs(iwae - truth).mean() < 0.05
    assert elbo.mean() < iwae.mean() - 0.1


def test_samples_have_the_closed_form_moments():
    """Two-sample z-tests at `ALPHA` for mean and second moments; a wrong noise is caught."""
    model = LinearGaussian()
    drawn = model.vae().marginal().sample(20_000, seed=(0, 1)).numpy()
    expected = model.sample(20_000, seed=1)
    assert same_mean_p_value(drawn, expected) > ALPHA
    assert same_mean_p_value(drawn**2, expected**2) > ALPHA
    assert same_mean_p_value((1.1 * drawn) ** 2, expected**2) < ALPHA


def test_number_of_samples_is_used(x):
    vae = shared_vae()
    for k in (1, 7):
        expected = probvae.iwae(vae, x, num_samples=k, seed=3)
        np.testing.assert_array_equal(vae.marginal(num_samples=k, seed=3).log_prob(x), expected)


def test_usable_in_a_joint_and_a_mixture(x):
    p = shared_vae().marginal(num_samples=3)
    independent = tfd.Sample(p, 2)
    assert independent.log_prob(tf.stack([x[:2], x[1:3]])).shape == [2]
    joint = tfd.JointDistributionNamed({"x": p, "y": tfd.Normal(0.0, 1.0)})
    draw = joint.sample(4, seed=(0, 1))
    assert joint.log_prob(draw).shape == [4]


def test_iwae_has_gradients(x):
    vae = shared_vae()
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(vae.marginal(num_samples=3).log_prob(x))
    assert all(g is not None for g in tape.gradient(loss, vae.trainable_variables))


def test_bad_choices_are_refused():
    with pytest.raises(InputError, match="method must be one of iwae, elbo, exact; got 'magic'"):
        shared_vae().marginal(method="magic")
    with pytest.raises(InputError, match="up to 3 latent dimensions; this model has 4"):
        shared_vae(latent_dim=4).marginal(method="exact")
