"""The bound on log p(x) and its variants, per example, in nats, to be maximised."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "aggregate": ["marginals", "squared_mmd", "total_correlation"],
        "bound": ["LogTerms", "elbo", "log_terms", "log_weights", "stl"],
        "importance_weighted": ["chi", "dreg", "iwae", "renyi"],
        "rate": ["beta_tc", "free_bits", "mmd"],
        "registry": ["OBJECTIVES"],
        "semisupervised": ["log_class_probabilities", "log_joint", "m2"],
        "warmup": ["WARMUPS"],
    },
)

if TYPE_CHECKING:
    from probvae.objectives.aggregate import marginals as marginals
    from probvae.objectives.aggregate import squared_mmd as squared_mmd
    from probvae.objectives.aggregate import total_correlation as total_correlation
    from probvae.objectives.bound import LogTerms as LogTerms
    from probvae.objectives.bound import elbo as elbo
    from probvae.objectives.bound import log_terms as log_terms
    from probvae.objectives.bound import log_weights as log_weights
    from probvae.objectives.bound import stl as stl
    from probvae.objectives.importance_weighted import chi as chi
    from probvae.objectives.importance_weighted import dreg as dreg
    from probvae.objectives.importance_weighted import iwae as iwae
    from probvae.objectives.importance_weighted import renyi as renyi
    from probvae.objectives.rate import beta_tc as beta_tc
    from probvae.objectives.rate import free_bits as free_bits
    from probvae.objectives.rate import mmd as mmd
    from probvae.objectives.registry import OBJECTIVES as OBJECTIVES
    from probvae.objectives.semisupervised import log_class_probabilities as log_class_probabilities
    from probvae.objectives.semisupervised import log_joint as log_joint
    from probvae.objectives.semisupervised import m2 as m2
    from probvae.objectives.warmup import WARMUPS as WARMUPS
