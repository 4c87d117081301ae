"""Parts that do not make a model are refused, each in one sentence."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

PRIOR = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
dense, inputs = tf_keras.layers.Dense, tf_keras.layers.InputLayer


def encoder(shape=(5,), size=2):
    layers = [inputs(shape), tf_keras.layers.Flatten(), dense(tfpl.MultivariateNormalTriL.params_size(size))]
    return tf_keras.Sequential([*layers, tfpl.MultivariateNormalTriL(size)])


def decoder(size=2):
    return tf_keras.Sequential([inputs((size,)), dense(5), tfpl.IndependentBernoulli((5,))])


def plain(*sizes):
    return tf_keras.Sequential([inputs((sizes[0],)), *map(dense, sizes[1:])])


def with_kl():
    params = tfpl.MultivariateNormalTriL.params_size(2)
    layers = [inputs((5,)), dense(params), tfpl.MultivariateNormalTriL(2), tfpl.KLDivergenceAddLoss(PRIOR)]
    return tf_keras.Sequential(layers)


def keras3():
    return tf.keras.Sequential([tf.keras.layers.Dense(2)])


class Raises(tf_keras.Model):
    def call(self, x, training=False):
        raise ValueError("this network is broken")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: (encoder(), decoder(), PRIOR), "The prior must be a tfd.Distribution; got a Seq"),
        (
            lambda: (PRIOR, decoder(), encoder()),
            r"The decoder must take z of shape \[2\].*prior, encoder, dec",
        ),
        (lambda: (PRIOR, encoder(), PRIOR), "The decoder must be a Keras model of tf_keras.*got a Multiv"),
        (lambda: (PRIOR, None, decoder()), "The encoder must be a Keras model.*got None"),
        (
            lambda: (PRIOR, plain(5, 2), decoder()),
            "The encoder must return a distribution; it ret",
        ),
        (
            lambda: (PRIOR, encoder(), plain(2, 5)),
            "The decoder must return a distribution; it ret",
        ),
        (lambda: (PRIOR, encoder(size=3), decoder()), r"event shape \[2\].*returned event shape \[3\]"),
        (
            lambda: (PRIOR, encoder(shape=(4,)), decoder()),
            r"The encoder must take x of shape \[5\]; it takes",
        ),
        (lambda: (PRIOR, encoder(), decoder(size=3)), r"The decoder must take z of shape \[2\]"),
        (lambda: (PRIOR, Raises(), decoder()), "The encoder cannot be called: this network is broken"),
        (lambda: (PRIOR, with_kl(), decoder()), "the KL would count twice"),
        (lambda: (PRIOR, keras3(), decoder()), "The encoder must be of tf_keras.*import tf_keras"),
        (
            lambda: (tfd.Normal([0.0, 0.0], 1.0), encoder(), decoder()),
            "The prior must be one distribution",
        ),
        (lambda: (tfd.Normal(0.0, 1.0), encoder(), decoder()), r"The prior must have an event shape \[L\]"),
    ],
)
def test_parts_that_make_no_model(parts, message):
    with pytest.raises(probvae.InputError, match=message):
        probvae.VAE(*parts())


def test_parts_of_conditional_models():
    with pytest.raises(probvae.InputError, match="decoder of an M2VAE must be a Sequential"):
        probvae.M2VAE(PRIOR, encoder(shape=(8,)), decoder(), plain(5, 3))
    with pytest.raises(probvae.InputError, match="The classifier must return a distribution"):
        probvae.M2VAE(PRIOR, encoder(shape=(8,)), decoder(size=5), plain(5, 3))
    with pytest.raises(
        probvae.InputError, match=r"context_dim must be a whole number of at least 1; got 2\.5"
    ):
        probvae.ConditionalVAE(PRIOR, encoder(), decoder(), context_dim=2.5)


@pytest.fixture
def mixed_precision():
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf_keras.mixed_precision.set_global_policy(None)


def test_a_global_policy_does_not_reach_built_models_and_is_named_for_own_ones(mixed_precision):
    x = np.ones([2, 8, 8, 1], np.float32)
    each = [[name for name in table if not table[name].on_sphere] for table in (POSTERIORS, PRIORS)]
    for choices in (
        *({"posterior": q, "prior": p} for q, p in itertools.zip_longest(*each, fillvalue=each[1][0])),
        {"likelihood": "normal_shared"},
        {"context_dim": 3, "classifier": True},
    ):
        vae = tiny_vae(**choices)
        assert vae.dtype == "float32" and all(v.dtype == tf.float32 for v in vae.variables)
        assert vae.posterior(vae.join(x, [0, 1]) if vae.context_dim else x).dtype == tf.float32
    with pytest.raises(probvae.InputError, match=r"returns a distribution of bfloat16.*dtype='float32'"):
        probvae.VAE(PRIOR, encoder(), decoder())


def test_models_of_float64():
    tf_keras.backend.set_floatx("float64")
    try:
        prior = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64), tf.ones(2, tf.float64))
        params = tfpl.IndependentNormal.params_size((5,))
        normal = tf_keras.Sequential([inputs((2,)), dense(params), tfpl.IndependentNormal((5,))])
        vae = probvae.VAE(prior, encoder(), normal)
    finally:
        tf_keras.backend.set_floatx("float32")
    assert probvae.elbo(vae, np.ones([3, 5]), seed=0).dtype == tf.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": "a"}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"precision": "float8"}, "precision must be one of float32"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
    ],
)
def test_options_of_build(options, message):
    with pytest.raises(probvae.InputError, match=message):
        probvae.build(probvae.Architecture(event_shape=(5,), network="mlp"), **options)
