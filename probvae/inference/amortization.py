"""Where the ELBO loses: log p(x) - ELBO = approximation gap + amortization gap (Cremer et al. 2018).

The best q(z|x) of the encoder's family is found for each example by gradient ascent on its own
parameters, which start at the encoder's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.errors import InputError
from probvae.inference.blocks import Progress, in_blocks, padded
from probvae.inference.estimates import error_of_mean
from probvae.objectives.bound import Model, log_terms
from probvae.seeds import Seed, fold_in

BLOCK = 100  # examples optimized at once


class AmortizedModel(Model, Protocol):
    """A model whose encoder can be taken apart."""

    @property
    def encoder_parts(self) -> Any:
        """The encoder's network and its distribution layer; None where it is no Keras graph."""


class Optimized(NamedTuple):
    """Each example's own posterior, in nats.

    Attributes:
      elbo: [N], with the optimized parameters, by fresh draws.
      standard_error: [N], its Monte Carlo error.
      amortized_elbo: [N], with the encoder's parameters, by the same number of draws.
      amortized_standard_error: [N], its Monte Carlo error.
      gain_standard_error: [N], of elbo - amortized_elbo, whose draws are the same.
      parameters: [N, P], the optimized parameters of the encoder's distribution layer.
    """

    elbo: np.ndarray
    standard_error: np.ndarray
    amortized_elbo: np.ndarray
    amortized_standard_error: np.ndarray
    gain_standard_error: np.ndarray
    parameters: np.ndarray


class Gaps(NamedTuple):
    """The parts of log p(x) - ELBO, each [N] in nats.

    The ascent may end below the best ELBO of the family, so the approximation gap is, but for noise, too
    large if anything, and the amortization gap too small.

    Attributes:
      approximation: log p(x) minus the ELBO of the best q of the family.
      amortization: that ELBO minus the encoder's.
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
) -> Optimized:
    """Find the best q(z|x) of the encoder's family for each example (semi-amortized inference).

    Adam with a cosine fall of the learning rate ascends the ELBO of every example of a block at once;
    where other draws show no improvement on the encoder, the encoder's parameters are kept.

    Args:
      vae: the model; its weights do not change.
      x: data [N, *E].
      num_steps: of Adam.
      learning_rate: of Adam, at the start.
      num_samples: draws of z for each step and example.
      num_evaluation_samples: draws for that choice, and as many fresh ones for the ELBOs returned.
      seed: an int or an int32 pair.
      on_progress: called with the fraction done; it may raise `importance.Stopped`.

    Returns:
      `Optimized` of float64 arrays.

    Raises:
      InputError: the encoder is no Keras graph that ends in a distribution layer.

    References:
      Cremer, Li & Duvenaud 2018, arXiv:1801.03558, section 3.
    """
    split = vae.encoder_parts
    if split is None:
        raise InputError(
            "Optimizing each example's posterior needs an encoder that is a Sequential or functional Keras "
            "model ending in a distribution layer; this one is not. Build it with an Input."
        )
    block = min(BLOCK, len(x))
    optimize = _compile(vae, split, block, num_steps, learning_rate, num_samples)
    evaluate = _compile_evaluation(vae, split.head)

    def draws(params: tf.Tensor, images: tf.Tensor, seed: tf.Tensor) -> np.ndarray:
        return _draws(evaluate, images, params, num_evaluation_samples, seed)

    def one_block(rows: slice) -> Optimized:
        images = tf.constant(x[rows], tf.float32)
        seeds = [fold_in(fold_in(seed, rows.start), i) for i in range(3)]
        initial = split.network(images)
        ascended = optimize(tf.constant(padded(x[rows], block), tf.float32), seeds[0])[: len(images)]
        better = [draws(params, images, seeds[1]).mean(axis=0) for params in (ascended, initial)]
        parameters = np.where((better[0] > better[1])[:, None], ascended, initial)
        # Fresh draws, so that the choice does not bias what is reported; the same ones for both.
        best, amortized = (draws(params, images, seeds[2]) for params in (parameters, initial))
        on_progress(rows.stop / len(x))
        return Optimized(
            best.mean(axis=0),
            error_of_mean(best),
            amortized.mean(axis=0),
            error_of_mean(amortized),
            error_of_mean(best - amortized),
            parameters,
        )

    return Optimized(*in_blocks(one_block, len(x), block))


def decompose(log_marginal: np.ndarray, optimized: Optimized) -> Gaps:
    """Split log p(x) - ELBO into its two gaps.

    Args:
      log_marginal: [N], the best value of log p(x) there is. With a lower bound in its place the direction
        of the approximation gap's error is not known.
      optimized: of the same examples.
    """
    return Gaps(log_marginal - optimized.elbo, optimized.elbo - optimized.amortized_elbo)


def _compile(
    vae: Model, split: Any, block: int, num_steps: int, learning_rate: float, num_samples: int
) -> Callable[..., tf.Tensor]:
    """Compile the ascent of one block, from the encoder's parameters: (x, seed) -> parameters [B, P]."""
    schedule = tf_keras.optimizers.schedules.CosineDecay(learning_rate, num_steps)
    optimizer = tf_keras.optimizers.Adam(schedule)
    params = tf.Variable(tf.zeros([block, split.network.output_shape[-1]]))
    optimizer.build([params])

    def ascend(x: tf.Tensor, seed: tf.Tensor) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(params)
            q = split.head(tf.identity(params))  # q(z|x) of each example's own
            log_w = log_terms(vae, x, num_samples=num_samples, seed=seed, q=q).log_weights
            loss = -tf.reduce_sum(tf.reduce_mean(log_w, axis=0))
        optimizer.apply_gradients([(tape.gradient(loss, params), params)])

    @tf.function(autograph=False)
    def optimize(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        for variable in optimizer.variables:
            variable.assign(tf.zeros_like(variable))  # a fresh start for every block
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
    """Draws of log w, [S, B] float64, in chunks."""
    sizes = [min(10, num_samples - first) for first in range(0, num_samples, 10)]
    parts = [terms(x, params, tf.constant(n), fold_in(seed, i)).numpy() for i, n in enumerate(sizes)]
    return np.concatenate(parts).astype(np.float64)
