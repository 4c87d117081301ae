"""Tiny models and images that the tests share."""

import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import probvae

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # where a shell runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes that tests start shall hear it

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"


def tiny_vae(
    posterior: str = "diagonal", *, latent_dim: int = 2, seed: int = 0, gain: float = 2.0, **choices
):
    """A convolutional VAE on 8x8 images whose weights are large enough for every term to matter."""
    vae = probvae.conv_vae(
        (8, 8, 1), latent_dim=latent_dim, posterior=posterior, filters=(3, 4), seed=seed, **choices
    )
    rng = np.random.default_rng(seed)
    for variable in vae.trainable_variables:
        variable.assign(gain * variable + 0.1 * rng.standard_normal(variable.shape))
    return vae


@pytest.fixture(params=["diagonal", "tril"])
def vae(request):
    return tiny_vae(request.param)


@pytest.fixture
def x():
    """Five binary images of 8x8."""
    return tf.constant(np.random.default_rng(7).integers(0, 2, [5, 8, 8, 1]), tf.float32)


@pytest.fixture(scope="session")
def mnist_path():
    if not MNIST.is_file():
        pytest.skip("real MNIST is absent: put mnist.npz into ../shared/data to run this test")
    return MNIST
