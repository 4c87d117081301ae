import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from marked_cases import cases

from probvae import Architecture, InputError, conv_vae
from probvae.models import building
from probvae.models.networks.convolutions import conv_decoder, conv_encoder
from probvae.models.networks.layers import NetworkOptions
from probvae.models.networks.registry import NETWORKS, network

SHAPES = {1: (11,), 2: (13, 2), 3: (10, 12, 1)}
SMALL = NetworkOptions(filters=(3, 4), units=(7, 5), base_channels=4)
CASES = [
    (name, shape)
    for name, entry in NETWORKS.items()
    for rank, shape in SHAPES.items()
    if rank in (entry.event_ranks or SHAPES)
]


def test_the_tutorials_layers_and_sizes():
    """TensorFlow's tutorial, L = 2: 19,440 or so encoder weights and a decoder from 7x7x32."""
    encoder = tf_keras.Sequential(conv_encoder((28, 28, 1), options=NetworkOptions(), seed=0))
    decoder = tf_keras.Sequential(conv_decoder((28, 28, 1), 2, options=NetworkOptions(), seed=0))
    assert [tuple(w.shape) for w in encoder.weights] == [(3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,)]
    assert encoder.output_shape == (None, 6 * 6 * 64)
    assert [tuple(w.shape) for w in decoder.weights] == [
        (2, 7 * 7 * 32),
        (7 * 7 * 32,),
        (3, 3, 64, 32),
        (64,),
        (3, 3, 32, 64),
        (32,),
        (3, 3, 1, 32),
        (1,),
    ]
    assert decoder.output_shape == (None, 784)


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 7, 1), (9, 14, 3), (31, 10, 2)])
@pytest.mark.parametrize("filters", [(4,), (4, 5)])
def test_any_image_shape(shape, filters):
    vae = conv_vae(shape, latent_dim=3, filters=filters)
    x = tf.zeros([2, *shape])
    assert vae.posterior(x).event_shape == [3]
    assert vae.likelihood(tf.zeros([2, 3])).event_shape == shape
    assert vae.likelihood(tf.zeros([4, 2, 3])).log_prob(x).shape == [4, 2]


def test_cropping_keeps_the_near_corner():
    """A side that 4 does not divide is cropped at its far end, so the rest equals the uncropped one."""
    whole = tf_keras.Sequential(conv_decoder((12, 12, 1), 2, options=SMALL, seed=0))
    cropped = tf_keras.Sequential(conv_decoder((10, 11, 1), 2, options=SMALL, seed=0))
    z = tf.constant([[0.5, -1.0]])
    np.testing.assert_array_equal(tf.reshape(cropped(z), [10, 11]), tf.reshape(whole(z), [12, 12])[:10, :11])


def test_too_small_an_image_is_refused_with_the_size_it_needs():
    with pytest.raises(InputError, match=r"6x28 are too small for 2 .* at least 7"):
        conv_vae((6, 28, 1))
    with pytest.raises(InputError, match="at least 15"):
        conv_vae((14, 14, 1), filters=(4, 4, 4))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_network_takes_its_shapes_and_trains_every_weight(name, shape):
    """Shapes of both halves; from one seed one net; every variable gets a gradient that is not zero."""
    entry = NETWORKS[name]
    output_shape = (*shape[:-1], 3 * shape[-1])
    x = tf.constant(np.random.default_rng(0).standard_normal([4, *shape]), tf.float32)
    z = tf.constant(np.random.default_rng(1).standard_normal([4, 3]), tf.float32)
    for layers, inputs, size in (
        (lambda seed: entry.encoder(shape, options=SMALL, seed=seed), x, None),
        (lambda seed: entry.decoder(output_shape, 3, options=SMALL, seed=seed), z, math.prod(output_shape)),
    ):
        net, again, other = (tf_keras.Sequential(layers(seed)) for seed in (1, 1, 2))
        out = net(inputs)
        assert out.shape[0] == 4 and len(out.shape) == 2 and (size is None or out.shape[1] == size)
        np.testing.assert_array_equal(out, again(inputs))
        assert not np.allclose(out, other(inputs))
        for variable in net.trainable_variables:  # residual blocks start at zero: move away from there
            variable.assign_add(0.05 * tf.random.stateless_normal(variable.shape, (0, 3)))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(net(inputs) ** 2)
        for gradient in tape.gradient(loss, net.trainable_variables):
            assert np.any(gradient != 0) and np.all(np.isfinite(gradient))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_shape_that_does_not_fit_names_the_networks_that_do(name):
    for shape in SHAPES.values():
        if (name, shape) in CASES:
            assert network(name, shape) is NETWORKS[name]
        else:
            with pytest.raises(InputError, match=r"x is of shape .*Use one of .*mlp, gated_mlp"):
                network(name, shape)


def test_series_of_a_length_that_the_strides_do_not_divide():
    a = Architecture((13, 2), network="conv1d", filters=(3, 4), latent_dim=3)
    vae = building.build(a)
    assert vae.likelihood(tf.zeros([4, 2, 3])).log_prob(tf.zeros([2, 13, 2])).shape == [4, 2]


def test_wide_and_deep():
    vae = conv_vae((32, 32, 3), filters=(8, 16, 512), latent_dim=5)
    assert vae.likelihood(tf.zeros([1, 5])).event_shape == (32, 32, 3)


SLOW = [
    case for case in CASES if (case[0] in ("mlp", "gated_mlp") and len(case[1]) > 1) or case[0] == "conv1d"
]


@pytest.mark.parametrize(("name", "shape"), cases(CASES, slow=SLOW))
def test_dropout_follows_every_hidden_layer_and_has_no_variables(name, shape):
    """The weights are those without it; at inference it plays no part."""
    options = {"event_shape": shape, "filters": (3, 4), "units": (7, 5), "network": name}
    for more in ({}, {"context_dim": 3, "classifier": True}, {"latent_layers": (1, 1)}):
        architecture = Architecture(**options, **more)
        plain, vae = (building.build(architecture, seed=1, dropout=rate) for rate in (0.0, 0.5))
        for a, b in zip(plain.variables, vae.variables, strict=True):
            assert a.name.split("/")[-1] == b.name.split("/")[-1]
            np.testing.assert_array_equal(a, b)
        x = np.ones([2, *vae.event_shape], np.float32)
        if vae.context_dim:
            x[:, 1 - vae.context_dim :] = 0  # the first class
        np.testing.assert_array_equal(vae.posterior(x).mean(), plain.posterior(x).mean())
        networks = [part for part in vae.named_parts().values() if isinstance(part, tf_keras.Model)]
        drops = [[la for la in net.layers if isinstance(la, tf_keras.layers.Dropout)] for net in networks]
        hidden = [2 + ("latent_layers" in more), 3 - (name in ("mlp", "gated_mlp")), 2][: len(networks)]
        assert [len(found) for found in drops] == hidden
        assert {layer.rate for found in drops for layer in found} == {0.5}
