"""The decoder alone, forward, on as many z as the task has draws: what it cannot do without."""

import numpy as np
import tensorflow as tf

from benchmark.cases import Case, Work
from probvae.config.architecture import Architecture
from probvae.environment import cores
from probvae.inference.blocks import decodes_at_once
from probvae.models import building
from probvae.training.strategies import make


def prepare(case: Case, images: np.ndarray) -> Work | None:
    """Return what decodes the draws of a number of examples; None for what is no importance sampling."""
    if case.task != "iwae":
        return None
    make("none", parts=cores())
    architecture = Architecture(filters=case.filters, latent_dim=case.latent, posterior=case.posterior)
    vae = building.build(architecture)
    decoder, each = vae.decoder, decodes_at_once(vae)
    z = tf.random.stateless_normal([1000, each, case.latent], [0, 1])

    @tf.function(autograph=False)
    def decode(chunks: tf.Tensor) -> tf.Tensor:
        def chunk(i: tf.Tensor) -> tf.Tensor:
            likelihood = decoder(z[i % len(z)])  # p(x|z)
            return tf.reduce_max(likelihood.tensor_distribution.distribution.logits)

        return tf.map_fn(chunk, chunks, fn_output_signature=tf.float32, parallel_iterations=cores())

    def work(examples: int) -> None:
        decode(tf.range(-(-examples * case.samples // each))).numpy()

    return work
