"""The VAE of TensorFlow Probability's notebook, with the KL counted once or, as there, twice.

The notebook "TFP Probabilistic Layers: Variational Auto Encoder" gives its encoder a
`KLDivergenceRegularizer`, which Keras lists twice among the losses of the layer. So the notebook maximises
E_q[log p(x|z)] - 2 KL, the ELBO with beta = 2, and the loss that it prints is not the negative ELBO. The
networks, batches of 256, Adam with a rate of 1e-3 and 15 epochs are those of the notebook; pixels are drawn
anew in every epoch.
"""

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from measures import Measure, negative_mean
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae import inference
from probvae.data import binarization, loading
from probvae.seeds import fold_in

LATENT, DEPTH = 16, 32


def build(depth: int = DEPTH) -> probvae.VAE:
    """Build the VAE with the notebook's networks; `depth` is the number of filters of their first layers."""
    conv = functools.partial(tf_keras.layers.Conv2D, activation=tf.nn.leaky_relu)
    transposed = functools.partial(tf_keras.layers.Conv2DTranspose, activation=tf.nn.leaky_relu)
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((28, 28, 1)),
            tf_keras.layers.Rescaling(1.0, offset=-0.5),
            conv(depth, 5, strides=1, padding="same"),
            conv(depth, 5, strides=2, padding="same"),
            conv(2 * depth, 5, strides=1, padding="same"),
            conv(2 * depth, 5, strides=2, padding="same"),
            conv(4 * LATENT, 7, strides=1, padding="valid"),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(tfpl.MultivariateNormalTriL.params_size(LATENT)),
            tfpl.MultivariateNormalTriL(LATENT),
        ]
    )
    decoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((LATENT,)),
            tf_keras.layers.Reshape([1, 1, LATENT]),
            transposed(2 * depth, 7, strides=1, padding="valid"),
            transposed(2 * depth, 5, strides=1, padding="same"),
            transposed(2 * depth, 5, strides=2, padding="same"),
            transposed(depth, 5, strides=1, padding="same"),
            transposed(depth, 5, strides=2, padding="same"),
            transposed(depth, 5, strides=1, padding="same"),
            tf_keras.layers.Conv2D(1, 5, padding="same"),
            tf_keras.layers.Flatten(),
            tfpl.IndependentBernoulli((28, 28, 1)),
        ]
    )
    prior = tfd.MultivariateNormalDiag(tf.zeros(LATENT), tf.ones(LATENT))
    return probvae.VAE(prior, encoder, decoder)


def made(words: Sequence[str], seed: int, folder: Path) -> dict[str, Any]:
    """Train and evaluate, and return the measures and the minutes of the training."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--depth", type=int, default=DEPTH)
    parser.add_argument("--num-samples", type=int, default=5000)
    parser.add_argument("--limit", type=int, default=None)
    options = parser.parse_args(words)
    data = binarization.prepare(loading.load(options.data), binarize="dynamic", likelihood="bernoulli")
    train, test = np.asarray(data.train), np.asarray(data.test[: options.limit], np.float32)
    tf_keras.utils.set_random_seed(seed)
    vae, start = build(options.depth), time.perf_counter()
    vae.compile(tf_keras.optimizers.Adam(1e-3), functools.partial(probvae.elbo, beta=options.beta))
    for epoch in range(options.epochs):
        x = data.feed(tf.constant(train), fold_in(seed, epoch))
        vae.fit(x, batch_size=256, verbose=2)
    seconds = time.perf_counter() - start
    estimates = inference.importance(vae, test, num_samples=options.num_samples, seed=seed)
    terms = vae.evaluate(test, batch_size=500, verbose=0, return_dict=True)
    measures = {
        "-ELBO": negative_mean(estimates.elbo, estimates.elbo_standard_error),
        f"NLL, K = {options.num_samples:,}": negative_mean(estimates.bound, estimates.standard_error),
        "loss with beta": Measure(options.beta * terms["kl"] - terms["log_likelihood"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "measures": {key: list(value) for key, value in measures.items()},
        "minutes": round(seconds / 60, 1),
    }
