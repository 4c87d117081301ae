"""Exact log p(x) for latent dimension 1, 2 and 3: the integral of p(x|z) p(z) over z on a regular grid.

The trapezoid rule; for smooth peaks it converges faster than any power of the spacing. The grid is cut into
tiles, and each example keeps the tiles that hold some of its p(x). A tile with mass whose neighbour was not
evaluated asks for that neighbour (widening); then the spacing is halved in the tiles with mass (refining),
until every example agrees with the coarser grids inside its own. A tile with next to no mass is not refined:
its sum at the coarser spacing is carried on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError
from probvae.evaluation.spheres import in_space
from probvae.seeds import as_seed

if TYPE_CHECKING:
    from probvae.model import VAE

TILE = {1: 32, 2: 8, 3: 4}  # latent dimension -> grid points of a tile along each axis; even
FIRST = 5  # tiles along each axis that cover the prior on the first grid
NEGLIGIBLE = 3e-3  # a tile is not refined where its share of p(x) is below the tolerance times this
DOUBT = 1 / 16  # by no more than this does a halving lower the error, lest grids agree by luck
LEVELS = 16  # grids of halved spacing, at most
RING = 0.2  # scale of the log of the length of v on a sphere: smooth, and next to nothing near the origin
BLOCK = 1 << 23  # values of x times grid points held at once where the likelihood is no Bernoulli

Tile = tuple[int, ...]
Wanted = dict[Tile, np.ndarray]  # a tile -> the indices of the examples that want it
LogSums = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Exact(NamedTuple):
    """Log-marginals by quadrature, each with the error reached.

    Attributes:
      log_marginal: log p(x), float64 [N], nats.
      error: [N], nats: how far the last grid is from the 2^L grids of twice its spacing that make it up (root
        mean square over them), or a sixteenth of that at the grid before, or the share of p(x) at the rim of
        the region covered, or the height of a peak that was missed, whichever is largest. It is the error of
        the coarser grids and an estimate, not a bound; that of `log_marginal` is usually a quarter of it.
      converged: bool [N], whether `error` is within the tolerance.
      points: how many grid points were decoded in all.
      bounds: [L, 2], the box that holds all grid points.
      spacing: [N, L], distances between the points of each example's last grid.
    """

    log_marginal: np.ndarray
    error: np.ndarray
    converged: np.ndarray
    points: int
    bounds: np.ndarray
    spacing: np.ndarray


def exact(
    vae: "VAE",
    x: tf.Tensor,
    *,
    tolerance: float = 6e-3,
    extra_halvings: int = 0,
    max_points: int = 2_000_000,
    fast: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> Exact:
    """Integrate p(x) = integral of p(x|z) p(z) dz on a grid, to a tolerance, for every example.

    An example has converged when three things hold. Its grid agrees with the 2^L coarser grids inside it, so
    that a posterior narrower than the spacing shows, and does not do so by luck, right after a grid that was
    far off. The tiles at the rim of its region hold next to nothing. And p(x, z) at a draw z from q(z|x) does
    not outweigh the whole grid, as it does at a peak between all points. A peak that neither the grid nor
    q(z|x) comes near cannot be noticed.

    A decoder of rectified linear units has kinks, where each halving divides the error by about four only.

    Rounding: float32 gives each log p(x|z) to about 1e-7 of the sum of its terms, some 3e-5 nats for a binary
    image of 784 pixels and less after the sum over points; a tolerance below that may never be met.

    Args:
      vae: a model of latent dimension L = 1, 2 or 3. Where z lies on the sphere, the integral is over v = r z
        with a length r of its own (`spheres.InSpace`), and `bounds` are those of v.
      x: data [N, *E].
      tolerance: nats; an example whose `error` is at most this has converged.
      extra_halvings: how often to halve the spacing once more after that: 1 reproduces the result by a grid
        twice as fine.
      max_points: bound on the grid points decoded in all, the first grid apart. What has not converged by
        then says so.
      fast: whether to use one matrix product where p(x|z) is a Bernoulli; False is for checks.
      on_progress: called after every tile with a line of text.

    Returns:
      `Exact`.

    Raises:
      InputError: another latent dimension, x of another shape, or a tolerance that is not positive.

    >>> from probvae import conv_vae
    >>> found = exact(conv_vae((8, 8, 1), filters=(2, 2)), tf.ones([3, 8, 8, 1]))
    >>> found.log_marginal.shape, bool(found.converged.all())
    ((3,), True)

    References:
      Trefethen & Weideman 2014, The exponentially convergent trapezoidal rule, SIAM Review 56(3).
    """
    x = _checked(vae, x, tolerance)
    vae = in_space(vae, tfd.LogNormal(0.0, RING))
    every = np.arange(len(x))
    grid = _Grid(vae)
    search = _Search(grid, log_sums_function(vae, fast=fast), x, tolerance, max_points, on_progress)
    peak, log_peak = _posterior_draws(vae, x)
    log_marginal, error = np.full(len(x), -np.inf), np.full(len(x), np.inf)
    spacing = np.full([len(x), vae.latent_dim], np.nan)
    last_differences = np.full(len(x), np.inf)
    agreed, active, near = np.zeros(len(x), int), every, np.isfinite(log_peak)
    carried = np.full(len(x), -np.inf)  # log of the integral over the tiles left at a coarser spacing
    wanted = _merge((tile, every) for tile in product(range(FIRST), repeat=vae.latent_dim))
    for level in range(LEVELS):
        near_active = active[near[active]]
        wanted = _merge([*wanted.items(), *grid.tiles_at(peak, near_active, level)])
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
        wanted, light = _children(tiles, log_total + search.log_negligible, active)
        carried = np.logaddexp(carried, light + log_volume)
        near = missed > search.log_negligible
    return Exact(log_marginal, error, error <= tolerance, search.points, search.bounds, spacing)


def log_sums_function(vae: "VAE", *, fast: bool = True) -> LogSums:
    """Compile the sum of p(x|z) p(z) over the points of a tile.

    Args:
      vae: the model.
      fast: whether to use a matrix product where p(x|z) is a Bernoulli with logits.

    Returns:
      A function of z [P, L], whose points are 2^L interleaved grids one after the other, and x [N, *E]: the
      log of the sum over each of these grids, float64 [N, 2^L].
    """
    grids = 2**vae.latent_dim
    signature = [
        tf.TensorSpec([None, *shape], vae.prior.dtype) for shape in ((vae.latent_dim,), vae.event_shape)
    ]

    @tf.function(input_signature=signature)
    def log_sums(z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        likelihood = vae.likelihood(z)  # p(x|z), batch [P]
        bernoulli = _bernoulli(likelihood, vae.event_shape) if fast else None
        log_likelihood = _by_blocks(likelihood, x) if bernoulli is None else _by_product(bernoulli, x)
        log_w = log_likelihood + vae.prior.log_prob(z)  # [N, P]
        log_w = tf.reshape(log_w, [tf.shape(x)[0], grids, tf.shape(z)[0] // grids])
        top = tf.reduce_max(log_w, axis=2, keepdims=True)
        top = tf.where(tf.math.is_finite(top), top, tf.zeros_like(top))
        total = tf.reduce_sum(tf.exp(log_w - top), axis=2)
        return tf.cast(top[..., 0], tf.float64) + tf.math.log(tf.cast(total, tf.float64))

    return log_sums


def _bernoulli(likelihood: tfd.Distribution, event_shape: tuple[int, ...]) -> tfd.Bernoulli | None:
    """Return the Bernoulli with logits [P, *E] inside p(x|z), or None where p(x|z) is something else."""
    inner = getattr(likelihood, "tensor_distribution", likelihood)  # of a `tfp.layers` layer's output
    inner = inner.distribution if type(inner) is tfd.Independent else inner
    fits = isinstance(inner, tfd.Bernoulli) and inner.logits is not None
    return inner if fits and inner.logits.shape[1:] == event_shape else None


def _by_product(bernoulli: tfd.Bernoulli, x: tf.Tensor) -> tf.Tensor:
    """Return log p(x|z) [N, P]: affine in x, so one matrix product; log p(1) - log p(0) is the logit."""
    points, size = tf.shape(bernoulli.logits)[0], int(np.prod(bernoulli.logits.shape[1:]))
    slope = tf.reshape(bernoulli.logits, [points, size])
    at_zero = tf.reshape(bernoulli.log_prob(tf.zeros_like(bernoulli.logits)), [points, size])
    return tf.matmul(tf.reshape(x, [-1, size]), slope, transpose_b=True) + tf.reduce_sum(at_zero, axis=1)


def _by_blocks(likelihood: tfd.Distribution, x: tf.Tensor) -> tf.Tensor:
    """Return log p(x|z) [N, P] from `log_prob`, over as many examples at once as memory allows."""
    n, event = tf.shape(x)[0], x.shape[1:]
    points = likelihood.batch_shape_tensor()[0]
    rows = tf.clip_by_value(BLOCK // (points * int(np.prod(event))), 1, n)
    blocks = -(-n // rows)
    x = tf.gather(x, tf.minimum(tf.range(blocks * rows), n - 1))  # the last block is filled up
    x = tf.reshape(x, tf.concat([[blocks, rows, 1], event], 0))
    log_prob = tf.map_fn(likelihood.log_prob, x, parallel_iterations=1)  # [blocks, rows, P]
    return tf.reshape(log_prob, [blocks * rows, points])[:n]


def _checked(vae: "VAE", x: tf.Tensor, tolerance: float) -> tf.Tensor:
    if vae.latent_dim not in TILE:
        raise InputError(
            f"Exact quadrature is for latent dimension 1, 2 or 3; this model has {vae.latent_dim}. "
            "Use iwae or ais."
        )
    if not tolerance > 0:
        raise InputError(f"The tolerance must be above 0 nats; got {tolerance}.")
    x = tf.cast(tf.convert_to_tensor(x), vae.prior.dtype)
    if x.shape[1:] != vae.event_shape or not len(x):
        raise InputError(f"Expected one or more x of shape {vae.event_shape}; got an array {tuple(x.shape)}.")
    return x


def _posterior_draws(vae: "VAE", x: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Draw one z from q(z|x) for each example; z float64 [N, L] and log p(x, z) [N]."""

    @tf.function(reduce_retracing=True)
    def draw(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        z = vae.posterior(x).sample(seed=as_seed(0))
        return z, vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z)

    parts = [draw(x[i : i + 500]) for i in range(0, len(x), 500)]
    z, log_joint = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    finite = np.isfinite(z).all(axis=1) & np.isfinite(log_joint)
    return np.where(finite[:, None], z, 0.0), np.where(finite, log_joint, -np.inf)


class _Grid:
    """The points: tile t of a level has `size` points an axis, from low + spacing * size * t on."""

    def __init__(self, vae: "VAE") -> None:
        draws = vae.prior.sample(1000, seed=as_seed(0)).numpy().astype(np.float64)
        self.size = TILE[vae.latent_dim]
        self.low, high = draws.min(axis=0), draws.max(axis=0)
        self.first_spacing = (high - self.low) / (FIRST * self.size)
        half = [2 * np.array(i) for i in product(range(self.size // 2), repeat=vae.latent_dim)]
        shifts = product(range(2), repeat=vae.latent_dim)
        self.offsets = np.array([i + np.array(shift) for shift in shifts for i in half])  # [P, L]

    def spacing(self, level: int) -> np.ndarray:
        return self.first_spacing / 2**level

    def points(self, tile: Tile, level: int) -> np.ndarray:
        """Return the points of a tile, [P, L], as 2^L interleaved grids one after the other."""
        return self.low + self.spacing(level) * (np.array(tile) * self.size + self.offsets)

    def tiles_at(self, z: np.ndarray, examples: np.ndarray, level: int) -> Iterator[tuple[Tile, np.ndarray]]:
        """Yield the tile that holds z[example], for each of the examples."""
        place = np.floor((z[examples] - self.low) / (self.spacing(level) * self.size)).astype(int)
        for example, tile in zip(examples, place, strict=True):
            yield tuple(tile.tolist()), np.array([example])


class _Evaluated(NamedTuple):
    tile: Tile
    examples: np.ndarray
    log_mass: np.ndarray


class _Search:
    """Evaluates the tiles of one level after the other and counts the points."""

    def __init__(
        self,
        grid: _Grid,
        log_sums: LogSums,
        x: tf.Tensor,
        tolerance: float,
        max_points: int,
        on_progress: Callable[[str], None] | None,
    ) -> None:
        self.grid, self.log_sums, self.x = grid, log_sums, x
        self.log_negligible = np.log(tolerance * NEGLIGIBLE)
        self.max_points, self.on_progress = max_points, on_progress
        self.points = 0
        self.bounds = np.stack([grid.low + np.inf, grid.low - np.inf], axis=1)

    def affords(self, wanted: Wanted) -> bool:
        return self.points + len(wanted) * len(self.grid.offsets) <= self.max_points

    def evaluate(
        self, wanted: Wanted, level: int, carried: np.ndarray
    ) -> tuple[list[_Evaluated], np.ndarray, np.ndarray]:
        """Sum over the wanted tiles, and over their neighbours until the rim holds next to nothing.

        Args:
          wanted: the tiles to start from.
          level: how often the spacing has been halved.
          carried: log of what the tiles left at a coarser spacing add to the sum, [N].

        Returns:
          The tiles evaluated; log of the sum over all points, [N]; the error, [N], of the 2^L grids of twice
          the spacing and of the rim.
        """
        n, grids = len(self.x), 2 ** len(self.grid.low)
        log_sums = np.repeat(carried[:, None] - np.log(grids), grids, axis=1)
        done: dict[Tile, np.ndarray] = defaultdict(lambda: np.zeros(n, bool))
        tiles: list[_Evaluated] = []
        while wanted:
            for tile, examples in wanted.items():
                found = self._tile(tile, examples, level)
                log_sums[examples] = np.logaddexp(log_sums[examples], found)
                done[tile][examples] = True
                tiles.append(_Evaluated(tile, examples, np.logaddexp.reduce(found, axis=1)))
            log_total = np.logaddexp.reduce(log_sums, axis=1)
            wanted = _merge(_missing_neighbours(tiles, done, log_total + self.log_negligible))
            if not self.affords(wanted):
                break
        coarse = log_sums + np.log(grids)
        with np.errstate(invalid="ignore"):
            difference = np.sqrt(np.mean((coarse - log_total[:, None]) ** 2, axis=1))
            rim = -np.log1p(-np.minimum(np.exp(_log_rim(tiles, done, n) - log_total), 1.0))
        return tiles, log_total, np.maximum(difference, rim)

    def _tile(self, tile: Tile, examples: np.ndarray, level: int) -> np.ndarray:
        z = self.grid.points(tile, level)
        x = self.x if len(examples) == len(self.x) else tf.gather(self.x, examples)
        self.points += len(z)
        self.bounds[:, 0] = np.minimum(self.bounds[:, 0], z.min(axis=0))
        self.bounds[:, 1] = np.maximum(self.bounds[:, 1], z.max(axis=0))
        if self.on_progress:
            self.on_progress(f"grid {level + 1}: {self.points:,} points, for {len(examples):,} examples")
        return self.log_sums(tf.constant(z, self.x.dtype), x).numpy()


def _merge(pairs: Iterable[tuple[Tile, np.ndarray]]) -> Wanted:
    """Gather the examples that want each tile, sorted and once each; tiles that none wants are left out."""
    wanted = defaultdict(list)
    for tile, examples in pairs:
        if len(examples):
            wanted[tile].append(examples)
    return {tile: np.unique(np.concatenate(examples)) for tile, examples in wanted.items()}


def _neighbours(tile: Tile) -> Iterator[Tile]:
    for axis, step in product(range(len(tile)), (-1, 1)):
        yield (*tile[:axis], tile[axis] + step, *tile[axis + 1 :])


def _missing_neighbours(
    tiles: list[_Evaluated], done: dict[Tile, np.ndarray], threshold: np.ndarray
) -> Iterator[tuple[Tile, np.ndarray]]:
    """Yield the unevaluated neighbours of tiles whose log-mass is above the threshold [N]."""
    for tile, examples, log_mass in tiles:
        heavy = examples[log_mass > threshold[examples]]
        for neighbour in _neighbours(tile) if heavy.size else ():
            yield neighbour, heavy[~done[neighbour][heavy]] if neighbour in done else heavy


def _log_rim(tiles: list[_Evaluated], done: dict[Tile, np.ndarray], n: int) -> np.ndarray:
    """Return the log-mass of the tiles with a neighbour that was not evaluated, [N]."""
    log_rim = np.full(n, -np.inf)
    for tile, examples, log_mass in tiles:
        inside = np.ones(len(examples), bool)
        for neighbour in _neighbours(tile):
            inside &= done[neighbour][examples] if neighbour in done else False
        rim = examples[~inside]
        log_rim[rim] = np.logaddexp(log_rim[rim], log_mass[~inside])
    return log_rim


def _children(
    tiles: list[_Evaluated], threshold: np.ndarray, active: np.ndarray
) -> tuple[Wanted, np.ndarray]:
    """Halve the spacing in the tiles with mass.

    Returns:
      The tiles of the next level inside the tiles whose log-mass is above the threshold [N], for the examples
      that are active; log of what the other tiles sum to, [N].
    """
    is_active = np.zeros(len(threshold), bool)
    is_active[active] = True
    log_light = np.full(len(threshold), -np.inf)
    pairs = []
    for tile, examples, log_mass in tiles:
        heavy = log_mass > threshold[examples]
        light = examples[~heavy]
        log_light[light] = np.logaddexp(log_light[light], log_mass[~heavy])
        refined = examples[heavy & is_active[examples]]
        for shift in product(range(2), repeat=len(tile)):
            pairs.append((tuple(2 * t + s for t, s in zip(tile, shift, strict=True)), refined))
    return _merge(pairs), log_light
