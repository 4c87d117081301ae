"""Draws from a model, paths through its latent space, and imputation of missing values."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "draws": ["Samples", "decode", "posterior_draws", "posterior_predictive", "prior_draws"],
        "imputation": ["Imputation", "impute"],
        "paths": ["PATHS", "interpolate", "traverse"],
        "samplers": ["Closeness", "SAMPLERS", "closeness", "fit_sampler"],
        "temperature": ["tempered"],
    },
)

if TYPE_CHECKING:
    from probvae.sampling.draws import Samples as Samples
    from probvae.sampling.draws import decode as decode
    from probvae.sampling.draws import posterior_draws as posterior_draws
    from probvae.sampling.draws import posterior_predictive as posterior_predictive
    from probvae.sampling.draws import prior_draws as prior_draws
    from probvae.sampling.imputation import Imputation as Imputation
    from probvae.sampling.imputation import impute as impute
    from probvae.sampling.paths import PATHS as PATHS
    from probvae.sampling.paths import interpolate as interpolate
    from probvae.sampling.paths import traverse as traverse
    from probvae.sampling.samplers import SAMPLERS as SAMPLERS
    from probvae.sampling.samplers import Closeness as Closeness
    from probvae.sampling.samplers import closeness as closeness
    from probvae.sampling.samplers import fit_sampler as fit_sampler
    from probvae.sampling.temperature import tempered as tempered
