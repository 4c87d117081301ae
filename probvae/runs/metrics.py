"""The numbers of metrics.json."""

import math
import platform
import resource
import sys
from importlib.metadata import version
from typing import Any

import numpy as np

from probvae.environment import __version__
from probvae.models.m2 import M2VAE
from probvae.models.vae import VAE


def _versions() -> dict[str, str]:
    packages = ("tensorflow", "tensorflow-probability", "tf-keras", "numpy")
    return {
        "python": platform.python_version(),
        "probvae": __version__,
        **{name: version(name) for name in packages},
    }


def _test_accuracy(vae: VAE, test: np.ndarray) -> dict[str, Any]:
    """How often the likeliest class of q(y|x) is the label, of a model with a classifier."""
    if not isinstance(vae, M2VAE):
        return {}
    right = []
    for start in range(0, len(test), 500):
        x, y = vae.split(test[start : start + 500].astype(np.float32))
        q = vae.classifier(x).mean()  # q(y|x)
        right.append(np.argmax(q, axis=1) == np.argmax(y, axis=1))
    return {"test_accuracy": _mean_and_error(np.concatenate(right).astype(np.float64))}


def _mean_and_error(values: np.ndarray) -> dict[str, float | None]:
    """Mean over examples and its standard error; one example tells nothing of the error."""
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(np.mean(values, dtype=np.float64)), "standard_error": error}


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
