"""The bound on log p(x) and its variants, per example, in nats, to be maximised."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
