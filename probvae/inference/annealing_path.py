"""The annealing path from an initial distribution to p(x, z), and the chains that follow it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from probvae.arguments import choice, weight
from probvae.inference.blocks import at_least
from probvae.inference.chains import acceptance_probability
from probvae.objectives.bound import Model
from probvae.objectives.memory import refuse_values
from probvae.seeds import fold_in, split

TARGET_ACCEPTANCE = 0.8  # mean acceptance probability that the step sizes aim at
ADAPTATION_RATE = 0.3  # change of log step size for each unit of acceptance above the target
STEEPNESS = 4.0  # steepness of the sigmoidal schedule, as in Wu et al. 2017


INITIALS: dict[str, Callable[..., tfd.Distribution]] = {
    "prior": lambda vae, x: tfd.BatchBroadcast(vae.prior, [x.shape[0]]),  # p(z)
    "posterior": lambda vae, x: vae.posterior(x),  # q(z|x)
}


@dataclasses.dataclass(frozen=True)
class Annealing:
    """The options of `ais`, `reverse_ais` and `bdmc`.

    Attributes:
      num_chains: C, the number of chains for each example.
      num_steps: K, the number of annealing distributions after the first. With P pilot chains the cost is
        that of (C + P) * K * num_leapfrog_steps gradients of log p(x|z) for each example.
      num_leapfrog_steps: Number of leapfrog steps of a transition.
      step_size: Leapfrog step at r, where the adaptation begins, in the units of z.
      initial: Name of r, a key of `INITIALS`: "prior", or "posterior" for q(z|x).
      num_pilot_chains: P, the number of chains for each example that fit the step sizes beforehand.
    """

    num_chains: int = 16
    num_steps: int = 200
    num_leapfrog_steps: int = 2
    step_size: float = 0.5
    initial: str = "prior"
    num_pilot_chains: int = 4

    def __post_init__(self) -> None:
        at_least(num_chains=(self.num_chains, 2), num_steps=(self.num_steps, 1))
        at_least(num_leapfrog_steps=(self.num_leapfrog_steps, 1))
        at_least(num_pilot_chains=(self.num_pilot_chains, 1))
        weight("step_size", self.step_size, above=True)
        choice("initial", self.initial, INITIALS)

    def refuse_values(self, batch_size: int, latent_dim: int) -> None:
        """Refuse numbers of chains and steps whose values do not fit into memory."""
        chains = max(self.num_chains, self.num_pilot_chains)
        name = "num_chains" if chains == self.num_chains else "num_pilot_chains"
        refuse_values(name, chains, 4 * batch_size * latent_dim)  # z, its momentum, and the gradients of both
        refuse_values("num_steps", self.num_steps, 2 * batch_size)


def sigmoidal_schedule(num_steps: int) -> np.ndarray:
    """Return beta_0 = 0 < ... < beta_K = 1, [K + 1] float64, densest at both ends.

    References:
      Wu, Burda, Salakhutdinov & Grosse 2017, arXiv:1611.04273.

    >>> sigmoidal_schedule(4).round(3).tolist()
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    raw = 1 / (1 + np.exp(-STEEPNESS * np.linspace(-1, 1, num_steps + 1)))
    return (raw - raw[0]) / (raw[-1] - raw[0])


# ---- chains of one block of examples, compiled --------------------------------------------------------


class _Path:
    """The densities of the path, for one block of examples x [B, *E]."""

    def __init__(self, vae: Model, annealing: Annealing, x: tf.Tensor) -> None:
        self.vae, self.x, self.num_leapfrog_steps = vae, x, annealing.num_leapfrog_steps
        self.start = INITIALS[annealing.initial](vae, x)  # r(z)

    def sample(self, num_chains: int, seed: tf.Tensor) -> tf.Tensor:
        """Draw z [num_chains, B, L] from r.

        The draw is copied: TFP's bijectors recognize their own draws and compute `log_prob` at one of them
        from the noise behind it, with a wrong gradient in z or none.
        """
        return tf.identity(self.start.sample(num_chains, seed=seed))

    def log_prob(self, z: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """Return log f, [C, B], at z [C, B, L]."""
        log_joint = self.vae.prior.log_prob(z) + self.vae.likelihood(z).log_prob(self.x)
        return (1 - beta) * self.start.log_prob(z) + beta * log_joint

    def kernel(self, beta: tf.Tensor, step_size: tf.Tensor) -> tfp.mcmc.HamiltonianMonteCarlo:
        """Return the transition at beta with step sizes [B]."""
        return tfp.mcmc.HamiltonianMonteCarlo(
            lambda z: self.log_prob(z, beta), step_size[None, :, None], self.num_leapfrog_steps
        )

    def temper(self, z: tf.Tensor, results: Any, beta: tf.Tensor, target: tf.Tensor) -> Any:
        """Convert the results of TFP at beta > 0 to another beta, without a call of the decoder.

        log f is linear in beta and log r is cheap, so log p(z, x) and its gradient follow from log f.
        """
        log_r, grad_r = tfp.math.value_and_gradient(self.start.log_prob, z)

        def move(f: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
            return (1 - target) * r + (target / beta) * (f - (1 - beta) * r)

        accepted = results.accepted_results
        return results._replace(
            accepted_results=accepted._replace(
                target_log_prob=move(accepted.target_log_prob, log_r),
                grads_target_log_prob=[move(accepted.grads_target_log_prob[0], grad_r)],
            )
        )


def _forward(vae: Model, annealing: Annealing, x: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log w [B, C] and the acceptance [B] of chains from r to the joint."""
    pilot_seed, start_seed, chain_seed = split(seed, 3)
    path, betas = _Path(vae, annealing, x), sigmoidal_schedule(annealing.num_steps)
    step_sizes = _pilot(path, annealing, betas, pilot_seed)
    z = path.sample(annealing.num_chains, start_seed)  # r(z); [C, B, L]
    return _anneal(path, z, betas, step_sizes, chain_seed)


def _reverse(
    vae: Model, annealing: Annealing, x: tf.Tensor, z: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log w [B, C] and the acceptance [B] of chains from z ~ p(z|x) back to r."""
    pilot_seed, chain_seed = split(seed, 2)
    path, betas = _Path(vae, annealing, x), sigmoidal_schedule(annealing.num_steps)
    step_sizes = _pilot(path, annealing, betas, pilot_seed)
    z = tf.repeat(z[None], annealing.num_chains, axis=0)  # [C, B, L]
    log_w, acceptance = _anneal(path, z, betas[::-1], step_sizes[::-1], chain_seed)
    return -log_w, acceptance


def _anneal(
    path: _Path, z: tf.Tensor, betas: np.ndarray, step_sizes: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Move z [C, B, L] along betas [K + 1], up or down, with fixed step sizes [K + 1, B].

    The results are the sum over k of log f_k - log f_{k-1} at z_{k-1}, [B, C] float64, and the mean
    acceptance [B], NaN where K = 1 and there was no transition.
    """
    beta = tf.constant(betas, z.dtype)

    def step(state: tuple[Any, ...], k: tf.Tensor) -> tuple[Any, ...]:
        z, results, log_w, accepted = state
        z, moved = path.kernel(beta[k], step_sizes[k]).one_step(z, results, seed=fold_in(seed, k))
        results = path.temper(z, moved, beta[k], beta[k + 1])
        log_w += tf.cast(
            results.accepted_results.target_log_prob - moved.accepted_results.target_log_prob, tf.float64
        )
        accepted += tf.reduce_mean(acceptance_probability(moved.log_accept_ratio), 0)
        return z, results, log_w, accepted

    results = path.kernel(beta[1], step_sizes[1]).bootstrap_results(z)
    log_w = tf.cast(results.accepted_results.target_log_prob - path.log_prob(z, beta[0]), tf.float64)
    state = (z, results, log_w, tf.zeros(z.shape[1], z.dtype))
    transitions = tf.range(1, len(betas) - 1)
    _, _, log_w, accepted = tf.foldl(step, transitions, state, parallel_iterations=1)
    return tf.transpose(log_w), accepted / (len(betas) - 2)


def _pilot(path: _Path, annealing: Annealing, betas: np.ndarray, seed: tf.Tensor) -> tf.Tensor:
    """Fit a step size to each density of the path and each example, [K + 1, B], by a run of its own."""
    start_seed, chain_seed = split(seed, 2)
    z = path.sample(annealing.num_pilot_chains, start_seed)  # r(z)
    beta = tf.constant(betas, z.dtype)

    def step(k: tf.Tensor, z: tf.Tensor, results: Any, step_size: tf.Tensor, used: Any) -> tuple[Any, ...]:
        z, moved = path.kernel(beta[k], step_size).one_step(z, results, seed=fold_in(chain_seed, k))
        results = path.temper(z, moved, beta[k], beta[k + 1])
        acceptance = tf.reduce_mean(acceptance_probability(moved.log_accept_ratio), 0)
        used = used.write(k, step_size)
        step_size *= tf.exp(ADAPTATION_RATE * (acceptance - TARGET_ACCEPTANCE))
        return k + 1, z, results, step_size, used

    step_size = tf.fill([z.shape[1]], tf.constant(annealing.step_size, z.dtype))
    results = path.kernel(beta[1], step_size).bootstrap_results(z)
    used = tf.TensorArray(z.dtype, len(betas), element_shape=step_size.shape).write(0, step_size)
    state = (tf.constant(1), z, results, step_size, used)
    last = len(betas) - 1
    *_, step_size, used = tf.while_loop(lambda k, *_: k < last, step, state, parallel_iterations=1)
    return used.write(last, step_size).stack()
