"""Hierarchies of latent layers z = (z_1, ..., z_K), z_1 the top, and the ladder posterior.

  p(z)   = p(z_1)   prod_{k > 1} p(z_k | z_<k)        z_<k = (z_1, ..., z_{k-1})
  q(z|x) = q(z_1|x) prod_{k > 1} q(z_k | z_<k, x)

Each of the two is one distribution over the concatenation z [L], so a hierarchy is a VAE like any other. Its
log-density is the sum of the layers' terms, and `Chain.log_prob_terms` gives them one by one.

p(x|z) depends on all layers, and not on the lowest alone as in Sonderby et al. So the decoder is that of any
VAE of latent dimension L, the upper layers have a gradient from x that does not pass through the draws below
them, and the decoder can learn to ignore the upper layers if z_K is enough.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from probvae.distributions.chain import Chain, Conditional
from probvae.distributions.layers import DistributionLambda
from probvae.errors import InputError

FLOOR = 1e-4  # lower limit of a scale
LARGEST = 1e4  # upper limit of a scale, about
UNIT = float(np.log(np.e - 1))  # softplus(UNIT) is 1


def normal(params: tf.Tensor) -> tfd.Distribution:
    """Build independent normals from [..., 2 n]: loc, then raw scales, of which 0 stands for 1.

    The scales stay between FLOOR and about LARGEST.

    >>> p = normal(tf.constant([3.0, 0.0]))
    >>> print(p.mean().numpy(), p.stddev().numpy().round(3))
    [3.] [1.]
    """
    loc, raw = tf.split(params, 2, axis=-1)
    scale = FLOOR + (1 - FLOOR) * tf.nn.softplus(tf.minimum(raw, LARGEST) + UNIT)
    return tfd.Independent(tfd.Normal(loc, scale), 1)


def combine(p: tfd.Distribution, d: tfd.Distribution) -> tfd.Distribution:
    """Build the normal proportional to p(z_k | z_<k) d(z_k), d a normal: means weighted by precision.

    References:
      Sonderby et al. 2016, Ladder Variational Autoencoders, arXiv:1602.02282, section 2.1.
    """
    p_scale, d_scale = p.stddev(), d.stddev()
    length = tf.sqrt(tf.square(p_scale) + tf.square(d_scale))
    weight = tf.square(p_scale / length)  # precision of d over the sum of both
    loc = p.mean() + weight * (d.mean() - p.mean())
    return tfd.Independent(tfd.Normal(loc, p_scale / length * d_scale), 1)


class TopDown(tf.Module):
    """The network behind p(z_k | z_<k): one hidden layer, from z_<k [..., inputs] to normals [..., outputs].

    Inference and generation share it. The last kernel is ten times smaller than Glorot's, so that p(z) starts
    near N(0, I): if z_k depended on the layers above at random, it would be noise that training learns to
    ignore.
    """

    def __init__(
        self, inputs: int, outputs: int, *, units: int, activation: str, seed: int, name: str
    ) -> None:
        super().__init__(name=name)
        self._layers = [
            _dense(units, seed, f"{name}_hidden", activation),
            _dense(2 * outputs, seed + 1, f"{name}_params", gain=0.1),
        ]
        for layer, size in zip(self._layers, (inputs, units), strict=True):
            with tf.name_scope(layer.name):  # HDF5 needs names of their own
                layer.build([None, size])

    def __call__(self, above: tf.Tensor) -> tfd.Distribution:
        """Return p(z_k | z_<k), batch [...], for z_<k [..., inputs]."""
        params = above[tf.newaxis] if above.shape.rank == 1 else above  # Keras wants a batch axis
        for layer in self._layers:
            params = layer(params)
        return normal(params[0] if above.shape.rank == 1 else params)


def _dense(
    units: int, seed: int, name: str, activation: str | None = None, *, gain: float = 1.0
) -> tf_keras.layers.Layer:
    initializer = tf_keras.initializers.VarianceScaling(gain**2, "fan_avg", "uniform", seed=seed)  # Glorot's
    return tf_keras.layers.Dense(units, activation=activation, kernel_initializer=initializer, name=name)


class LadderPosterior(DistributionLambda):
    """Distribution layer of q(z|x) = q(z_1|x) prod_k q(z_k | z_<k, x), which shares the prior's conditionals.

    The input [..., 2 L] holds, layer by layer from the top, the parameters of a normal d_k (see `normal`).
    The top is q(z_1|x) = d_1; below, q(z_k | z_<k, x) combines d_k with p(z_k | z_<k) (see `combine`).

    Args:
      prior: p(z); the layer has its variables too.
      **kwargs: Keyword arguments of the Keras layer.
    """

    def __init__(self, prior: Chain, **kwargs: Any) -> None:
        kwargs.setdefault("convert_to_tensor_fn", Chain.centre)
        super().__init__(self._new, **kwargs)
        self.prior = prior

    def _new(self, params: tf.Tensor) -> tfd.Distribution:
        sizes = self.prior.latent_layers
        data = [normal(part) for part in tf.split(params, [2 * n for n in sizes], axis=-1)]

        def below(k: int) -> Conditional:
            return lambda z: combine(self.prior.conditionals[k - 1](z), data[k])  # q(z_k | z_<k, x)

        return Chain(data[0], [below(k) for k in range(1, len(sizes))], sizes, name="posterior")


def build_ladder(
    features: list[tf_keras.layers.Layer],
    latent_layers: Sequence[int],
    *,
    units: int = 128,
    activation: str = "relu",
    dropout: float = 0.0,
    seed: int,
) -> tuple[Chain, tf_keras.Model]:
    """Build the prior and the encoder of a ladder VAE, with latent layers of sizes (n_1, ..., n_K), K > 1.

    The deterministic upward pass takes the parameters of d_K from the features of x, those of d_{K-1} from a
    dense layer on them, and so on. The stochastic downward pass is `LadderPosterior`. The `features` are
    Keras layers from x to [B, features], an `InputLayer` first; `units` is the width of each hidden layer,
    both ways; the upward ones drop the fraction `dropout` of their units in training. The top-down networks
    of the prior, of event shape [n_1 + ... + n_K], and of the encoder are the same objects.

    >>> x_to_features = [tf_keras.layers.InputLayer((4,)), tf_keras.layers.Dense(8)]
    >>> prior, encoder = build_ladder(x_to_features, (2, 3), units=8, seed=0)
    >>> q = encoder(tf.zeros([7, 4]))
    >>> q.batch_shape.as_list(), q.event_shape.as_list(), prior.event_shape.as_list()
    ([7], [5], [5])

    References:
      Sonderby et al. 2016, arXiv:1602.02282. Batch normalization, which they use, is left out; warm-up of
      the KL is a matter of training.
    """
    if len(latent_layers) < 2 or min(latent_layers) < 1:
        raise InputError(
            "latent_layers must be two or more sizes of at least 1, the top first; got "
            f"{tuple(latent_layers)}. Use latent_dim for a model of one layer."
        )
    first = seed * 1000 + 500  # each network has its own seeds
    names = [f"top_down_{k}" for k in range(2, len(latent_layers) + 1)]
    top_down = [
        TopDown(
            sum(latent_layers[:k]), size, units=units, activation=activation, seed=first + 10 * k, name=name
        )
        for k, (size, name) in enumerate(zip(latent_layers[1:], names, strict=True), 1)
    ]
    top = tfd.Independent(tfd.Normal(tf.zeros(latent_layers[0]), 1.0), 1)  # p(z_1)
    prior = Chain(top, top_down, latent_layers, name="prior")
    x_to_features = tf_keras.Sequential(features)
    upward, params = x_to_features.output, []
    for k in reversed(range(len(latent_layers))):
        if k + 1 < len(latent_layers):
            upward = _dense(units, first + 10 * k + 2, f"bottom_up_{k + 1}", activation)(upward)
            upward = tf_keras.layers.Dropout(dropout)(upward) if dropout else upward
        params.append(_dense(2 * latent_layers[k], first + 10 * k + 3, f"params_{k + 1}")(upward))
    joined = tf_keras.layers.Concatenate(name="posterior_params")(params[::-1])
    posterior = LadderPosterior(prior, name="posterior")(joined)
    return prior, tf_keras.Model(x_to_features.inputs, posterior, name="encoder")
