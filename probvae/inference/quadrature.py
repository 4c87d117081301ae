"""Exact log p(x) for latent dimensions 1, 2 and 3: the integral of p(x|z) p(z) over z on a regular grid.

The trapezoid rule converges faster than any power of the spacing for smooth peaks. The grid is widened and
its spacing halved where examples have mass (`quadrature_grid`), until the grid of each example agrees with
the coarser grids that it contains.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.arguments import flag, weight
from probvae.distributions.base import unwrap
from probvae.environment import cores
from probvae.errors import InputError
from probvae.inference.blocks import as_data, at_least
from probvae.inference.quadrature_grid import FIRST, TILE, Grid, LogWeights, Search, merge
from probvae.inference.sphere import in_space
from probvae.objectives.bound import Model, as_model
from probvae.seeds import fold_in

SAFETY = 2.0  # factor of the stated error: grids that still agree by luck differ by less than their error
ROUNDING = 8.0  # rounding of log p(x|z), relative to that of one float32 number
DOUBT = 1 / 16  # smallest factor by which a halving lowers the stated error, as grids may agree by luck
LEVELS = 16  # grids of halved spacing, at most
RING = 0.2  # scale of the log-length of v on a sphere: smooth, and negligible near the origin
DRAWS = 64  # draws from q(z|x) evaluated at once
BLOCK = 1 << 23  # values of x times grid points held at once if the likelihood is no Bernoulli


class Exact(NamedTuple):
    """Log-marginals by quadrature, each with its estimated error.

    Attributes:
      log_marginal: log p(x), float64 [N], nats.
      error: Estimated error, [N], nats: twice the largest of the root mean square difference between the last
        grid and the 2^L grids of twice its spacing that make it up, a sixteenth of that difference at the
        grid before, the share of p(x) at the rim of the covered region, and the height of a missed peak; and
        the rounding of log p(x|z) in float32. It is no bound, but the true error is usually far below it.
      converged: Whether these, before they are doubled, are within the tolerance, bool [N].
      points: Number of grid points that were decoded.
      bounds: Box that holds all grid points, [L, 2].
      spacing: Distances between the points of the last grid of each example, [N, L].
    """

    log_marginal: np.ndarray
    error: np.ndarray
    converged: np.ndarray
    points: int
    bounds: np.ndarray
    spacing: np.ndarray


def exact(
    vae: Model,
    x: tf.Tensor,
    *,
    tolerance: float = 6e-3,
    extra_halvings: int = 0,
    max_points: int = 2_000_000,
    fast: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> Exact:
    """Integrate p(x) = integral of p(x|z) p(z) dz on a grid, to a tolerance, for every example.

    An example has converged when three conditions hold. Its grid agrees with the 2^L coarser grids that it
    contains, which a posterior narrower than the spacing would prevent, and not by luck, right after a grid
    that was far off. The tiles at the rim of its region hold a negligible mass. And p(x, z) at a draw z from
    q(z|x) does not outweigh the whole grid, as it would at a peak between all points. A peak that is far from
    all grid points and from q(z|x) goes unnoticed.

    A decoder of rectified linear units has kinks, where each halving only divides the error by about four.

    Float32 rounds each log p(x|z) to about 1e-7 of the sum of its terms, some 3e-5 nats for a binary image of
    784 pixels, and less after the sum over points; a smaller tolerance may never be met.

    Args:
      vae: Model of latent dimension L = 1, 2 or 3. If z lies on the sphere, the integral is over v = r z with
        an independent length r (`sphere.InSpace`), and `bounds` are those of v.
      x: Data [N, *E].
      tolerance: Largest half of the `error` of an example that has converged, in nats.
      extra_halvings: Number of further halvings of the spacing: 1 repeats the result on a grid twice as fine.
      max_points: Largest number of decoded grid points, apart from the first grid. Examples that have not
        converged by then are marked.
      fast: Whether to use one matrix product if p(x|z) is a Bernoulli; False is for checks.
      on_progress: Function called after every tile with a line of text.

    Returns:
      `Exact`.

    Raises:
      InputError: The latent dimension is above 3, x has another shape, or the tolerance is not positive.

    >>> from probvae import conv_vae
    >>> result = exact(conv_vae((8, 8, 1), filters=(2, 2)), tf.ones([3, 8, 8, 1]))
    >>> result.log_marginal.shape, bool(result.converged.all())
    ((3,), True)

    References:
      Trefethen & Weideman 2014, The exponentially convergent trapezoidal rule, SIAM Review 56(3).
    """
    x = _checked(vae, x, tolerance)
    at_least(extra_halvings=(extra_halvings, 0), max_points=(max_points, 1))
    flag("fast", fast)
    vae = in_space(vae, tfd.LogNormal(0.0, RING))
    every = np.arange(len(x))
    grid = Grid(vae)
    search = Search(grid, log_weights_function(vae, fast=fast), x, tolerance, max_points, on_progress)
    peak, log_peak = _posterior_draws(vae, x)
    log_marginal, error = np.full(len(x), -np.inf), np.full(len(x), np.inf)
    spacing = np.full([len(x), vae.latent_dim], np.nan)
    last_differences = np.full(len(x), np.inf)
    agreed, active, near = np.zeros(len(x), int), every, np.isfinite(log_peak)
    carried = np.full(len(x), -np.inf)  # log of the integral over the tiles left at a coarser spacing
    wanted = merge((tile, every) for tile in product(range(FIRST), repeat=vae.latent_dim))
    for level in range(LEVELS):
        near_active = active[near[active]]
        wanted = merge([*wanted.items(), *grid.tiles_at(peak, near_active, level)])
        if level and not search.affords(wanted):
            break
        log_volume = np.log(grid.spacing(level)).sum()
        tiles, log_total, differences = search.evaluate(wanted, level, carried - log_volume)
        missed = log_peak - log_total
        log_marginal[active] = log_total[active] + log_volume
        error[active] = np.max([differences, missed, DOUBT * last_differences], axis=0)[active]
        last_differences = differences
        spacing[active] = grid.spacing(level)
        agreed[active] += error[active] <= tolerance
        active = active[(agreed[active] <= extra_halvings) & np.isfinite(log_total[active])]
        if not active.size:
            break
        threshold = log_total + search.log_negligible
        wanted, light = search.refine(tiles, level, threshold, active, error)
        carried = np.logaddexp(carried, light + log_volume)
        near = missed > search.log_negligible
    converged = error <= tolerance
    # The terms of log p(x|z) can cancel where it is a density.
    terms = np.abs(log_marginal) + np.sqrt(np.prod(vae.event_shape))
    rounding = ROUNDING * np.finfo(np.float32).eps * terms
    return Exact(log_marginal, SAFETY * error + rounding, converged, search.points, search.bounds, spacing)


def log_weights_function(vae: Model, *, fast: bool = True) -> LogWeights:
    """Compile log p(x, z) at the points of several tiles, which TensorFlow evaluates in parallel.

    Args:
      vae: Model of x.
      fast: Whether to use a matrix product if p(x|z) is a Bernoulli with logits.

    Returns:
      A function of z [G, P', L], the points of each tile; x [N, *E]; rows [R], int32, the examples of one
      tile after the other; the starts of the rows of each tile and the end of the last, [G + 1]; and known
      values [R, P - P'] of the points that precede those in z. The function returns the log of the sum over
      each of the 2^L parts of the P points of each row's tile, float64 [R, 2^L], and log p(x, z), [R, P].
    """
    dtype, grids = vae.prior.dtype, 2**vae.latent_dim

    def log_weights(z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        likelihood = vae.likelihood(z)  # p(x|z), batch [P']
        bernoulli = _bernoulli(likelihood, vae.event_shape) if fast else None
        log_likelihood = _by_blocks(likelihood, x) if bernoulli is None else _by_product(bernoulli, x)
        return log_likelihood + vae.prior.log_prob(z)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, vae.latent_dim], dtype),
            tf.TensorSpec([None, *vae.event_shape], dtype),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, None], dtype),
        ],
        autograph=False,
    )
    def of_tiles(
        z: tf.Tensor, x: tf.Tensor, rows: tf.Tensor, ends: tf.Tensor, known: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def tile(i: tf.Tensor, values: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            mine = slice(ends[i], ends[i + 1])
            return i + 1, values.write(i, log_weights(z[i], tf.gather(x, rows[mine])))

        count = tf.shape(z)[0]
        array = tf.TensorArray(dtype, size=count, infer_shape=False)
        _, evaluated = tf.while_loop(lambda i, _: i < count, tile, (0, array), parallel_iterations=cores())
        new = tf.reshape(evaluated.concat(), [tf.shape(rows)[0], tf.shape(z)[1]])
        values = tf.concat([known, new], axis=1)
        each = tf.reshape(values, [tf.shape(rows)[0], grids, -1])
        top = tf.reduce_max(each, axis=2, keepdims=True)
        top = tf.where(tf.math.is_finite(top), top, tf.zeros_like(top))
        total = tf.reduce_sum(tf.exp(each - top), axis=2)
        return tf.cast(top[..., 0], tf.float64) + tf.math.log(tf.cast(total, tf.float64)), values

    return of_tiles


def _bernoulli(likelihood: tfd.Distribution, event_shape: tuple[int, ...]) -> tfd.Bernoulli | None:
    """Return the Bernoulli with logits [P, *E] inside p(x|z), or None if p(x|z) is another distribution."""
    inner = unwrap(likelihood)
    inner = inner.distribution if type(inner) is tfd.Independent else inner
    fits = isinstance(inner, tfd.Bernoulli) and inner.logits is not None
    return inner if fits and inner.logits.shape[1:] == event_shape else None


def _by_product(bernoulli: tfd.Bernoulli, x: tf.Tensor) -> tf.Tensor:
    """Return log p(x|z) [N, P] by one matrix product: it is affine in x with the logits as slopes."""
    points, size = tf.shape(bernoulli.logits)[0], int(np.prod(bernoulli.logits.shape[1:]))
    logits = tf.reshape(bernoulli.logits, [points, size])
    at_zero = -tf.reduce_sum(tf.math.softplus(logits), axis=1)  # log p(0|z)
    return tf.matmul(tf.reshape(x, [-1, size]), logits, transpose_b=True) + at_zero


def _by_blocks(likelihood: tfd.Distribution, x: tf.Tensor) -> tf.Tensor:
    """Return log p(x|z) [N, P] by `log_prob`, for as many examples at a time as memory allows."""
    n, event = tf.shape(x)[0], x.shape[1:]
    points = likelihood.batch_shape_tensor()[0]
    rows = tf.clip_by_value(BLOCK // (points * int(np.prod(event))), 1, n)
    blocks = -(-n // rows)
    x = tf.gather(x, tf.minimum(tf.range(blocks * rows), n - 1))  # fills the last block
    x = tf.reshape(x, tf.concat([[blocks, rows, 1], event], 0))
    log_prob = tf.map_fn(likelihood.log_prob, x, parallel_iterations=1)  # [blocks, rows, P]
    return tf.reshape(log_prob, [blocks * rows, points])[:n]


def _checked(vae: Model, x: tf.Tensor, tolerance: float) -> tf.Tensor:
    if as_model(vae).latent_dim not in TILE:
        raise InputError(
            f"Exact quadrature is for latent dimension 1, 2 or 3; this model has {vae.latent_dim}. "
            "Use iwae or ais."
        )
    weight("tolerance", tolerance, above=True)
    return tf.convert_to_tensor(as_data(vae, x))


def _posterior_draws(vae: Model, x: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return a draw z from q(z|x) of each example, float64 [N, L], and log p(x, z) [N]."""
    n, few = len(x), min(DRAWS, len(x))

    @tf.function(autograph=False)
    def draw(x: tf.Tensor) -> list[tf.Tensor]:
        def block(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            mine = tf.gather(x, tf.minimum(i * few + tf.range(few), n - 1))  # fills the last block
            z = vae.posterior(mine).sample(seed=fold_in(0, i))
            return z, vae.likelihood(z).log_prob(mine) + vae.prior.log_prob(z)

        dtype = vae.prior.dtype
        drawn = tf.map_fn(
            block, tf.range(-(-n // few)), fn_output_signature=(dtype, dtype), parallel_iterations=cores()
        )
        return [tf.reshape(part, tf.concat([[-1], tf.shape(part)[2:]], 0))[:n] for part in drawn]

    z, log_joint = (part.numpy().astype(np.float64) for part in draw(x))
    finite = np.isfinite(z).all(axis=1) & np.isfinite(log_joint)
    return np.where(finite[:, None], z, 0.0), np.where(finite, log_joint, -np.inf)
