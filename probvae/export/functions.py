"""The functions of an exported model: TensorFlow graphs that hold its variables and no Python.

They decode in blocks of rows, within the budget of `objectives.memory`, and check what they are given:
where x or z is wrong, the outputs of this row are NaN, and a number of draws out of range is an error of one
sentence.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae import objectives
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


def encode(vae: VAE, *, loop: bool = True) -> tf.types.experimental.GenericFunction:
    """Return a function from x [B, *E] to `loc` and `scale` [B, L], mean and standard deviation of q(z|x).

    They describe q(z|x) fully only if it is a diagonal normal; `log_prob` uses q(z|x) itself. Without
    `loop` all rows are encoded at once, for formats without loops.
    """
    check = of_x(vae)

    def moments(x: tf.Tensor) -> Outputs:
        loc, scale = _moments(vae, x)
        return {"loc": tf.identity(loc), "scale": tf.identity(scale)}

    @tf.function(input_signature=[spec([None, *vae.event_shape], tf.float32, "x")], autograph=False)
    def encode(x: tf.Tensor) -> Outputs:
        safe = check.safe(x)
        outputs = _in_blocks(vae, "moments", moments, safe) if loop else moments(safe)
        return masked(check.rows(x), outputs)

    return encode


def _moments(vae: VAE, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the mean and standard deviation of q(z|x), each [B, L]."""
    architecture, parts = vae.architecture, vae.encoder_parts
    moments = None if architecture is None else POSTERIORS[architecture.posterior].moments
    if moments is None or parts is None:
        q = vae.posterior(x)  # q(z|x)
        return q.mean(), q.stddev()
    return moments(parts.network(x), vae.latent_dim)


def _in_blocks(vae: VAE, name: str, function: Callable[[tf.Tensor], Outputs], rows: tf.Tensor) -> Outputs:
    """Return the outputs of a function of rows [B, ...], called on blocks of them in a loop of the graph."""
    values = rows.shape[1:].num_elements() + vae.params_size
    cost = memory.Cost(vae, name, function, rows.shape[1:], rows.dtype, values, vae)
    size = cost.rows_at_once(memory.UNKNOWN_ROWS)
    return memory.in_loop(lambda start, stop: function(rows[start:stop]), tf.shape(rows)[0], size)


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
        outputs = _in_blocks(vae, "statistics", statistics, safe) if loop else statistics(safe)
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
        safe = check.safe(x)
        q = vae._folded_encoder.in_loop(safe)  # q(z|x)
        terms = objectives.log_terms(vae, safe, num_samples=num_samples, seed=as_seed(seed), q=q, loop=True)
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
            p = vae._folded_decoder.in_loop(z[start:stop])  # p(x|z)
            return {"x": tf.identity(p.sample(seed=seed)), name: tf.identity(p.mean())}

        return {"z": z, **memory.draw_in_blocks(draw, number, vae.params_size, seed_x, loop=True)}

    return sample


FUNCTIONS: dict[str, Callable[[VAE], Any]] = {
    "encode": encode,
    "decode": decode,
    "log_prob": log_prob,
    "sample": sample,
}
# The checks of the first argument of a function, for the sentence on each row; `sample` has no rows.
CHECKS: dict[str, Callable[[VAE], Check]] = {"encode": of_x, "decode": of_z, "log_prob": of_x}
# The functions for formats without randomness and loops.
PARTS: dict[str, Callable[[VAE], Any]] = {
    "encoder": partial(encode, loop=False),
    "decoder": partial(decode, loop=False),
}


def whole(name: str) -> tf.TensorSpec:
    """Return the specification of a whole number."""
    return spec([], tf.int32, name)
