"""A distribution of several layers of z, each conditional on the one above."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.distributions.base import LibraryDistribution
from probvae.seeds import Seed, split

MEAN_DRAWS = 64  # draws for the mean and the variance of a chain, half of them mirrored
Conditional = Callable[[tf.Tensor], tfd.Distribution]


class Chain(LibraryDistribution):
    """Distribution of z = (z_1, ..., z_K) with normal conditionals p(z_k | z_<k), one event of shape [L].

    `mean`, `variance` and `stddev` have a closed form for z_1 only. They average the conditional moments over
    64 draws of z_<k at a fixed seed (32 draws and their mirror images, the same for the whole batch). So they
    are reproducible. The mean is exact if the conditional means are linear and the scales constant;
    otherwise the sampling error is up to a sixth of the standard deviation of the conditional mean.

    `tfd.JointDistributionCoroutine` joined by `tfb.Split` is the same distribution (a test compares them),
    but as a `tfd.TransformedDistribution` it is a composite tensor, which Keras cannot track in a model.

    Args:
      top: p(z_1), whose batch shape is that of the chain.
      conditionals: Functions from z_<k [..., n_1 + ... + n_{k-1}] to p(z_k | z_<k), one for each lower layer.
        Like the top they are independent normals, of event shape [n_k], and batch axes broadcast.
      latent_layers: Sizes (n_1, ..., n_K) of the layers, which sum to L.
    """

    def __init__(
        self,
        top: tfd.Distribution,
        conditionals: Sequence[Conditional],
        latent_layers: Sequence[int],
        name: str = "chain",
    ) -> None:
        parameters = dict(locals())
        self.top, self.conditionals, self.latent_layers = top, list(conditionals), tuple(latent_layers)
        super().__init__(parameters, name, dtype=top.dtype, reparameterization_type=tfd.FULLY_REPARAMETERIZED)

    def _details(self) -> dict[str, Any]:
        return {"latent_layers": self.latent_layers}

    def _shapes(self) -> tuple[Any, Any]:
        return self.top.batch_shape, [sum(self.latent_layers)]

    def _shape_tensors(self) -> tuple[Any, Any]:
        return self.top.batch_shape_tensor(), [sum(self.latent_layers)]

    def log_prob_terms(self, z: tf.Tensor) -> tf.Tensor:
        """Return log p(z_k | z_<k) for each k, [K, ...] in nats, for z [..., L]; `log_prob` is their sum."""
        ends = np.cumsum(self.latent_layers)
        terms = [self.top.log_prob(z[..., : ends[0]])]
        for conditional, start, end in zip(self.conditionals, ends[:-1], ends[1:], strict=True):
            terms.append(conditional(z[..., :start]).log_prob(z[..., start:end]))  # p(z_k | z_<k)
        return tf.stack(terms)

    def centre(self) -> tf.Tensor:
        """Return z [..., L] of high density without draws: each layer is its mean given the layers above."""
        return self._descend(lambda k, p: p.mean())

    def _descend(self, choose: Callable[[int, tfd.Distribution], tf.Tensor]) -> tf.Tensor:
        """Return z [..., L], built from the top by z_k = choose(k, p(z_k | z_<k)) with k counted from 0."""
        z = choose(0, self.top)
        for k, conditional in enumerate(self.conditionals, 1):
            z = tf.concat([z, choose(k, conditional(z))], axis=-1)
        return z

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        seeds = split(seed, len(self.latent_layers))
        return self._descend(lambda k, p: p.sample(() if k else n, seed=seeds[k]))

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self.log_prob_terms(z), axis=0)

    def _moments(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean and variance, each [..., L], by the laws of total expectation and variance."""
        seeds, draws_of_loc, draws_of_scale = split(0, len(self.latent_layers)), [], []

        def draw(k: int, p: tfd.Distribution) -> tf.Tensor:
            ones = tf.ones_like(self.batch_shape_tensor())
            shape = tf.concat([[MEAN_DRAWS // 2], ones, [self.latent_layers[k]]], axis=0)
            noise = tf.random.stateless_normal(shape, seeds[k], dtype=self.dtype)
            z_k = p.mean() + p.stddev() * tf.concat([noise, -noise], axis=0)  # [MEAN_DRAWS, ..., n_k]
            draws_of_loc.append(tf.broadcast_to(p.mean(), tf.shape(z_k)))
            draws_of_scale.append(tf.broadcast_to(p.stddev(), tf.shape(z_k)))
            return z_k

        self._descend(draw)
        loc, scale = tf.concat(draws_of_loc, axis=-1), tf.concat(draws_of_scale, axis=-1)
        variance = tf.reduce_mean(tf.square(scale), axis=0) + tf.math.reduce_variance(loc, axis=0)
        return tf.reduce_mean(loc, axis=0), variance

    def _mean(self) -> tf.Tensor:
        return self._moments()[0]

    def _variance(self) -> tf.Tensor:
        return self._moments()[1]
