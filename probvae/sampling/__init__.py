"""Draws from a model, paths through its latent space, and imputation of missing values."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
