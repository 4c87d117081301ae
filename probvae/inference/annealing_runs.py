"""Runs of chains along the annealing path: the pilot, which fits the path, then there or back."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from probvae.inference.annealing_path import Annealing, Path, _value
from probvae.inference.annealing_starts import Start
from probvae.inference.chains import acceptance_probability
from probvae.objectives.bound import Model
from probvae.seeds import fold_in, split

TARGET_ACCEPTANCE = 0.8  # mean acceptance probability that the step sizes aim at
ADAPTATION_RATE = 0.3  # change of log step size for each unit of acceptance above the target
# Standard deviation of a step of the log-weights in the pilot run: an effective sample size of 80%.
PILOT_SPREAD = 0.5
PILOT_STEP = 0.05  # largest step of beta in the pilot run
MEMORY = 0.7  # weight of the past in running means of log standard deviations
FLOOR = 0.1  # nats, added to standard deviations, so that log-weights that are all equal ask for even steps


class Schedule(NamedTuple):
    """Betas and step sizes of an annealing path, [K + 1, B] each, fitted to each example by a pilot run."""

    betas: tf.Tensor
    step_sizes: tf.Tensor


class Pilot(NamedTuple):
    """Results of a pilot run: the schedule, and where its chains end.

    Attributes:
      schedule: Schedule that it fits.
      z: Ends of the chains, [P, B, L].
      log_joint: log p(x, z) there, [P, B].
    """

    schedule: Schedule
    z: tf.Tensor
    log_joint: tf.Tensor


class Ends(NamedTuple):
    """Results of chains: log w [B, C], acceptance [B], and where they end.

    Attributes:
      log_w: Log-weights [B, C] in float64.
      acceptance: Mean acceptance probability [B], NaN where there was no transition.
      u: Ends of the chains [B, C, L], in coordinates in which q(z|x) is round.
      log_joint: log p(x, z) there, [B, C].
    """

    log_w: tf.Tensor
    acceptance: tf.Tensor
    u: tf.Tensor
    log_joint: tf.Tensor


def forward(vae: Model, annealing: Annealing, x: tf.Tensor, seed: tf.Tensor) -> Ends:
    """Run chains from r to the joint."""
    pilot_seed, forward_seed, _ = split(seed, 3)
    start_seed, chain_seed = split(forward_seed, 2)
    path, pilot = fitted(vae, annealing, x, pilot_seed)
    return anneal(path, path.start.sample(start_seed), pilot.schedule, chain_seed)


def reverse(
    vae: Model, annealing: Annealing, x: tf.Tensor, z: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Run chains from z ~ p(z|x), [B, L], back to r; log w [B, C] and the acceptance [B]."""
    pilot_seed, _, chain_seed = split(seed, 3)
    path, pilot = fitted(vae, annealing, x, pilot_seed, backwards=True)
    z = tf.repeat(z[tf.newaxis], annealing.num_chains, axis=0)  # [C, B, L]
    log_w, acceptance, *_ = anneal(path, z, pilot.schedule, chain_seed, backwards=True)
    return -log_w, acceptance


def fitted(
    vae: Model, annealing: Annealing, x: tf.Tensor, seed: tf.Tensor, *, backwards: bool = False
) -> tuple[Path, Pilot]:
    """Return the path of C chains, and a pilot run, the same both ways for the same seed."""
    scale_seed, run_seed = split(seed, 2)
    scales = Start(vae, x, annealing.initial, annealing.num_chains).precisions(scale_seed)
    pilot = Path(vae, annealing, x, annealing.num_pilot_chains, scales)
    path = Path(vae, annealing, x, annealing.num_chains, scales, backwards=backwards)
    return path, fit(pilot, annealing, run_seed)


def anneal(path: Path, z: tf.Tensor, schedule: Schedule, seed: tf.Tensor, *, backwards: bool = False) -> Ends:
    """Move z [C, B, L] along a schedule, up or down.

    log w is the sum over k of log f_k - log f_{k-1} at z_{k-1}.
    """
    betas, sizes = schedule
    last = betas.shape[0] - 1
    kinds = tf.range(last + 1) % len(path.start.counts)  # the components take turns
    if backwards:
        betas, sizes, kinds = betas[::-1], sizes[::-1], kinds[::-1]

    def step(state: tuple[Any, ...], k: tf.Tensor) -> tuple[Any, ...]:
        z, results, log_w, accepted = state
        z, moved = path.transition(
            z, results, beta=betas[k], kind=kinds[k], step_size=sizes[k], seed=fold_in(seed, k)
        )
        results = path.temper(z, moved, betas[k], betas[k + 1])
        log_w += tf.cast(_value(results) - _value(moved), tf.float64)
        accepted += tf.reduce_mean(acceptance_probability(moved.log_accept_ratio), 0)
        return z, results, log_w, accepted

    results = path.bootstrap(z, betas[1])
    log_w = tf.cast(_value(results) - path.log_prob(z, betas[0]), tf.float64)
    state = (z, results, log_w, tf.zeros(z.shape[1], z.dtype))
    z, results, log_w, accepted = tf.foldl(step, tf.range(1, last), state, parallel_iterations=1)
    log_joint = tf.transpose(_value(results))
    return Ends(tf.transpose(log_w), accepted / (last - 1), path.rounded(z), log_joint)


def fit(path: Path, annealing: Annealing, seed: tf.Tensor) -> Pilot:
    """Fit beta and step sizes to each example by a run of its own, along a path of pilot chains.

    The pilot chooses each step of beta so that the log-weights of the step spread by half a nat. Over the
    steps of the schedule, the spread of each component's chains is the same, in half of the steps: so is
    their effective sample size.
    """
    start_seed, chain_seed = split(seed, 2)
    counts, most = path.start.counts, 2 * annealing.num_steps
    num, labels = len(counts), tf.constant(np.repeat(np.arange(len(counts)), counts))
    z = path.start.sample(start_seed)  # [P, B, L]
    one, sizes = (
        tf.ones([z.shape[1]], z.dtype),
        tf.fill([num, z.shape[1]], tf.constant(annealing.step_size, z.dtype)),
    )

    def following(beta: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
        pooled = tf.sqrt(tf.reduce_mean(spread**2, axis=0))
        return tf.minimum(beta + tf.minimum(PILOT_SPREAD / pooled, PILOT_STEP), 1)

    def step(
        m: tf.Tensor, z: tf.Tensor, results: Any, beta: tf.Tensor, arc: Any, spread: Any, sizes: Any, log: Any
    ) -> tuple[Any, ...]:
        kind = m % num
        log = [array.write(m, value) for array, value in zip(log, (beta, arc, sizes), strict=True)]
        z, moved = path.transition(
            z, results, beta=beta, kind=kind, step_size=sizes[kind], seed=fold_in(chain_seed, m)
        )
        acceptance = acceptance_probability(moved.log_accept_ratio)
        acceptance = tf.reduce_mean(
            tf.boolean_mask(acceptance, labels == tf.cast(kind, labels.dtype)), axis=0
        )
        change = tf.exp(ADAPTATION_RATE * (acceptance - TARGET_ACCEPTANCE))
        sizes = tf.where(tf.range(num)[:, tf.newaxis] == kind, sizes * change, sizes)
        spread = spread**MEMORY * _spread(path.slope(z, moved, beta), counts) ** (1 - MEMORY)
        target = tf.where(m + 2 < most, following(beta, spread), one)
        results = path.temper(z, moved, beta, target)
        return m + 1, z, results, target, arc + (target - beta) * spread, spread, sizes, log

    spread = _spread(path.log_joint(z) - path.start.log_prob(z), counts)
    beta = following(tf.zeros_like(one), spread) if most > 2 else one
    log = [tf.TensorArray(z.dtype, most, element_shape=shape) for shape in (one.shape, *2 * [sizes.shape])]
    log = [array.write(0, value) for array, value in zip(log, (0 * one, 0 * sizes, sizes), strict=True)]
    state = (tf.constant(1), z, path.bootstrap(z, beta), beta, beta * spread, spread, sizes, log)
    m, z, results, _, arc, _, sizes, log = tf.while_loop(
        lambda m, z, results, beta, *_: (m + 1 < most) & tf.reduce_any(beta < 1),
        step,
        state,
        parallel_iterations=1,
    )
    ends = zip(log, (one, arc, sizes), strict=True)
    used = [array.write(m, value).gather(tf.range(m + 1)) for array, value in ends]
    return Pilot(even(used, annealing.num_steps), z, _value(results))


def _spread(slope: tf.Tensor, counts: list[int]) -> tf.Tensor:
    """Return the standard deviation of slopes [P, B] among the chains of each component, [M, B].

    Where a component has a single chain, it is that among all chains.
    """
    slope = tf.where(tf.math.is_finite(slope), slope, tf.zeros_like(slope))
    groups = [slope] * len(counts) if min(counts) < 2 else tf.split(slope, counts)
    sizes = [(group, group.shape[0]) for group in groups]
    deviations = [tf.sqrt(tfp.stats.variance(group) * (n / (n - 1))) for group, n in sizes]
    return tf.stack(deviations) + FLOOR


def even(log: list[tf.Tensor], num_steps: int) -> Schedule:
    """Choose K + 1 betas at even distances in the mean of the components' arcs.

    Args:
      log: What the pilot used: beta [S, B], arc [S, M, B], and step sizes [S, M, B].
      num_steps: K.

    Returns:
      `Schedule`; beta is exactly 0 at the first and 1 at the last.
    """
    betas, arcs, sizes = log
    num = sizes.shape[1]
    arc = tf.transpose(tf.reduce_mean(arcs / arcs[-1], axis=1))  # [B, S], from 0 to 1
    steps = np.linspace(np.zeros(arc.shape[0]), 1, num_steps + 1, axis=1)
    wanted = tf.constant(steps, arc.dtype)  # [B, K + 1]
    right = tf.clip_by_value(tf.searchsorted(arc, wanted), 1, tf.shape(arc)[1] - 1)
    right = tf.ensure_shape(right, wanted.shape)
    low, high = (tf.gather(arc, i, batch_dims=1) for i in (right - 1, right))
    part = tf.clip_by_value((wanted - low) / tf.maximum(high - low, 1e-20), 0, 1)

    def between(values: tf.Tensor) -> tf.Tensor:
        before, after = (tf.gather(tf.transpose(values), i, batch_dims=1) for i in (right - 1, right))
        return tf.transpose((1 - part) * before + part * after)  # [K + 1, B]

    chosen = between(betas)
    chosen = tf.concat([tf.zeros_like(chosen[:1]), chosen[1:-1], tf.ones_like(chosen[:1])], axis=0)
    logs = tf.stack([between(tf.math.log(sizes[:, kind])) for kind in range(num)], axis=1)  # [K + 1, M, B]
    kinds = np.arange(num_steps + 1) % num
    return Schedule(chosen, tf.exp(tf.gather(logs, kinds, axis=1, batch_dims=1)))
