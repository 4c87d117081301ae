"""Models that eight threads call at the same time give the numbers of one thread."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conditional_models import parts
from conftest import tiny_vae
from marked_cases import cases
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl
from test_vae import own_networks

import probvae
from probvae.config.architecture import Architecture
from probvae.models.building import build
from probvae.models.conditional import ConditionalVAE
from probvae.objectives.semisupervised import m2
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

THREADS = 8
X = (np.random.default_rng(0).random([6, 8, 8, 1]) > 0.5).astype(np.float32)
SMALL = Architecture(event_shape=(8, 8, 1), network="mlp", units=(4,))


def at_once(calls):
    """Results of all calls, each made by eight threads at about the same time."""
    start = threading.Barrier(THREADS)

    def work(thread):
        start.wait()
        order = np.random.default_rng(thread).permutation(len(calls))
        return [(i, calls[i]()) for i in order]

    with ThreadPoolExecutor(THREADS) as pool:
        return [result for results in pool.map(work, range(THREADS)) for result in results]


def assert_thread_safe(calls):
    expected = [np.asarray(call()) for call in calls]
    for i, result in at_once(calls):
        np.testing.assert_allclose(result, expected[i], rtol=1e-5, atol=1e-5)


def calls_of(vae):
    """Calls of a model with one batch axis and with two."""
    z = np.zeros([2, 3, vae.latent_dim], np.float32)
    return [
        lambda: vae.posterior(np.stack([X, X])).sample(seed=(0, 1)),
        lambda: vae.likelihood(z[0]).log_prob(X[:3]),
        lambda: vae.likelihood(z).mean(),
        lambda: probvae.iwae(vae, X[:3], num_samples=3, seed=1),
    ]


PAIRS = [(q, "mixture" if q != "von_mises_fisher" else "uniform_sphere") for q in POSTERIORS]
PAIRS += [("diagonal", p) for p in PRIORS if p not in ("uniform_sphere", "mixture")]


QUICK = [("tril", "mixture"), ("diagonal", "vamp")]


@pytest.mark.parametrize(
    ("posterior", "prior"), cases(PAIRS, slow=[pair for pair in PAIRS if pair not in QUICK])
)
def test_every_posterior_and_prior(posterior, prior):
    vae = build(dataclasses.replace(SMALL, posterior=posterior, prior=prior))
    direct = [lambda: vae.encoder(X).mean(), lambda: vae.decoder(vae.encoder(X[:2]).mean()).mean()]
    assert_thread_safe([*calls_of(vae), *direct])


@pytest.mark.slow
def test_predictions_and_draws():
    vae = tiny_vae()
    calls = [
        lambda: vae(X).mean(),
        lambda: vae.predict(X, verbose=0),
        lambda: vae.reconstruct(X, seed=1),
        lambda: vae.sample(3, seed=1),
        lambda: vae.marginal(num_samples=4).log_prob(X),
        lambda: vae.joint().log_prob(z=tf.zeros([2, 2]), x=X[:2]),
    ]
    assert_thread_safe(calls)


@pytest.mark.slow
def test_a_compiled_function_traced_by_all_threads():
    vae = build(dataclasses.replace(SMALL, posterior="iaf", prior="vamp", components=4))
    expected = probvae.elbo(vae, X, seed=1).numpy()
    compiled = tf.function(lambda x: probvae.elbo(vae, x, seed=1), autograph=False)
    own = [tf.function(lambda x: probvae.elbo(vae, x, seed=1), autograph=False) for _ in range(1)]
    calls = [lambda: compiled(X), *(lambda f=f: f(X) for f in own), lambda: probvae.elbo(vae, X, seed=1)]
    for _, result in at_once(calls):
        np.testing.assert_allclose(result, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "kind", cases(["sequential", "functional", "subclassed"], slow=["sequential", "functional"])
)
def test_networks_of_the_callers_own(kind):
    vae = own_networks(kind, convert_to_tensor_fn=tfd.Distribution.mean)
    assert_thread_safe(calls_of(vae))


def test_a_distribution_layer_in_the_middle():
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((8, 8, 1)),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(8),
            tfpl.DistributionLambda(lambda h: tfd.Normal(h, 1.0), convert_to_tensor_fn=tfd.Distribution.mean),
            tf_keras.layers.Dense(tfpl.MultivariateNormalTriL.params_size(3)),
            tfpl.MultivariateNormalTriL(3, convert_to_tensor_fn=tfd.Distribution.mean),
        ]
    )
    own = own_networks()
    assert_thread_safe(calls_of(probvae.VAE(own.prior, encoder, own.decoder)))


@pytest.mark.slow
def test_conditional_models_and_ladders():
    conditional = ConditionalVAE(*parts(), context_dim=3)
    given = conditional.given(1)
    semi = build(dataclasses.replace(SMALL, context_dim=3, classifier=True))
    ladder = build(dataclasses.replace(SMALL, latent_layers=(1, 1)))
    joined = np.array(conditional.join(X, [0, 1, 2, 0, 1, 2]))
    assert_thread_safe(
        [
            *calls_of(given),
            *calls_of(ladder),
            lambda: probvae.elbo(conditional, joined, seed=1),
            lambda: m2(semi, joined, seed=1),
            lambda: semi.classifier(X).mean(),
        ],
    )
