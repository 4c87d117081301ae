"""Samplers: distributions of z fitted to the aggregate posterior q(z) = E_x q(z|x).

A decoder is trained on draws of q(z) only; its output is arbitrary where p(z) is high and q(z) is low. Each
entry of `SAMPLERS` is a function `(z, validation, *, components, seed) -> tfd.Distribution`.

References:
  Ghosh et al. 2020, From variational to deterministic autoencoders, arXiv:1903.12436.
  Dai & Wipf 2019, Diagnosing and enhancing VAE models, arXiv:1903.05789 (a second model, of z).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.arguments import choice, count
from probvae.errors import InputError
from probvae.inference.blocks import accepted, in_blocks
from probvae.inference.estimates import estimate
from probvae.models.vae import VAE
from probvae.priors import PRIORS, PriorContext, on_sphere
from probvae.sampling.draws import check_sampler, posterior_draws
from probvae.seeds import Seed, as_seed, fold_in, split

POOL = 10_000  # approximate number of draws of q(z) for the fit of a sampler
VALIDATION = 0.1  # fraction of the examples that choose the number of components or the weights of a flow
COMPONENTS = (1, 5, 10, 20, 50)  # numbers of components in the search
STEPS, CHECK_EVERY, BATCH, LEARNING_RATE = 3000, 250, 256, 2e-3  # training of a flow


def fit_sampler(
    vae: VAE, x: np.ndarray, *, kind: str = "mixture", components: int = 0, seed: Seed = 0
) -> tfd.Distribution:
    """Fit a distribution of z to draws of q(z|x) over data.

    Args:
      vae: Model, which does not change.
      x: Data [N, *E] of the training set.
      kind: Key of `SAMPLERS`.
      components: Number of components of a mixture; 0 chooses it by the log-density of held-out draws.
      seed: Seed of the fit, an int or an int32 pair.

    Returns:
      A distribution of event shape [L], which can replace the prior:
      `sampling.prior_draws(vae, n, sampler=...)`, or `VAE(sampler, vae.encoder, vae.decoder)`.

    Raises:
      InputError: The kind is unknown, there are too few data, or z lies on a sphere.
    """
    choice("sampler", kind, SAMPLERS)
    x, components = accepted(vae, x), count("components", components, 0)
    if on_sphere(vae.prior):
        raise InputError(
            "A sampler is fitted to z in all of space, and here z lies on a sphere: use the prior."
        )
    held_out = math.ceil(VALIDATION * len(x))
    if len(x) - held_out < max(components, 2):
        raise InputError(
            f"A sampler needs as many examples as components, besides a tenth to validate: got {len(x)} for "
            f"{max(components, 2)} components. Use more data, or fewer components."
        )
    seed_order, seed_z, seed_fit = split(seed, 3)
    order = np.random.default_rng(as_seed(seed_order).numpy().astype(np.uint32)).permutation(len(x))
    parts = [x[np.sort(part)] for part in (order[held_out:], order[:held_out])]
    draws = math.ceil(POOL / len(x))
    z, validation = (
        posterior_draws(vae, part, num_draws=draws, seed=fold_in(seed_z, i)).reshape(-1, vae.latent_dim)
        for i, part in enumerate(parts)
    )
    return SAMPLERS[kind](z, validation, components=components, seed=int(seed_fit[0] & 0x7FFFFFFF))


# ---- mixture ---------------------------------------------------------------------------------------


def fit_mixture(z: np.ndarray, validation: np.ndarray, *, components: int = 0, seed: int) -> tfd.Distribution:
    """Fit a mixture of normals with full covariances to draws z [M, L] by expectation maximization.

    The number of components, unless given, is searched over `COMPONENTS` by the mean log-density of
    `validation` [V, L]; the search ends when the next larger number is worse. The initial means are those of
    k-means++.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    best: Any = None
    best_score = -np.inf
    for number in (components,) if components else COMPONENTS:
        if number > len(z):
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the score below judges the fit
            fit = GaussianMixture(number, reg_covar=1e-5, init_params="k-means++", random_state=seed).fit(
                z.astype(np.float64)
            )
        score = fit.score(validation.astype(np.float64))
        if score <= best_score:
            break
        best, best_score = fit, score
    return as_mixture(best.weights_, best.means_, best.covariances_)


def as_mixture(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tfd.Distribution:
    """Build the mixture with weights [K], means [K, L] and covariances [K, L, L]."""
    return tfd.MixtureSameFamily(
        tfd.Categorical(logits=np.log(np.maximum(weights, 1e-30)).astype(np.float32)),
        tfd.MultivariateNormalTriL(
            means.astype(np.float32), scale_tril=np.linalg.cholesky(covariances).astype(np.float32)
        ),
        name="mixture",
    )


# ---- flow ------------------------------------------------------------------------------------------


def fit_flow(z: np.ndarray, validation: np.ndarray, *, components: int = 0, seed: int) -> tfd.Distribution:
    """Fit a neural spline flow (the prior `spline`) to standardized draws z [M, L] by maximum likelihood.

    Draws `validation` [V, L] are scored every `CHECK_EVERY` steps, and the weights with the best score are
    kept; `components` is not used. A density that is no longer finite is an `InputError`.
    """
    loc, scale = z.mean(axis=0), z.std(axis=0) + np.float32(1e-6)
    flow = PRIORS["spline"](z.shape[1], seed=seed, context=PriorContext())
    sampler = tfd.TransformedDistribution(flow, tfb.Chain([tfb.Shift(loc), tfb.Scale(scale)]), name="flow")
    variables = sampler.trainable_variables
    optimizer = tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(LEARNING_RATE, STEPS))
    optimizer.build(variables)
    pool = tf.constant(z)

    def step(i: tf.Tensor) -> tf.Tensor:
        rows = tf.random.stateless_uniform([BATCH], fold_in(seed, i), maxval=len(z), dtype=tf.int32)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(sampler.log_prob(tf.gather(pool, rows)))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 10.0)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return i + 1

    @tf.function(autograph=False)
    def train(start: tf.Tensor) -> tf.Tensor:
        tf.while_loop(lambda i: i < start + CHECK_EVERY, step, (start,))
        return tf.reduce_mean(sampler.log_prob(validation))

    best, best_score = None, -np.inf
    for start in range(0, STEPS, CHECK_EVERY):
        score = float(train(tf.constant(start)))
        if score > best_score:
            best, best_score = [v.numpy() for v in variables], score
    if best is None:
        raise InputError("The flow's density became infinite or not a number: use the sampler mixture.")
    for variable, value in zip(variables, best, strict=True):
        variable.assign(value)
    return sampler


SAMPLERS: dict[str, Callable[..., tfd.Distribution]] = {"mixture": fit_mixture, "flow": fit_flow}


# ---- closeness -------------------------------------------------------------------------------------


class Closeness(NamedTuple):
    """Mean log-densities, in nats, of draws z ~ q(z|x) of held-out data.

    Attributes:
      sampler: E log f(z) under the sampler.
      prior: E log p(z) under the prior of the model.
      gain: Difference of the two, which estimates KL(q(z) || p(z)) - KL(q(z) || f(z)).
      error: Standard error of the gain over examples.
    """

    sampler: float
    prior: float
    gain: float
    error: float


def closeness(vae: VAE, sampler: tfd.Distribution, x: np.ndarray, *, seed: Seed = 0) -> Closeness:
    """Compare a sampler with the prior at one draw z ~ q(z|x) for each x of held-out data [N, *E]."""
    check_sampler(vae, sampler)
    z = posterior_draws(vae, x, seed=seed)[0]

    def log_prob(distribution: tfd.Distribution) -> np.ndarray:
        return in_blocks(lambda rows: distribution.log_prob(z[rows]), len(z), 1000).astype(np.float64)

    log_sampler, log_prior = log_prob(sampler), log_prob(vae.prior)
    gain, error = estimate(log_sampler - log_prior)
    return Closeness(float(log_sampler.mean()), float(log_prior.mean()), gain, error)
