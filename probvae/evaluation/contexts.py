"""What the evaluation of a conditional model needs beside that of others: each y alone, and all classes."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp

from probvae.data.labels import is_one_hot
from probvae.errors import InputError
from probvae.inference.quadrature import Exact, exact
from probvae.models.conditional import ConditionalVAE, contexts_of, observed_contexts, values
from probvae.models.vae import VAE
from probvae.objectives.semisupervised import log_probabilities

MOST = 100  # different y that quadrature takes one after the other


def generator(vae: VAE, x: np.ndarray) -> VAE:
    """Return a model that draws y too: as often as it occurs in the examples x, unless it has a p(y)."""
    if not isinstance(vae, ConditionalVAE) or vae.contexts is not None or not len(x):
        return vae
    return vae.with_contexts(observed_contexts(contexts_of(vae, x)))


def of_values(
    vae: VAE, statistics: Mapping[str, Callable[[np.ndarray], np.ndarray]]
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return statistics of examples that look at their x alone."""

    def of_x(statistic: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
        return statistic(values(vae, x))

    return {name: functools.partial(of_x, statistic) for name, statistic in statistics.items()}


def quadrature_serves(vae: VAE, x: np.ndarray) -> bool:
    """Whether the examples have few enough different y."""
    return not isinstance(vae, ConditionalVAE) or len(np.unique(contexts_of(vae, x), axis=0)) <= MOST


def exact_given(vae: VAE, x: np.ndarray, **options: Any) -> Exact:
    """Integrate p(x|y) on a grid, the examples of each y together with the model given that y.

    Args:
      vae: a model; one that is not conditional goes to `exact` as it is.
      x: data [N, *E], for a conditional model joined examples [N, D + C].
      **options: of `exact`.

    Returns:
      `Exact`: its `points` are those of all grids, its `bounds` hold them all.

    Raises:
      InputError: too many different y; otherwise as `exact`.
    """
    if not isinstance(vae, ConditionalVAE):
        return exact(vae, x, **options)
    y, which = np.unique(contexts_of(vae, x), axis=0, return_inverse=True)
    if len(y) > MOST:
        raise InputError(
            f"Quadrature takes the different y of a conditional model one after the other, {MOST} at most; "
            f"there are {len(y):,}. Use the bound of importance sampling."
        )
    which, x = which.ravel(), values(vae, x)
    found = [exact(vae.given(y_k), x[which == k], **options) for k, y_k in enumerate(y)]
    order = np.argsort(
        np.argsort(which, kind="stable")
    )  # from the examples class by class back to their places

    def over_examples(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in found])[order]

    bounds = np.stack([part.bounds for part in found])
    return Exact(
        **{name: over_examples(name) for name in ("log_marginal", "error", "converged", "spacing")},
        points=sum(part.points for part in found),
        bounds=np.stack([bounds[..., 0].min(axis=0), bounds[..., 1].max(axis=0)], axis=1),
    )


def log_class_prior(vae: VAE, train: np.ndarray) -> np.ndarray | None:
    """Return log p(y) of each class, [C]: the model's, or observed in `train`; None where y is no class."""
    if not isinstance(vae, ConditionalVAE) or not len(train):
        return None
    y = contexts_of(vae, train)
    if not is_one_hot(y[y.any(axis=1)]):
        return None
    contexts = generator(vae, train).contexts  # p(y)
    return log_probabilities(contexts).numpy().astype(np.float64)


def log_joint_of_classes(
    vae: ConditionalVAE, x: np.ndarray, log_prior: np.ndarray, log_p: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return log p(x, y) of every class, [M, C], for x [N, *E] and M <= N.

    Args:
      vae: the model.
      x: data.
      log_prior: log p(y), [C].
      log_p: from joined examples [N, D + C] to log p(x|y), [M], M being fewer where it was stopped.
    """
    columns = [log_p(vae.join(x, k).numpy()) for k in range(vae.context_dim)]
    done = min(len(column) for column in columns)
    return np.stack([column[:done] for column in columns], axis=1) + log_prior


def log_sum_of_classes(log_joint: np.ndarray) -> np.ndarray:
    """Return log p(x) = log of the sum of p(x, y) over classes, [N], from log p(x, y) [N, C]."""
    return logsumexp(log_joint, axis=1)
