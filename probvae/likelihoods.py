"""Likelihoods p(x|z): the distribution layer at the end of a decoder, and its support.

Each entry of `LIKELIHOODS` builds a `Likelihood` from the shape of x and options, which `likelihood_of` takes
from an `Architecture`. `log_prob` is that of the distribution.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.config.architecture import Architecture
from probvae.distributions import grey_levels, values
from probvae.distributions.columns import columns_of, first_misfit, kind_of, params_size
from probvae.distributions.columns import contains as column_contains
from probvae.distributions.columns import inputs as column_inputs
from probvae.distributions.columns import to_support as columns_to_support
from probvae.distributions.layers import DistributionLambda, ThreadSafe
from probvae.distributions.missing import SeenValues
from probvae.distributions.rows import Rows, decoded_size
from probvae.distributions.values import Elementwise
from probvae.errors import InputError

Shape = tuple[int, ...]
Make = Callable[[tf.Tensor], tfd.Distribution]

# ---- layers --------------------------------------------------------------------------------------


def _layer(make: Make, shape: Shape, ndims: int, missing: bool) -> tf_keras.layers.Layer:
    """Build a distribution layer of independent values, whose conversion to a tensor takes the mean.

    `make` maps parameters [..., *shape] to a distribution whose last `ndims` batch axes become event axes;
    `missing` says whether `log_prob` leaves out values that are nan.
    """

    def new(params: tf.Tensor) -> tfd.Distribution:
        params = tf.reshape(params, tf.concat([tf.shape(params)[:-1], shape], axis=0))
        p = tfd.Independent(make(params), reinterpreted_batch_ndims=ndims)  # p(x|z)
        return SeenValues(p) if missing else p

    return DistributionLambda(new, convert_to_tensor_fn=tfd.Distribution.mean, name="likelihood")


class IndependentBernoulli(ThreadSafe, tfpl.IndependentBernoulli):
    """`tfp.layers.IndependentBernoulli` of `values.Bernoulli`, whose conversion to a tensor takes the mean.

    The input holds the logits, [..., prod(event shape)].

    Args:
      event_shape: E, the shape of one x.
      **kwargs: Keyword arguments of the Keras layer.
    """

    def __init__(self, event_shape: Shape, **kwargs: Any) -> None:
        # The constructor of the parent class would use the `new` of TFP.
        super(tfpl.IndependentBernoulli, self).__init__(
            lambda logits: self.new(logits, event_shape), tfd.Distribution.mean, **kwargs
        )
        self.event_shape = tuple(event_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of the layer, without a pickled function."""
        return {"name": self.name, "dtype": self.dtype, "event_shape": self.event_shape}

    @staticmethod
    def new(params: tf.Tensor, event_shape: Shape = (), **kwargs: Any) -> tfd.Distribution:
        """Build p(x|z), of batch [...] and event E, from its logits."""
        logits = tf.reshape(params, tf.concat([tf.shape(params)[:-1], event_shape], axis=0))
        p = values.Bernoulli(logits=logits, dtype=params.dtype)
        return tfd.Independent(p, reinterpreted_batch_ndims=len(event_shape))


class SharedScaleNormal(DistributionLambda):
    """Distribution layer of normals with means [..., prod(event shape)], the input, and one trained scale.

    The initial scale is 1; it has the same lower bound as the scale of `values.normal`.

    Args:
      event_shape: E, the shape of one x.
      missing: Whether `log_prob` leaves out values that are nan.
      **kwargs: Keyword arguments of the Keras layer.

    References:
      Rybkin, Daniilidis & Levine 2021, Simple and effective VAE training with calibrated decoders,
      arXiv:2006.13202.
    """

    def __init__(self, event_shape: Shape, *, missing: bool = False, **kwargs: Any) -> None:
        def new(params: tf.Tensor) -> tfd.Distribution:
            loc = tf.reshape(params, tf.concat([tf.shape(params)[:-1], event_shape], axis=0))
            normal = tfd.Normal(loc, values.positive_scale(self.raw_scale))
            p = tfd.Independent(normal, reinterpreted_batch_ndims=len(event_shape))  # p(x|z)
            return SeenValues(p) if missing else p

        super().__init__(new, convert_to_tensor_fn=tfd.Distribution.mean, **kwargs)
        start = np.log(np.expm1(1 - values.SCALE_FLOOR))
        self.raw_scale = self.add_weight(
            name="raw_scale", shape=[], initializer=tf_keras.initializers.Constant(start)
        )

    @property
    def scale(self) -> tf.Tensor:
        """Scale of all values, a scalar."""
        return values.positive_scale(self.raw_scale)


# ---- likelihoods ---------------------------------------------------------------------------------


class Likelihood:
    """Likelihood of a model, a product over values with distributions of the same kind.

    Args:
      kind: Distribution and properties of one value.
      event_shape: E, the shape of one x.
      columns: Kinds of the columns of a table, for `mixed` only: see `probvae.distributions.columns`.
      classes: K, the number of classes, for `categorical` only.
      missing: Whether `log_prob` leaves out values that are nan.

    Attributes:
      has_classes: Whether `classes` is used.
    """

    has_classes = False

    def __init__(
        self,
        kind: Elementwise,
        event_shape: Shape,
        *,
        columns: Sequence[str] = (),
        classes: int = 256,
        missing: bool = False,
    ) -> None:
        self.kind, self.event_shape = kind, tuple(event_shape)
        self.columns, self.classes, self.missing = tuple(columns), classes, missing

    @property
    def params_shape(self) -> Shape:
        """Shape of the output of a decoder: that of x, with `n` parameters for each value."""
        return (*self.event_shape[:-1], self.event_shape[-1] * self.kind.n)

    def head(self) -> tf_keras.layers.Layer:
        """Build the distribution layer over flat parameters [..., prod(params_shape)]."""
        shape = (*self.event_shape, self.kind.n)
        return _layer(self.kind.make, shape, len(self.event_shape), self.missing)

    def contains(self, x: Any) -> Any:
        """Return the mask of the values of x, array or tensor, that are in the support or may be missing."""
        inside = self.kind.contains(x)
        return inside | (x != x) if self.missing else inside

    def accepts(self, x: np.ndarray) -> bool:
        """Return whether all values of x that are not missing lie in the support."""
        return bool(np.all(self.kind.contains(_seen(x))))

    def describe(self, x: np.ndarray) -> str:
        """Return a description of data outside the support, for error messages."""
        seen = _seen(x)
        low, high = np.min(seen), np.max(seen)
        inside = int(np.sum((seen != low) & (seen != high)))
        share = f", {inside:,} of {seen.size:,} of them strictly between" if inside else ""
        return f"found values from {low:g} to {high:g}{share}"

    def inputs(self, x: tf.Tensor) -> tf.Tensor:
        """Return the inputs of the encoder, of the shape of x except for `mixed`; nan stays nan."""
        return self.kind.inputs(x)

    def to_support(self) -> tfb.Bijector:
        """Return the bijector from unconstrained numbers to the range of x."""
        return self.kind.to_support()

    def standardizes(self) -> np.ndarray:
        """Return the mask, bool [*E], of the real numbers of any scale, which may be standardized."""
        return np.full(self.event_shape, self.kind.standardizes)

    def white(self, x: np.ndarray) -> float:
        """Return the value shown as white in images x; 0 is black."""
        return max(1.0, float(np.nanmax(x))) if self.kind.counts else float(self.kind.largest)

    @property
    def mean_name(self) -> str:
        """Name of the mean of p(x|z)."""
        return "probabilities" if self.kind.binary else "mean"


def _seen(x: np.ndarray) -> np.ndarray:
    return x[~np.isnan(x)]


class Bernoulli(Likelihood):
    """Likelihood of values that are 0 or 1."""

    def head(self) -> tf_keras.layers.Layer:
        """Build `IndependentBernoulli`, or the generic layer if values may be missing."""
        return super().head() if self.missing else IndependentBernoulli(self.event_shape, name="likelihood")


class NormalShared(Likelihood):
    """Likelihood of real numbers with one trained scale."""

    def head(self) -> tf_keras.layers.Layer:
        """Build `SharedScaleNormal`."""
        return SharedScaleNormal(self.event_shape, missing=self.missing, name="likelihood")


class LogisticMixture(Likelihood):
    """Mixture of discretized logistics: of pixels in images of three channels, otherwise of values."""

    @property
    def params_shape(self) -> Shape:
        """Shape of the parameters."""
        if not _is_colour(self.event_shape):
            return super().params_shape
        return (*self.event_shape[:-1], 10 * grey_levels.COMPONENTS)

    def head(self) -> tf_keras.layers.Layer:
        """Build the distribution layer."""
        if not _is_colour(self.event_shape):
            return super().head()
        return _layer(grey_levels.colour_mixture, self.params_shape, 2, self.missing)

    def contains(self, x: Any) -> Any:
        """Return the mask of the grey levels of x; a colour pixel is missing as a whole or not at all."""
        inside = super().contains(x)
        if not _is_colour(self.event_shape):
            return inside
        missing = x != x
        of_pixel = np.any if isinstance(x, np.ndarray) else tf.reduce_any
        whole = np.all if isinstance(x, np.ndarray) else tf.reduce_all
        torn = of_pixel(missing, axis=-1, keepdims=True) & ~whole(missing, axis=-1, keepdims=True)
        return inside & ~torn

    def accepts(self, x: np.ndarray) -> bool:
        """Return whether all values are grey levels, and no pixel lacks some of its channels."""
        return super().accepts(x) and not _torn_pixels(x)

    def describe(self, x: np.ndarray) -> str:
        """Return a description of data outside the support, for error messages."""
        torn = _torn_pixels(x)
        return f"found {torn:,} pixels that miss some channels, not all" if torn else super().describe(x)


def _is_colour(event_shape: Shape) -> bool:
    return len(event_shape) == 3 and event_shape[-1] == 3


def _torn_pixels(x: np.ndarray) -> int:
    """Return the number of pixels of images [N, H, W, 3] with some but not all channels missing."""
    missing = np.isnan(x)
    if x.ndim != 4 or not _is_colour(x.shape[1:]):
        return 0
    return int(np.sum(missing.any(axis=-1) & ~missing.all(axis=-1)))


class Categorical(Likelihood):
    """Likelihood of classes, the integers from 0 to K - 1."""

    has_classes = True

    def __init__(self, event_shape: Shape, *, classes: int = 256, **options: Any) -> None:
        kind = values.categorical(classes)._replace(support="integers from 0 to classes - 1")
        super().__init__(kind, event_shape, classes=classes, **options)

    def describe(self, x: np.ndarray) -> str:
        """Return a description of data outside the support, for error messages."""
        return f"classes is {self.classes:,}; {super().describe(x)}"


class Mixed(Likelihood):
    """Likelihood of the rows of a table, a product over columns of different kinds."""

    def __init__(self, event_shape: Shape, *, columns: Sequence[str] = (), **options: Any) -> None:
        kind = Elementwise(
            make=lambda params: columns_of(params, columns),
            n=params_size(columns),
            support="in every column what its kind allows",
            contains=lambda x: column_contains(x, columns),
            discrete=False,
            inputs=lambda x: column_inputs(x, columns),
            to_support=lambda: columns_to_support(columns),
        )
        super().__init__(kind, event_shape, columns=columns, **options)

    @property
    def params_shape(self) -> Shape:
        """Shape of the parameters, in the order of the columns."""
        if self.event_shape != (len(self.columns),):
            raise InputError(
                "The mixed likelihood needs one kind for each column of x: got "
                f"{len(self.columns)} kinds for x of shape {self.event_shape}."
            )
        return (decoded_size(self.columns),)

    def head(self) -> tf_keras.layers.Layer:
        """Build the distribution layer."""
        [_] = self.params_shape  # one kind for each column
        return Rows(self.columns, missing=self.missing, name="likelihood")

    def contains(self, x: Any) -> Any:
        """Return the mask of the values of x in the support or that may be missing, which no size may be."""
        needed = np.array([kind_of(name).log_size > 0 for name in self.columns])
        return super().contains(x) & ((x == x) | ~needed)

    def accepts(self, x: np.ndarray) -> bool:
        """Return whether all values lie in the support of their column."""
        return not first_misfit(x, self.columns)

    def describe(self, x: np.ndarray) -> str:
        """Return a description of data outside the support, for error messages."""
        return f"found {first_misfit(x, self.columns)}"

    def standardizes(self) -> np.ndarray:
        """Return the mask of the columns that may be standardized, bool [D]."""
        return np.array([kind_of(name).standardizes for name in self.columns])


LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "bernoulli": partial(Bernoulli, values.BERNOULLI),
    "continuous_bernoulli": partial(Likelihood, values.CONTINUOUS_BERNOULLI),
    "normal_fixed": partial(Likelihood, values.UNIT_NORMAL),
    "normal_shared": partial(NormalShared, values.UNIT_NORMAL),
    "normal": partial(Likelihood, values.NORMAL),
    "discretized_logistic": partial(Likelihood, grey_levels.LOGISTIC),
    "logistic_mixture": partial(LogisticMixture, grey_levels.MIXTURE),
    "poisson": partial(Likelihood, values.POISSON),
    "negative_binomial": partial(Likelihood, values.NEGATIVE_BINOMIAL),
    "categorical": Categorical,
    "mixed": Mixed,
}


def likelihood_of(architecture: Architecture) -> Likelihood:
    """Return the likelihood of an architecture.

    >>> likelihood_of(Architecture(likelihood="normal")).params_shape
    (28, 28, 2)
    """
    return LIKELIHOODS[architecture.likelihood](
        architecture.event_shape,
        columns=architecture.columns,
        classes=architecture.classes,
        missing=architecture.missing,
    )


def check_support(
    name: str,
    x: np.ndarray,
    *,
    what: str = "The data",
    advice: str = "",
    columns: Sequence[str] = (),
    classes: int = 256,
) -> None:
    """Check that data lie in the support of a likelihood; missing values (nan) are ignored.

    Args:
      name: Key of `LIKELIHOODS`.
      x: Data [N, *E].
      what: Name of the data in the message.
      advice: Last sentence of the message, with advice.
      columns: Kinds of the columns, for `mixed`.
      classes: K, for `categorical`.

    Raises:
      InputError: A value lies outside the support; the message describes the data.

    >>> check_support("bernoulli", np.array([0.0, 1.0, np.nan]))
    """
    likelihood = LIKELIHOODS[name](x.shape[1:], columns=columns, classes=classes)
    if not likelihood.accepts(x):
        support = likelihood.kind.support
        message = f"{what} must be {support} for the {name} likelihood; {likelihood.describe(x)}. {advice}"
        raise InputError(message.strip())
