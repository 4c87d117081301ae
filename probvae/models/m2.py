"""Semi-supervised learning: the M2 model p(y) p(z) p(x|z, y) with q(y|x) q(z|x, y), some y unknown.

In a joined example (x, y), y is one-hot, and all zeros where the class is unknown.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from probvae.data.arrays import Array
from probvae.distributions.layers import OneHotCategorical
from probvae.errors import InputError
from probvae.inference.blocks import in_blocks
from probvae.models.conditional import ConditionalVAE
from probvae.models.contract import Contract, class_contract, joined_contract
from probvae.models.parts import check_network, check_prior, distribution_of
from probvae.objectives.semisupervised import is_known, log_class_probabilities, m2


class M2VAE(ConditionalVAE):
    """The M2 model: a `ConditionalVAE` of classes with a p(y) and a classifier q(y|x).

    As in `ConditionalVAE`, densities are those of x given y, and examples whose class is unknown have none:
    `m2` alone takes them, and `training_contract` describes them.

    Args:
      prior, encoder, decoder: Parts of a `ConditionalVAE`, y being one-hot.
      classifier: Keras model from x [B, *E] to q(y|x): its last layer is `tfp.layers.OneHotCategorical`.
      contexts: p(y), a `tfd.OneHotCategorical`; None for equal probabilities. Its variables are trained.
      **kwargs: Keyword arguments of `tf_keras.Model`.

    Raises:
      InputError: The parts do not fit together.

    References:
      Kingma, Rezende, Mohamed & Welling 2014, Semi-supervised learning with deep generative models,
      arXiv:1406.5298.
    """

    lowest_class = -1  # an unknown class
    has_log_terms = False

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
        latent_dim = check_prior(prior)
        check_network("decoder", decoder, "z and y")
        check_network("classifier", classifier, "x")
        inputs = getattr(decoder, "input_shape", None)
        if not isinstance(inputs, tuple) or len(inputs) != 2 or inputs[1] <= latent_dim:
            raise InputError(
                "The decoder of an M2VAE must be a Sequential or functional model of z and y, [B, L + C] "
                f"with L = {latent_dim}; it takes inputs of shape {inputs}."
            )
        context_dim = int(inputs[1]) - latent_dim
        super().__init__(prior, encoder, decoder, context_dim=context_dim, **kwargs)
        if contexts is None:
            contexts = tfd.OneHotCategorical(logits=tf.zeros(context_dim), dtype=tf.float32)
        self.contexts: tfd.Distribution = contexts
        self.classifier = classifier
        check_network("classifier", classifier, "x", self.value_shape)
        x, dtype = tf.zeros([1, *self.value_shape]), tf.as_dtype(prior.dtype)
        q = distribution_of("classifier", lambda: classifier(x), dtype)  # q(y|x)
        if not q.event_shape == self.contexts.event_shape == [context_dim]:
            raise InputError(
                f"The classifier's q(y|x) and p(y) must have the event shape [{context_dim}]; they have "
                f"{q.event_shape.as_list()} and {self.contexts.event_shape.as_list()}."
            )

    def _context_contract(self) -> Contract:
        return class_contract(self.context_dim, self.value_contract.dtype)

    @property
    def training_contract(self) -> Contract:
        """The contract of joined examples for `objectives.m2`, whose class may be unknown."""
        x = self.value_contract
        return joined_contract(x, class_contract(self.context_dim, x.dtype, may_be_unknown=True))

    def named_parts(self) -> dict[str, tf.Module]:
        """Return the parts that hold the variables, the classifier and p(y) included."""
        return {**super().named_parts(), "classifier": self.classifier, "contexts": self.contexts}

    def test_metrics(self, x: Array) -> dict[str, np.ndarray]:
        """Return whether the likeliest class of q(y|x) is the label, 1 or 0 for each joined example."""
        right = np.argmax(self.class_probabilities(x), axis=1) == np.argmax(self.contexts_of(x), axis=1)
        return {"test_accuracy": right.astype(np.float64)}

    def class_probabilities(self, x: Array) -> np.ndarray:
        """Return q(y|x) of joined examples, [N, C]."""

        def probabilities(rows: slice) -> np.ndarray:
            value, _ = self.split(x[rows].astype(np.float32))
            return np.exp(log_class_probabilities(self, value))

        return in_blocks(probabilities, len(x), 500)

    def log_likelihood(self, z: tf.Tensor, example: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return log p(x|z, y) of joined examples; nan where the class is unknown."""
        log_prob = super().log_likelihood(z, example, training)
        known = is_known(self.split(example)[1])
        return tf.where(known, log_prob, np.float32(np.nan))

    def every_class(self, x: tf.Tensor) -> tf.Tensor:
        """Return x [B, *E] joined with each class in turn, [C, B, D + C]."""
        return tf.stack([self.join(x, k) for k in range(self.context_dim)])

    def compile(self, optimizer: Any = "adam", objective: Any = None, **kwargs: Any) -> None:
        """Prepare `fit` as `VAE.compile` does; the objective is `m2` unless another is given."""
        super().compile(optimizer, m2 if objective is None else objective, **kwargs)


def classifier_head(num_classes: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build the last layers of a classifier, from features [B, F] to q(y|x)."""
    initializer = tf_keras.initializers.GlorotUniform(seed=seed)
    head = OneHotCategorical(num_classes, convert_to_tensor_fn=tfd.Distribution.mean, name="class")
    return [tf_keras.layers.Dense(num_classes, kernel_initializer=initializer, name="class_logits"), head]
