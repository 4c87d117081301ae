"""The bound of a semi-supervised model (M2), with classes known and unknown."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.arguments import weight
from probvae.distributions.layers import one_at_a_time
from probvae.errors import InputError
from probvae.objectives import memory
from probvae.objectives.bound import Model, elbo
from probvae.seeds import Seed

STRENGTH = 0.1  # weight of the classification term divided by N; alpha in the paper is 0.1 N


class SemisupervisedModel(Model, Protocol):
    """A model of p(x|z, y) with a distribution p(y) and a classifier q(y|x)."""

    contexts: tfd.Distribution  # p(y)

    @property
    def training_contract(self) -> Any:
        """The contract of joined examples whose class may be unknown."""

    @property
    def classifier(self) -> Any:
        """The network from x to q(y|x)."""

    def split(self, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return x [..., *E] and y [..., C] of joined examples."""

    def every_class(self, x: tf.Tensor) -> tf.Tensor:
        """Return x [B, *E] joined with each class in turn, [C, B, D + C]."""


def log_probabilities(contexts: tfd.Distribution) -> tf.Tensor:
    """Return log p(y) of every class, [C], of a `tfd.OneHotCategorical`; -inf, not nan, where p(y) is 0.

    >>> print(log_probabilities(tfd.OneHotCategorical(probs=[0.5, 0.5, 0.0])).numpy().round(4))
    [-0.6931 -0.6931    -inf]
    """
    return tf.nn.log_softmax(contexts.logits_parameter())


def is_known(y: tf.Tensor) -> tf.Tensor:
    """Return whether the class is known, bool [...], for y [..., C]: one-hot, or all zeros if unknown."""
    return tf.reduce_any(y > 0, axis=-1)


def log_joint(
    vae: SemisupervisedModel,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    bound: Callable[..., Any] = elbo,
) -> tf.Tensor:
    """Bound log p(x, y) from below for every class y.

    Args:
      vae: Semi-supervised model.
      x: Data [B, *E].
      num_samples: Number of draws of z for each pair (x, y).
      seed: Seed of the draws, an int or an int32 pair.
      bound: Bound on log p(x|y), an objective such as `elbo`.

    Returns:
      [B, C], nats. Its logsumexp over C bounds log p(x), and its softmax approximates p(y|x).
    """
    log_x = bound(vae, vae.every_class(x), num_samples=num_samples, seed=seed)  # log p(x|y), [C, B]
    return tf.transpose(log_x) + log_probabilities(vae.contexts)


def m2(
    vae: SemisupervisedModel,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    alpha: float = STRENGTH,
    bound: Callable[..., Any] = elbo,
) -> tf.Tensor:
    """Estimate the objective of M2: a bound on log p(x, y) if the class is known, else on log p(x).

    With L(x, y) = `bound` + log p(y):
      known:      L(x, y) + alpha log q(y|x)
      not known:  sum_y q(y|x) (L(x, y) - log q(y|x)), the sum over all classes

    Args:
      vae: Semi-supervised model.
      x: Joined examples [B, D + C].
      num_samples: Number of draws of z for each pair (x, y).
      seed: Seed of the draws, an int or an int32 pair.
      alpha: Weight of log q(y|x) if the class is known; see `classification_weight`.
      bound: Bound on log p(x|y), an objective such as `elbo` or `iwae`.

    Returns:
      [B], nats per example, to be maximised; a bound if alpha is 0.

    References:
      Kingma et al. 2014, arXiv:1406.5298, equations 6 to 9.
    """
    weight("alpha", alpha)
    values, y = vae.split(vae.training_contract.check(x))
    log_p = log_joint(vae, values, num_samples=num_samples, seed=seed, bound=bound)  # [B, C]
    log_q = log_class_probabilities(vae, values)  # log q(y|x), [B, C]
    known = tf.reduce_sum(tf.where(y > 0, log_p + alpha * log_q, 0.0), axis=1)
    log_p = tf.where(is_known(y)[:, tf.newaxis], log_q, log_p)  # keeps the unused branch free of gradients
    unknown = tf.reduce_sum(tf.exp(log_q) * (log_p - log_q), axis=1)
    return tf.where(is_known(y), known, unknown)


def log_class_probabilities(vae: SemisupervisedModel, x: tf.Tensor) -> tf.Tensor:
    """Return log q(y|x) of every class, [B, C], for x [B, *E]."""
    classes = tf.eye(vae.contexts.event_shape[0])[:, tf.newaxis]

    def log_q(x: tf.Tensor) -> tf.Tensor:
        with one_at_a_time():  # a classifier of the caller's own may be for one thread only
            q = vae.classifier(x)  # q(y|x)
        return tf.transpose(q.log_prob(classes))

    x = tf.convert_to_tensor(x)
    if memory.is_recorded():
        return log_q(x)
    row = tuple(x.shape[1:])
    cost = memory.Cost(vae, "log q(y|x)", log_q, row, x.dtype, math.prod(row), vae.classifier)
    return memory.in_row_blocks(lambda a, b: log_q(x[a:b]), len(x), cost.rows_at_once(len(x)))


def classification_weight(labelled: float) -> float:
    """Return alpha of `m2` for a fraction of labelled examples: the paper's 0.1 N, divided by their number.

    >>> classification_weight(0.1)
    1.0
    """
    _check_fraction(labelled)
    return STRENGTH / labelled


def _check_fraction(labelled: float) -> None:
    if not 0 < labelled <= 1:
        raise InputError(f"The fraction of labelled examples must be above 0 and at most 1; got {labelled}.")
