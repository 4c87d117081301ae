"""Calibration of imputed values: hidden values of simulated examples among their imputed draws."""

import warnings

import numpy as np

from probvae.inference.ranks import Coverage, central
from probvae.models.vae import VAE
from probvae.sampling.imputation import impute
from probvae.seeds import Seed, as_seed, split

DRAWS = 19  # draws of each hidden value; with 19 or 99, intervals of 50% and 90% hold whole numbers of ranks


def imputation_coverage(
    vae: VAE, num_simulations: int = 1000, *, num_samples: int = 1000, seed: Seed = 0
) -> list[Coverage]:
    """Return what the 50% and 90% intervals of imputed values hold of the hidden ones.

    Half of the values of each example, drawn from the model, are hidden at random and imputed. One hidden
    value of each example counts, as those of one example depend on each other.

    Args:
      vae: Model that takes missing values.
      num_simulations: Number of examples to draw.
      num_samples: Number of draws of z for each.
      seed: Seed of all draws, an int or an int32 pair.
    """
    seed_x, seed_hidden, seed_draws = split(as_seed(seed), 3)
    x = vae.sample(num_simulations, seed=seed_x).numpy()
    rng = np.random.default_rng(np.abs(seed_hidden.numpy()))
    flat = x.reshape(len(x), -1)
    places = np.flatnonzero(vae.contract.may_be_missing)
    every, chosen = np.arange(len(x)), places[rng.integers(0, len(places), len(x))]
    hidden = (rng.random(flat.shape) < 0.5) & vae.contract.may_be_missing.reshape(-1)
    hidden[every, chosen] = True
    seen = np.where(hidden, np.nan, flat).reshape(x.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few effective draws, which the coverage shows
        draws = impute(vae, seen, num_samples=num_samples, num_draws=DRAWS, seed=seed_draws).draws
    values = np.asarray(draws).reshape(DRAWS, len(x), -1)[:, every, chosen]  # [R, N]
    true = flat[every, chosen]
    ties = np.sum(values == true, axis=0)
    ranks = np.sum(values < true, axis=0) + rng.integers(0, ties + 1)
    return central("interval of an imputed value", ranks, DRAWS)
