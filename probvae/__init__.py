"""Variational autoencoders whose posterior, likelihood and prior are real TFP distributions.

Importing this package is quick: TensorFlow is loaded when a name that needs it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The public names, each with the module that defines it.
_PUBLIC = {
    "VAE": "probvae.model",
    "ConditionalVAE": "probvae.conditional",
    "M2VAE": "probvae.semisupervised",
    "VAETransformer": "probvae.estimator",
    "build": "probvae.building",
    "conv_vae": "probvae.building",
    "impute": "probvae.imputation",
    "log_weights": "probvae.objectives",
    "elbo": "probvae.objectives",
    "iwae": "probvae.objectives",
    "save": "probvae.checkpoints",
    "load": "probvae.checkpoints",
    "open_run": "probvae.opened_run",
    "Run": "probvae.opened_run",
    "Architecture": "probvae.config",
    "Training": "probvae.config",
    "InputError": "probvae.errors",
}
__all__ = [
    "M2VAE",
    "VAE",
    "Architecture",
    "ConditionalVAE",
    "InputError",
    "Run",
    "Training",
    "VAETransformer",
    "build",
    "conv_vae",
    "elbo",
    "impute",
    "iwae",
    "load",
    "log_weights",
    "open_run",
    "save",
]

if TYPE_CHECKING:
    from probvae.building import build, conv_vae
    from probvae.checkpoints import load, save
    from probvae.conditional import ConditionalVAE
    from probvae.config import Architecture, Training
    from probvae.errors import InputError
    from probvae.estimator import VAETransformer
    from probvae.imputation import impute
    from probvae.model import VAE
    from probvae.objectives import elbo, iwae, log_weights
    from probvae.opened_run import Run, open_run
    from probvae.semisupervised import M2VAE


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'probvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
