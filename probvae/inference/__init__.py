"""log p(x) and p(z|x) of one model: importance sampling, quadrature, annealing, Hamiltonian Monte Carlo."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
