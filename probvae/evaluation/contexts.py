"""What the evaluation of a conditional model needs beside that of others: each y alone, and all classes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp

from probvae.data.labels import is_one_hot
from probvae.inference.quadrature import Exact, exact
from probvae.models import conditional
from probvae.models.vae import VAE
from probvae.objectives.semisupervised import log_probabilities

Statistic = Callable[[np.ndarray], np.ndarray]


def of_values(vae: VAE, statistics: Mapping[str, Statistic]) -> dict[str, Statistic]:
    """Return statistics of examples that look at their x alone."""

    def of_x(statistic: Statistic) -> Statistic:
        return lambda x: statistic(vae.values(x))

    return {name: of_x(statistic) for name, statistic in statistics.items()}


def quadrature_serves(vae: VAE, x: np.ndarray) -> bool:
    """Whether the examples have few enough different y."""
    y = vae.contexts_of(x)
    return y is None or len(np.unique(y, axis=0)) <= conditional.MAX_CONTEXTS


def exact_given(vae: VAE, x: np.ndarray, **options: Any) -> Exact:
    """Integrate p(x|y) on a grid, the examples of each y together with the model given that y.

    Args:
      vae: the model.
      x: data [N, *E], for a conditional model joined examples [N, D + C].
      **options: of `exact`.

    Returns:
      `Exact`: its `points` are those of all grids, its `bounds` hold them all.

    Raises:
      InputError: too many different y; otherwise as `exact`.
    """
    models, values = vae.by_context(x), vae.values(x)
    if len(models) == 1:
        return exact(models[0][0], values, **options)
    parts = [exact(model, values[rows], **options) for model, rows in models]
    order = np.argsort(np.concatenate([rows for _, rows in models]))  # back to the places of the examples

    def over_examples(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    bounds = np.stack([part.bounds for part in parts])
    return Exact(
        **{name: over_examples(name) for name in ("log_marginal", "error", "converged", "spacing")},
        points=sum(part.points for part in parts),
        bounds=np.stack([bounds[..., 0].min(axis=0), bounds[..., 1].max(axis=0)], axis=1),
    )


def log_class_prior(vae: VAE, train: np.ndarray) -> np.ndarray | None:
    """Return log p(y) of each class, [C]: the model's, or observed in `train`; None where y is no class."""
    y = vae.contexts_of(train)
    if y is None or not len(train) or not is_one_hot(y[y.any(axis=1)]):
        return None
    contexts = vae.generator(train).contexts  # p(y)
    return log_probabilities(contexts).numpy().astype(np.float64)


def log_joint_of_classes(
    vae: VAE, x: np.ndarray, log_prior: np.ndarray, log_p: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return log p(x, y) of every class, [M, C], for x [N, *E] and M <= N.

    Args:
      vae: the model.
      x: data.
      log_prior: log p(y), [C].
      log_p: from joined examples [N, D + C] to log p(x|y), [M], M being fewer where it was stopped.
    """
    columns = [log_p(vae.join(x, k).numpy()) for k in range(len(log_prior))]
    done = min(len(column) for column in columns)
    return np.stack([column[:done] for column in columns], axis=1) + log_prior


def log_sum_of_classes(log_joint: np.ndarray) -> np.ndarray:
    """Return log p(x) = log of the sum of p(x, y) over classes, [N], from log p(x, y) [N, C]."""
    return logsumexp(log_joint, axis=1)
