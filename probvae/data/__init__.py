"""Data by name or by path: their checks, their splits, their binarization, their labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
