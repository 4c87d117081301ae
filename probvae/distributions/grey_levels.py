"""Distributions of 8-bit images: logistics discretized to the 256 grey levels, and their mixtures.

x is a grey level divided by 255, in [0, 1]. Parameters are on the scale u = 2 x - 1 in [-1, 1]. The mass of
level k is that of the logistic within half a level of it; levels 0 and 255 also have the mass of the tails.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.distributions.base import LibraryDistribution
from probvae.distributions.values import Categorical, Elementwise
from probvae.seeds import Seed, split

LEVELS = 256
COMPONENTS = 10  # number of components of a mixture
# Bounds of the log-scale: exp(-7) is 0.12 grey levels, exp(7) is flat over all of them.
LOG_SCALE_LOW, LOG_SCALE_HIGH = -7.0, 7.0
WINDOW = 8  # number of grey levels on either side of the location that `mean` sums term by term
NODES = 5  # number of quadrature nodes over one channel in the mean of a colour pixel


class _Levels(LibraryDistribution):
    """Base class of distributions whose shape is the broadcast shape of loc and log_scale."""

    def __init__(self, parameters: dict[str, Any], event_ndims: int, name: str) -> None:
        self._event_ndims = event_ndims
        super().__init__(parameters, name, dtype=parameters["loc"].dtype)

    def _shapes(self) -> tuple[Any, Any]:
        shape = tf.broadcast_static_shape(*(self.parameters[p].shape for p in ("loc", "log_scale")))
        batch_ndims = shape.rank - self._event_ndims
        return shape[:batch_ndims], shape[batch_ndims:]

    def _shape_tensors(self) -> tuple[Any, Any]:
        shape = tf.broadcast_dynamic_shape(*(tf.shape(self.parameters[p]) for p in ("loc", "log_scale")))
        batch_ndims = tf.size(shape) - self._event_ndims
        return shape[:batch_ndims], shape[batch_ndims:]


class DiscretizedLogistic(_Levels):
    """Logistic distribution on u = 2 x - 1, discretized to x = 0, 1/(levels - 1), ..., 1; event [].

    The log-mass of a level between edges a < b, on the scale of the standard logistic, is
    log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b)), which is accurate in float32.
    `tfd.QuantizedDistribution` takes differences of nearly equal numbers instead (an error of 0.04 nats for
    the widest logistic), has no mean, and has integer values.

    Args:
      loc: Location of u, [...].
      log_scale: Logarithm of the scale of u, [...]; bounded below by a softplus, which adds 0.05 at -4 and
        0.7 at -7, and above by a clip at 7.
      levels: Number of levels.

    >>> p = DiscretizedLogistic(tf.constant(0.0), tf.constant(-2.0))
    >>> x = tf.range(256.0) / 255
    >>> print(tf.reduce_sum(p.prob(x)).numpy().round(4))
    1.0

    References:
      Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++, arXiv:1701.05517, section 2.1.
    """

    def __init__(
        self, loc: tf.Tensor, log_scale: tf.Tensor, levels: int = LEVELS, name: str = "discretized_logistic"
    ) -> None:
        parameters = dict(locals())
        self.loc, self.levels = loc, levels
        softened = LOG_SCALE_LOW + tf.nn.softplus(log_scale - LOG_SCALE_LOW)
        self.scale = tf.exp(tf.minimum(softened, LOG_SCALE_HIGH))
        super().__init__(parameters, 0, name)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        top = self.levels - 1
        level = tf.round(x * top)
        low = ((2 * level - 1) / top - 1 - self.loc) / self.scale
        width = 2 / (top * self.scale)
        below = tf.where(level < 0.5, 0.0, tf.math.log_sigmoid(-low))  # level 0 has the lower tail
        above = tf.where(level > top - 0.5, 0.0, tf.math.log_sigmoid(low + width))
        edge = (level < 0.5) | (level > top - 0.5)
        return below + above + tf.where(edge, 0.0, tf.math.log(-tf.math.expm1(-width)))

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        u = tfd.Logistic(self.loc, self.scale).sample(n, seed=seed)
        top = self.levels - 1
        return tf.clip_by_value(tf.round((u + 1) / 2 * top), 0.0, top) / top

    def _mean(self) -> tf.Tensor:
        """Sum P(level >= k) over k = 1, 2, ...: term by term near the location, as an integral elsewhere.

        The rounding error is below 0.003 grey levels for log-scales below 4, and below 0.03 up to the bound.
        The integral of a term has a closed form, and differs from the term only near the location of a
        narrow logistic.
        """
        top = float(self.levels - 1)
        scale = self.scale * top / 2
        loc = tf.clip_by_value((self.loc + 1) / 2 * top, -40 * scale, top + 40 * scale)

        def integral(start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            return scale * (tf.nn.softplus((loc - start) / scale) - tf.nn.softplus((loc - stop) / scale))

        start, stop = (tf.clip_by_value(tf.round(loc) + w, 0.0, top) for w in (-WINDOW, WINDOW))
        total = integral(tf.zeros_like(loc), start) + integral(stop, top * tf.ones_like(loc))
        for i in range(2 * WINDOW):
            term = tf.sigmoid((loc - start - i - 0.5) / scale)
            total += tf.where(start + i < stop, term, 0.0)
        return tf.clip_by_value(total / top, 0.0, 1.0)


class PixelLogistic(_Levels):
    """Distribution of a colour pixel: each channel a `DiscretizedLogistic` given those before it; event [3].

    The location of green is loc_1 + c_0 r, that of blue loc_2 + c_1 r + c_2 g, where r and g are the red and
    green levels on the scale of u.

    Args:
      loc: Locations [..., 3].
      log_scale: Log-scales [..., 3], as in `DiscretizedLogistic`.
      coefficients: Coefficients c, [..., 3], from -1 to 1.
      levels: Number of levels.

    References:
      Salimans et al. 2017, arXiv:1701.05517, section 2.2.
    """

    def __init__(
        self,
        loc: tf.Tensor,
        log_scale: tf.Tensor,
        coefficients: tf.Tensor,
        levels: int = LEVELS,
        name: str = "pixel_logistic",
    ) -> None:
        parameters = dict(locals())
        self.loc, self.log_scale, self.levels = loc, log_scale, levels
        self.coefficients = coefficients
        super().__init__(parameters, 1, name)

    def _channel(self, channel: int, earlier: Sequence[tf.Tensor]) -> DiscretizedLogistic:
        """Return p(channel | earlier channels), batch [...]."""
        loc = self.loc[..., channel]
        for i in range(channel):
            loc += self.coefficients[..., i if channel == 1 else 1 + i] * (2 * earlier[i] - 1)
        return DiscretizedLogistic(loc, self.log_scale[..., channel], self.levels)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        channels = tf.unstack(x, num=3, axis=-1)
        return tf.add_n([self._channel(i, channels).log_prob(channels[i]) for i in range(3)])

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        channels: list[tf.Tensor] = []
        for i, seed_i in enumerate(split(seed, 3)):
            # The n draws of red are a batch axis of the later channels.
            channels.append(self._channel(i, channels).sample(() if i else n, seed=seed_i))
        return tf.stack(channels, axis=-1)

    def _mean(self) -> tf.Tensor:
        """Average the channels' conditional means by quadrature over the earlier channels.

        The tails of an earlier channel are nodes at 0 and 1 with the mass of the tails as weights; between
        them are `NODES` Gauss-Legendre nodes in probability. The channels are not rounded to levels. The
        error is at most half a grey level, also with a wide channel before narrow ones.
        """
        red = self._channel(0, [])
        means = [_unrounded_mean(red), 0.0, 0.0]
        for r, weight_r in _nodes(red):
            green = self._channel(1, [r])
            means[1] += weight_r * _unrounded_mean(green)
            for g, weight_g in _nodes(green):
                means[2] += weight_r * weight_g * _unrounded_mean(self._channel(2, [r, g]))
        return tf.stack(means, axis=-1)


def _nodes(p: DiscretizedLogistic) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return pairs of value and weight of a quadrature for the logistic clipped to [0, 1]."""
    low, high = tf.sigmoid((-1 - p.loc) / p.scale), tf.sigmoid((p.loc - 1) / p.scale)
    inside = tf.maximum(1 - low - high, 0.0)
    nodes = [(tf.zeros_like(low), low), (tf.ones_like(high), high)]
    for node, weight in zip(*np.polynomial.legendre.leggauss(NODES), strict=True):
        level = tf.clip_by_value(low + inside * np.float32((node + 1) / 2), 1e-6, 1 - 1e-6)
        u = p.loc + p.scale * (tf.math.log(level) - tf.math.log1p(-level))
        nodes.append((tf.clip_by_value((u + 1) / 2, 0.0, 1.0), inside * np.float32(weight / 2)))
    return nodes


def _unrounded_mean(p: DiscretizedLogistic) -> tf.Tensor:
    """Return the mean of the logistic clipped to [0, 1] but not rounded to levels, in closed form."""
    loc = tf.clip_by_value(p.loc, -1 - 40 * p.scale, 1 + 40 * p.scale)
    above = tf.nn.softplus((loc + 1) / p.scale) - tf.nn.softplus((loc - 1) / p.scale)
    return tf.clip_by_value(p.scale * above / 2, 0.0, 1.0)


def logistic(params: tf.Tensor) -> tfd.Distribution:
    """Build a `DiscretizedLogistic` from its location and log-scale, [..., 2]."""
    return DiscretizedLogistic(params[..., 0], params[..., 1])


def mixture(params: tf.Tensor, levels: int = LEVELS) -> tfd.Distribution:
    """Build a mixture of M discretized logistics for single values, from [..., 3 M].

    The parameters are M logits, M locations and M log-scales. Offsets from -1 + 1/M to 1 - 1/M are added to
    the locations, so that the components start apart and cover all levels.
    """
    logits, loc, log_scale = tf.split(params, 3, axis=-1)
    components = DiscretizedLogistic(loc + _places(loc.shape[-1]), log_scale, levels)
    return tfd.MixtureSameFamily(Categorical(logits=logits), components)


def colour_mixture(params: tf.Tensor, levels: int = LEVELS) -> tfd.Distribution:
    """Build a mixture of M `PixelLogistic`s for colour pixels, batch [...] and event [3], from [..., 10 M].

    The parameters are M logits, and M times three locations, log-scales and coefficients before tanh. The
    locations are spread as in `mixture`.
    """
    components = params.shape[-1] // 10
    logits, rest = params[..., :components], params[..., components:]
    shape = tf.concat([tf.shape(rest)[:-1], [components, 9]], axis=0)
    loc, log_scale, coefficients = tf.split(tf.reshape(rest, shape), 3, axis=-1)
    pixel = PixelLogistic(
        loc + _places(components)[:, None], log_scale, tf.tanh(coefficients), levels
    )  # batch [..., M], event [3]
    return tfd.MixtureSameFamily(Categorical(logits=logits), pixel)


def _places(components: int) -> np.ndarray:
    return ((2 * np.arange(components) + 1) / components - 1).astype(np.float32)


def is_level(x: Any, levels: int = LEVELS) -> Any:
    """Return the mask of values that are levels divided by levels - 1, to within 1e-4 levels.

    >>> is_level(np.float32([0, 17 / 255, 1, 0.5, 17.0])).tolist()
    [True, True, True, False, False]
    """
    if tf.is_tensor(x):
        level = tf.clip_by_value(tf.cast(x, tf.float64) * (levels - 1), -1, levels)
        distance = tf.abs(level - tf.round(level))
    else:
        level = np.clip(np.asarray(x, np.float64) * (levels - 1), -1, levels)
        distance = np.abs(level - np.round(level))
    return (distance <= 1e-4) & (level > -0.5) & (level < levels - 0.5)


_grey = partial(
    Elementwise,
    support="grey levels divided by 255, multiples of 1/255 from 0 to 1",
    contains=is_level,
    discrete=True,
    to_support=tfb.Sigmoid,
    grey_levels=True,
)
LOGISTIC = _grey(logistic, 2)
MIXTURE = _grey(mixture, 3 * COMPONENTS)
