"""The evaluation of a conditional model: given each y, and over all classes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from probvae.data.labels import is_one_hot
from probvae.inference.quadrature import Exact, exact
from probvae.models.vae import VAE
from probvae.objectives.semisupervised import log_probabilities


def exact_given(vae: VAE, x: np.ndarray, **options: Any) -> Exact:
    """Integrate p(x|y) on a grid, the examples of each y together with the model given that y.

    x is [N, *E], for a conditional model joined examples [N, D + C]; the options are those of `exact`. The
    result has the `points` of all grids together and `bounds` around them all.
    """
    models, values = vae.by_context(x), vae.values(x)
    if len(models) == 1:
        return exact(models[0][0], values, **options)
    parts = [exact(model, values[rows], **options) for model, rows in models]
    order = np.argsort(np.concatenate([rows for _, rows in models]))  # in the order of the examples

    def over_examples(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    bounds = np.stack([part.bounds for part in parts])
    return Exact(
        **{name: over_examples(name) for name in ("log_marginal", "error", "converged", "spacing")},
        points=sum(part.points for part in parts),
        bounds=np.stack([bounds[..., 0].min(axis=0), bounds[..., 1].max(axis=0)], axis=1),
    )


def log_class_prior(vae: VAE, train: np.ndarray) -> np.ndarray | None:
    """Return log p(y) [C] of the classes, the model's or as observed in `train`; None if y is not a class."""
    y = vae.contexts_of(train)
    if y is None or not len(train) or not is_one_hot(y[y.any(axis=1)]):
        return None
    contexts = vae.generator(train).contexts  # p(y)
    return log_probabilities(contexts).numpy().astype(np.float64)


def log_joint_of_classes(
    vae: VAE, x: np.ndarray, log_prior: np.ndarray, log_p: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return log p(x, y) of every class, [M, C], for x [N, *E] without y and log p(y) [C].

    `log_p` maps joined examples [N, D + C] to log p(x|y), [M], with M < N where it was stopped.
    """
    columns = [log_p(vae.join(x, k).numpy()) for k in range(len(log_prior))]
    done = min(len(column) for column in columns)
    return np.stack([column[:done] for column in columns], axis=1) + log_prior
