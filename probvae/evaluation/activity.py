"""The one rule of which latent dimensions are used, for evaluations and reports. NumPy only."""

import numpy as np

ACTIVE = 0.01  # Var_x(E_q[z]) above which a dimension is used (Burda et al. 2016, arXiv:1509.00519)


def used_dimensions(variances: np.ndarray, threshold: float = ACTIVE) -> np.ndarray:
    """Return the mask [L] of the latent dimensions that carry information of x.

    Args:
      variances: Var_x(E_q[z_l]) of each dimension, [L].
      threshold: Variance above which a dimension is used; the source's is for a prior of variance 1.

    >>> used_dimensions(np.array([0.5, 0.01])).tolist()
    [True, False]
    """
    return np.asarray(variances) > threshold
