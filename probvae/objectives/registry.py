"""The objectives by name."""

from collections.abc import Callable
from typing import Any

from probvae.objectives.bound import elbo, stl
from probvae.objectives.importance_weighted import chi, dreg, iwae, renyi
from probvae.objectives.rate import beta_tc, free_bits, mmd

OBJECTIVES: dict[str, Callable[..., Any]] = {
    "elbo": elbo,
    "iwae": iwae,
    "stl": stl,
    "dreg": dreg,
    "renyi": renyi,
    "chi": chi,
    "free_bits": free_bits,
    "beta_tc": beta_tc,
    "mmd": mmd,
}

# The options of each that a training run may set; num_samples and seed are everyone's.
OPTIONS: dict[str, tuple[str, ...]] = {
    "elbo": ("beta", "analytic_kl"),
    "iwae": (),
    "stl": ("beta",),
    "dreg": (),
    "renyi": ("alpha",),
    "chi": (),
    "free_bits": ("beta", "free_bits", "analytic_kl"),
    "beta_tc": ("beta", "num_examples"),
    "mmd": ("beta", "weight"),
}
