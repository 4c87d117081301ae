import numpy as np
import pytest
import tensorflow as tf

from probvae import InputError
from probvae.likelihoods import LIKELIHOODS, check_support

EVENT = (4, 3, 2)


def p_x(name, leading=(5,)):
    likelihood = LIKELIHOODS[name]
    size = [*leading, likelihood.params_per_value * int(np.prod(EVENT))]
    params = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    return params, likelihood.head(EVENT)(tf.constant(params))


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("leading", [(5,), (3, 5)])
def test_shapes_and_support_of_draws(name, leading):
    _, p = p_x(name, leading)
    assert p.batch_shape == leading and p.event_shape == EVENT
    x = p.sample(seed=(0, 1))
    assert x.shape == (*leading, *EVENT)
    assert p.log_prob(x[..., :, :, :] if len(leading) == 1 else x[0]).shape == leading
    check_support(name, x.numpy())


def test_bernoulli_log_prob_is_the_hand_written_cross_entropy():
    logits, p = p_x("bernoulli")
    x = np.random.default_rng(2).integers(0, 2, [5, *EVENT])
    flat = x.reshape(5, -1)
    expected = np.sum(flat * -np.log1p(np.exp(-logits)) + (1 - flat) * -np.log1p(np.exp(logits)), axis=1)
    np.testing.assert_allclose(p.log_prob(tf.constant(x, tf.float32)), expected, rtol=1e-5)
    assert np.abs(p.log_prob(tf.constant(1.0 - x, tf.float32)) - expected).min() > 0.01


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_standing_in_for_a_tensor_draws_nothing(name):
    _, p = p_x(name)
    np.testing.assert_array_equal(tf.convert_to_tensor(p), p.mean())


def test_support_names_what_came_and_what_to_do():
    grey = np.array([0.0, 0.25, 1.0])
    with pytest.raises(InputError, match=r"0 or 1 .* from 0 to 1, 1 of 3 .* strictly between. Do that."):
        check_support("bernoulli", grey, advice="Do that.")
