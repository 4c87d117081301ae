"""log p(x) and p(z|x) of one model: importance sampling, quadrature, annealing, Hamiltonian Monte Carlo."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "amortization": ["Gaps", "OptimizedPosteriors", "decompose", "optimize_posteriors"],
        "annealing": ["AIS", "BDMC", "ais", "bdmc", "reverse_ais"],
        "annealing_path": ["Annealing"],
        "blocks": ["Stopped"],
        "estimates": ["Estimate", "estimate", "reliable_pareto_k"],
        "hmc": ["PosteriorSamples", "posterior_samples"],
        "importance_sampling": ["Importance", "importance"],
        "marginal": ["Marginal"],
        "quadrature": ["Exact", "exact"],
        "sphere": ["in_space"],
    },
)

if TYPE_CHECKING:
    from probvae.inference.amortization import Gaps as Gaps
    from probvae.inference.amortization import OptimizedPosteriors as OptimizedPosteriors
    from probvae.inference.amortization import decompose as decompose
    from probvae.inference.amortization import optimize_posteriors as optimize_posteriors
    from probvae.inference.annealing import AIS as AIS
    from probvae.inference.annealing import BDMC as BDMC
    from probvae.inference.annealing import ais as ais
    from probvae.inference.annealing import bdmc as bdmc
    from probvae.inference.annealing import reverse_ais as reverse_ais
    from probvae.inference.annealing_path import Annealing as Annealing
    from probvae.inference.blocks import Stopped as Stopped
    from probvae.inference.estimates import Estimate as Estimate
    from probvae.inference.estimates import estimate as estimate
    from probvae.inference.estimates import reliable_pareto_k as reliable_pareto_k
    from probvae.inference.hmc import PosteriorSamples as PosteriorSamples
    from probvae.inference.hmc import posterior_samples as posterior_samples
    from probvae.inference.importance_sampling import Importance as Importance
    from probvae.inference.importance_sampling import importance as importance
    from probvae.inference.marginal import Marginal as Marginal
    from probvae.inference.quadrature import Exact as Exact
    from probvae.inference.quadrature import exact as exact
    from probvae.inference.sphere import in_space as in_space
