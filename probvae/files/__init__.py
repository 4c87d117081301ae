"""Reading of files that may be damaged or malicious, and atomic writing of files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
