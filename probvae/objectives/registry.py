"""The objectives by name; `config.choices.OBJECTIVES` has the settings of each."""

from collections.abc import Callable
from typing import Any

from probvae.objectives.bound import elbo, stl
from probvae.objectives.importance_weighted import chi, dreg, iwae, piwae, renyi
from probvae.objectives.rate import beta_tc, free_bits, mmd

OBJECTIVES: dict[str, Callable[..., Any]] = {
    "elbo": elbo,
    "iwae": iwae,
    "piwae": piwae,
    "stl": stl,
    "dreg": dreg,
    "renyi": renyi,
    "chi": chi,
    "free_bits": free_bits,
    "beta_tc": beta_tc,
    "mmd": mmd,
}
