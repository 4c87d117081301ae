import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from probvae import InputError
from probvae.inference.amortization import decompose, optimize_posteriors


def kl_of_stretch(stretch, latent=2):
    """KL(N(m, s^2 P) || N(m, P)) in nats."""
    return 0.5 * latent * (stretch**2 - 1 - 2 * np.log(stretch))


@pytest.mark.slow
def test_gaps_of_a_family_that_holds_the_truth():
    """TriL holds p(z|x): no approximation gap; the amortization gap is the closed-form KL."""
    model, shift, stretch = LinearGaussian(), 0.3, 1.5
    x = model.sample(40, seed=1)
    optimized = optimize_posteriors(
        model.vae(shift=shift, stretch=stretch), x, num_steps=400, num_samples=16, seed=0
    )
    gaps = decompose(model.marginal.logpdf(x), optimized)
    move = np.full(2, shift)
    expected = kl_of_stretch(stretch) + 0.5 * move @ np.linalg.inv(model.covariance) @ move
    assert np.abs(gaps.approximation).max() < 0.05
    error = np.sqrt(np.mean(optimized.amortized_standard_error**2) / len(x))
    assert abs(gaps.amortization.mean() - expected) < 6 * error + 0.03
    assert abs(2 * gaps.amortization.mean() - expected) > 0.1


def test_gaps_add_up_and_no_posterior_gets_worse():
    model = LinearGaussian()
    x = model.sample(130, seed=1)  # a whole block and a remainder
    optimized = optimize_posteriors(model.vae(stretch=1.3), x, num_steps=20, seed=0)
    gaps = decompose(model.marginal.logpdf(x), optimized)
    assert optimized.elbo.shape == (130,) and optimized.parameters.shape == (130, 5)
    total = model.marginal.logpdf(x) - optimized.amortized_elbo
    np.testing.assert_allclose(gaps.approximation + gaps.amortization, total)
    assert np.all(gaps.amortization >= -6 * optimized.gain_standard_error)
    unpaired = np.hypot(optimized.standard_error, optimized.amortized_standard_error)
    assert optimized.gain_standard_error.mean() < 0.9 * unpaired.mean()


def test_the_models_weights_stay():
    model = LinearGaussian()
    vae = model.vae(stretch=1.3)
    before = vae.get_weights()
    optimize_posteriors(vae, model.sample(5, seed=1), num_steps=3, seed=0)
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_opaque_encoder_is_refused():
    model = LinearGaussian()
    vae = model.vae()
    vae._folded_encoder.split = None
    with pytest.raises(InputError, match="needs an encoder that is a Sequential or functional"):
        optimize_posteriors(vae, model.sample(2, seed=1))
