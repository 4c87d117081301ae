"""Sequential Monte Carlo along the annealing path: chains that are resampled by their weights."""

from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from probvae.inference.annealing_path import Annealing, _gradient, _value, _with
from probvae.inference.annealing_runs import fitted
from probvae.inference.chains import acceptance_probability
from probvae.objectives.bound import Model
from probvae.seeds import fold_in, split

mcmc = tfp.experimental.mcmc
THRESHOLD = 0.5  # effective sample size, as a part of a population, below which it is resampled


class Populations(NamedTuple):
    """Results of G populations of C chains, and of the P chains of the pilot run.

    Attributes:
      log_w: Logarithm of the mean weight of each population, [B, G] in float64.
      acceptance: Mean acceptance probability [B], NaN where there was no transition.
      u: Ends of the chains [B, C G, L], in coordinates in which q(z|x) is round.
      log_joint: log p(x, z) there, [B, C G].
      pilot_u: Ends of the pilot's chains, [B, P, L].
      pilot_log_joint: log p(x, z) there, [B, P].
    """

    log_w: tf.Tensor
    acceptance: tf.Tensor
    u: tf.Tensor
    log_joint: tf.Tensor
    pilot_u: tf.Tensor
    pilot_log_joint: tf.Tensor


def populations(vae: Model, annealing: Annealing, x: tf.Tensor, seed: tf.Tensor) -> Populations:
    """Run G populations of C chains from r to the joint, which share nothing but the schedule.

    The weights are those of `anneal`. Between two transitions, a population whose effective sample size is
    below half is resampled, systematically. The rule uses the weights alone and the schedule is fixed, so the
    mean weight of a population is unbiased, as without resampling.
    """
    pilot_seed, forward_seed, _ = split(seed, 3)
    start_seed, chain_seed = split(forward_seed, 2)
    path, pilot = fitted(vae, annealing, x, pilot_seed)
    betas, sizes = pilot.schedule
    num, last = annealing.num_populations, betas.shape[0] - 1
    numbers, dtype = tf.range(num), vae.prior.dtype
    z = tf.map_fn(lambda i: path.start.sample(fold_in(start_seed, i)), numbers, fn_output_signature=dtype)
    z = _flat(tf.transpose(z, [1, 0, 2, 3]))  # [G, C, B, L] to [C G, B, L]
    first = path.bootstrap(z, betas[1])
    log_w = tf.cast(_value(first) - path.log_prob(z, betas[0]), tf.float64)

    def move(step: tf.Tensor, state: Any, seed: Any) -> Any:
        """Move particles at the density `step` + 1, and weigh them by the next one.

        TFP calls it before the first step too, without use of what it returns, where K = 1 has no next one.
        """
        k = tf.minimum(step + 1, last)
        z, value, gradient, accepted = (_flat(part) for part in state.particles)
        z, moved = path.transition(
            z,
            _with(first, value, gradient),
            beta=betas[k],
            kind=k % len(path.start.counts),
            step_size=sizes[k],
            seed=seed,
        )
        results = path.temper(z, moved, betas[k], betas[tf.minimum(k + 1, last)])
        accepted += acceptance_probability(moved.log_accept_ratio)
        change = tf.cast(_value(results) - _value(moved), tf.float64)
        return _particles(num, z, results, accepted, state.log_weights + _split(num, change))

    chains = tf.cast(annealing.num_chains, tf.float64)
    start = _particles(num, z, first, tf.zeros_like(_value(first)), _split(num, log_w) - tf.math.log(chains))
    kernel = mcmc.SequentialMonteCarlo(move, resample_criterion_fn=_few, unbiased_gradients=False)
    state, results = tf.foldl(
        lambda state, k: kernel.one_step(*state, seed=fold_in(chain_seed, k)),
        tf.range(last),  # the first step weighs the start
        (start, kernel.bootstrap_results(start)),
        parallel_iterations=1,
    )
    z, log_joint, _, accepted = (_flat(part) for part in state.particles)
    return Populations(
        tf.transpose(results.accumulated_log_marginal_likelihood),
        tf.reduce_mean(accepted, axis=0) / (last - 1),
        path.rounded(z),
        tf.transpose(log_joint),
        path.rounded(pilot.z),
        tf.transpose(pilot.log_joint),
    )


def _few(state: Any, particles_dim: int) -> tf.Tensor:
    return mcmc.ess_below_threshold(state, particles_dim, THRESHOLD)


def _particles(num: int, z: tf.Tensor, results: Any, accepted: tf.Tensor, log_w: tf.Tensor) -> Any:
    """Return particles of G populations, with log weights [C, G, B] and parts [C, G, B, ...]."""
    parts = (z, _value(results), _gradient(results), accepted)
    return mcmc.WeightedParticles(tuple(_split(num, part) for part in parts), log_w)


def _flat(part: tf.Tensor) -> tf.Tensor:
    """Return [C G, ...] of [C, G, ...]."""
    return tf.reshape(part, [-1, *part.shape[2:]])


def _split(num: int, part: tf.Tensor) -> tf.Tensor:
    """Return [C, G, ...] of [C G, ...]."""
    return tf.reshape(part, [-1, num, *part.shape[1:]])
