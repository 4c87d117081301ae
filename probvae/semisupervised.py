"""Semi-supervised learning: the M2 model p(y) p(z) p(x|z, y) with q(y|x) q(z|x, y), some y not known.

In a joined example (x, y), y is one-hot, and all zeros where the class is not known.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae import objectives
from probvae.conditional import ConditionalVAE, log_probabilities
from probvae.errors import InputError
from probvae.seeds import Seed

STRENGTH = 0.1  # of the classification term, in units of N: the paper's alpha is 0.1 N


class M2VAE(ConditionalVAE):
    """The M2 model: a `ConditionalVAE` of classes with a p(y) and a classifier q(y|x).

    As a conditional model it speaks of log p(x|z, y), as long as the class is known. Where it is not, that is
    nan: only `m2` and `log_joint` know what to do.

    Args:
      prior, encoder, decoder: as of `ConditionalVAE`, y being one-hot.
      classifier: Keras model from x [B, *E] to q(y|x): its last layer is `tfp.layers.OneHotCategorical`.
      contexts: p(y), a `tfd.OneHotCategorical`; None for equal probabilities. Its variables are trained.
      **kwargs: passed to `tf_keras.Model`.

    Raises:
      ValueError: the parts do not fit together.

    References:
      Kingma, Rezende, Mohamed & Welling 2014, Semi-supervised learning with deep generative models,
      arXiv:1406.5298.
    """

    lowest_class = -1  # a class that is not known

    def __init__(
        self,
        prior: tfd.Distribution,
        encoder: tf_keras.Model,
        decoder: tf_keras.Model,
        classifier: tf_keras.Model,
        *,
        contexts: tfd.Distribution | None = None,
        **kwargs: Any,
    ) -> None:
        context_dim = int(decoder.input_shape[-1]) - int(prior.event_shape[-1])
        super().__init__(prior, encoder, decoder, context_dim=context_dim, **kwargs)
        if contexts is None:
            contexts = tfd.OneHotCategorical(logits=tf.zeros(context_dim), dtype=tf.float32)
        self.contexts: tfd.Distribution = contexts
        self.classifier = classifier
        q = classifier(tf.zeros([1, *self.value_shape]))  # q(y|x)
        if not q.event_shape == self.contexts.event_shape == [context_dim]:
            raise ValueError(
                f"The classifier's q(y|x) and p(y) must have the event shape [{context_dim}]; they have "
                f"{q.event_shape.as_list()} and {self.contexts.event_shape.as_list()}."
            )

    @property
    def parts(self) -> tuple[tf.Module, ...]:
        """What holds the variables: encoder, decoder, prior, classifier, p(y)."""
        return *super().parts, self.classifier, self.contexts

    def log_likelihood(self, z: tf.Tensor, example: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return log p(x|z, y) of joined examples; nan where the class is not known."""
        log_prob = super().log_likelihood(z, example, training)
        known = is_known(self.split(example)[1])
        return tf.where(known, log_prob, np.float32(np.nan))

    def every_class(self, x: tf.Tensor) -> tf.Tensor:
        """Return x [B, *E] joined with each class in turn, [C, B, D + C]."""
        pairs = [self.join(x, k) for k in range(self.context_dim)]
        return tf.stack(pairs)

    def compile(self, optimizer: Any = "adam", objective: Any = None, **kwargs: Any) -> None:
        """Prepare `fit`, as of `VAE.compile`; the objective is `m2` unless another is given."""
        super().compile(optimizer, m2 if objective is None else objective, **kwargs)


def is_known(y: tf.Tensor) -> tf.Tensor:
    """Whether the class is known, bool [...], for y [..., C]: one-hot, or zeros where it is not."""
    return tf.reduce_any(y > 0, axis=-1)


def log_joint(
    vae: M2VAE, x: tf.Tensor, *, num_samples: int = 1, seed: Seed, bound: Callable[..., Any] = objectives.elbo
) -> tf.Tensor:
    """Bound log p(x, y) from below for every class y.

    Args:
      vae: the model.
      x: data [B, *E].
      num_samples: draws of z for each pair (x, y).
      seed: an int or an int32 pair.
      bound: of log p(x|y), an objective such as `objectives.elbo`.

    Returns:
      [B, C], nats. Its logsumexp over C bounds log p(x), and its softmax approximates p(y|x).
    """
    log_x = bound(vae, vae.every_class(x), num_samples=num_samples, seed=seed)  # log p(x|y), [C, B]
    return tf.transpose(log_x) + log_probabilities(vae.contexts)


def m2(
    vae: M2VAE,
    x: tf.Tensor,
    *,
    num_samples: int = 1,
    seed: Seed,
    alpha: float = STRENGTH,
    bound: Callable[..., Any] = objectives.elbo,
) -> tf.Tensor:
    """Estimate M2's objective: a bound on log p(x, y) where the class is known, on log p(x) where it is not.

    With L(x, y) = `bound` + log p(y):
      known:      L(x, y) + alpha log q(y|x)
      not known:  sum_y q(y|x) (L(x, y) - log q(y|x)), the sum over all classes

    Args:
      vae: the model.
      x: joined examples [B, D + C].
      num_samples: draws of z for each pair (x, y).
      seed: an int or an int32 pair.
      alpha: weight of log q(y|x) where the class is known; see `classification_weight`.
      bound: of log p(x|y), an objective such as `objectives.elbo` or `objectives.iwae`.

    Returns:
      [B], nats per example; to be maximised. A bound where alpha = 0.

    References:
      Kingma et al. 2014, arXiv:1406.5298, equations 6 to 9.
    """
    values, y = vae.split(x)
    log_p = log_joint(vae, values, num_samples=num_samples, seed=seed, bound=bound)  # [B, C]
    log_q = log_class_probabilities(vae, values)  # log q(y|x), [B, C]
    known = tf.reduce_sum(tf.where(y > 0, log_p + alpha * log_q, 0.0), axis=1)
    log_p = tf.where(is_known(y)[:, tf.newaxis], log_q, log_p)  # no gradient of what is not asked
    unknown = tf.reduce_sum(tf.exp(log_q) * (log_p - log_q), axis=1)
    return tf.where(is_known(y), known, unknown)


def log_class_probabilities(vae: M2VAE, x: tf.Tensor) -> tf.Tensor:
    """Return log q(y|x) of every class, [B, C], for x [B, *E]."""
    classes = tf.eye(vae.context_dim)[:, tf.newaxis]
    return tf.transpose(vae.classifier(x).log_prob(classes))


def classification_weight(labelled: float) -> float:
    """Return alpha of `m2` where this fraction of N examples is labelled: the paper's 0.1 N over these.

    >>> classification_weight(0.1)
    1.0
    """
    _check_fraction(labelled)
    return STRENGTH / labelled


def classifier_head(num_classes: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build the layers from features [B, F] to q(y|x): an encoder's network before them makes a classifier.

    Args:
      num_classes: C.
      seed: of the initial weights.
    """
    initializer = tf_keras.initializers.GlorotUniform(seed=seed)
    head = tfpl.OneHotCategorical(num_classes, convert_to_tensor_fn=tfd.Distribution.mean, name="class")
    return [tf_keras.layers.Dense(num_classes, kernel_initializer=initializer, name="class_logits"), head]


def forget_labels(y: np.ndarray, labelled: float, *, seed: int = 0) -> np.ndarray:
    """Return classes y [N, C], one-hot, with zeros in the place of all but a fraction of each class.

    Args:
      y: what is known.
      labelled: the fraction of each class that is kept, rounded, but one example of it at least.
      seed: of the choice; not a run's, so that runs compare.

    Raises:
      InputError: nothing is to be kept.

    >>> forget_labels(np.eye(2, dtype=np.uint8)[[0] * 10 + [1] * 30], 0.1).sum(axis=0).tolist()
    [1, 3]
    """
    _check_fraction(labelled)
    y, rng = np.array(y), np.random.default_rng([seed, 31])
    for k in range(y.shape[1]):
        rows = rng.permutation(np.flatnonzero(y[:, k]))
        y[rows[max(1, round(labelled * len(rows))) :]] = 0
    return y


def _check_fraction(labelled: float) -> None:
    if not 0 < labelled <= 1:
        raise InputError(f"The fraction of labelled examples must be above 0 and at most 1; got {labelled}.")
