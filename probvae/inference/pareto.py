"""When importance weights can be trusted. No TensorFlow."""

import math


def reliable_pareto_k(num_samples: float) -> float:
    """Return the largest Pareto k at which K draws can be trusted (Vehtari et al. 2024).

    >>> round(reliable_pareto_k(100), 3), reliable_pareto_k(5000)
    (0.5, 0.7)
    """
    return min(1 - 1 / math.log10(num_samples), 0.7)
