"""ELBO of the test set as a compiled function."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from probvae import objectives
from probvae.data.arrays import Array
from probvae.distributions import traces
from probvae.models.vae import VAE
from probvae.seeds import Seed, as_seed, fold_in


class TestTerms(NamedTuple):
    """Terms of the ELBO of each test example, [N] in nats, from one draw of z."""

    elbo: np.ndarray
    log_likelihood: np.ndarray
    kl: np.ndarray


def compile_test(
    vae: VAE, seed: int, *, batch_size: int = 500, parts: int = 1
) -> Callable[[np.ndarray], TestTerms]:
    """Compile the ELBO of a test set, a function from x [N, *E] to `TestTerms`.

    Every call has the same draws of z, so that epochs are comparable; `batch_size` examples share a seed. The
    number of batches in parallel, `parts`, does not change the result.
    """
    return functools.partial(compile_shared_test(vae, batch_size=batch_size, parts=parts), seed=seed)


def compile_shared_test(vae: VAE, *, batch_size: int = 500, parts: int = 1) -> Callable[..., TestTerms]:
    """Compile the ELBO of test sets, a function `(x, *, seed) -> TestTerms`, as that of `compile_test`."""

    def terms(x: tf.Tensor, start: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        t = objectives.log_terms(vae, x, seed=fold_in(fold_in(seed, -1), start))
        return tf.stack([t.log_weights[0], t.log_likelihood[0], (t.log_posterior - t.log_prior)[0]])

    batch, start = tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([], tf.int32)

    def all_terms(batches: list[tf.Tensor], starts: list[tf.Tensor], seed: tf.Tensor) -> list[tf.Tensor]:
        with traces.forgotten():
            return [terms(x, i, seed) for x, i in zip(batches, starts, strict=True)]

    def compiled(number: int) -> Callable[..., list[tf.Tensor]]:
        signature = [[batch] * number, [start] * number, tf.TensorSpec([2], tf.int32)]
        return traces.once(tf.function(all_terms, input_signature=signature, autograph=False))

    alone, together = compiled(1), compiled(parts)

    def test(x: Array, *, seed: Seed) -> TestTerms:
        starts, blocks = list(range(0, len(x), batch_size)), []
        while starts:
            number = parts if len(starts) >= parts else 1
            group, starts = starts[:number], starts[number:]
            batches = [tf.constant(x[i : i + batch_size].astype(np.float32)) for i in group]
            places = [tf.constant(i) for i in group]
            blocks += (together if number == parts else alone)(batches, places, as_seed(seed))
        return TestTerms(*np.concatenate([block.numpy() for block in blocks], axis=1))

    return test
