"""Markov chains on p(z|x) of one block of examples: where they start, how they adapt, what they draw.

The chains of an example move in coordinates u, z = F u, in which the density is nearly round. The factor F
and the step size are fitted to each example in the burn-in, in windows: each begins with what the one before
it has learnt. Both are fixed when the draws begin, so that the transitions leave p(z|x) invariant.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from probvae.objectives.bound import Model
from probvae.seeds import fold_in, split

TARGET_ACCEPTANCE = 0.8  # near the optimum for trajectories of several leapfrog steps
# Parts of the burn-in after which F is fitted; the rest is for the last step size.
WINDOWS = (0.15, 0.25, 0.3)
STEP_SIZE = 0.3  # before it adapts, where a standard deviation is about 1
CANDIDATES = 16  # draws of p(z) for the start of one chain
MOMENT_DRAWS = 64  # draws of q(z|x) for its means and standard deviations

Kernel = Callable[[Callable[[tf.Tensor], tf.Tensor], tf.Tensor], tfp.mcmc.TransitionKernel]


class RandomLengths(tfp.mcmc.HamiltonianMonteCarlo):
    """Hamiltonian Monte Carlo whose trajectories have random lengths.

    The number of leapfrog steps is drawn anew for each transition, evenly from 1 to `num_leapfrog_steps`. A
    fixed length that is near to a period of the motion brings each chain back to where it was.
    """

    def one_step(self, current_state: Any, previous_kernel_results: Any, seed: Any = None) -> tuple[Any, Any]:
        """Return the next state and its results."""
        length_seed, step_seed = split(seed, 2)
        length = tf.random.stateless_uniform([], length_seed, 1, self.num_leapfrog_steps + 1, tf.int32)
        results = previous_kernel_results
        accepted = results.accepted_results._replace(num_leapfrog_steps=length)
        return super().one_step(current_state, results._replace(accepted_results=accepted), seed=step_seed)


def hamiltonian(target: Callable[[tf.Tensor], tf.Tensor], step_size: tf.Tensor) -> tfp.mcmc.TransitionKernel:
    """Return Hamiltonian Monte Carlo with trajectories of 1 to 6 leapfrog steps."""
    return RandomLengths(target, step_size, num_leapfrog_steps=6, store_parameters_in_results=True)


def no_u_turn(target: Callable[[tf.Tensor], tf.Tensor], step_size: tf.Tensor) -> tfp.mcmc.TransitionKernel:
    """Return the no-U-turn sampler with trajectories of at most 63 leapfrog steps."""
    return tfp.mcmc.NoUTurnSampler(target, step_size, max_tree_depth=6)


def draw(
    vae: Model,
    x: tf.Tensor,
    seed: tf.Tensor,
    *,
    kernel: Kernel,
    num_chains: int,
    num_results: int,
    num_burnin_steps: int,
    num_steps_between_results: int,
) -> tuple[tf.Tensor, ...]:
    """Return draws [B, S, C, L], their acceptance [B] and step sizes [B] for examples x [B, *E]."""
    start_seed, scale_seed, adapt_seed, draw_seed = split(seed, 4)
    z = starts(vae, x, num_chains, start_seed)  # [C, B, L]
    factor = tf.linalg.diag(_moments(vae.posterior(x), scale_seed)[1])  # F, [B, L, L]
    step_size = tf.fill([1, z.shape[1], 1], tf.constant(STEP_SIZE, z.dtype))

    def log_joint(z: tf.Tensor) -> tf.Tensor:
        return vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x)

    def at(factor: tf.Tensor, step_size: tf.Tensor) -> tfp.mcmc.TransitionKernel:
        return kernel(lambda u: log_joint(_times(factor, u)), step_size)

    z, factor, step_size = _adapted(at, z, factor, step_size, num_burnin_steps, adapt_seed)
    u, log_accept = tfp.mcmc.sample_chain(
        num_results,
        current_state=_solve(factor, z),
        kernel=at(factor, step_size),
        num_steps_between_results=num_steps_between_results,
        trace_fn=lambda u, results: results.log_accept_ratio,
        seed=draw_seed,
    )
    z = tf.transpose(_times(factor, u), [2, 0, 1, 3])
    return z, tf.reduce_mean(acceptance_probability(log_accept), [0, 1]), step_size[0, :, 0]


def starts(vae: Model, x: tf.Tensor, num_chains: int, seed: tf.Tensor) -> tf.Tensor:
    """Return where the chains start, [C, B, L]: C // 2 far from q(z|x), the others at draws from it.

    A far chain starts at one of 16 draws from p(z): among the four with the largest p(x|z), the one that is
    farthest from q(z|x), in its standard deviations. So a mode of p(z|x) that q(z|x) misses is likely to have
    a chain, which does not agree with the others.
    """
    near_seed, far_seed, scale_seed = split(seed, 3)
    q = vae.posterior(x)
    near = tf.identity(q.sample(num_chains - num_chains // 2, seed=near_seed))
    if num_chains == 1:
        return near
    shape = [CANDIDATES, num_chains // 2, near.shape[1]]
    drawn = tf.identity(vae.prior.sample(shape, seed=far_seed))  # [16, C // 2, B, L]
    log_likelihood = tf.map_fn(lambda z: vae.likelihood(z).log_prob(x), drawn)  # one by one, for memory
    finite = tf.math.is_finite(log_likelihood)
    log_likelihood = tf.where(finite, log_likelihood, tf.cast(-np.inf, drawn.dtype))
    plausible = finite & (log_likelihood >= tf.sort(log_likelihood, axis=0)[-(CANDIDATES // 4)])
    center, spread = _moments(q, scale_seed)
    distance = tf.where(plausible, tf.norm((drawn - center) / spread, axis=-1), -1)
    farthest = tf.one_hot(tf.argmax(distance, axis=0), CANDIDATES, axis=0, dtype=drawn.dtype)
    return tf.concat([near, tf.einsum("kcb,kcbl->cbl", farthest, drawn)], axis=0)


def acceptance_probability(log_accept_ratio: tf.Tensor) -> tf.Tensor:
    """Return min(1, exp(log_accept_ratio)), or 0 for nan, the ratio of a divergent trajectory."""
    ratio = tf.exp(tf.minimum(log_accept_ratio, 0.0))
    return tf.where(tf.math.is_nan(ratio), tf.zeros_like(ratio), ratio)


def _moments(q: tfd.Distribution, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return means and standard deviations of draws from q, [B, L] each."""
    z = q.sample(MOMENT_DRAWS, seed=seed)
    return tf.reduce_mean(z, axis=0), tf.math.reduce_std(z, axis=0) + 1e-6


def _adapted(
    at: Callable[[tf.Tensor, tf.Tensor], tfp.mcmc.TransitionKernel],
    z: tf.Tensor,
    factor: tf.Tensor,
    step_size: tf.Tensor,
    num_steps: int,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return chains z [C, B, L] after the burn-in, and the factors and step sizes of its last window."""
    lengths = [int(part * num_steps) for part in WINDOWS]
    lengths = [length for length in [*lengths, num_steps - sum(lengths)] if length]
    steps = tf.constant(lengths)

    def window(k: tf.Tensor, z: tf.Tensor, factor: tf.Tensor, step_size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        u, sizes = tfp.mcmc.sample_chain(
            steps[k],
            current_state=_solve(factor, z),
            kernel=tfp.mcmc.DualAveragingStepSizeAdaptation(
                at(factor, step_size),
                num_adaptation_steps=steps[k],
                target_accept_prob=tf.constant(TARGET_ACCEPTANCE, z.dtype),
                shrinkage_target=tf.ones_like(step_size),  # at first it tries steps near 1
            ),
            trace_fn=lambda u, results: results.new_step_size,
            seed=fold_in(seed, k),
        )
        z, last = _times(factor, u[-1]), k == len(lengths) - 1
        fitted = tf.matmul(factor, _factor(u[steps[k] // 3 :]))
        return k + 1, z, tf.where(last, factor, fitted), sizes[-1]

    _, z, factor, step_size = tf.while_loop(
        lambda k, *_: k < len(lengths), window, (tf.constant(0), z, factor, step_size), parallel_iterations=1
    )
    return z, factor, step_size


def _factor(u: tf.Tensor) -> tf.Tensor:
    """Return a Cholesky factor, [B, L, L], of the covariance within chains of draws u [S, C, B, L].

    Correlations are shrunk as few draws demand. Without enough draws, or where a chain has left the numbers,
    it is the unit matrix, so that the coordinates stay as they are.
    """
    size, freedom = u.shape[-1], tf.cast((tf.shape(u)[0] - 1) * tf.shape(u)[1], u.dtype)
    apart = u - tf.reduce_mean(u, axis=0)
    covariance = tf.einsum("scbi,scbj->bij", apart, apart)
    unit = tf.eye(size, batch_shape=[u.shape[2]], dtype=u.dtype)
    # n / (n + 1) of the estimate and 1 / (n + 1) of the unit; then the same with L for correlations.
    covariance = (covariance + unit) / (freedom + 1)
    diagonal = tf.linalg.diag(tf.linalg.diag_part(covariance))
    covariance = (freedom * covariance + size * diagonal) / (freedom + size)
    finite = tf.reduce_all(tf.math.is_finite(covariance), axis=[1, 2], keepdims=True)
    return tf.linalg.cholesky(tf.where(finite, covariance, unit))


def _times(factor: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Return z = F u, [..., B, L]."""
    return tf.einsum("bij,...bj->...bi", factor, u)


def _solve(factor: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Return u with F u = z, [C, B, L]."""
    return tf.transpose(tf.linalg.triangular_solve(factor, tf.transpose(z, [1, 2, 0])), [2, 0, 1])
