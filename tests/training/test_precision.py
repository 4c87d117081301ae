"""Mixed precision: networks low, weights, distributions and the bound in float32."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import probvae
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.binarization import prepare
from probvae.data.dataset import DataSet
from probvae.models.building import build
from probvae.models.networks.registry import NETWORKS
from probvae.training.trainer import fit

IMAGES = np.random.default_rng(0).integers(0, 2, [64, 8, 8, 1]).astype(np.uint8)
IMAGES[:32, :4] = 0  # two kinds, so that there is something to learn
DATA = prepare(DataSet("tiny", IMAGES, IMAGES[::4], None, None, 1))
SHAPES = {"conv1d": (8, 2)}
LOW = {"mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}

# Of an example's bound, relative: rounding in the hidden layers, which the sum over 64 pixels averages, stays
# below it, and rounding the log-densities themselves to 8 or 11 bits does not.
TOLERANCE = {"mixed_bfloat16": 1e-3, "mixed_float16": 1.5e-4}


def architecture(network="conv", **choices):
    shape = SHAPES.get(network, (8, 8, 1))
    likelihood = "normal" if network == "conv1d" else "bernoulli"
    return Architecture(
        event_shape=shape, network=network, filters=(8, 8), units=(16,), likelihood=likelihood, **choices
    )


def pair(precision, network="conv", **choices):
    """A trained-looking model in float32 and the same weights in low precision."""
    models = [build(architecture(network, **choices), seed=1, precision=p) for p in ("float32", precision)]
    rng = np.random.default_rng(3)
    for variable in models[0].variables:
        variable.assign(1.5 * variable + 0.1 * rng.standard_normal(variable.shape))
    models[1].set_weights(models[0].get_weights())
    return models


def batch(vae):
    rng = np.random.default_rng(5)
    return tf.constant(rng.integers(0, 2, [32, *vae.event_shape]), tf.float32)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("network", NETWORKS)
def test_hidden_layers_are_low_and_all_else_is_float32(network, precision):
    vae = build(architecture(network), precision=precision)
    assert {v.dtype for v in vae.variables} == {tf.float32}
    layers = [layer for part in (vae.encoder, vae.decoder) for layer in part.layers]
    low = [layer.name for layer in layers if layer.compute_dtype == LOW[precision].name]
    assert len([name for name in low if name.startswith(("conv", "deconv", "dense", "gated", "resid"))]) >= 2
    for name in ("posterior_params", "posterior", "likelihood_params", "likelihood"):
        assert name not in low, name
    x = batch(vae)
    q = vae.posterior(x)
    z = q.sample(2, seed=(0, 1))
    p = vae.likelihood(z)
    dtypes = {q.dtype, z.dtype, p.dtype, q.log_prob(z).dtype, p.log_prob(x).dtype, p.mean().dtype}
    assert dtypes == {tf.float32}
    assert probvae.elbo(vae, x, seed=1).dtype == tf.float32
    assert tf_keras.mixed_precision.global_policy().name == "float32"


def largest_error(a, b):
    return np.max(np.abs(a - b) / np.abs(a))


@pytest.mark.parametrize("precision", LOW)
def test_the_bound_agrees_with_float32(precision):
    vae, low = pair(precision)
    x = batch(vae)
    a, b = (probvae.elbo(model, x, num_samples=4, seed=1).numpy() for model in (vae, low))
    assert 0 < largest_error(a, b) < TOLERANCE[precision]
    terms = probvae.objectives.log_terms(vae, x, num_samples=4, seed=1)  # the wrong variant: low densities
    rounded = [tf.cast(tf.cast(term, LOW[precision]), tf.float32) for term in terms[:3]]
    wrong = np.mean(rounded[0] + rounded[1] - rounded[2], axis=0)
    assert largest_error(a, wrong) > TOLERANCE[precision]


@pytest.mark.slow
@pytest.mark.parametrize("precision", LOW)
def test_training_agrees_with_float32(precision):
    training = Training(batch_size=16, epochs=15, learning_rate=1e-2)
    low = dataclasses.replace(training, precision=precision)
    found = []
    for chosen in (training, low):
        vae = build(architecture("mlp"), seed=1, precision=chosen.precision)
        found.append(fit(vae, DATA, chosen)[-1])
    assert found[1].test_elbo == pytest.approx(found[0].test_elbo, rel=0.02)
    assert found[0].test_elbo > -40 and found[1].skipped_steps == 0
