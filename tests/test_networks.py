import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from probvae import InputError, conv_vae
from probvae.networks import conv_decoder, conv_encoder


def test_the_tutorials_layers_and_sizes():
    """TensorFlow's tutorial, L = 2: 19,440 or so encoder weights and a decoder from 7x7x32."""
    encoder = tf_keras.Sequential(conv_encoder((28, 28, 1), seed=0))
    decoder = tf_keras.Sequential(conv_decoder((28, 28, 1), 2, channels=1, seed=0))
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
    whole = tf_keras.Sequential(conv_decoder((12, 12, 1), 2, filters=(3, 4), channels=1, seed=0))
    cropped = tf_keras.Sequential(conv_decoder((10, 11, 1), 2, filters=(3, 4), channels=1, seed=0))
    z = tf.constant([[0.5, -1.0]])
    np.testing.assert_array_equal(tf.reshape(cropped(z), [10, 11]), tf.reshape(whole(z), [12, 12])[:10, :11])


def test_too_small_an_image_is_refused_with_the_size_it_needs():
    with pytest.raises(InputError, match=r"6x28 are too small for 2 .* at least 7"):
        conv_vae((6, 28, 1))
    with pytest.raises(InputError, match="at least 15"):
        conv_vae((14, 14, 1), filters=(4, 4, 4))


def test_wide_and_deep():
    vae = conv_vae((32, 32, 3), filters=(8, 16, 512), latent_dim=5)
    assert vae.likelihood(tf.zeros([1, 5])).event_shape == (32, 32, 3)
