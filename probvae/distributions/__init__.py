"""Distributions that TensorFlow Probability lacks, the parts of posteriors, priors and likelihoods."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["LazyDistribution", "LibraryDistribution", "Wrapper", "unwrap"],
        "chain": ["Chain"],
        "columns": ["Columns"],
        "flows.flow": ["Flow", "FlowPrior"],
        "flows.steps": ["AutoregressiveStep", "CouplingStep"],
        "grey_levels": ["DiscretizedLogistic", "PixelLogistic"],
        "missing": ["SeenValues"],
        "mixtures": ["BlockedMixture", "NormalMixture"],
        "sphere": ["Radial", "SphericalUniform", "VonMisesFisher"],
        "values": ["Bernoulli", "Categorical", "Elementwise", "FiniteDiscrete", "Poisson"],
        "vamp": ["VampPrior"],
    },
)

if TYPE_CHECKING:
    from probvae.distributions.base import LazyDistribution as LazyDistribution
    from probvae.distributions.base import LibraryDistribution as LibraryDistribution
    from probvae.distributions.base import Wrapper as Wrapper
    from probvae.distributions.base import unwrap as unwrap
    from probvae.distributions.chain import Chain as Chain
    from probvae.distributions.columns import Columns as Columns
    from probvae.distributions.flows.flow import Flow as Flow
    from probvae.distributions.flows.flow import FlowPrior as FlowPrior
    from probvae.distributions.flows.steps import AutoregressiveStep as AutoregressiveStep
    from probvae.distributions.flows.steps import CouplingStep as CouplingStep
    from probvae.distributions.grey_levels import DiscretizedLogistic as DiscretizedLogistic
    from probvae.distributions.grey_levels import PixelLogistic as PixelLogistic
    from probvae.distributions.missing import SeenValues as SeenValues
    from probvae.distributions.mixtures import BlockedMixture as BlockedMixture
    from probvae.distributions.mixtures import NormalMixture as NormalMixture
    from probvae.distributions.sphere import Radial as Radial
    from probvae.distributions.sphere import SphericalUniform as SphericalUniform
    from probvae.distributions.sphere import VonMisesFisher as VonMisesFisher
    from probvae.distributions.values import Bernoulli as Bernoulli
    from probvae.distributions.values import Categorical as Categorical
    from probvae.distributions.values import Elementwise as Elementwise
    from probvae.distributions.values import FiniteDiscrete as FiniteDiscrete
    from probvae.distributions.values import Poisson as Poisson
    from probvae.distributions.vamp import VampPrior as VampPrior
