"""Annealed importance sampling of log p(x), and bidirectional Monte Carlo.

The path of K + 1 densities runs from r(z), a mixture of q(z|x) and p(z), to the joint:

  log f_k(z) = (1 - beta_k) log r(z) + beta_k [log p(z) + log p(x|z)],   0 = beta_0 < ... < beta_K = 1

A chain starts at z_0 ~ r and moves by Hamiltonian transitions T_k, which leave f_k invariant:

  log w = sum over k = 1..K of log f_k(z_{k-1}) - log f_{k-1}(z_{k-1}),   z_k ~ T_k(z_{k-1}), k < K

Then E[w] = p(x). The same chain backwards from an exact draw z ~ p(z|x) has E[1/w] = 1/p(x).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from probvae.arguments import class_of, weight
from probvae.errors import InputError, with_fields
from probvae.inference.annealing_particles import populations
from probvae.inference.annealing_path import Annealing
from probvae.inference.annealing_runs import forward, reverse
from probvae.inference.annealing_starts import chain_counts
from probvae.inference.annealing_trust import Weights, elsewhere, reliable, weigh
from probvae.inference.blocks import Progress, as_data, at_least, compiled_in_blocks
from probvae.inference.sphere import in_space, lengthened
from probvae.objectives.bound import Model, as_model
from probvae.objectives.memory import refuse_values
from probvae.seeds import Seed, fold_in, split


class AIS(NamedTuple):
    """An estimate of log p(x) by annealed importance sampling, NumPy arrays [N], in float64 where not said.

    Attributes:
      log_marginal: Estimate of log p(x), nats. Forward: log (1/C) sum_c w_c, whose exp is unbiased, so that
        it lies below log p(x) in expectation. Reverse: -log (1/C) sum_c 1/w_c, above it in expectation.
      standard_error: Monte Carlo error of `log_marginal`, nats, by the delta method over the chains, within
        those that begin at q(z|x) and those that begin at p(z), and at least the error of lognormal weights
        whose logarithms spread as theirs do. Where a single chain holds all the weight, the true error is
        larger. For the reverse it is the error at the given z.
      acceptance: Mean acceptance probability over chains and transitions; NaN without transitions (K = 1).
      effective_sample_size: Effective number of chains, (sum w)^2 / sum w^2, at most C; with
        populations their effective number, at most G. Where q(z|x) is good, the half of the chains that began
        at p(z) has next to no weight.
      degrees_of_freedom: Degrees of freedom of `standard_error` (Welch-Satterthwaite).
      reliable: Whether the estimate is to be trusted, bool [N]: a quarter of the chains or more is effective,
        at least two are, and the chains from p(z) have not found a mode of p(z|x) whose mass they are too few
        to know. For populations: the same numbers are effective, and no chain of the pilot run has found a
        mode that they lack.
      num_populations: G, the number of populations; 1 for chains that are not resampled.
    """

    log_marginal: np.ndarray
    standard_error: np.ndarray
    acceptance: np.ndarray
    effective_sample_size: np.ndarray
    degrees_of_freedom: np.ndarray
    reliable: np.ndarray
    num_populations: int = 1

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of intervals for log p(x), [N] each, by Student's t distribution.

        They know nothing of mass that no chain has found, and mean nothing where `reliable` is False.

        Args:
          level: Probability that an interval should hold log p(x), between 0 and 1.

        Raises:
          InputError: The level is not between 0 and 1.
        """
        if not 0 < weight("level", level) < 1:
            raise InputError(f"level must be above 0 and below 1; got {level}.")
        half = special.stdtrit(self.degrees_of_freedom, (1 + level) / 2) * self.standard_error
        return self.log_marginal - half, self.log_marginal + half

    def verdict(self) -> str:
        """Return how far the estimates are to be trusted, in a sentence."""
        number, several = float(np.median(self.effective_sample_size)), self.num_populations > 1
        text = f"effective {'populations' if several else 'chains'} {number:.1f}"
        text += f" of {self.num_populations} (median)" if several else " (median)"
        bad, n = int(np.sum(~self.reliable)), len(self.reliable)
        return f"{text}; NOT to be trusted for {bad:,} of {n:,}" if bad else text

    def __repr__(self) -> str:
        n = len(self.log_marginal)
        return f"<AIS: log p(x) of {n:,} example{'s' if n != 1 else ''}, {self.verdict()}>"


class BDMC(NamedTuple):
    """A bracket of log p(x) for data simulated from the model.

    Attributes:
      x: Simulated data [N, *E].
      z: Latents [N, L] of the data, exact draws from p(z|x).
      forward: Estimate from below.
      reverse: Estimate from above.
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


def ais(
    vae: Model,
    x: Any,
    *,
    batch_size: int = 32,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    **options: Any,
) -> AIS:
    """Estimate log p(x) by annealed importance sampling with Hamiltonian transitions.

    Half of the chains begin at q(z|x), where most of p(z|x) is, and half at p(z), which reaches the modes
    that q(z|x) misses; the path begins at the density of both together. A pilot run with its own seed fits
    the path to each example: betas at which the log-weights of each step spread evenly, and step sizes. The
    chains themselves use this fixed path, so that their weights are exactly unbiased: E[exp(log_marginal)] =
    p(x), and by Markov's inequality P(log_marginal > log p(x) + b) <= exp(-b) for each example. The bound is
    far below log p(x) if the chains miss mass of p(z|x). `reliable` is False where they show it, as most do.
    Chains from "posterior" alone do not show it, and miss mass wherever q(z|x) is far off.

    With `num_populations=G` above 1, G populations of C chains are resampled by their weights: sequential
    Monte Carlo, more accurate in many dimensions, with C of 16 or more. The schedule is still fixed
    beforehand and the chains are resampled by their weights alone, so that E[exp(log_marginal)] = p(x)
    remains true. A mode of little weight can die out in all populations; `reliable` is False where a chain
    of the pilot run ends far from all of theirs.

    Args:
      vae: Model of x; p(z|x) must have a density on all of R^L, or on the sphere.
      x: Data [N, *E].
      batch_size: Number of examples at a time; memory grows with num_chains * batch_size.
      seed: Seed of the chains, an int or an int32 pair; the same seed, x and batch_size give the same
        numbers.
      on_progress: Function called after each block with the fraction done. If it raises `Stopped`, the
        finished examples are returned.
      **options: Fields of `Annealing`: `num_chains`, `num_steps`, `num_leapfrog_steps`,
        `step_size`, `initial`, `num_pilot_chains`, `num_populations`.

    Returns:
      `AIS`, a stochastic lower bound.

    Raises:
      InputError: An option is out of range, or x does not have the shape of the model's data.

    References:
      Neal 2001, arXiv:physics/9803008; Wu, Burda, Salakhutdinov & Grosse 2017, arXiv:1611.04273; of
      populations Del Moral, Doucet & Jasra 2006, Sequential Monte Carlo samplers.
    """
    annealing, x = with_fields(Annealing, options, "ais"), as_data(vae, x)
    at_least(batch_size=(batch_size, 1))
    annealing.refuse_values(min(batch_size, len(x)), vae.latent_dim)
    chains = forward if annealing.num_populations == 1 else populations
    run = functools.partial(chains, in_space(vae), annealing)
    blocks = compiled_in_blocks(run, [x], seed=seed, batch_size=batch_size, on_progress=on_progress)
    if annealing.num_populations > 1:
        log_w, acceptance, *ends = blocks
        weights = weigh(log_w, (annealing.num_populations,))
        found = _summary(weights, acceptance, weights.enough & ~elsewhere(*ends).any(axis=1), sign=1)
        return found._replace(num_populations=annealing.num_populations)
    log_w, acceptance, u, log_joint = blocks
    counts = chain_counts(annealing.initial, annealing.num_chains)
    weights = weigh(log_w, counts)
    return _summary(weights, acceptance, reliable(weights, log_w, u, log_joint, counts), sign=1)


def reverse_ais(
    vae: Model,
    x: Any,
    z: Any,
    *,
    batch_size: int = 32,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    **options: Any,
) -> AIS:
    """Bound log p(x) from above by annealing backwards from exact draws z ~ p(z|x).

    All chains of an example start at its only z; each 1/w still has the mean 1/p(x). They follow the schedule
    of `ais` with the same seed, whose draws they do not share, to a mixture with 95% of q(z|x) instead of
    half: where q(z|x) is good, all of them end there, and the bound is -log 0.95 = 0.05 nats too high, which
    its error does not show. `bdmc` makes such pairs (x, z). If z is not an exact draw from p(z|x), the result
    is not a bound.

    Args:
      vae: Model of x.
      x: Data [N, *E].
      z: Exact draws from p(z|x), [N, L].
      batch_size: Number of examples at a time.
      seed: Seed of the chains, an int or an int32 pair.
      on_progress: Function called after each block with the fraction done. If it raises `Stopped`, the
        finished examples are returned.
      **options: Fields of `Annealing`, as in `ais`.

    Returns:
      `AIS`, a stochastic upper bound: E[exp(-log_marginal)] = 1/p(x).

    Raises:
      InputError: An option is out of range, or x or z does not have the shape of the model's.

    References:
      Grosse, Ghahramani & Adams 2015, arXiv:1511.02543.
    """
    x = as_data(vae, x)
    z = lengthened(vae, _latents(z, (len(x), vae.latent_dim), x.dtype), seed=fold_in(seed, -1))
    annealing = with_fields(Annealing, options, "reverse_ais")
    if annealing.num_populations > 1:
        raise InputError("Populations are resampled forward only: leave out num_populations, or use `ais`.")
    at_least(batch_size=(batch_size, 1))
    annealing.refuse_values(min(batch_size, len(x)), vae.latent_dim)
    run = functools.partial(reverse, in_space(vae), annealing)
    log_w, acceptance = compiled_in_blocks(
        run, [x, np.asarray(z)], seed=seed, batch_size=batch_size, on_progress=on_progress
    )
    weights = weigh(-log_w, (annealing.num_chains,))
    return _summary(weights, acceptance, weights.enough, sign=-1)


def bdmc(
    vae: Model,
    num_examples: int,
    *,
    batch_size: int = 32,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    **options: Any,
) -> BDMC:
    """Bracket log p(x) of data simulated from the model: bidirectional Monte Carlo.

    The bracket is rigorous *only for simulated data*, whose z is an exact draw from p(z|x): in expectation,
    and for each example with P(lower > log p(x) + b) <= exp(-b) and P(upper < log p(x) - b) <= exp(-b). For
    real data it only shows how well `ais` with the same options does on data of the model itself, which can
    be easier.

    Args:
      vae: Model of x.
      num_examples: N, the number of simulated examples.
      batch_size: Number of examples at a time.
      seed: Seed of the data and of the chains, an int or an int32 pair.
      on_progress: Function called after each block with the fraction done. If it raises `Stopped`, the
        examples that are finished both ways are returned, at least one block.
      **options: Fields of `Annealing`, as in `ais`.

    Returns:
      `BDMC`: x, z, and both estimates for each example.

    Raises:
      InputError: An option is out of range.

    References:
      Grosse, Ghahramani & Adams 2015, arXiv:1511.02543; Grosse, Ancha & Roy 2016, arXiv:1606.02275.
    """
    at_least(num_examples=(num_examples, 1))
    with_fields(Annealing, options, "bdmc")
    as_model(vae)
    refuse_values("num_examples", num_examples, vae.latent_dim + math.prod(vae.event_shape))
    seed_z, seed_x, chain_seed = split(seed, 3)
    z = vae.prior.sample(num_examples, seed=seed_z)  # [N, L]
    x = vae.likelihood(z).sample(seed=seed_x).numpy()  # p(x|z)

    def run(estimate: Callable[..., AIS], *data: Any, before: float, **options: Any) -> AIS:
        return estimate(
            vae,
            *data,
            batch_size=batch_size,
            seed=chain_seed,  # the same, for the same schedule
            on_progress=lambda fraction: on_progress(before + fraction / 2),
            **options,
        )

    below = run(ais, x, before=0.0, **options)
    done = len(below.log_marginal)
    above = run(reverse_ais, x[:done], z[:done], before=0.5, **{**options, "num_populations": 1})
    done = len(above.log_marginal)
    below = below._replace(**{name: getattr(below, name)[:done] for name in AIS._fields[:-1]})
    return BDMC(x[:done], z[:done].numpy(), below, above)


def _latents(z: Any, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    try:
        z = np.asarray(z, dtype)
    except (TypeError, ValueError):
        raise InputError(f"z must be an array of numbers of shape {shape}; got {class_of(z)}.") from None
    if z.shape != shape:
        raise InputError(f"Expected z of shape {shape}, a row for each x; got {z.shape}.")
    if not np.isfinite(z).all():
        raise InputError("z must be finite; it holds infinite values or NaN: mend them.")
    return z


def _summary(weights: Weights, acceptance: np.ndarray, trusted: np.ndarray, *, sign: int) -> AIS:
    """Return the estimate by the mean of the weights (sign 1), or of their inverses (sign -1)."""
    return AIS(
        sign * weights.log_mean,
        weights.standard_error,
        acceptance.astype(np.float64),
        weights.effective_number,
        weights.degrees_of_freedom,
        trusted,
    )
