"""The ELBO and importance-weighted bounds, with Monte Carlo errors and diagnostics.

The K log-weights of a block of examples are drawn in chunks, one on each core at a time, and kept whole only
for that block, so the memory does not grow with K times the number of examples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from probvae.arguments import count
from probvae.distributions import traces
from probvae.environment import cores
from probvae.inference.blocks import Progress, accepted, decodes_at_once, until_stopped
from probvae.inference.estimates import error_of_mean, log_mean_exp, pareto_k
from probvae.objectives.bound import Model, log_terms
from probvae.objectives.memory import refuse_values
from probvae.seeds import Seed, fold_in

BLOCK = 250  # largest number of examples in a block
CHUNKS = 32  # chunks between two reports of progress


class Importance(NamedTuple):
    """Estimates from K draws z ~ q(z|x) for each of N examples, in nats.

    Attributes:
      bound: Importance-weighted bound log (1/K) sum_k w_k, [N], below log p(x) in expectation.
      standard_error: Monte Carlo error of `bound`, [N], by the delta method; unreliable if `pareto_k` is high
        or `effective_sample_size` is small; nan for one draw.
      elbo: Mean of log w, [N].
      elbo_standard_error: Monte Carlo error of `elbo`, [N].
      effective_sample_size: (sum w)^2 / sum w^2, [N], from 1 to K.
      pareto_k: Shape of the tail of the weights, [N]; None without arviz-stats. Above `reliable_pareto_k(K)`
        the bound and its error are unreliable; a low value proves nothing, as no draw may have come near a
        mode of p(z|x).
      num_samples: Numbers of draws from 1 to K, [J].
      curve: Bound with each of these numbers of draws, averaged over disjoint groups, [J, N].
    """

    bound: np.ndarray
    standard_error: np.ndarray
    elbo: np.ndarray
    elbo_standard_error: np.ndarray
    effective_sample_size: np.ndarray
    pareto_k: np.ndarray | None
    num_samples: np.ndarray
    curve: np.ndarray


def importance(
    vae: Model,
    x: np.ndarray,
    *,
    num_samples: int = 500,
    seed: Seed = 0,
    on_progress: Progress = lambda fraction: None,
    strategy: Any = None,
) -> Importance:
    """Estimate the ELBO and the importance-weighted bound of each example, with errors and diagnostics.

    Args:
      vae: Model of x.
      x: Data [N, *E].
      num_samples: K, the number of draws of z for each example.
      seed: Seed of the draws, an int or an int32 pair; the same seed and the same x give the same draws.
      on_progress: Function called with the fraction done. If it raises `Stopped`, the finished blocks of
        examples are returned.
      strategy: `tf.distribute` strategy whose scope made the model. Its replicas share the blocks of
        examples; the result is that of one device.

    Returns:
      `Importance` of float64 arrays.

    Raises:
      InputError: The model does not take x, or the number of draws is below 1.
      Stopped: `on_progress` raised it before the first block was finished.

    References:
      Burda et al. 2016, arXiv:1509.00519 (the bound). Vehtari et al. 2024, arXiv:1507.02646 (pareto_k).
    """
    x, num_samples = accepted(vae, x), count("num_samples", num_samples)
    refuse_values("num_samples", num_samples, 6)  # log-weights of float32, then of float64, then the weights
    decodes = decodes_at_once(vae)
    block = max(1, min(len(x), BLOCK, decodes, 40_000_000 // (8 * num_samples)))
    each = min(num_samples, -(-decodes // block))  # draws in a chunk
    chunks = -(-num_samples // each)
    draw = _compile(vae, each, strategy)
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync

    def some_blocks(starts: tuple[int, ...]) -> Importance:
        images = [tf.constant(x[start : start + block], tf.float32) for start in starts]
        keys, examples = [fold_in(seed, start) for start in starts], sum(map(len, images))
        log_w = []
        for first in range(0, chunks, CHUNKS):
            last = min(first + CHUNKS, chunks)
            log_w.append(draw(images, tf.range(first, last), keys))
            on_progress((starts[0] + examples * last / chunks) / len(x))
        return summarize(np.concatenate(log_w)[:num_samples])

    return _join(until_stopped(some_blocks, _shares(len(x), block, replicas)))


def _shares(examples: int, block: int, replicas: int) -> list[tuple[int, ...]]:
    """Return the starts of the blocks that the replicas work on at the same time, all of one size.

    >>> _shares(examples=7, block=2, replicas=2)
    [(0, 2), (4,), (6,)]
    """
    whole = examples // (block * replicas) * replicas  # blocks
    together = [tuple(range(n * block, (n + replicas) * block, block)) for n in range(0, whole, replicas)]
    return together + [(start,) for start in range(whole * block, examples, block)]


def summarize(log_weights: np.ndarray) -> Importance:
    """Summarize log-weights [K, N] as `Importance`.

    >>> float(summarize(np.zeros([10, 1])).effective_sample_size[0])
    10.0
    """
    log_w = np.asarray(log_weights, np.float64)
    k = len(log_w)
    bound = log_mean_exp(log_w)
    relative = np.exp(log_w - bound)  # weights divided by their mean
    numbers = np.array(sorted({*_geometric(k), k}))
    return Importance(
        bound=bound,
        standard_error=error_of_mean(relative),
        elbo=log_w.mean(axis=0),
        elbo_standard_error=error_of_mean(log_w),
        effective_sample_size=k / np.mean(relative**2, axis=0),
        pareto_k=pareto_k(log_w),
        num_samples=numbers,
        curve=np.stack([_grouped(log_w, n) for n in numbers]),
    )


def _geometric(k: int) -> list[int]:
    """Return 1, 2, 5, 10, 20, 50, ... up to k."""
    return [n * 10**e for e in range(9) for n in (1, 2, 5) if n * 10**e <= k]


def _grouped(log_w: np.ndarray, n: int) -> np.ndarray:
    """Return the bound with n draws, averaged over disjoint groups of n draws, [N]."""
    groups = len(log_w) // n
    return log_mean_exp(np.moveaxis(log_w[: groups * n].reshape(groups, n, -1), 1, 0)).mean(axis=0)


def _join(parts: list[Importance]) -> Importance:
    def over_examples(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays, axis=-1)

    names = [name for name in Importance._fields if name != "num_samples"]
    return Importance(num_samples=parts[0].num_samples, **{name: over_examples(name) for name in names})


def _compile(vae: Model, each: int, strategy: Any) -> Callable[..., np.ndarray]:
    """Compile a function of blocks of B examples, numbers of chunks [C] and a seed for each block.

    The function returns log-weights [C * S, B], where S, the number of draws in a chunk, is `each`.
    """

    @traces.once
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *vae.event_shape]),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([2], tf.int32),
        ],
        autograph=False,
    )
    def draw(x: tf.Tensor, chunks: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        q = vae.posterior(x)  # q(z|x)

        def chunk(number: tf.Tensor) -> tf.Tensor:
            key = fold_in(seed, number)
            return log_terms(vae, x, num_samples=each, seed=key, q=q).log_weights  # [S, B]

        with traces.forgotten():
            log_w = tf.map_fn(chunk, chunks, fn_output_signature=vae.prior.dtype, parallel_iterations=cores())
        return tf.reshape(log_w, [-1, tf.shape(x)[0]])

    @tf.function(autograph=False)
    def on_replicas(x: Any, chunks: tf.Tensor, seed: Any) -> Any:
        return strategy.run(lambda x, seed: draw(x, chunks, seed), args=(x, seed))

    def to_each(values: list[tf.Tensor]) -> Any:
        return strategy.experimental_distribute_values_from_function(
            lambda context: values[context.replica_id_in_sync_group]
        )

    def log_weights(x: list[tf.Tensor], chunks: tf.Tensor, seeds: list[tf.Tensor]) -> np.ndarray:
        if len(x) == 1:
            return draw(x[0], chunks, seeds[0]).numpy()
        results = strategy.experimental_local_results(on_replicas(to_each(x), chunks, to_each(seeds)))
        return np.concatenate([log_w.numpy() for log_w in results], axis=1)

    return log_weights
