"""log p(x) of real data from below and from above, where z has too many dimensions for quadrature."""

from typing import Any, NamedTuple

import numpy as np

from probvae.arguments import count
from probvae.errors import with_fields
from probvae.inference.annealing import BDMC, bdmc, reverse_ais
from probvae.inference.annealing_path import Annealing
from probvae.inference.annealing_trust import weigh
from probvae.inference.blocks import Progress, as_data
from probvae.inference.estimates import Estimate, estimate
from probvae.inference.hmc import posterior_samples
from probvae.inference.importance_sampling import importance
from probvae.objectives.bound import Model
from probvae.seeds import Seed, split


class Sides(NamedTuple):
    """Estimates of log p(x) from below and from above, NumPy arrays [N], nats.

    Attributes:
      lower: Importance-weighted bound, which lies below log p(x) in expectation.
      lower_error: Monte Carlo error of `lower`.
      upper: Estimate by annealing backwards from draws of p(z|x), which lies above log p(x) in expectation as
        far as these are draws of p(z|x).
      upper_error: Monte Carlo error of `upper`.
      reliable: Whether `upper` is to be trusted, bool: the chains that drew z agree
        (`PosteriorSamples.reliable`), the draws give similar values, and the two sides are not the wrong way
        round.
    """

    lower: np.ndarray
    lower_error: np.ndarray
    upper: np.ndarray
    upper_error: np.ndarray
    reliable: np.ndarray


class TwoSided(NamedTuple):
    """Estimates of log p(x) of real data from both sides, and of simulated data, whose truth is bracketed.

    Attributes:
      data: Estimates for the data.
      simulated: Estimates for simulated data, by the same methods.
      bracket: Rigorous bracket of log p(x) of the simulated data.
    """

    data: Sides
    simulated: Sides
    bracket: BDMC

    @property
    def below(self) -> Estimate:
        """How far `lower` is below the middle of the bracket, on average over the simulated data, nats."""
        return estimate(self._middle - self.simulated.lower)

    @property
    def above(self) -> Estimate:
        """How far `upper` is above the middle of the bracket, on average over the simulated data, nats."""
        return estimate(self.simulated.upper - self._middle)

    @property
    def _middle(self) -> np.ndarray:
        return (self.bracket.lower + self.bracket.upper) / 2

    def verdict(self) -> str:
        """Return how far the two sides are to be trusted, in a sentence."""
        bad, n = int(np.sum(~self.data.reliable)), len(self.data.reliable)
        sides = (f"{side.value:.2f} ± {side.standard_error:.2f}" for side in (self.below, self.above))
        text = "on {} simulated, below by {} and above by {}".format(len(self.bracket.lower), *sides)
        wide = float(np.mean(self.bracket.upper - self.bracket.lower))
        text += f" (known to {wide:.2f})"
        return text + (f"; the upper NOT to be trusted for {bad:,} of {n:,}" if bad else "")


def two_sided(
    vae: Model,
    x: Any,
    *,
    num_samples: int = 1000,
    num_draws: int = 500,
    num_simulated: int = 10,
    simulator: Model | None = None,
    batch_size: int = 32,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    **options: Any,
) -> TwoSided:
    """Estimate log p(x) of real data from below and from above.

    From below by the importance-weighted bound. From above by `reverse_ais`, which begins at the last draw of
    each of four chains of NUTS. These are draws of p(z|x) only approximately, so the upper side is no bound:
    where the chains miss a mode, it lies below log p(x), as the lower side does. The same methods on
    simulated data, whose log p(x) is bracketed by `bdmc`, show how far both are off where the truth is known;
    real data can be harder.

    Args:
      vae: Model of x.
      x: Data [N, *E].
      num_samples: K, the number of draws of the importance-weighted bound.
      num_draws: Number of draws of each chain of NUTS, by which its convergence is judged.
      num_simulated: Number of simulated examples, at least 2.
      simulator: Model of the simulated examples; None for `vae`.
      batch_size: Number of examples at a time.
      seed: Seed of all draws, an int or an int32 pair.
      on_progress: Function called with the fraction done; if it raises `Stopped`, so does this function.
      **options: Fields of `Annealing`, as in `ais`; `num_populations` is for the lower end of the bracket.

    Returns:
      `TwoSided`.

    Raises:
      InputError: An option is out of range, or x does not have the shape of the model's data.
    """
    count("num_simulated", num_simulated, 2)
    with_fields(Annealing, options, "two_sided")
    x, model = as_data(vae, x), vae if simulator is None else simulator
    seed_data, seed_bracket, seed_simulated = split(seed, 3)

    def sides(model: Model, x: np.ndarray, seed: Seed) -> Sides:
        seed_below, seed_draws, seed_above = split(seed, 3)
        below = importance(model, x, num_samples=num_samples, seed=seed_below)
        drawn = posterior_samples(
            model, x, num_samples=num_draws, method="nuts", batch_size=batch_size, seed=seed_draws
        )
        last = np.swapaxes(drawn.z[-1], 0, 1)  # [N, chains, L]
        chains = last.shape[1]
        above = reverse_ais(
            model,
            np.repeat(x, chains, axis=0),
            last.reshape(-1, last.shape[-1]),
            batch_size=batch_size,
            seed=seed_above,
            **{**options, "num_populations": 1},
        )
        inverse = weigh(-above.log_marginal.reshape(-1, chains), (chains,))
        upper, error = -inverse.log_mean, inverse.standard_error
        apart = below.bound - upper > 2 * np.hypot(error, below.standard_error) + 1e-3
        return Sides(
            below.bound, below.standard_error, upper, error, drawn.reliable & inverse.enough & ~apart
        )

    data = sides(vae, x, seed_data)
    on_progress(0.5)
    bracket = bdmc(model, num_simulated, batch_size=batch_size, seed=seed_bracket, **options)
    on_progress(0.7)
    simulated = sides(model, bracket.x, seed_simulated)
    on_progress(1.0)
    return TwoSided(data, simulated, bracket)
