"""Annealed importance sampling of log p(x), and bidirectional Monte Carlo.

The path of K + 1 densities runs from r(z), the prior or q(z|x), to the joint:

  log f_k(z) = (1 - beta_k) log r(z) + beta_k [log p(z) + log p(x|z)],   0 = beta_0 < ... < beta_K = 1

A chain starts at z_0 ~ r and moves by a Hamiltonian transition T_k that leaves f_k in place:

  log w = sum over k = 1..K of log f_k(z_{k-1}) - log f_{k-1}(z_{k-1}),   z_k ~ T_k(z_{k-1}), k < K

Then E[w] = p(x). The same chain backwards from an exact draw z ~ p(z|x) has E[1/w] = 1/p(x).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
from probvae.evaluation.hmc import acceptance_probability, as_data, at_least, in_blocks
from probvae.evaluation.importance import Progress, error_of_mean, log_mean_exp
from probvae.evaluation.spheres import in_space, lengthened
from probvae.seeds import Seed, fold_in, split

if TYPE_CHECKING:
    from probvae.model import VAE

TARGET_ACCEPTANCE = 0.8
ADAPTATION_RATE = 0.3  # change of log step size for each unit of acceptance above the target
STEEPNESS = 4.0  # of the sigmoidal schedule, as in Wu et al. 2017


INITIALS: dict[str, Callable[..., tfd.Distribution]] = {
    "prior": lambda vae, x: tfd.BatchBroadcast(vae.prior, [x.shape[0]]),  # p(z)
    "posterior": lambda vae, x: vae.posterior(x),  # q(z|x)
}


@dataclasses.dataclass(frozen=True)
class Annealing:
    """How the chains run: the options of `ais`, `reverse_ais` and `bdmc`.

    Attributes:
      num_chains: C, chains for each example.
      num_steps: K, annealing distributions after the first; with the pilot chains P, the cost is that
        of (C + P) * K * num_leapfrog_steps gradients of log p(x|z) for each example.
      num_leapfrog_steps: of each transition.
      step_size: the leapfrog step where the adaptation begins, at r, in the units of z.
      initial: r, a name in `INITIALS`: "prior", or "posterior" for q(z|x).
      num_pilot_chains: chains for each example that fit the step sizes beforehand.
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
        if not self.step_size > 0:
            raise InputError(f"Expected a step_size above 0; got {self.step_size}.")
        if self.initial not in INITIALS:
            raise InputError(f"Expected an initial among {', '.join(INITIALS)}; got {self.initial!r}.")


class AIS(NamedTuple):
    """An estimate of log p(x) by annealed importance sampling, NumPy arrays [N] in float64.

    Attributes:
      log_marginal: nats. Forward: log (1/C) sum_c w_c, whose exp is unbiased, so that it lies below
        log p(x) in expectation. Reverse: -log (1/C) sum_c 1/w_c, above it in expectation.
      standard_error: nats, the Monte Carlo error of `log_marginal`, by the delta method over the
        chains. It cannot exceed 1: near it one chain holds all the weight, and the true error is
        larger. For the reverse it is the error at the one z given.
      acceptance: the mean acceptance probability over chains and transitions; NaN without any (K = 1).
      effective_sample_size: (sum w)^2 / sum w^2, of C chains.
    """

    log_marginal: np.ndarray
    standard_error: np.ndarray
    acceptance: np.ndarray
    effective_sample_size: np.ndarray


class BDMC(NamedTuple):
    """A bracket of log p(x) for data simulated from the model.

    Attributes:
      x: the simulated data [N, *E].
      z: the latents [N, L] that made them, exact draws from p(z|x).
      forward: `AIS` from below.
      reverse: `AIS` from above.
    """

    x: np.ndarray
    z: np.ndarray
    forward: AIS
    reverse: AIS

    @property
    def lower(self) -> np.ndarray:
        """Stochastic lower bounds [N], nats."""
        return self.forward.log_marginal

    @property
    def upper(self) -> np.ndarray:
        """Stochastic upper bounds [N], nats."""
        return self.reverse.log_marginal


def sigmoidal_schedule(num_steps: int) -> np.ndarray:
    """Return beta_0 = 0 < ... < beta_K = 1, [K + 1] float64, densest at both ends.

    References:
      Wu, Burda, Salakhutdinov & Grosse 2017, arXiv:1611.04273.

    >>> sigmoidal_schedule(4).round(3).tolist()
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    raw = 1 / (1 + np.exp(-STEEPNESS * np.linspace(-1, 1, num_steps + 1)))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def ais(
    vae: "VAE",
    x: Any,
    *,
    batch_size: int = 32,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    **options: Any,
) -> AIS:
    """Estimate log p(x) by annealed importance sampling with Hamiltonian transitions.

    A pilot run with its own seed fits a step size to each example and each density of the path.
    The chains proper use these fixed numbers, so that their weights are exactly unbiased:
    E[exp(log_marginal)] = p(x), and by Markov's inequality
    P(log_marginal > log p(x) + b) <= exp(-b) for each example. The bound is far below log p(x)
    where the chains miss mass of p(z|x), and nothing in the output then shows it. From "posterior" they
    do so wherever q(z|x) is far off; elsewhere they need fewer steps than from "prior".

    Args:
      vae: the model; p(z|x) must have a density on all of R^L, or on the sphere.
      x: data [N, *E].
      batch_size: examples at once; memory grows with num_chains * batch_size.
      seed: an int or an int32 pair; the same seed, x and batch_size give the same numbers.
      on_progress: called after each block with the fraction done; where it raises
        `importance.Stopped`, the examples finished so far are returned.
      **options: fields of `Annealing`: `num_chains`, `num_steps`, `num_leapfrog_steps`,
        `step_size`, `initial`, `num_pilot_chains`.

    Returns:
      `AIS`, a stochastic lower bound.

    Raises:
      InputError: an option is out of range, or x has another shape than the model's.

    References:
      Neal 2001, arXiv:physics/9803008; Wu, Burda, Salakhutdinov & Grosse 2017, arXiv:1611.04273.
    """
    run = functools.partial(_forward, in_space(vae), Annealing(**options))
    blocks = in_blocks(run, [as_data(vae, x)], seed=seed, batch_size=batch_size, on_progress=on_progress)
    return _summary(*blocks, sign=1.0)


def reverse_ais(
    vae: "VAE",
    x: Any,
    z: Any,
    *,
    batch_size: int = 32,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    **options: Any,
) -> AIS:
    """Bound log p(x) from above by annealing backwards from exact draws z ~ p(z|x).

    All the chains of an example start at its one z: each 1/w has the mean 1/p(x) all the same.
    `bdmc` makes such pairs (x, z); where z is not an exact draw from p(z|x) there is no bound.

    Args:
      vae: the model.
      x: data [N, *E].
      z: exact draws from p(z|x), [N, L].
      batch_size: examples at once.
      seed: an int or an int32 pair.
      on_progress: called after each block with the fraction done; where it raises
        `importance.Stopped`, the examples finished so far are returned.
      **options: fields of `Annealing`, as in `ais`.

    Returns:
      `AIS`, a stochastic upper bound: E[exp(-log_marginal)] = 1/p(x).

    Raises:
      InputError: an option is out of range, or x or z has another shape than the model's.

    References:
      Grosse, Ghahramani & Adams 2015, arXiv:1511.02543.
    """
    x, z = as_data(vae, x), np.asarray(z)
    if z.shape != (len(x), vae.latent_dim):
        raise InputError(f"Expected z of shape {(len(x), vae.latent_dim)}, a row for each x; got {z.shape}.")
    z = lengthened(vae, z.astype(x.dtype), seed=fold_in(seed, -1))
    run = functools.partial(_reverse, in_space(vae), Annealing(**options))
    blocks = in_blocks(run, [x, np.asarray(z)], seed=seed, batch_size=batch_size, on_progress=on_progress)
    return _summary(*blocks, sign=-1.0)


def bdmc(
    vae: "VAE",
    num_examples: int,
    *,
    batch_size: int = 32,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    **options: Any,
) -> BDMC:
    """Bracket log p(x) of data simulated from the model: bidirectional Monte Carlo.

    The bracket is rigorous *only for simulated data*, whose z is an exact draw from p(z|x): in
    expectation, and for each example with P(lower > log p(x) + b) <= exp(-b) and
    P(upper < log p(x) - b) <= exp(-b). Of real data it says nothing but how well `ais` with the same
    options does on images that the model itself would make, and these can be easier.

    Args:
      vae: the model.
      num_examples: N.
      batch_size: examples at once.
      seed: an int or an int32 pair.
      on_progress: called after each block with the fraction done; where it raises
        `importance.Stopped`, the examples finished both ways are returned, at least one block.
      **options: fields of `Annealing`, as in `ais`.

    Returns:
      `BDMC`: x, z, and the two estimates for each example.

    Raises:
      InputError: an option is out of range.

    References:
      Grosse, Ghahramani & Adams 2015, arXiv:1511.02543; Grosse, Ancha & Roy 2016, arXiv:1606.02275.
    """
    at_least(num_examples=(num_examples, 1))
    seed_z, seed_x, forward_seed, reverse_seed = split(seed, 4)
    z = vae.prior.sample(num_examples, seed=seed_z)  # [N, L]
    x = vae.likelihood(z).sample(seed=seed_x).numpy()  # p(x|z)

    def run(estimate: Callable[..., AIS], *data: Any, seed: tf.Tensor, before: float) -> AIS:
        return estimate(
            vae,
            *data,
            batch_size=batch_size,
            seed=seed,
            on_progress=lambda fraction: on_progress(before + fraction / 2),
            **options,
        )

    forward = run(ais, x, seed=forward_seed, before=0.0)
    done = len(forward.log_marginal)
    reverse = run(reverse_ais, x[:done], z[:done], seed=reverse_seed, before=0.5)
    done = len(reverse.log_marginal)
    return BDMC(x[:done], z[:done].numpy(), AIS(*(field[:done] for field in forward)), reverse)


# ---- one block of examples, compiled ---------------------------------------------------------------


class _Path:
    """The densities of the path for one block of examples x [B, *E]."""

    def __init__(self, vae: "VAE", a: Annealing, x: tf.Tensor) -> None:
        self.vae, self.x, self.num_leapfrog_steps = vae, x, a.num_leapfrog_steps
        self.start = INITIALS[a.initial](vae, x)  # r(z)

    def sample(self, num_chains: int, seed: tf.Tensor) -> tf.Tensor:
        """Draw z [num_chains, B, L] from r.

        As a new tensor: TFP's bijectors recognize their own draws, and `log_prob` at one of them is
        then computed from the noise behind it, with a wrong gradient in z or none.
        """
        return tf.identity(self.start.sample(num_chains, seed=seed))

    def log_prob(self, z: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """Return log f of z [C, B, L], [C, B]."""
        log_joint = self.vae.prior.log_prob(z) + self.vae.likelihood(z).log_prob(self.x)
        return (1 - beta) * self.start.log_prob(z) + beta * log_joint

    def kernel(self, beta: tf.Tensor, step_size: tf.Tensor) -> tfp.mcmc.HamiltonianMonteCarlo:
        """Return the transition at beta with step sizes [B]."""
        return tfp.mcmc.HamiltonianMonteCarlo(
            lambda z: self.log_prob(z, beta), step_size[None, :, None], self.num_leapfrog_steps
        )

    def temper(self, z: tf.Tensor, results: Any, beta: tf.Tensor, target: tf.Tensor) -> Any:
        """Turn TFP's results at beta > 0 into those at another beta without a call of the decoder.

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


def _forward(vae: "VAE", a: Annealing, x: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log w [B, C] and the acceptance [B] of chains from r to the joint."""
    pilot_seed, start_seed, chain_seed = split(seed, 3)
    path, betas = _Path(vae, a, x), sigmoidal_schedule(a.num_steps)
    step_sizes = _pilot(path, a, betas, pilot_seed)
    z = path.sample(a.num_chains, start_seed)  # r(z); [C, B, L]
    return _anneal(path, z, betas, step_sizes, chain_seed)


def _reverse(
    vae: "VAE", a: Annealing, x: tf.Tensor, z: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log w [B, C] and the acceptance [B] of chains from z ~ p(z|x) back to r."""
    pilot_seed, chain_seed = split(seed, 2)
    path, betas = _Path(vae, a, x), sigmoidal_schedule(a.num_steps)
    step_sizes = _pilot(path, a, betas, pilot_seed)
    z = tf.repeat(z[None], a.num_chains, axis=0)  # [C, B, L]
    log_w, acceptance = _anneal(path, z, betas[::-1], step_sizes[::-1], chain_seed)
    return -log_w, acceptance


def _anneal(
    path: _Path, z: tf.Tensor, betas: np.ndarray, step_sizes: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Move z [C, B, L] along betas [K + 1], up or down, with fixed step sizes [K + 1, B].

    Returns:
      The sum over k of log f_k - log f_{k-1} at z_{k-1}, [B, C] float64, and the mean acceptance [B],
      NaN where K = 1 and there was no transition.
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


def _pilot(path: _Path, a: Annealing, betas: np.ndarray, seed: tf.Tensor) -> tf.Tensor:
    """Fit a step size to each density of the path and each example, [K + 1, B], by a run of its own."""
    start_seed, chain_seed = split(seed, 2)
    z = path.sample(a.num_pilot_chains, start_seed)  # r(z)
    beta = tf.constant(betas, z.dtype)

    def step(k: tf.Tensor, z: tf.Tensor, results: Any, step_size: tf.Tensor, used: Any) -> tuple[Any, ...]:
        z, moved = path.kernel(beta[k], step_size).one_step(z, results, seed=fold_in(chain_seed, k))
        results = path.temper(z, moved, beta[k], beta[k + 1])
        acceptance = tf.reduce_mean(acceptance_probability(moved.log_accept_ratio), 0)
        used = used.write(k, step_size)
        step_size *= tf.exp(ADAPTATION_RATE * (acceptance - TARGET_ACCEPTANCE))
        return k + 1, z, results, step_size, used

    step_size = tf.fill([z.shape[1]], tf.constant(a.step_size, z.dtype))
    results = path.kernel(beta[1], step_size).bootstrap_results(z)
    used = tf.TensorArray(z.dtype, len(betas), element_shape=step_size.shape).write(0, step_size)
    state = (tf.constant(1), z, results, step_size, used)
    last = len(betas) - 1
    *_, step_size, used = tf.while_loop(lambda k, *_: k < last, step, state, parallel_iterations=1)
    return used.write(last, step_size).stack()


def _summary(log_w: np.ndarray, acceptance: np.ndarray, *, sign: float) -> AIS:
    """Average the weights [N, C] of the chains (sign 1) or their inverses (sign -1)."""
    log_mean = log_mean_exp(sign * log_w.T)
    relative = np.exp(sign * log_w - log_mean[:, None])  # weights divided by their mean
    ess = log_w.shape[1] / np.mean(relative**2, axis=1)
    return AIS(sign * log_mean, error_of_mean(relative.T), acceptance.astype(np.float64), ess)
