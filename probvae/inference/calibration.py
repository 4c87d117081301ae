"""The certificate of an encoder: is q(z|x) the posterior of the model, and by how much is it not?

Simulation-based calibration: a pair z ~ p(z), x ~ p(x|z) has z drawn from p(z|x), so that the rank of z among
draws of q(z|x) is uniform if q(z|x) = p(z|x), in every statistic of z and x.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.arguments import count, weight
from probvae.environment import cores
from probvae.errors import InputError
from probvae.inference import ranks
from probvae.inference.blocks import Progress, Stopped, as_data, compiled_in_blocks, decodes_at_once
from probvae.inference.estimates import pareto_k, reliable_pareto_k
from probvae.inference.hmc import posterior_samples
from probvae.inference.ranks import Coverage, Size
from probvae.objectives.bound import Model, as_model
from probvae.seeds import Seed, as_seed, split

DRAWS = 399  # draws of q(z|x) for each x; with 19, 99, 199, 399 the bins of the ranks are equal
MIN_SIMULATIONS = 100  # smallest number of simulations
MIN_EXAMPLES = 20  # smallest number of data whose chains agree
DECODED = 99  # those at which p(x|z) is evaluated
DIRECTIONS = 20  # most rotations of the coordinates
SIGNIFICANT = 0.05  # p-value below which the text speaks of a difference
RIDGE = 1e-2  # penalty of the reference points' regression, relative to the mean square of the features
CLIP = 5.0  # largest absolute value of a feature, in standard deviations


@dataclasses.dataclass(frozen=True, repr=False)
class Certificate:
    """What is known of the difference between q(z|x) and the posterior of the model.

    Attributes:
      passed: Whether every region of q(z|x) covers its nominal share of the true z to within `tolerance`.
      p_value: p-value of q(z|x) = p(z|x), of all tests together. A trained encoder fails an exact test if
        there are enough simulations; `passed` and the coverages say whether it matters.
      tolerance: Largest difference of a coverage from its nominal value.
      coverages: Share of the true z in regions of q(z|x) that should hold 50% and 90% of them: its
        highest-density regions, regions of the highest p(x, z), balls round a point that x predicts, and the
        central interval of each coordinate.
      size: Factors by which q(z|x) is too narrow, and its shifts, by coordinate.
      p_values: p-value of each test, before they are combined.
      places: Ranks of the true z among the draws, as numbers in (0, 1), [N], by statistic.
      pareto_k: Pareto shape of the importance weights of each x, [N]; None without arviz-stats.
      num_draws: S, the number of draws from q(z|x) for each x.
      unknown: Number of examples that were left out because their posterior could not be drawn from.
      simulated: Whether x were drawn from the model; otherwise they are data.
    """

    passed: bool
    p_value: float
    tolerance: float
    coverages: tuple[Coverage, ...]
    size: Size
    p_values: dict[str, float]
    places: dict[str, np.ndarray]
    pareto_k: np.ndarray | None
    num_draws: int
    unknown: int = 0
    simulated: bool = True

    @property
    def worst(self) -> Coverage:
        """The coverage that is farthest from its nominal value."""
        return max(self.coverages, key=lambda c: abs(c.share - c.nominal))

    @property
    def verdict(self) -> str:
        """The result in words."""
        worst, significant = self.worst, self.p_value < SIGNIFICANT
        held = f"the {worst.nominal:.0%} {worst.region} holds {worst.share:.0%} ({worst.low:.0%} to "
        held += f"{worst.high:.0%}) of the true z"
        if self.passed and significant:
            return f"significant and negligible: p = {self.p_value:.2g}, and at worst {held}"
        if self.passed:
            return f"no difference was found: p = {self.p_value:.2g}, and at worst {held}"
        text = f"NOT the posterior: {held}"
        if not significant:
            more = "simulations" if self.simulated else "examples"
            return f"not known: {held}, with p = {self.p_value:.2g}; take more {more}"
        i = int(np.argmax(np.abs(np.log(self.size.width))))
        width = self.size.width[i]
        if abs(np.log(width)) > 0.05:
            text += (
                f"; q is {max(width, 1 / width):.2f} times too {'narrow' if width > 1 else 'wide'} in z[{i}]"
            )
        j = int(np.argmax(np.abs(self.size.shift)))
        if abs(self.size.shift[j]) > 0.05:
            side = "low" if self.size.shift[j] > 0 else "high"
            text += f"; it lies {abs(self.size.shift[j]):.2f} of its deviations too {side} in z[{j}]"
        return text

    def __repr__(self) -> str:
        unclear = not self.passed and self.p_value >= SIGNIFICANT
        result = "passed" if self.passed else "undecided" if unclear else "not passed"
        lines = [f"Certificate: {result}", f"  {self.verdict}"]
        for region in dict.fromkeys(c.region for c in self.coverages):
            both = [c for c in self.coverages if c.region == region]
            shown = ", ".join(f"{c.nominal:.0%}: {c.share:.1%} ({c.low:.1%} to {c.high:.1%})" for c in both)
            lines.append(f"  {region:<32} {shown}")
        if self.pareto_k is not None and np.isfinite(self.pareto_k).any():
            known = self.pareto_k[np.isfinite(self.pareto_k)]
            limit = reliable_pareto_k(DECODED)
            lines.append(f"  Pareto k above {limit:.2g} for {np.mean(known > limit):.0%} of x")
        return "\n".join(lines)


def certify(
    vae: Model,
    num_simulations: int = 1000,
    tolerance: float = 0.05,
    seed: Seed = None,
    *,
    x: Any = None,
    batch_size: int = 100,
    on_progress: Progress = lambda fraction: None,
) -> Certificate:
    """Compare q(z|x) with the posterior p(z|x) of the model.

    On simulated data the true z is known, and the result is exact but for chance. On data of your own, the
    true z is a draw from p(z|x) by `posterior_samples`; examples whose chains disagree are left out and
    counted.

    Args:
      vae: Model of x, from which x can be drawn.
      num_simulations: N, the number of pairs (z, x) that are drawn; with x, the largest number of examples.
      tolerance: Largest difference of a coverage from its nominal value at which the result is `passed`. Its
        standard error is 0.016 at 50% with 1,000 simulations.
      seed: Seed of all draws, an int or an int32 pair.
      x: Data [M, *E] to use in place of simulated ones.
      batch_size: Number of examples at a time.
      on_progress: Function called after each block with the fraction done. If it raises `Stopped`, the
        certificate is that of the finished examples.

    Returns:
      `Certificate`.

    Raises:
      InputError: A number is out of range, the model does not take x, or the chains agree for fewer than 20
        of the data.
      Stopped: `on_progress` raised it before 20 examples were finished.

    References:
      Talts et al. 2018, arXiv:1804.06788 (simulation-based calibration). Modrák et al. 2023,
      arXiv:2211.02383 (ranks of densities). Lemos et al. 2023, arXiv:2302.03026 (balls, TARP).
    """
    as_model(vae)
    number = count("num_simulations", num_simulations, MIN_SIMULATIONS)
    if not 0 < weight("tolerance", tolerance, above=True) < 1:
        raise InputError(f"tolerance must be above 0 and below 1; got {tolerance}.")
    seed = as_seed(seed)
    seeds = split(seed, 4)
    pairs = _simulate(vae, number, seeds[0], batch_size)
    points = _Points(*pairs)  # fitted to pairs of their own
    unknown, true, before = 0, _simulate(vae, number, seeds[1], batch_size), 0.0
    if x is not None:
        data, before = as_data(vae, x)[:number], 0.5
        true, unknown = _from_data(vae, data, seeds[2], batch_size, lambda done: on_progress(done / 2))
    z, values = true
    found = _compare(
        vae, z, values, points, seeds[3], batch_size, lambda done: on_progress(before + (1 - before) * done)
    )
    finished = len(found[0])
    if finished < MIN_EXAMPLES:
        raise Stopped
    return _certificate(found, z[:finished], tolerance, unknown, simulated=x is None)


# ---- draws ---------------------------------------------------------------------------------------


def _simulate(vae: Model, number: int, seed: tf.Tensor, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs z ~ p(z), x ~ p(x|z), [N, L] and [N, *E]."""

    def run(z: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (vae.likelihood(z).sample(seed=seed),)  # p(x|z)

    seed_z, seed_x = split(seed, 2)
    z = vae.prior.sample(number, seed=seed_z).numpy()  # p(z)
    (x,) = compiled_in_blocks(run, [z], seed=seed_x, batch_size=batch_size, on_progress=lambda fraction: None)
    return z, x.astype(vae.prior.dtype.as_numpy_dtype)


def _from_data(
    vae: Model, x: np.ndarray, seed: tf.Tensor, batch_size: int, on_progress: Progress
) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """Draw z ~ p(z|x) for data x; return the pairs, and the number of x without a trustworthy draw."""
    samples = posterior_samples(vae, x, seed=seed, batch_size=batch_size, on_progress=on_progress)
    n, good = samples.z.shape[2], samples.reliable
    if np.sum(good) < MIN_EXAMPLES:
        if n < len(x):
            raise Stopped
        raise InputError(
            f"x must hold {MIN_EXAMPLES} examples whose chains agree; those of {np.sum(good):,} of {n:,} do: "
            "give more examples, or leave x out, for simulated ones."
        )
    chain = np.arange(n) % samples.z.shape[1]
    return (samples.z[-1, chain, np.arange(n)][good], x[:n][good]), int(n - np.sum(good))


class _Points:
    """Points near z that x predicts, by a ridge regression on pairs (z, x): centres of the balls."""

    def __init__(self, z: np.ndarray, x: np.ndarray) -> None:
        self.scale = np.maximum(z.std(axis=0), 1e-6)
        flat = self._flat(x)
        self._mean, self._sd = flat.mean(axis=0), np.maximum(flat.std(axis=0), 1e-6)
        features, target = self._features(flat), z / self.scale
        self._offset = target.mean(axis=0)
        gram = features @ features.T
        gram[np.diag_indices(len(z))] += RIDGE * np.trace(gram) + 1e-6
        self._weights = features.T @ np.linalg.solve(gram, target - self._offset)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the points of x, [N, L], in units of `scale`."""
        return self._offset + self._features(self._flat(x)) @ self._weights

    @staticmethod
    def _flat(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(x.reshape(len(x), -1).astype(np.float64))

    def _features(self, flat: np.ndarray) -> np.ndarray:
        return np.clip((flat - self._mean) / self._sd, -CLIP, CLIP)


# ---- ranks ---------------------------------------------------------------------------------------


def _directions(size: int, seed: tf.Tensor) -> np.ndarray:
    """Return the unit vectors of the coordinates and random rotations of them, [L, K]."""
    if size == 1:
        return np.eye(1)
    normal = tf.random.stateless_normal([size, size], seed).numpy()
    return np.concatenate([np.eye(size), np.linalg.qr(normal)[0][:, :DIRECTIONS]], axis=1)


def _rank(true: tf.Tensor, draws: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return the number of draws [S, ...] below the true value [...], ties being broken at random."""
    below = tf.reduce_sum(tf.cast(draws < true, tf.float32), axis=0)
    equal = tf.reduce_sum(tf.cast(draws == true, tf.float32), axis=0)
    return tf.cast(
        below + tf.floor(tf.random.stateless_uniform(tf.shape(equal), seed) * (equal + 1)), tf.int32
    )


def _compare(
    vae: Model,
    z: np.ndarray,
    x: np.ndarray,
    points: _Points,
    seed: tf.Tensor,
    batch_size: int,
    on_progress: Progress,
) -> list[np.ndarray]:
    """Return ranks, moments and log-weights of each x.

    Returns:
      Ranks of the projections of z [N, K], of log q(z|x) [N], of the distance from the point [N], and of log
      p(x, z) [N] among the first `DECODED` draws; mean and variance of the draws, [N, L]; log-weights
      [N, DECODED].
    """
    seed_directions, seed_blocks = split(seed, 2)
    scale = np.float32(points.scale)
    directions = np.float32(_directions(z.shape[1], seed_directions))
    most = decodes_at_once(vae)

    def log_joint(x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        return vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z)  # p(x, z)

    def run(z: tf.Tensor, x: tf.Tensor, point: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        seeds = split(seed, 5)
        q = vae.posterior(x)  # q(z|x)
        draws = q.sample(DRAWS, seed=seeds[0])  # [S, B, L]
        log_q = q.log_prob(draws)
        each = max(
            n for n in range(1, DECODED + 1) if DECODED % n == 0 and n * z.shape[0] <= max(most, z.shape[0])
        )
        parts = tf.reshape(draws[:DECODED], [-1, each, *draws.shape[1:]])
        log_p = tf.map_fn(lambda part: log_joint(x, part), parts, parallel_iterations=cores())
        log_p = tf.reshape(log_p, [DECODED, -1])
        mean, variance = tf.nn.moments(draws, axes=[0])

        def distance(z: tf.Tensor) -> tf.Tensor:
            return tf.norm(z / scale - tf.cast(point, z.dtype), axis=-1)

        def along(z: tf.Tensor) -> tf.Tensor:
            return tf.linalg.matvec(directions, z / scale, transpose_a=True)

        return (
            _rank(along(z), along(draws), seeds[1]),
            _rank(q.log_prob(z), log_q, seeds[2]),
            _rank(distance(z), distance(draws), seeds[3]),
            _rank(log_joint(x, z), log_p, seeds[4]),
            mean,
            variance * DRAWS / (DRAWS - 1),
            tf.transpose(log_p - log_q[:DECODED]),
        )

    reference = points(x).astype(z.dtype)
    return compiled_in_blocks(
        run, [z, x, reference], seed=seed_blocks, batch_size=batch_size, on_progress=on_progress
    )


def _certificate(
    found: list[np.ndarray], z: np.ndarray, tolerance: float, unknown: int, simulated: bool
) -> Certificate:
    along, density, ball, joint, mean, variance, log_w = found
    size = z.shape[1]
    names = [f"z[{i}]" for i in range(size)]
    names += [f"rotation {i}" for i in range(along.shape[1] - size)]
    statistics = {name: (along[:, i], DRAWS) for i, name in enumerate(names)}
    statistics |= {"log q(z|x)": (density, DRAWS), "balls": (ball, DRAWS), "log p(x, z)": (joint, DECODED)}
    p_values = {
        f"{name}, {kind}": test(values, draws)
        for name, (values, draws) in statistics.items()
        for kind, test in ranks.TESTS.items()
    }
    coverages = (
        *ranks.highest("highest-density region", density, DRAWS),
        *ranks.highest("region of highest p(x, z)", joint, DECODED),
        *ranks.lowest("ball round a predicted point", ball, DRAWS),
        *(c for i in range(size) for c in ranks.central(f"interval of z[{i}]", along[:, i], DRAWS)),
    )
    return Certificate(
        passed=all(abs(c.share - c.nominal) <= tolerance for c in coverages),
        p_value=ranks.combined(p_values.values()),
        tolerance=tolerance,
        coverages=coverages,
        size=ranks.size_of(z.astype(np.float64), mean, variance, DRAWS),
        p_values=p_values,
        places={name: ranks.places(values, draws) for name, (values, draws) in statistics.items()},
        pareto_k=pareto_k(log_w.T),
        num_draws=DRAWS,
        unknown=unknown,
        simulated=simulated,
    )
