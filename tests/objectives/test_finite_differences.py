"""Gradients of objectives by finite differences, part by part: none is stopped or let through wrongly."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from conditional_models import tiny_m2
from linear_gaussian import LinearGaussian
from tensorflow_probability import distributions as tfd

import probvae
from probvae.objectives import OBJECTIVES, beta_tc, elbo, free_bits, iwae, m2, mmd, renyi

MODEL = LinearGaussian(noise=2.0)
X = tf.constant(MODEL.sample(4, seed=1))
CASES = {
    "elbo": functools.partial(elbo, beta=2.0),
    "iwae": functools.partial(iwae, num_samples=3),
    "iwae of groups": functools.partial(iwae, num_samples=3, groups=2, beta=0.3),
    "renyi": functools.partial(renyi, num_samples=3),
    "free_bits": functools.partial(free_bits, free_bits=0.1),
    "beta_tc": beta_tc,
    "mmd": mmd,
}


@functools.cache
def vae():
    """A model whose prior is learned, and whose draws have gradients with respect to it."""
    plain = MODEL.vae(shift=0.2, stretch=1.3)
    loc, scale = tf.Variable([0.3, -0.2]), tf.Variable([0.8, 1.3])
    return probvae.VAE(tfd.MultivariateNormalDiag(loc, scale), plain.encoder, plain.decoder)


def slopes(bound, variables, step):
    """The slope along the gradient with respect to each variable, divided by the gradient's own."""
    with tf.GradientTape() as tape:
        value = bound()
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        direction, before, values = gradient / tf.norm(gradient), variable.numpy(), []
        for sign in (1, -1):
            variable.assign(before + sign * step * direction)
            values.append(float(bound()))
        variable.assign(before)
        yield (values[0] - values[1]) / (2 * step) / float(tf.norm(gradient))


@pytest.mark.parametrize("name", CASES)
def test_gradient_of_every_part_is_the_finite_difference(name):
    def bound():
        return tf.reduce_mean(CASES[name](vae(), X, seed=2))

    # The encoder's and the decoder's kernels, and both parameters of the prior.
    variables = [vae().encoder.trainable_variables[0], vae().decoder.trainable_variables[0]]
    ratios = list(slopes(bound, [*variables, *vae().prior.trainable_variables], 3e-3))
    np.testing.assert_allclose(ratios, 1, atol=0.02)


def test_gradient_of_m2_is_the_finite_difference():
    """Of one example whose class is known and one whose class is not."""
    model = tiny_m2()
    x = np.random.default_rng(0).integers(0, 2, [2, 6])
    x = tf.constant(np.concatenate([x, [[0, 1, 0], [0, 0, 0]]], axis=1), tf.float32)
    variables = [part.trainable_variables[0] for part in (model.encoder, model.decoder, model.classifier)]
    ratios = list(slopes(lambda: tf.reduce_sum(m2(model, x, seed=3)), variables, 3e-3))
    np.testing.assert_allclose(ratios, 1, atol=0.03)


def test_draws_of_a_prior_without_their_whole_gradient_have_none():
    """The prior of a mixture moves by the ELBO alone, though mmd draws from it."""
    locs = tf.Variable([[-1.0, 0.0], [1.0, 0.5]])
    weights, plain = tfd.Categorical(logits=[0.0, 0.3]), MODEL.vae(shift=0.2, stretch=1.3)
    prior = tfd.MixtureSameFamily(weights, tfd.MultivariateNormalDiag(locs, tf.ones([2, 2])))
    model = probvae.VAE(prior, plain.encoder, plain.decoder)
    gradients = []
    for objective in (elbo, mmd):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(objective(model, X, seed=2))
        gradients.append(tape.gradient(value, locs))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5)


def test_every_objective_of_a_plain_gradient_is_there():
    # whose gradients leave terms out, or are those of two bounds; see test_gradients.py and test_groups.py
    others = {"stl", "dreg", "chi", "piwae"}
    assert {name.split()[0] for name in CASES} | others == set(OBJECTIVES)
