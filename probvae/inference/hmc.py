"""Draws from the true posterior p(z|x) of a model, by Hamiltonian Monte Carlo on its joint pinned at x."""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from probvae.arguments import choice
from probvae.inference.blocks import Progress, as_data, at_least, compiled_in_blocks
from probvae.inference.sphere import in_space, shortened
from probvae.objectives.bound import Model
from probvae.objectives.memory import refuse_values
from probvae.seeds import Seed, split

TARGET_ACCEPTANCE = 0.8  # near the optimum for trajectories of several leapfrog steps


class PosteriorSamples(NamedTuple):
    """Draws from p(z|x) and their diagnostics, NumPy arrays.

    Attributes:
      z: S draws of C chains for N examples, [S, C, N, L], in the model's type.
      acceptance: Mean acceptance probability after the burn-in, [N].
      step_size: Leapfrog step after the burn-in, [N], in the units of z.
      rhat: Split potential scale reduction, not rank-normalized, [N, L]. Values above 1.01 show chains that
        have not mixed. NaN for one chain or fewer than 4 draws.
      ess: Effective number of draws, [N, L], out of S * C.
    """

    z: np.ndarray
    acceptance: np.ndarray
    step_size: np.ndarray
    rhat: np.ndarray
    ess: np.ndarray


METHODS: dict[str, Callable[..., tfp.mcmc.TransitionKernel]] = {
    "hmc": functools.partial(tfp.mcmc.HamiltonianMonteCarlo, num_leapfrog_steps=8),
    "nuts": functools.partial(tfp.mcmc.NoUTurnSampler, max_tree_depth=6),
}


def posterior_samples(
    vae: Model,
    x: Any,
    *,
    num_samples: int = 500,
    num_burnin_steps: int = 300,
    num_chains: int = 4,
    num_steps_between_results: int = 0,
    method: str = "hmc",
    batch_size: int = 64,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
) -> PosteriorSamples:
    """Draw z from p(z|x) by HMC or NUTS.

    The chains start at draws from q(z|x). Each example has its own step size, which dual averaging fits to an
    acceptance of 0.8 in the burn-in and which is fixed afterwards. Chains do not jump between distant modes:
    see `rhat`. Chains that all start in one mode of q(z|x) can agree and be wrong.

    Args:
      vae: Model of x; p(z|x) must have a density on all of R^L, or on the sphere.
      x: Data [N, *E].
      num_samples: S, the number of draws kept of each chain.
      num_burnin_steps: Number of transitions before these draws, in which the step size adapts.
      num_chains: C, the number of chains, independent except for their common step size.
      num_steps_between_results: Number of transitions that are dropped between two draws.
      method: Name of the method: "hmc" (8 leapfrog steps) or "nuts" (at most 63).
      batch_size: Number of examples at a time; memory grows with num_chains * batch_size.
      seed: Seed of the chains, an int or an int32 pair; the same seed, x and batch_size give the same draws.
      on_progress: Function called after each block with the fraction done. If it raises `Stopped`, the
        finished examples are returned.

    Returns:
      `PosteriorSamples`.

    Raises:
      InputError: The method is unknown, a count is too small, or x has another shape.

    References:
      Hoffman & Gelman 2014, The No-U-Turn Sampler, arXiv:1111.4246 (NUTS and dual averaging).
      Gelman & Rubin 1992; Vehtari et al. 2021, arXiv:1903.08008 (split R-hat, effective samples).
    """
    choice("method", method, METHODS)
    at_least(num_samples=(num_samples, 1), num_burnin_steps=(num_burnin_steps, 1))
    at_least(num_chains=(num_chains, 1), num_steps_between_results=(num_steps_between_results, 0))
    at_least(batch_size=(batch_size, 1))
    x = as_data(vae, x)
    refuse_values("num_chains", num_chains, 4 * min(batch_size, len(x)) * vae.latent_dim)
    refuse_values("num_samples", num_samples, num_chains * len(x) * vae.latent_dim)
    run = functools.partial(
        _run,
        in_space(vae),
        kernel=METHODS[method],
        num_chains=num_chains,
        num_results=num_samples,
        num_burnin_steps=num_burnin_steps,
        num_steps_between_results=num_steps_between_results,
    )
    z, acceptance, step_size = compiled_in_blocks(
        run, [x], seed=seed, batch_size=batch_size, on_progress=on_progress
    )
    z = shortened(vae, np.moveaxis(z, 0, 2))  # [N, S, C, L] to [S, C, N, L]
    return PosteriorSamples(z, acceptance, step_size, _rhat(z), _effective_sample_size(z))


def _run(
    vae: Model, x: tf.Tensor, seed: tf.Tensor, *, kernel: Any, num_chains: int, **options: Any
) -> tuple[tf.Tensor, ...]:
    """Return draws [B, S, C, L], acceptance [B] and step sizes [B] of one block."""
    target = vae.joint().experimental_pin(x=x)
    start, chain = split(seed, 2)
    z = vae.posterior(x).sample(num_chains, seed=start)  # q(z|x); [C, B, L]
    step_size = tf.fill([1, z.shape[1], 1], tf.constant(0.1, z.dtype))
    adaptive = tfp.mcmc.DualAveragingStepSizeAdaptation(
        kernel(lambda z: target.unnormalized_log_prob(z=z), step_size),
        num_adaptation_steps=int(0.8 * options["num_burnin_steps"]),
        target_accept_prob=tf.constant(TARGET_ACCEPTANCE, z.dtype),
    )
    z, (log_accept, step_size) = tfp.mcmc.sample_chain(
        current_state=z,
        kernel=adaptive,
        trace_fn=lambda z, results: (results.inner_results.log_accept_ratio, results.new_step_size),
        seed=chain,
        **options,
    )
    acceptance = tf.reduce_mean(acceptance_probability(log_accept), [0, 1])
    return tf.transpose(z, [2, 0, 1, 3]), acceptance, step_size[-1, 0, :, 0]


def acceptance_probability(log_accept_ratio: tf.Tensor) -> tf.Tensor:
    """Return min(1, exp(log_accept_ratio)), or 0 for nan, the ratio of a divergent trajectory."""
    ratio = tf.exp(tf.minimum(log_accept_ratio, 0.0))
    return tf.where(tf.math.is_nan(ratio), tf.zeros_like(ratio), ratio)


def _rhat(z: np.ndarray) -> np.ndarray:
    if len(z) < 4 or z.shape[1] < 2:
        return np.full(z.shape[2:], np.nan)
    # TFP gives the ratio of variances; R-hat is its square root.
    return np.sqrt(tfp.mcmc.potential_scale_reduction(z.astype(np.float64), split_chains=True).numpy())


def _effective_sample_size(z: np.ndarray) -> np.ndarray:
    if len(z) < 4:
        return np.full(z.shape[2:], np.nan)
    shared = {"cross_chain_dims": 1} if z.shape[1] > 1 else {}
    logger = tf.get_logger()
    logger.addFilter(_no_complex_cast)
    try:
        ess = tfp.mcmc.effective_sample_size(
            z.astype(np.float64), filter_beyond_positive_pairs=True, **shared
        ).numpy()
    finally:
        logger.removeFilter(_no_complex_cast)
    ess = ess if shared else ess[0]
    # In short chains the sum of autocorrelations may be near zero or negative; the bound is that of Stan.
    draws = z.shape[0] * z.shape[1]
    most = draws * np.log10(draws)
    return np.where(ess > 0, np.minimum(ess, most), most)


def _no_complex_cast(record: logging.LogRecord) -> bool:
    """Filter out the warning that TFP takes the real part of a Fourier transform, which is intended."""
    return "casting an input of type complex" not in record.getMessage()
