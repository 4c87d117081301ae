"""Increasing maps of one coordinate, parameterized by the network of a flow, with slopes and inverses.

Value and slope are computed together. With `tfb.RationalQuadraticSpline`, which computes them separately, the
graph of a flow of four steps is five times as large, for the same numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

SPLINE_BINS, SPLINE_BOUND = 8, 5.0  # the splines are the identity outside -5 .. 5


class Transform(NamedTuple):
    """Increasing map of coordinates [..., n]: x to values and logarithms of the slopes, and values to x."""

    forward: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    inverse: Callable[[tf.Tensor], tf.Tensor]


def _line(shift: tf.Tensor, log_scale: tf.Tensor) -> Transform:
    return Transform(
        lambda x: (tf.exp(log_scale) * x + shift, tf.broadcast_to(log_scale, tf.shape(x))),
        lambda y: (y - shift) * tf.exp(-log_scale),
    )


def gated(outputs: tf.Tensor) -> Transform:
    """Return z' = s z + (1 - s) m with s = sigmoid(r), for outputs m, r in [..., 2 n].

    r is softly bounded to -8 .. 8, so that the inverse exists in float32.

    References:
      Kingma et al. 2016, Improving Variational Inference with Inverse Autoregressive Flow, arXiv:1606.04934,
      equations 13 and 14.
    """
    m, r = tf.split(outputs, 2, axis=-1)
    r = 8.0 * tf.tanh(r / 8.0)
    return _line(tf.sigmoid(-r) * m, tf.math.log_sigmoid(r))


def affine(outputs: tf.Tensor) -> Transform:
    """Return z' = exp(r) z + m for outputs m, r in [..., 2 n], with r softly bounded to -3 .. 3.

    References:
      Dinh et al. 2017, Density Estimation Using Real NVP, arXiv:1605.08803, equation 7.
    """
    m, r = tf.split(outputs, 2, axis=-1)
    return _line(m, 3.0 * tf.tanh(r / 3.0))


def spline(outputs: tf.Tensor) -> Transform:
    """Return monotonic rational-quadratic splines of 8 bins on -5 .. 5, for outputs [..., 23 n].

    The outputs are softly bounded to -2 .. 2 for the bins, so that each is at least 1/400 of the interval,
    and to -3 .. 3 for the logarithms of the slopes at the knots, which keeps both directions accurate in
    float32. Outputs of zero give the identity.

    References:
      Durkan et al. 2019, Neural Spline Flows, arXiv:1906.04032, equations 4 to 8 (with their x, y, d, s, xi).
    """
    size = 3 * SPLINE_BINS - 1
    outputs = tf.reshape(outputs, tf.concat([tf.shape(outputs)[:-1], [outputs.shape[-1] // size, size]], 0))
    widths, heights, slopes = tf.split(outputs, [SPLINE_BINS, SPLINE_BINS, -1], axis=-1)
    widths, heights = (2 * SPLINE_BOUND * tf.nn.softmax(2.0 * tf.tanh(t / 2.0)) for t in (widths, heights))
    slopes = 3.0 * tf.tanh(slopes / 3.0)
    x_left, y_left = (tf.cumsum(t, axis=-1, exclusive=True) - SPLINE_BOUND for t in (widths, heights))
    slopes = tf.pad(tf.exp(slopes), [[0, 0]] * (slopes.shape.rank - 1) + [[1, 1]], constant_values=1.0)
    bins = tf.stack(
        [x_left, widths, y_left, heights, slopes[..., :-1], slopes[..., 1:]], axis=-2
    )  # [..., 6, 8]

    def at(value: tf.Tensor, left: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return whether each value lies within the bound, and its bin: x, width, y, height, two slopes."""
        inside = tf.abs(value) < SPLINE_BOUND
        value = tf.where(inside, value, 0.0)[..., tf.newaxis]
        reached = tf.cast(value >= left, left.dtype)  # 1, ..., 1, 0, ..., 0
        chosen = reached - tf.pad(reached[..., 1:], [[0, 0]] * (value.shape.rank - 1) + [[0, 1]])
        return inside, tf.unstack(tf.reduce_sum(bins * chosen[..., tf.newaxis, :], axis=-1), axis=-1)

    def forward(value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inside, (x, width, y, height, d, d_next) = at(value, x_left)
        xi = (tf.where(inside, value, x) - x) / width
        s, both = height / width, xi * (1 - xi)
        below = s + (d + d_next - 2 * s) * both
        above = d_next * xi**2 + 2 * s * both + d * (1 - xi) ** 2
        log_slope = 2 * tf.math.log(s / below) + tf.math.log(above)
        moved = y + height * (s * xi**2 + d * both) / below
        return tf.where(inside, moved, value), tf.where(inside, log_slope, 0.0)

    def inverse(value: tf.Tensor) -> tf.Tensor:
        inside, (x, width, y, height, d, d_next) = at(value, y_left)
        s, rise = height / width, (tf.where(inside, value, y) - y) / height
        bend = rise * (d + d_next - 2 * s)
        a, b, c = s - d + bend, d - bend, -s * rise  # a xi^2 + b xi + c = 0
        xi = 2 * c / (-b - tf.sqrt(tf.maximum(b**2 - 4 * a * c, 1e-12)))
        return tf.where(inside, x + xi * width, value)

    return Transform(forward, inverse)
