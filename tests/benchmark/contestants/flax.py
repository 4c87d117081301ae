"""JAX with Flax and Optax: a step in `jax.jit`."""

import math
from typing import Any

import numpy as np

from benchmark.cases import BASE, BASE_CHANNELS, Case, Work


def prepare(case: Case, images: np.ndarray) -> Work | None:
    """Return what trains on a number of examples; None for what is not compared."""
    if case.task != "train" or case.posterior != "diagonal":
        return None
    import jax
    import optax
    from flax import linen as nn
    from jax import numpy as jnp

    first, second = case.filters
    encoder = nn.Sequential(
        [
            nn.Conv(first, (3, 3), 2, padding="VALID"),
            nn.relu,
            nn.Conv(second, (3, 3), 2, padding="VALID"),
            nn.relu,
            lambda x: x.reshape(len(x), -1),
            nn.Dense(case.params_size),
        ]
    )
    decoder = nn.Sequential(
        [
            nn.Dense(BASE * BASE * BASE_CHANNELS),
            nn.relu,
            lambda z: z.reshape(-1, BASE, BASE, BASE_CHANNELS),
            nn.ConvTranspose(second, (3, 3), (2, 2), padding="SAME"),
            nn.relu,
            nn.ConvTranspose(first, (3, 3), (2, 2), padding="SAME"),
            nn.relu,
            nn.ConvTranspose(1, (3, 3), padding="SAME"),
        ]
    )
    key = jax.random.PRNGKey(0)
    x = jnp.asarray(images, jnp.float32)
    params = encoder.init(key, x[:1]), decoder.init(key, jnp.zeros([1, case.latent]))
    optimizer = optax.adam(1e-4)
    state: Any = (params, optimizer.init(params), key)

    def log_normal(z: Any, mean: Any, log_variance: Any) -> Any:
        terms = (z - mean) ** 2 * jnp.exp(-log_variance) + log_variance + math.log(2 * math.pi)
        return -0.5 * terms.sum(-1)

    def loss_of(params: Any, x: Any, key: Any) -> Any:
        mean, log_variance = jnp.split(encoder.apply(params[0], x), 2, axis=1)
        z = mean + jax.random.normal(key, (case.samples, *mean.shape)) * jnp.exp(0.5 * log_variance)
        logits = decoder.apply(params[1], z.reshape(-1, case.latent)).reshape(case.samples, *x.shape)
        log_likelihood = -optax.sigmoid_binary_cross_entropy(logits, x).sum((2, 3, 4))
        log_w = log_likelihood + log_normal(z, 0.0, 0.0) - log_normal(z, mean, log_variance)
        return -jnp.mean(jax.nn.logsumexp(log_w, 0) - math.log(case.samples))

    @jax.jit
    def step(state: Any, rows: Any) -> Any:
        params, moments, key = state
        key, noise = jax.random.split(key)
        gradient = jax.grad(loss_of)(params, x[rows], noise)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(params, updates), moments, key

    order = np.random.default_rng(0).permutation(len(images))

    def train(examples: int) -> None:
        nonlocal state
        for start in range(0, examples, case.batch):
            place = start % (len(order) - case.batch + 1)
            state = step(state, order[place : place + case.batch])
        jax.block_until_ready(state[0])

    return train
