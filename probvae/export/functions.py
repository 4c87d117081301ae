"""The functions of an exported model: TensorFlow graphs that hold its variables and no Python.

They decode in blocks of rows, within the budget of `objectives.memory`, and check what they are given:
where x or z is wrong, the outputs of this row are NaN, and a number of draws out of range is an error of one
sentence.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae import objectives
from probvae.distributions.layers import distribution_at
from probvae.export.checks import Check, count, masked, of_x, of_z
from probvae.export.values import Outputs, spec
from probvae.likelihoods import likelihood_of
from probvae.models.vae import VAE
from probvae.objectives import memory
from probvae.posteriors import POSTERIORS
from probvae.seeds import as_seed, split


def mean_name(vae: VAE) -> str:
    """Return the name of the mean of p(x|z): `probabilities` where x is binary, else `mean`."""
    return "mean" if vae.architecture is None else likelihood_of(vae.architecture).mean_name


def numbers_of(vae: VAE) -> int:
    """Return the number of parameters of p(x|z), by which `vae.sample` divides draws into blocks."""
    return vae._folded_decoder.params_size or math.prod(vae.value_shape)


def encode(vae: VAE) -> tf.types.experimental.GenericFunction:
    """Return a function from x [B, *E] to `loc` and `scale` [B, L], mean and standard deviation of q(z|x).

    They describe q(z|x) fully only if it is a diagonal normal; `log_prob` uses q(z|x) itself.
    """
    check = of_x(vae)

    @tf.function(input_signature=[spec([None, *vae.event_shape], tf.float32, "x")], autograph=False)
    def encode(x: tf.Tensor) -> Outputs:
        right = check.rows(x)
        loc, scale = _moments(vae, check.safe(x))
        return masked(right, {"loc": loc, "scale": scale})

    return encode


def _moments(vae: VAE, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the mean and standard deviation of q(z|x), each [B, L]."""
    architecture, parts = vae.architecture, vae.encoder_parts
    moments = None if architecture is None else POSTERIORS[architecture.posterior].moments
    if moments is None or parts is None:
        q = vae.posterior(x)  # q(z|x)
        return q.mean(), q.stddev()
    return moments(parts.network(x), vae.latent_dim)


def decode(vae: VAE, *, loop: bool = True) -> tf.types.experimental.GenericFunction:
    """Return a function from z [B, L] to the mean of p(x|z), [B, *E], under the name of `mean_name`.

    For tables it returns the `stddev` and the `mode` of p(x|z) too, because levels have no mean. Without
    `loop` all rows are decoded at once, for formats without loops.
    """
    name = mean_name(vae)
    is_table = vae.schema is not None and vae.schema.is_table
    check = of_z(vae)

    def statistics(z: tf.Tensor) -> Outputs:
        p: tfd.Distribution = vae.likelihood(z)  # p(x|z)
        spread = {"stddev": tf.identity(p.stddev()), "mode": tf.identity(p.mode())} if is_table else {}
        return {name: tf.identity(p.mean()), **spread}

    @tf.function(input_signature=[spec([None, vae.latent_dim], tf.float32, "z")], autograph=False)
    def decode(z: tf.Tensor) -> Outputs:
        safe = check.safe(z)
        if not loop:
            return masked(check.rows(z), statistics(safe))
        cost = memory.Cost(
            vae, "decode", statistics, (vae.latent_dim,), tf.float32, numbers_of(vae), vae.decoder
        )
        size = cost.rows_at_once(memory.MANY)
        outputs = memory.in_loop(lambda start, stop: statistics(safe[start:stop]), tf.shape(z)[0], size)
        return masked(check.rows(z), outputs)

    return decode


def log_prob(vae: VAE) -> tf.types.experimental.GenericFunction:
    """Return a function from (x [B, *E], num_samples, seed) to `elbo` and `iwae` [B], in nats.

    They are `probvae.elbo` and `probvae.iwae` at the same draws of z.
    """
    specs = [spec([None, *vae.event_shape], tf.float32, "x"), whole("num_samples"), whole("seed")]
    check = of_x(vae)

    @tf.function(input_signature=specs, autograph=False)
    def log_prob(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> Outputs:
        num_samples = count("num_samples", num_samples, tf.shape(x)[0])
        terms = objectives.log_terms(
            vae, check.safe(x), num_samples=num_samples, seed=as_seed(seed), loop=True
        )
        log_w = terms.log_weights  # [K, B]
        log_k = tf.math.log(tf.cast(num_samples, log_w.dtype))
        elbo, iwae = tf.reduce_mean(log_w, axis=0), tf.reduce_logsumexp(log_w, axis=0) - log_k
        return masked(check.rows(x), {"elbo": elbo, "iwae": iwae})

    return log_prob


def sample(vae: VAE) -> tf.types.experimental.GenericFunction:
    """Return a function from (number, seed) to z ~ p(z) [N, L], x ~ p(x|z) [N, *E] and the mean of p(x|z).

    `x` is `vae.sample(number, seed)`.
    """
    name = mean_name(vae)

    @tf.function(input_signature=[whole("number"), whole("seed")], autograph=False)
    def sample(number: tf.Tensor, seed: tf.Tensor) -> Outputs:
        number, (seed_z, seed_x) = count("number", number), split(seed, 2)
        z = tf.ensure_shape(vae.prior.sample(number, seed=seed_z), [None, vae.latent_dim])

        def draw(start: tf.Tensor, stop: tf.Tensor, seed: tf.Tensor) -> Outputs:
            p = _decoded(vae, z[start:stop])  # p(x|z)
            return {"x": tf.identity(p.sample(seed=seed)), name: tf.identity(p.mean())}

        return {"z": z, **memory.draw_in_blocks(draw, number, numbers_of(vae), seed_x, loop=True)}

    return sample


def _decoded(vae: VAE, z: tf.Tensor) -> tfd.Distribution:
    """Return p(x|z) at z [N, L], whose network works in blocks where the decoder is a Keras graph."""
    split = vae._folded_decoder.split
    if split is None:
        return vae.likelihood(z)
    values = numbers_of(vae) + vae.latent_dim
    cost = memory.Cost(
        vae._folded_decoder, "network", split.network, (vae.latent_dim,), z.dtype, values, split.network
    )
    params = memory.in_loop(
        lambda start, stop: split.network(z[start:stop]), tf.shape(z)[0], cost.rows_at_once(memory.MANY)
    )
    return distribution_at(split.head, params)


FUNCTIONS: dict[str, Callable[[VAE], Any]] = {
    "encode": encode,
    "decode": decode,
    "log_prob": log_prob,
    "sample": sample,
}
# The checks of the first argument of a function, for the sentence on each row; `sample` has no rows.
CHECKS: dict[str, Callable[[VAE], Check]] = {"encode": of_x, "decode": of_z, "log_prob": of_x}
# The functions for formats without randomness and loops.
PARTS: dict[str, Callable[[VAE], Any]] = {"encoder": encode, "decoder": partial(decode, loop=False)}


def whole(name: str) -> tf.TensorSpec:
    """Return the specification of a whole number."""
    return spec([], tf.int32, name)
