"""The aggregate posterior q(z)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from probvae.arguments import count
from probvae.evaluation.latents import BLOCK, _checked, _compiled_in_blocks
from probvae.inference.estimates import Estimate, estimate
from probvae.models.vae import VAE
from probvae.seeds import Seed, fold_in


class AggregatePosterior(NamedTuple):
    """The rate as mutual information I(x; z) plus marginal KL(q(z) || p(z)), in nats.

    Each `lower` is too small in expectation, each `upper` too large; marginal_kl_lower can be negative.
    rate = mutual_information_lower + marginal_kl_upper = mutual_information_upper + marginal_kl_lower.
    mutual_information_lower is at most log N; near log N it shows only that I is large.
    """

    rate: Estimate
    mutual_information_lower: Estimate
    mutual_information_upper: Estimate
    marginal_kl_lower: Estimate
    marginal_kl_upper: Estimate


def aggregate_posterior(vae: VAE, x: np.ndarray, *, num_samples: int = 1, seed: Seed) -> AggregatePosterior:
    """Split the rate: E_x KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)), q(z) = E_x q(z|x).

    Both ways to average over the N examples are biased (Poole et al. 2019, arXiv:1905.06922, section 2). For
    z from q(z|x_i), the mean of q(z|x_j) over all j contains the density of z itself and is too large: I
    becomes too small and the marginal KL too large. The mean over j != i errs the other way. The two agree if
    N is large compared with exp(I). The work is N squared densities for each draw.

    The standard errors treat q(z) as fixed: to first order no example changes the estimates through it, since
    every q(z|x) integrates to 1. They do not include the biases, which the distance of the bounds shows.

    Args:
      vae: Model.
      x: Data [N, *E], N at least 2.
      num_samples: Number of draws of z for each example.
      seed: Seed of the draws, an int or an int32 pair.

    References:
      Hoffman & Johnson 2016, ELBO surgery: yet another way to carve up the variational bound.
    """
    x, num_samples = _checked(vae, x, at_least=2), count("num_samples", num_samples)

    def draw(x: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        q = vae.posterior(x)  # q(z|x)
        z = q.sample(seed=seed)
        return [z, q.log_prob(z), vae.prior.log_prob(z)]

    one_draw, log_sum_of_others = _compiled_in_blocks(vae, draw), _log_sum_of_others(vae, x)
    total = np.zeros([4, len(x)])
    for s in range(num_samples):
        z, own, prior = one_draw(x, fold_in(seed, s))
        others = log_sum_of_others(z)
        everyone = np.logaddexp(others, own)
        total += [own, everyone - math.log(len(x)), others - math.log(len(x) - 1), prior]
    own, everyone, others, prior = total / num_samples  # log densities at z, each [N]
    return AggregatePosterior(
        rate=estimate(own - prior),
        mutual_information_lower=estimate(own - everyone),
        mutual_information_upper=estimate(own - others),
        marginal_kl_lower=estimate(others - prior),
        marginal_kl_upper=estimate(everyone - prior),
    )


def _log_sum_of_others(vae: VAE, x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from z [N, L], z_i drawn from q(z|x_i), to log sum_{j != i} q(z_i|x_j), [N]."""
    rows = math.ceil(len(x) / BLOCK)
    owner = np.resize(np.arange(len(x), dtype=np.int32), [rows, BLOCK])  # padded to whole blocks
    shape = tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([rows, BLOCK, vae.latent_dim])

    @tf.function(input_signature=[*shape, tf.TensorSpec([], tf.int32)], autograph=False)
    def one_block(x: tf.Tensor, z: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        q = vae.posterior(x)  # q(z|x_j), j = start, start + 1, ...
        index = start + tf.range(tf.shape(x)[0])

        def log_sum(z_and_owner: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            z, owner = z_and_owner
            log_q = q.log_prob(z[:, tf.newaxis, :])  # [BLOCK, B]
            # Far from its mass a flow's density is next to zero, and its inverse overflows to nan.
            left_out = (owner[:, tf.newaxis] == index) | tf.math.is_nan(log_q)
            return tf.reduce_logsumexp(tf.where(left_out, -np.inf, log_q), axis=1)

        return tf.map_fn(log_sum, (z, owner), fn_output_signature=tf.float32, parallel_iterations=1)

    def log_sum_of_others(z: np.ndarray) -> np.ndarray:
        blocks, total = z.astype(np.float32)[owner], np.full([rows, BLOCK], -np.inf)
        for i in range(0, len(x), BLOCK):
            total = np.logaddexp(total, one_block(x[i : i + BLOCK].astype(np.float32), blocks, i).numpy())
        return total.ravel()[: len(x)]

    return log_sum_of_others
