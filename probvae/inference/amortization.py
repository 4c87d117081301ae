"""The two gaps of the ELBO: log p(x) - ELBO = approximation gap + amortization gap (Cremer et al. 2018).

Gradient ascent finds the best q(z|x) of the encoder's family for each example; its parameters start at those
of the encoder.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.arguments import weight
from probvae.errors import InputError
from probvae.inference.blocks import Progress, accepted, at_least, in_blocks, padded
from probvae.inference.estimates import error_of_mean
from probvae.objectives.bound import Model, as_model, log_terms
from probvae.objectives.memory import refuse_values
from probvae.seeds import Seed, fold_in

BLOCK = 100  # examples optimized at once


class AmortizedModel(Model, Protocol):
    """A model whose encoder can be split into a network and a distribution layer."""

    @property
    def encoder_parts(self) -> Any:
        """The network and the distribution layer of the encoder; None if it is not a Keras graph."""


class OptimizedPosteriors(NamedTuple):
    """Posteriors optimized for each example, and their ELBOs in nats.

    Attributes:
      elbo: ELBO with the optimized parameters, [N], by fresh draws.
      standard_error: Monte Carlo error of `elbo`, [N].
      amortized_elbo: ELBO with the encoder's parameters, [N], by the same number of draws.
      amortized_standard_error: Monte Carlo error of `amortized_elbo`, [N].
      gain_standard_error: Monte Carlo error of elbo - amortized_elbo, [N], which use the same draws.
      parameters: Optimized parameters of the encoder's distribution layer, [N, P].
    """

    elbo: np.ndarray
    standard_error: np.ndarray
    amortized_elbo: np.ndarray
    amortized_standard_error: np.ndarray
    gain_standard_error: np.ndarray
    parameters: np.ndarray


class Gaps(NamedTuple):
    """The parts of log p(x) - ELBO, each [N] in nats.

    The ascent may end below the best ELBO of the family. Apart from noise, the approximation gap is then too
    large and the amortization gap too small.

    Attributes:
      approximation: log p(x) minus the ELBO of the best q(z|x) of the family.
      amortization: ELBO of the best q(z|x) of the family minus the encoder's.
    """

    approximation: np.ndarray
    amortization: np.ndarray


def optimize_posteriors(
    vae: AmortizedModel,
    x: np.ndarray,
    *,
    num_steps: int = 200,
    learning_rate: float = 0.03,
    num_samples: int = 4,
    num_evaluation_samples: int = 200,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
) -> OptimizedPosteriors:
    """Find the best q(z|x) of the encoder's family for each example (semi-amortized inference).

    Adam with a cosine decay of the learning rate ascends the ELBOs of the examples of a block together. If
    other draws show no improvement on the encoder, the encoder's parameters are kept.

    Args:
      vae: Model of x; its weights do not change.
      x: Data [N, *E].
      num_steps: Number of steps of Adam.
      learning_rate: Learning rate of Adam at the start.
      num_samples: Number of draws of z for each step and example.
      num_evaluation_samples: Number of draws for this choice, and of fresh draws for the returned ELBOs.
      seed: Seed of the draws, an int or an int32 pair.
      on_progress: Function called with the fraction done; it may raise `Stopped`.

    Returns:
      `OptimizedPosteriors` of float64 arrays.

    Raises:
      InputError: The encoder is not a Keras graph that ends in a distribution layer.

    References:
      Cremer, Li & Duvenaud 2018, arXiv:1801.03558, section 3.
    """
    split = as_model(vae).encoder_parts
    if split is None:
        raise InputError(
            "Optimizing each example's posterior needs an encoder that is a Sequential or functional Keras "
            "model ending in a distribution layer; this one is not. Build it with an Input."
        )
    x = accepted(vae, x)
    at_least(num_steps=(num_steps, 1), num_samples=(num_samples, 1))
    at_least(num_evaluation_samples=(num_evaluation_samples, 1))
    weight("learning_rate", learning_rate, above=True)
    block = min(BLOCK, len(x))
    refuse_values("num_samples", num_samples, block * (vae.latent_dim + math.prod(vae.event_shape)))
    refuse_values("num_evaluation_samples", num_evaluation_samples, 10 * block)
    optimize = _compile(vae, split, block, num_steps, learning_rate, num_samples)
    evaluate = _compile_evaluation(vae, split.head)

    def draws(params: tf.Tensor, images: tf.Tensor, seed: tf.Tensor) -> np.ndarray:
        return _draws(evaluate, images, params, num_evaluation_samples, seed)

    def one_block(rows: slice) -> OptimizedPosteriors:
        images = tf.constant(x[rows], tf.float32)
        seeds = [fold_in(fold_in(seed, rows.start), i) for i in range(3)]
        initial = split.network(images)
        ascended = optimize(tf.constant(padded(x[rows], block), tf.float32), seeds[0])[: len(images)]
        better = [draws(params, images, seeds[1]).mean(axis=0) for params in (ascended, initial)]
        parameters = np.where((better[0] > better[1])[:, None], ascended, initial)
        # The draws are fresh, so that the choice does not bias the result, and the same for both.
        best, amortized = (draws(params, images, seeds[2]) for params in (parameters, initial))
        on_progress(rows.stop / len(x))
        return OptimizedPosteriors(
            best.mean(axis=0),
            error_of_mean(best),
            amortized.mean(axis=0),
            error_of_mean(amortized),
            error_of_mean(best - amortized),
            parameters,
        )

    return OptimizedPosteriors(*in_blocks(one_block, len(x), block))


def decompose(log_marginal: np.ndarray, optimized: OptimizedPosteriors) -> Gaps:
    """Split log p(x) - ELBO into its two gaps.

    Args:
      log_marginal: Best known log p(x), [N]. If it is a lower bound, the sign of the error of the
        approximation gap is unknown.
      optimized: Optimized posteriors of the same examples.
    """
    return Gaps(log_marginal - optimized.elbo, optimized.elbo - optimized.amortized_elbo)


def _compile(
    vae: Model, split: Any, block: int, num_steps: int, learning_rate: float, num_samples: int
) -> Callable[..., tf.Tensor]:
    """Compile the ascent of one block from the encoder's parameters, `(x, seed) -> parameters [B, P]`."""
    schedule = tf_keras.optimizers.schedules.CosineDecay(learning_rate, num_steps)
    optimizer = tf_keras.optimizers.Adam(schedule)
    params = tf.Variable(tf.zeros([block, split.network.output_shape[-1]]))
    optimizer.build([params])

    def ascend(x: tf.Tensor, seed: tf.Tensor) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(params)
            q = split.head(tf.identity(params))  # q(z|x), optimized
            log_w = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q).log_weights
            loss = -tf.reduce_sum(tf.reduce_mean(log_w, axis=0))
        optimizer.apply_gradients([(tape.gradient(loss, params), params)])

    @tf.function(autograph=False)
    def optimize(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        for variable in optimizer.variables:
            variable.assign(tf.zeros_like(variable))  # every block starts anew
        params.assign(split.network(x))

        def one_step(step: tf.Tensor) -> tuple[tf.Tensor]:
            ascend(x, fold_in(seed, step))
            return (step + 1,)

        tf.while_loop(lambda step: step < num_steps, one_step, (tf.constant(0),))
        return params.read_value()

    return optimize


def _compile_evaluation(vae: Model, head: Callable[[tf.Tensor], Any]) -> Callable[..., tf.Tensor]:
    @tf.function(reduce_retracing=True)
    def terms(x: tf.Tensor, params: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return log_terms(vae, x, num_samples=num_samples, seed=seed, q=head(params)).log_weights

    return terms


def _draws(
    terms: Callable[..., tf.Tensor], x: tf.Tensor, params: tf.Tensor, num_samples: int, seed: tf.Tensor
) -> np.ndarray:
    """Draw log w, [S, B] float64, in chunks."""
    sizes = [min(10, num_samples - first) for first in range(0, num_samples, 10)]
    parts = [terms(x, params, tf.constant(n), fold_in(seed, i)).numpy() for i, n in enumerate(sizes)]
    return np.concatenate(parts).astype(np.float64)
