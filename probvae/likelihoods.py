"""Likelihoods p(x|z): the distribution layer that ends a decoder, and the data that it accepts.

Each entry of `LIKELIHOODS` is a `Likelihood`. `log_prob` comes from the distribution alone. Its functions
take the options `columns` (of `mixed`: kinds of columns, see `distributions.columns`) and `classes` (of
`categorical`); the others ignore them, so that a caller need not know which likelihood it has.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.distributions import grey_levels, values
from probvae.distributions.columns import columns_of, first_misfit, params_size
from probvae.distributions.columns import inputs as column_inputs
from probvae.distributions.columns import to_support as columns_to_support
from probvae.distributions.missing import SeenValues
from probvae.distributions.values import Elementwise
from probvae.errors import InputError

Shape = tuple[int, ...]
Make = Callable[[tf.Tensor], tfd.Distribution]


def _is_finite(x: np.ndarray, **options: Any) -> bool:
    return bool(np.all(np.isfinite(x)))


class Likelihood(NamedTuple):
    """What a decoder, an encoder and a data loader need to know of a likelihood.

    The options of its functions are `columns` (default ()) and `classes` (default 256).

    Attributes:
      head: `(event_shape, *, missing=False, **options)` -> distribution layer over flat parameters
        [..., prod(params_shape)]; with `missing`, `log_prob` leaves out values that are nan.
      params_shape: `(event_shape, **options)` -> shape of the parameters as a decoder makes them: that of x,
        with more channels.
      support: in words, the values that x may take.
      accepts: `(x, **options)` -> whether all values that are not missing lie in the support.
      discrete: whether `log_prob` is that of a probability mass, so that it is at most 0 and bits per
        dimension compare between such likelihoods.
      inputs: `(x, **options)` -> what the encoder sees of x; nan stays nan. Its shape is that of x but for
        `mixed`, where a categorical column becomes K.
      to_support: `(**options)` -> bijector from unconstrained numbers to the range of x.
      whole: whether x are whole numbers as they are; 8-bit images are else divided by 255.
      found: `(x, **options)` -> what an error message says of data outside the support.
    """

    head: Callable[..., tf_keras.layers.Layer]
    params_shape: Callable[..., Shape]
    support: str
    accepts: Callable[..., bool] = _is_finite
    discrete: bool = False
    inputs: Callable[..., tf.Tensor] = lambda x, **options: tf.identity(x)
    to_support: Callable[..., tfb.Bijector] = lambda **options: tfb.Identity()
    whole: bool = False
    found: Callable[..., str] = lambda x, **options: _range_found(x)


def _layer(make: Make, shape: Shape, ndims: int, missing: bool) -> tf_keras.layers.Layer:
    """Build the layer of `make`, which takes parameters [..., *shape]; its last `ndims` batch axes are x's.

    The mean stands for p(x|z) where a tensor is asked for, so that nothing is drawn in vain.
    """

    def new(params: tf.Tensor) -> tfd.Distribution:
        params = tf.reshape(params, tf.concat([tf.shape(params)[:-1], shape], axis=0))
        p = tfd.Independent(make(params), reinterpreted_batch_ndims=ndims)  # p(x|z)
        return SeenValues(p) if missing else p

    return tfpl.DistributionLambda(new, convert_to_tensor_fn=tfd.Distribution.mean, name="likelihood")


class IndependentBernoulli(tfpl.IndependentBernoulli):
    """`tfp.layers.IndependentBernoulli` over logits [..., prod(event shape)], of `values.Bernoulli`.

    The mean stands for p(x|z) where a tensor is asked for, so that no pixels are drawn in vain.

    Args:
      event_shape: E.
      **kwargs: passed to the Keras layer.
    """

    def __init__(self, event_shape: Shape, **kwargs: Any) -> None:
        # Past the parent, whose constructor has TFP's own `new` built in.
        super(tfpl.IndependentBernoulli, self).__init__(
            lambda logits: self.new(logits, event_shape), tfd.Distribution.mean, **kwargs
        )
        self.event_shape = tuple(event_shape)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer: no pickled function."""
        return {"name": self.name, "dtype": self.dtype, "event_shape": self.event_shape}

    @staticmethod
    def new(params: tf.Tensor, event_shape: Shape = (), **kwargs: Any) -> tfd.Distribution:
        """Build p(x|z), batch [...] and event E, from its logits."""
        logits = tf.reshape(params, tf.concat([tf.shape(params)[:-1], event_shape], axis=0))
        p = values.Bernoulli(logits=logits, dtype=params.dtype)
        return tfd.Independent(p, reinterpreted_batch_ndims=len(event_shape))


def bernoulli_head(event_shape: Shape, *, missing: bool = False, **options: Any) -> tf_keras.layers.Layer:
    """Build `IndependentBernoulli`, or its like where values may be missing."""
    if missing:
        return _layer(values.BERNOULLI.make, (*event_shape, 1), len(event_shape), True)
    return IndependentBernoulli(event_shape, name="likelihood")


class SharedScaleNormal(tfpl.DistributionLambda):
    """Distribution layer of normals with means [..., prod(event shape)], the input, and one trained scale.

    The scale starts at 1 and is bounded below like that of the normal with predicted scale.

    Args:
      event_shape: E.
      missing: whether `log_prob` leaves out values that are nan.
      **kwargs: passed to the Keras layer.

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
        """The scale that all values share, a scalar."""
        return values.positive_scale(self.raw_scale)


def _normal_shared_head(event_shape: Shape, *, missing: bool = False, **options: Any) -> SharedScaleNormal:
    return SharedScaleNormal(event_shape, missing=missing, name="likelihood")


def _more_channels(event_shape: Shape, n: int) -> Shape:
    return (*event_shape[:-1], event_shape[-1] * n)


def _seen(x: np.ndarray) -> np.ndarray:
    return x[~np.isnan(x)]


def _of_values(kind_of: Callable[[int], Elementwise], **changes: Any) -> Likelihood:
    """Describe a product over values, each of the distribution that `kind_of` gives for `classes`."""

    def head(
        event_shape: Shape, *, missing: bool = False, classes: int = 256, **options: Any
    ) -> tf_keras.layers.Layer:
        kind = kind_of(classes)
        return _layer(kind.make, (*event_shape, kind.n), len(event_shape), missing)

    def params_shape(event_shape: Shape, *, classes: int = 256, **options: Any) -> Shape:
        return _more_channels(event_shape, kind_of(classes).n)

    kind = kind_of(256)
    likelihood = Likelihood(
        head=head,
        params_shape=params_shape,
        support=kind.support,
        accepts=lambda x, *, classes=256, **options: kind_of(classes).accepts(_seen(x)),
        discrete=kind.discrete,
        whole=kind.whole,
        inputs=lambda x, *, classes=256, **options: kind_of(classes).inputs(x),
        to_support=lambda *, classes=256, **options: kind_of(classes).to_support(),
    )
    return likelihood._replace(**changes)


def _is_colour(event_shape: Shape) -> bool:
    return len(event_shape) == 3 and event_shape[-1] == 3


def _mixture_head(event_shape: Shape, *, missing: bool = False, **options: Any) -> tf_keras.layers.Layer:
    """Build the mixture of discretized logistics: of pixels, in images of three channels, else of values."""
    if not _is_colour(event_shape):
        shape = (*event_shape, grey_levels.MIXTURE.n)
        return _layer(grey_levels.mixture, shape, len(event_shape), missing)
    shape = (*event_shape[:-1], 10 * grey_levels.COMPONENTS)
    return _layer(grey_levels.colour_mixture, shape, 2, missing)


def _mixture_params_shape(event_shape: Shape, **options: Any) -> Shape:
    if not _is_colour(event_shape):
        return _more_channels(event_shape, grey_levels.MIXTURE.n)
    return (*event_shape[:-1], 10 * grey_levels.COMPONENTS)


def _torn_pixels(x: np.ndarray) -> int:
    """Count the colour pixels of images [N, H, W, 3] of which some values are missing and some are not."""
    missing = np.isnan(x)
    if x.ndim != 4 or not _is_colour(x.shape[1:]):
        return 0
    return int(np.sum(missing.any(axis=-1) & ~missing.all(axis=-1)))


def _mixture_found(x: np.ndarray, **options: Any) -> str:
    torn = _torn_pixels(x)
    return f"found {torn:,} pixels that miss some channels, not all" if torn else _range_found(x)


def _mixed_head(
    event_shape: Shape, *, missing: bool = False, columns: Sequence[str] = (), **options: Any
) -> tf_keras.layers.Layer:
    """Build the product over columns of different kinds."""
    shape = _mixed_params_shape(event_shape, columns=columns)
    return _layer(lambda params: columns_of(params, columns), shape, 1, missing)


def _mixed_params_shape(event_shape: Shape, *, columns: Sequence[str] = (), **options: Any) -> Shape:
    if tuple(event_shape) != (len(columns),):
        raise InputError(
            f"The mixed likelihood needs one kind for each column of x: got {len(columns)} kinds for x of "
            f"shape {tuple(event_shape)}."
        )
    return (params_size(columns),)


def _mixed_accepts(x: np.ndarray, *, columns: Sequence[str] = (), **options: Any) -> bool:
    return not first_misfit(x, columns)


def _range_found(x: np.ndarray) -> str:
    seen = _seen(x)
    low, high = np.min(seen), np.max(seen)
    inside = int(np.sum((seen != low) & (seen != high)))
    return f"found values from {low:g} to {high:g}, {inside:,} of {seen.size:,} of them strictly between"


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": _of_values(lambda classes: values.BERNOULLI, head=bernoulli_head),
    "continuous_bernoulli": _of_values(lambda classes: values.CONTINUOUS_BERNOULLI),
    "normal_fixed": _of_values(lambda classes: values.UNIT_NORMAL),
    "normal_shared": _of_values(lambda classes: values.UNIT_NORMAL, head=_normal_shared_head),
    "normal": _of_values(lambda classes: values.NORMAL),
    "discretized_logistic": _of_values(lambda classes: grey_levels.LOGISTIC),
    "logistic_mixture": _of_values(
        lambda classes: grey_levels.MIXTURE,
        head=_mixture_head,
        params_shape=_mixture_params_shape,
        accepts=lambda x, **options: grey_levels.is_level(_seen(x)) and not _torn_pixels(x),
        found=_mixture_found,
    ),
    "poisson": _of_values(lambda classes: values.POISSON),
    "negative_binomial": _of_values(lambda classes: values.NEGATIVE_BINOMIAL),
    "categorical": _of_values(
        values.categorical,
        support="integers from 0 to classes - 1",
        found=lambda x, *, classes=256, **options: f"classes is {classes:,}; {_range_found(x)}",
    ),
    "mixed": Likelihood(
        head=_mixed_head,
        params_shape=_mixed_params_shape,
        support="in every column what its kind allows",
        accepts=_mixed_accepts,
        inputs=lambda x, *, columns=(), **options: column_inputs(x, columns),
        to_support=lambda *, columns=(), **options: columns_to_support(columns),
        found=lambda x, *, columns=(), **options: f"found {first_misfit(x, columns)}",
    ),
}


def check_support(
    name: str, x: np.ndarray, *, what: str = "The data", advice: str = "", **options: Any
) -> None:
    """Refuse data outside the support of a likelihood; missing values (nan) are not looked at.

    Args:
      name: a key of `LIKELIHOODS`.
      x: data [N, *E].
      what: how the message names the data.
      advice: a last sentence for the message: what to do.
      **options: `columns` and `classes`, for the likelihoods that have them.

    Raises:
      InputError: some value lies outside the support; the message says what was found.

    >>> check_support("bernoulli", np.array([0.0, 1.0, np.nan]))
    """
    likelihood = LIKELIHOODS[name]
    if likelihood.accepts(x, **options):
        return
    found = likelihood.found(x, **options)
    raise InputError(
        f"{what} must be {likelihood.support} for the {name} likelihood; {found}. {advice}".strip()
    )
