"""Draws from the true posterior p(z|x) of a model, by Hamiltonian Monte Carlo."""

import functools
from typing import Any, NamedTuple

import numpy as np

from probvae.arguments import choice
from probvae.inference.blocks import Progress, as_data, at_least, compiled_in_blocks
from probvae.inference.chains import Kernel, draw, hamiltonian, no_u_turn
from probvae.inference.convergence import bulk_sample_size, rhat, tail_sample_size
from probvae.inference.sphere import in_space, shortened
from probvae.objectives.bound import Model
from probvae.objectives.memory import refuse_values
from probvae.seeds import Seed

LARGEST_RHAT = 1.01  # of chains that have mixed, Vehtari et al. 2021
LEAST_SIZE = 100  # smallest effective number of draws for each chain, of the same authors


class PosteriorSamples(NamedTuple):
    """Draws from p(z|x) and their diagnostics, NumPy arrays.

    Attributes:
      z: S draws of C chains for N examples, [S, C, N, L], in the model's type.
      acceptance: Mean acceptance probability after the burn-in, [N].
      step_size: Leapfrog step after the burn-in, [N], in coordinates in which p(z|x) has unit scales.
      rhat: Potential scale reduction, rank-normalized and split, [N, L], the larger one of that of the draws
        and that of their distances from the median. NaN for one chain or fewer than 4 draws.
      ess: Effective number of draws for means, the bulk of p(z|x), [N, L], out of S * C.
      ess_tail: Effective number of draws for the quantiles at 5% and 95%, the smaller one, [N, L].
    """

    z: np.ndarray
    acceptance: np.ndarray
    step_size: np.ndarray
    rhat: np.ndarray
    ess: np.ndarray
    ess_tail: np.ndarray

    @property
    def reliable(self) -> np.ndarray:
        """Whether the draws of an example can be trusted, [N].

        They can if R-hat is at most 1.01 and both effective numbers are at least 100 for each chain, in all
        dimensions. Chains that all missed the same mode of p(z|x) agree, and are called reliable.
        """
        return self._agree & self._enough

    @property
    def _agree(self) -> np.ndarray:
        return np.all(self.rhat <= LARGEST_RHAT, axis=-1)

    @property
    def _enough(self) -> np.ndarray:
        least = LEAST_SIZE * self.z.shape[1]
        return np.all((self.ess >= least) & (self.ess_tail >= least), axis=-1)

    def __repr__(self) -> str:
        draws, chains, examples, size = self.z.shape
        shape = f"z [S={draws:,}, C={chains}, N={examples:,}, L={size}]"
        return f"<PosteriorSamples: {shape}. {self.verdict()}>"

    def verdict(self) -> str:
        """Return what the diagnostics say, in a sentence or two."""
        draws, chains, examples, _ = self.z.shape
        if chains == 1:
            return "Not to be trusted: one chain cannot be compared with others."
        if np.isnan(self.rhat).all():
            return f"Not to be trusted: {chains} x {draws} draws are too few to see whether chains agree."
        least = LEAST_SIZE * chains
        if self.reliable.all():
            return f"All reliable: R-hat is at most {LARGEST_RHAT}, and {least} or more draws are effective."
        apart = f"R-hat is above {LARGEST_RHAT} for {np.sum(~self._agree):,}"
        few = f"fewer than {least} draws are effective for {np.sum(~self._enough):,}"
        return f"Not to be trusted for {np.sum(~self.reliable):,} of {examples:,} examples: {apart}, {few}."


METHODS: dict[str, Kernel] = {"hmc": hamiltonian, "nuts": no_u_turn}


def posterior_samples(
    vae: Model,
    x: Any,
    *,
    num_samples: int = 1000,
    num_burnin_steps: int = 300,
    num_chains: int = 4,
    num_steps_between_results: int = 0,
    method: str = "hmc",
    batch_size: int = 64,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
) -> PosteriorSamples:
    """Draw z from p(z|x) by HMC with trajectories of random lengths, or by NUTS.

    Half of the chains start at draws from q(z|x), the others at draws from p(z) that are far from it. Chains
    do not jump between distant modes of p(z|x), so where there are several, they disagree: see `reliable`. In
    the burn-in each example is given coordinates in which p(z|x) is nearly round, by the covariance of its
    chains, and a step size for them with an acceptance of 0.8; both are fixed afterwards.

    Args:
      vae: Model of x; p(z|x) must have a density on all of R^L, or on the sphere.
      x: Data [N, *E].
      num_samples: S, the number of draws kept of each chain.
      num_burnin_steps: Number of transitions before these draws, in which coordinates and step size adapt.
      num_chains: C, the number of chains, independent except for what they learn in the burn-in. One chain
        cannot be compared with others, and is never called reliable.
      num_steps_between_results: Number of transitions that are dropped between two draws.
      method: Name of the method: "hmc" (1 to 6 leapfrog steps for a transition) or "nuts" (at most 63, ended
        where the trajectory turns back), which is slower.
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
      Neal 2011, MCMC using Hamiltonian dynamics, arXiv:1206.1901 (random lengths, section 4.2).
      Vehtari et al. 2021, arXiv:1903.08008 (R-hat, effective numbers of draws and their limits).
    """
    choice("method", method, METHODS)
    at_least(num_samples=(num_samples, 1), num_burnin_steps=(num_burnin_steps, 1))
    at_least(num_chains=(num_chains, 1), num_steps_between_results=(num_steps_between_results, 0))
    at_least(batch_size=(batch_size, 1))
    x = as_data(vae, x)
    refuse_values("num_chains", num_chains, 16 * min(batch_size, len(x)) * vae.latent_dim)
    refuse_values("num_samples", num_samples, num_chains * len(x) * vae.latent_dim)
    run = functools.partial(
        draw,
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
    return PosteriorSamples(z, acceptance, step_size, rhat(z), bulk_sample_size(z), tail_sample_size(z))
