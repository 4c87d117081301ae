"""The numbers of metrics.json."""

import math
import resource
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from probvae.data.arrays import Array
from probvae.evaluation.latents import bits_per_dimension
from probvae.inference.estimates import estimate
from probvae.likelihoods import likelihood_of
from probvae.models.vae import VAE
from probvae.training.scoring import TestTerms
from probvae.training.state import Row


def test_results(vae: VAE, terms: TestTerms, x: Array) -> dict[str, Any]:
    """Return the means over test examples x, each with its standard error, from the terms of their ELBO."""
    values = {f"test_{name}": value for name, value in terms._asdict().items()} | vae.test_metrics(x)
    architecture = vae.architecture
    if architecture is not None and likelihood_of(architecture).kind.grey_levels:
        # for 8-bit images, the negative ELBO in bits per value of x: a bound on the cost of coding them
        values["test_bits_per_dimension"] = bits_per_dimension(
            terms.elbo, architecture.event_shape, vae.values(x)
        )
    return {name: mean_and_error(value) for name, value in values.items()}


def history_results(history: Sequence[Row]) -> dict[str, Any]:
    """Return the totals over the epochs of a training, and its best epoch on the validation set."""
    seconds = sum(row.seconds for row in history)
    examples = sum(row.images_per_second * row.seconds for row in history)
    return {
        "train_elbo": history[-1].train_elbo if history else None,
        **_best_epoch(history),
        "epochs": history[-1].epoch if history else 0,
        "skipped_steps": sum(row.skipped_steps for row in history),
        "clipped_steps": sum(row.clipped_steps for row in history),
        "training_seconds": seconds,
        "images_per_second": examples / seconds if seconds else None,
    }


def _best_epoch(history: Sequence[Row]) -> dict[str, Any]:
    whole = [row for row in history if row.validation_elbo is not None and row.epoch == int(row.epoch)]
    if not whole:
        return {}
    best = max(whole, key=lambda row: row.validation_elbo or -math.inf)
    return {"best_epoch": best.epoch, "validation_elbo": best.validation_elbo}


def mean_and_error(values: np.ndarray) -> dict[str, float | None]:
    """Return the mean over examples and its standard error, None for a single example."""
    mean, error = estimate(values)
    return {"mean": mean, "standard_error": error if len(values) > 1 else None}


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process so far, in 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
