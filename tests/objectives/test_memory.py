"""Calls without a gradient decode in blocks, with the same numbers; gradients that do not fit are refused."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_vae

import probvae
from probvae import InputError, objectives
from probvae.objectives import memory
from probvae.sampling import draws

X = (np.random.default_rng(0).random([4, 8, 8, 1]) > 0.5).astype(np.float32)


@pytest.fixture
def decoded(monkeypatch):
    """The numbers of rows in the calls of the decoder, with a budget of a few rows."""
    sizes = []

    def watch(vae):
        network = vae._folded_decoder.split.network
        call = network.call
        monkeypatch.setattr(
            network, "call", lambda z, *args, **options: sizes.append(z.shape[0]) or call(z, *args, **options)
        )
        return sizes

    return watch


@pytest.mark.parametrize("choices", [("diagonal", "standard_normal"), ("iaf", "vamp")])
def test_blocks_have_the_numbers_of_one(choices, monkeypatch, decoded):
    vae = tiny_vae(choices[0], prior=choices[1])
    functions = {
        **{
            name: functools.partial(objectives.OBJECTIVES[name], num_samples=100) for name in ("iwae", "dreg")
        },
        "elbo": functools.partial(probvae.elbo, num_samples=100),
        "stl": functools.partial(objectives.stl, num_samples=20),
    }
    one = {name: function(vae, X, seed=1) for name, function in functions.items()}
    sizes = decoded(vae)
    monkeypatch.setattr(memory, "BUDGET", 2**17)
    for name, function in functions.items():
        sizes.clear()
        np.testing.assert_allclose(function(vae, X, seed=1), one[name], rtol=1e-5, err_msg=name)
        rows = 80 if name == "stl" else 400
        assert max(sizes) < rows <= sum(sizes), name


def test_a_call_that_fits_is_one_block(decoded):
    vae = tiny_vae()
    sizes = decoded(vae)
    probvae.iwae(vae, X, num_samples=100, seed=1)
    assert sizes == [400]


def test_a_gradient_that_does_not_fit_is_refused_before_it_starts(monkeypatch, decoded):
    vae = tiny_vae()
    sizes = decoded(vae)
    monkeypatch.setattr(memory, "BUDGET", 2**17)
    monkeypatch.setattr(memory, "available_memory", lambda: 2**20)
    with (
        tf.GradientTape(),
        pytest.raises(InputError, match=r"use at most .* draws \(num_samples\), or"),
    ):
        probvae.iwae(vae, X, num_samples=5000, seed=1)
    assert max(sizes, default=0) <= 16  # of graphs in which the values of a row are counted
    with tf.GradientTape() as tape:
        bound = probvae.iwae(vae, X, num_samples=2, seed=1)
    assert all(g is not None for g in tape.gradient(bound, vae.decoder.trainable_variables))
    probvae.iwae(vae, X, num_samples=500, seed=1)  # without a gradient it is not refused


def test_posterior_draws_take_fewer_examples_at_once_for_many_draws(monkeypatch):
    vae, rows = tiny_vae(), []
    posterior = type(vae).posterior
    monkeypatch.setattr(
        type(vae), "posterior", lambda self, x, *args: rows.append(len(x)) or posterior(self, x, *args)
    )
    draws.posterior_draws(vae, X, num_draws=3)
    monkeypatch.setattr(draws, "DRAWS", 100)
    assert draws.posterior_draws(vae, X, num_draws=50).shape == (50, 4, 2)
    assert rows == [4, 2, 2]
