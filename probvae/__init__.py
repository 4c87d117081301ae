"""Variational autoencoders whose posterior, likelihood and prior are real TFP distributions.

Importing this package is quick: TensorFlow is loaded when a name that needs it is first used.
"""

import lazy_loader

from probvae.environment import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
