"""PyTorch with `torch.compile`."""

import numpy as np

from benchmark.cases import Case, Work
from benchmark.contestants import pytorch


def prepare(case: Case, images: np.ndarray) -> Work | None:
    """Return what trains on a number of examples; None for what is not compared."""
    return pytorch.prepare(case, images, compiled=True)
