"""Variational autoencoders whose posterior, likelihood and prior are real TFP distributions.

Importing this package is quick: TensorFlow is loaded when a name that needs it is first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

from probvae.environment import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "data",
        "distributions",
        "evaluation",
        "export",
        "figures",
        "inference",
        "likelihoods",
        "models",
        "objectives",
        "posteriors",
        "priors",
        "runs",
        "sampling",
        "training",
    ],
    submod_attrs={
        "config.architecture": ["Architecture"],
        "config.training": ["Training"],
        "errors": ["InputError"],
        "models.building": ["build", "conv_vae"],
        "models.conditional": ["ConditionalVAE"],
        "models.m2": ["M2VAE"],
        "models.saving": ["load", "save"],
        "models.vae": ["VAE"],
        "objectives.bound": ["elbo", "log_weights"],
        "objectives.importance_weighted": ["iwae"],
        "runs.run": ["Run", "open_run"],
        "sampling.imputation": ["impute"],
        "sklearn": ["VAETransformer"],
    },
)

if TYPE_CHECKING:
    from probvae import data as data
    from probvae import distributions as distributions
    from probvae import evaluation as evaluation
    from probvae import export as export
    from probvae import figures as figures
    from probvae import inference as inference
    from probvae import likelihoods as likelihoods
    from probvae import models as models
    from probvae import objectives as objectives
    from probvae import posteriors as posteriors
    from probvae import priors as priors
    from probvae import runs as runs
    from probvae import sampling as sampling
    from probvae import training as training
    from probvae.config.architecture import Architecture as Architecture
    from probvae.config.training import Training as Training
    from probvae.errors import InputError as InputError
    from probvae.models.building import build as build
    from probvae.models.building import conv_vae as conv_vae
    from probvae.models.conditional import ConditionalVAE as ConditionalVAE
    from probvae.models.m2 import M2VAE as M2VAE
    from probvae.models.saving import load as load
    from probvae.models.saving import save as save
    from probvae.models.vae import VAE as VAE
    from probvae.objectives.bound import elbo as elbo
    from probvae.objectives.bound import log_weights as log_weights
    from probvae.objectives.importance_weighted import iwae as iwae
    from probvae.runs.run import Run as Run
    from probvae.runs.run import open_run as open_run
    from probvae.sampling.imputation import impute as impute
    from probvae.sklearn import VAETransformer as VAETransformer
