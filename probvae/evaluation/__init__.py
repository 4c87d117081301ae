"""The evaluation of a model on data: estimates with their errors, checks, outlier scores, stage by stage."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
