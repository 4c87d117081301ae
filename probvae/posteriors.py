"""Posteriors q(z|x): the head of an encoder, a Dense layer and a distribution layer.

Each entry of `POSTERIORS` is a `Posterior`, called as `(latent_dim, *, seed) -> [Dense, distribution layer]`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.display import ReprMixin
from probvae.distributions.flows.flow import Flow
from probvae.distributions.flows.networks import made
from probvae.distributions.flows.steps import AutoregressiveStep, CouplingStep, couplings
from probvae.distributions.flows.transforms import SPLINE_BINS
from probvae.distributions.flows.transforms import spline as spline_transform
from probvae.distributions.layers import DistributionLambda, MultivariateNormalTriL
from probvae.distributions.sphere import VonMisesFisher
from probvae.errors import InputError

# Bound that keeps exp(log-variance) finite and positive in float32, far beyond the values in training.
LOG_VARIANCE_LIMIT = 40.0

LOW_RANK = 4  # largest number of columns of the factor of `low_rank`
MIXTURE_COMPONENTS = 4
SPHERE_CONCENTRATION = 1e4  # limit, at which draws lie within about 0.01 sqrt(L) of the mean direction
FLOW_STEPS, FLOW_HIDDEN, FLOW_CONTEXT = 4, (128, 128), 64


class DiagonalNormal(DistributionLambda):
    """Distribution layer of a normal with independent coordinates.

    The input holds the mean and the log-variance, [..., 2 L]; the output is a `tfd.MultivariateNormalDiag` of
    batch shape [...] and event shape [L], with scale = exp(log-variance / 2).

    Args:
      latent_dim: L, the size of the event.
      **kwargs: Keyword arguments of the Keras layer.

    >>> q = DiagonalNormal(2)(tf.constant([[0.0, 1.0, 0.0, 2.0]]))
    >>> q.event_shape.as_list(), q.batch_shape.as_list()
    ([2], [1])

    References:
      Kingma & Welling 2014, Auto-Encoding Variational Bayes, arXiv:1312.6114, appendix C.2.
    """

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        self.latent_dim = latent_dim
        kwargs.pop("make_distribution_fn", None)
        # Conversion of q(z|x) to a tensor takes the mean, without a draw.
        kwargs.setdefault("convert_to_tensor_fn", tfd.Distribution.mean)
        super().__init__(lambda params: DiagonalNormal.new(params, latent_dim), **kwargs)

    @staticmethod
    def new(params: tf.Tensor, latent_dim: int) -> tfd.Distribution:
        """Build q(z|x) from its parameters [..., 2 L]: mean first, then log-variance."""
        loc, scale, _ = _loc_scale_rest(params, latent_dim)
        return tfd.MultivariateNormalDiag(loc, scale_diag=scale)

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Return the number of parameters, 2 L."""
        return 2 * latent_dim

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of the layer, without a pickled function."""
        return {"name": self.name, "dtype": self.dtype, "latent_dim": self.latent_dim}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "DiagonalNormal":
        """Rebuild the layer from `get_config`."""
        return cls(**config)


def _dense(units: int, seed: int) -> tf_keras.layers.Layer:
    initializer = tf_keras.initializers.GlorotUniform(seed=seed)
    return tf_keras.layers.Dense(units, kernel_initializer=initializer, name="posterior_params")


def diagonal(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build independent normals from their mean and log-variance, as in the tutorial of TFP."""
    params_size = DiagonalNormal.params_size(latent_dim)
    return [_dense(params_size, seed), DiagonalNormal(latent_dim, name="posterior")]


def tril(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build a normal with full covariance, through its lower-triangular Cholesky factor.

    The layer is `tfp.layers.MultivariateNormalTriL`; softplus + 1e-5 keeps the diagonal positive.
    """
    params_size = tfpl.MultivariateNormalTriL.params_size(latent_dim)
    dense = _dense(params_size, seed)
    dense.bias_initializer = tf_keras.initializers.Constant(_unit_tril_params(latent_dim))
    head = MultivariateNormalTriL(latent_dim, convert_to_tensor_fn=tfd.Distribution.mean, name="posterior")
    return [dense, head]


def tril_moments(params: tf.Tensor, latent_dim: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return mean and standard deviation of `tfp.layers.MultivariateNormalTriL`, each [B, L].

    ONNX has all operations used here, unlike those of TFP on the diagonals of matrices.

    Args:
      params: Parameters [B, L + L (L + 1) / 2], the mean and a triangle in the order of
        `tfp.math.fill_triangular`.
      latent_dim: L, the size of z.
    """
    size = latent_dim * (latent_dim + 1) // 2
    lower, diagonal = np.tri(latent_dim, dtype=np.float32), np.eye(latent_dim, dtype=np.float32)
    order = np.concatenate([np.arange(latent_dim, size), np.arange(size)[::-1]]).reshape(
        latent_dim, latent_dim
    )
    raw = tf.gather(params[:, latent_dim:], order.astype(np.int32), axis=1)  # [B, L, L]
    factor = raw * (lower - diagonal) + (tf.nn.softplus(raw) + 1e-5) * diagonal
    return params[:, :latent_dim], tf.sqrt(tf.reduce_sum(factor**2, axis=-1))


def _unit_tril_params(latent_dim: int) -> np.ndarray:
    """Return the parameters of `tfp.layers.MultivariateNormalTriL` with loc 0 and scale I."""
    scale = tfb.FillScaleTriL(diag_shift=np.float32(1e-5)).inverse(np.eye(latent_dim, dtype=np.float32))
    return np.concatenate([np.zeros(latent_dim, np.float32), scale.numpy()])


def low_rank(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build a normal whose covariance is diagonal plus low rank: S (I + V V^T) S.

    S is the diagonal of exp(log-variance / 2) and V is [L, r] with r = min(L, LOW_RANK) and entries softly
    bounded to -10 .. 10, so that I + V V^T is well conditioned in float32. The parameters are the mean, the
    log-variance and V row by row: 2 L + L r numbers, where `tril` has L + L (L + 1) / 2.

    References:
      Ong, Nott & Smith 2018, Gaussian Variational Approximation With a Factor Covariance Structure,
      arXiv:1701.03208.
    """
    rank = min(latent_dim, LOW_RANK)

    def new(params: tf.Tensor) -> tfd.Distribution:
        loc, scale, rest = _loc_scale_rest(params, latent_dim)
        factor = 10.0 * tf.tanh(_fold_last(rest, latent_dim, rank) / 10.0)
        return tfd.MultivariateNormalDiagPlusLowRankCovariance(loc, scale**2, scale[..., tf.newaxis] * factor)

    return _head(2 * latent_dim + latent_dim * rank, new, seed=seed)


class _Coordinates(ReprMixin, tfd.Independent):
    """`tfd.Independent` with a covariance.

    A `tfd.MultivariateNormalDiag` cannot be reparameterized in a mixture.
    """

    wraps = True

    def _covariance(self) -> tf.Tensor:
        return tf.linalg.diag(self.variance())


def mixture(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build a mixture of MIXTURE_COMPONENTS normals with independent coordinates.

    The draws have gradients by implicit reparameterization, `tfd.MixtureSameFamily(...,
    reparameterize=True)`; second derivatives raise an error. The parameters are the logits [K], the means [K,
    L] and the log-variances [K, L].

    References:
      Figurnov, Mohamed & Mnih 2018, Implicit Reparameterization Gradients, arXiv:1805.08498, section 4.
    """
    components = MIXTURE_COMPONENTS

    def new(params: tf.Tensor) -> tfd.Distribution:
        logits, rest = params[..., :components], params[..., components:]
        loc, scale, _ = _loc_scale_rest(_fold_last(rest, components, 2 * latent_dim), latent_dim)
        normals = _Coordinates(tfd.Normal(loc, scale), reinterpreted_batch_ndims=1)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), normals, reparameterize=True)

    return _head(components * (1 + 2 * latent_dim), new, seed=seed)


def von_mises_fisher(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build a von Mises-Fisher distribution on the unit sphere in R^L, for the prior uniform_sphere.

    The parameters are the mean direction [L] before normalization, and r, with concentration
    1 + softplus(r), at most SPHERE_CONCENTRATION. `mean` lies inside the sphere; conversion to a tensor takes
    the mean direction.

    Raises:
      InputError: L is outside 2 .. 100. The log-density of TFP is documented up to 5 dimensions, and agrees
        with Bessel functions of SciPy up to 100 (tests/test_posteriors.py).

    References:
      Davidson et al. 2018, Hyperspherical Variational Auto-Encoders, arXiv:1804.00891.
    """
    if not 2 <= latent_dim <= 100:
        raise InputError(
            f"The posterior von_mises_fisher lies on the sphere in R^L: expected latent_dim from 2 to "
            f"100, got {latent_dim}. Change latent_dim or choose another posterior."
        )

    def new(params: tf.Tensor) -> tfd.Distribution:
        concentration = 1.0 + tf.nn.softplus(params[..., latent_dim])
        return VonMisesFisher(
            tf.math.l2_normalize(params[..., :latent_dim], axis=-1),
            tf.minimum(concentration, SPHERE_CONCENTRATION),
        )

    dense, head = _head(latent_dim + 1, new, seed=seed, concrete=tfd.Distribution.mode)
    # The initial direction is not zero.
    start = np.append(np.full(latent_dim, latent_dim**-0.5), 0.0)
    dense.bias_initializer = tf_keras.initializers.Constant(start.astype(np.float32))
    return [dense, head]


# ---- flows ---------------------------------------------------------------------------------------


class FlowLayer(DistributionLambda):
    """Distribution layer of a flow, with the variables of its networks.

    Conversion of q(z|x) to a tensor takes the `centre` of the flow.

    Args:
      new: Function from parameters [..., P] to q(z|x).
      networks: Modules used by `new`, which are trained and saved with the layer.
      **kwargs: Keyword arguments of the Keras layer.
    """

    def __init__(
        self, new: Callable[[tf.Tensor], tfd.Distribution], networks: Sequence[tf.Module], **kwargs: Any
    ) -> None:
        super().__init__(new, convert_to_tensor_fn=lambda q: q.centre, **kwargs)
        self.networks = list(networks)


def iaf(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build an inverse autoregressive flow.

    The parameters are the mean and the log-variance of a base normal, and a context h, [..., 2 L + C].
    FLOW_STEPS gated autoregressive steps with context h follow, in alternating orders of the coordinates.

    A draw and `log_prob` at this draw take one pass of each network, `log_prob` at another z L passes, one
    for each coordinate. For the moments see `distributions.Flow`.

    References:
      Kingma et al. 2016, Improving Variational Inference with Inverse Autoregressive Flow, arXiv:1606.04934,
      algorithm 1.
    """
    nets = [
        made(
            latent_dim,
            hidden=FLOW_HIDDEN,
            context_size=FLOW_CONTEXT,
            reverse=bool(step % 2),
            bias=(0.0, 2.0),  # sigmoid(2) = 0.88, close to the identity
            seed=seed * 100 + step,
        )
        for step in range(FLOW_STEPS)
    ]

    def new(params: tf.Tensor) -> tfd.Distribution:
        loc, scale, context = _loc_scale_rest(params, latent_dim)
        steps = [AutoregressiveStep(network, order, context=context) for network, order in nets]
        return Flow(tfd.MultivariateNormalDiag(loc, scale), tfb.Chain(steps[::-1]), centre=loc)

    layer = FlowLayer(new, [network for network, _ in nets], name="posterior")
    return [_dense(2 * latent_dim + FLOW_CONTEXT, seed), layer]


def spline(latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
    """Build a neural spline flow: coupling steps on the unit normal, then a location and a scale from x.

    The parameters are loc, the log-variance and a context h, [..., 2 L + C]. z is loc + scale * the output of
    FLOW_STEPS coupling steps with context h. Draws and `log_prob` at any z take one pass of each network.
    With L = 1 the splines depend on h only. For the moments see `distributions.Flow`.

    References:
      Durkan et al. 2019, Neural Spline Flows, arXiv:1906.04032.
    """
    nets = couplings(
        latent_dim,
        steps=FLOW_STEPS,
        hidden=FLOW_HIDDEN,
        outputs=3 * SPLINE_BINS - 1,
        context_size=FLOW_CONTEXT,
        seed=seed,
    )

    def new(params: tf.Tensor) -> tfd.Distribution:
        loc, scale, context = _loc_scale_rest(params, latent_dim)
        steps = [
            CouplingStep(network, part, context=context, transform=spline_transform) for network, part in nets
        ]
        unit = tfd.MultivariateNormalDiag(tf.zeros_like(loc), tf.ones_like(scale))
        return Flow(unit, tfb.Chain([tfb.Shift(loc), tfb.Scale(scale), *steps[::-1]]), centre=loc)

    layer = FlowLayer(new, [network for network, _ in nets], name="posterior")
    return [_dense(2 * latent_dim + FLOW_CONTEXT, seed), layer]


# ---- parts ---------------------------------------------------------------------------------------


def _head(
    params_size: int,
    new: Callable[[tf.Tensor], tfd.Distribution],
    *,
    seed: int,
    concrete: Callable[[tfd.Distribution], tf.Tensor] = tfd.Distribution.mean,
) -> list[tf_keras.layers.Layer]:
    layer = DistributionLambda(new, convert_to_tensor_fn=concrete, name="posterior")
    return [_dense(params_size, seed), layer]


def _loc_scale_rest(params: tf.Tensor, latent_dim: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Split parameters [..., 2 L + C] into loc, scale = exp(log-variance / 2), and the rest [..., C]."""
    log_variance = params[..., latent_dim : 2 * latent_dim]
    log_variance = tf.clip_by_value(log_variance, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
    return params[..., :latent_dim], tf.exp(log_variance / 2), params[..., 2 * latent_dim :]


def _fold_last(x: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """Reshape [..., rows * columns] to [..., rows, columns]."""
    return tf.reshape(x, tf.concat([tf.shape(x)[:-1], [rows, columns]], 0))


# ---- the registry --------------------------------------------------------------------------------


class Posterior(NamedTuple):
    """A family of posteriors.

    Attributes:
      head: Function `(latent_dim, *, seed) -> [Dense, distribution layer]`, the end of an encoder.
      on_sphere: Whether z lies on the unit sphere.
      exact_moments: Whether mean and standard deviation have a closed form.
      moments: Function `(params [B, P], latent_dim) -> (mean, standard deviation)` in operations of ONNX;
        None if those of the TFP distribution are operations of ONNX.
      in_browser: Whether the script of the explorer's page can compute the distribution.
    """

    head: Callable[..., list[tf_keras.layers.Layer]]
    on_sphere: bool = False
    exact_moments: bool = True
    moments: Callable[[tf.Tensor, int], tuple[tf.Tensor, tf.Tensor]] | None = None
    in_browser: bool = False

    def __call__(self, latent_dim: int, *, seed: int) -> list[tf_keras.layers.Layer]:
        """Build the Dense layer and the distribution layer."""
        return self.head(latent_dim, seed=seed)


POSTERIORS: dict[str, Posterior] = {
    "diagonal": Posterior(diagonal, in_browser=True),
    "tril": Posterior(tril, moments=tril_moments, in_browser=True),
    "low_rank": Posterior(low_rank, in_browser=True),
    "mixture": Posterior(mixture, in_browser=True),
    "iaf": Posterior(iaf, exact_moments=False),
    "spline": Posterior(spline, exact_moments=False),
    "von_mises_fisher": Posterior(von_mises_fisher, on_sphere=True),
}
