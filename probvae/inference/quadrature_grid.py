"""The grid of `exact`: widened and refined where examples have mass.

The grid is cut into tiles, and each example keeps the tiles that hold some of its p(x). If a tile with mass
has a neighbour that is in no sum yet, the neighbour is added (widening). The spacing is then halved in the
tiles with mass (refining), where every 2^L-th point is known already. A tile of negligible mass keeps its
spacing, and its sum is carried on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from probvae.objectives.bound import Model
from probvae.seeds import as_seed

TILE = {1: 32, 2: 8, 3: 4}  # latent dimension -> grid points of a tile along each axis; even
FIRST = 5  # tiles along each axis of the first grid, which covers the prior
NEGLIGIBLE = 3e-3  # share of p(x), divided by the tolerance, below which a tile is not refined
TRUST = 0.05  # error, in nats, above which a tile that seems empty may be widened into later
CAUTION = 1e-3  # factor on a negligible share if the error is above `TRUST`
GROUP, ROWS = 32, 50_000  # tiles in one call, and examples summed over these tiles, at most
KEPT = 1 << 29  # bytes of values kept from one level for the next, at most

Tile = tuple[int, ...]
Wanted = dict[Tile, np.ndarray]  # a tile -> the indices of the examples that want it
LogWeights = Callable[..., tuple[tf.Tensor, tf.Tensor]]  # the result of `quadrature.log_weights_function`


class Grid:
    """The points of the grid: tile t has `size` points along each axis, from low + spacing * size * t on."""

    def __init__(self, vae: Model) -> None:
        draws = vae.prior.sample(1000, seed=as_seed(0)).numpy().astype(np.float64)
        self.size = TILE[vae.latent_dim]
        self.low, high = draws.min(axis=0), draws.max(axis=0)
        self.first_spacing = (high - self.low) / (FIRST * self.size)
        half, axes = self.size // 2, range(vae.latent_dim)
        self.shifts = list(product(range(2), repeat=vae.latent_dim))
        coarse = np.array(list(product(range(half), repeat=vae.latent_dim)))  # [P / 2^L, L]
        self.offsets = np.concatenate([2 * coarse + np.array(shift) for shift in self.shifts])  # [P, L]
        self.old = len(coarse)  # the first points of a tile, those of the grid of twice the spacing
        place = {tuple(offset): i for i, offset in enumerate(self.offsets.tolist())}
        self.inside = {  # indices of the points of a tile that belong to each of the 2^L tiles inside it
            shift: [
                place[tuple(c + half * shift[i] for i, c in zip(axes, point, strict=True))]
                for point in coarse.tolist()
            ]
            for shift in self.shifts
        }

    def spacing(self, level: int) -> np.ndarray:
        """Return the distances between the points, [L]."""
        return self.first_spacing / 2**level

    def points(self, tile: Tile, level: int) -> np.ndarray:
        """Return the points of a tile, [P, L], as 2^L interleaved grids one after the other."""
        return self.low + self.spacing(level) * (np.array(tile) * self.size + self.offsets)

    def tiles_at(self, z: np.ndarray, examples: np.ndarray, level: int) -> Iterator[tuple[Tile, np.ndarray]]:
        """Yield the tile that holds z[example], for each of the examples."""
        place = np.floor((z[examples] - self.low) / (self.spacing(level) * self.size)).astype(int)
        for example, tile in zip(examples, place, strict=True):
            yield tuple(tile.tolist()), np.array([example])


class Evaluation(NamedTuple):
    """A tile evaluated for examples [n]: the log of its sum [n], and log p(x, z), [n, P] or [n, 0]."""

    tile: Tile
    examples: np.ndarray
    log_mass: np.ndarray
    values: np.ndarray


class Search:
    """A search through the levels of the grid, which evaluates tiles and counts points.

    Attributes:
      points: Number of points decoded so far.
      bounds: Box that holds these points, [L, 2].
      log_negligible: Log of the share of p(x) below which a tile is not refined.
    """

    def __init__(
        self,
        grid: Grid,
        log_weights: LogWeights,
        x: tf.Tensor,
        tolerance: float,
        max_points: int,
        on_progress: Callable[[str], None] | None,
    ) -> None:
        self.grid, self.log_weights, self.x = grid, log_weights, x
        self.log_negligible = np.log(tolerance * NEGLIGIBLE)
        self.max_points, self.on_progress = max_points, on_progress
        self.points = 0
        self.bounds = np.stack([grid.low + np.inf, grid.low - np.inf], axis=1)
        self._left: dict[
            tuple[int, Tile], np.ndarray
        ] = {}  # level and tile -> bool [N], whether its sum is carried on
        self._coarser: dict[Tile, list[Evaluation]] = {}  # tile of the level before -> its evaluations

    def affords(self, wanted: Wanted) -> bool:
        """Return whether the wanted tiles stay within the bound on points."""
        return self.points + len(wanted) * len(self.grid.offsets) <= self.max_points

    def evaluate(
        self, wanted: Wanted, level: int, carried: np.ndarray
    ) -> tuple[list[Evaluation], np.ndarray, np.ndarray]:
        """Sum over the wanted tiles, and over their neighbours until the mass of the rim is negligible.

        Args:
          wanted: Tiles to start from.
          level: Number of halvings of the spacing so far.
          carried: Log of the sum over the tiles that kept a coarser spacing, [N].

        Returns:
          The evaluated tiles; the log of the sum over all points, [N]; and the error, [N], by the 2^L grids
          of twice the spacing and by the rim.
        """
        n, grids = len(self.x), len(self.grid.shifts)
        log_sums = np.repeat(carried[:, None] - np.log(grids), grids, axis=1)
        done: dict[Tile, np.ndarray] = defaultdict(lambda: np.zeros(n, bool))
        tiles: list[Evaluation] = []
        kept = 0
        while wanted:
            for tile, examples, log_sum, values in self._evaluated(wanted, level):
                log_sums[examples] = np.logaddexp(log_sums[examples], log_sum)
                done[tile][examples] = True
                kept += values.nbytes
                log_mass = np.logaddexp.reduce(log_sum, axis=1)
                tiles.append(Evaluation(tile, examples, log_mass, values if kept <= KEPT else values[:, :0]))
            log_total = np.logaddexp.reduce(log_sums, axis=1)
            wanted = merge(self._missing_neighbours(tiles, done, level, log_total + self.log_negligible))
            if not self.affords(wanted):
                break
        coarse = log_sums + np.log(grids)
        with np.errstate(invalid="ignore"):
            difference = np.sqrt(np.mean((coarse - log_total[:, None]) ** 2, axis=1))
            rim = -np.log1p(-np.minimum(np.exp(self._log_rim(tiles, done, level) - log_total), 1.0))
        return tiles, log_total, np.maximum(difference, rim)

    def refine(
        self,
        tiles: list[Evaluation],
        level: int,
        threshold: np.ndarray,
        active: np.ndarray,
        error: np.ndarray,
    ) -> tuple[Wanted, np.ndarray]:
        """Halve the spacing in the tiles of a level with mass.

        The threshold [N] is the log of the mass below which a tile is not refined, `active` the examples that
        have not converged, and `error` [N] is in nats. The results are the tiles of the next level inside the
        tiles with mass, for the active examples, and the log of the sum over the other tiles, [N].
        """
        n = len(threshold)
        is_active = np.zeros(n, bool)
        is_active[active] = True
        trusted = error <= TRUST
        threshold = np.where(trusted, threshold, threshold + np.log(CAUTION))
        log_light = np.full(n, -np.inf)
        pairs = []
        self._coarser = defaultdict(list)
        for evaluated in tiles:
            tile, examples, log_mass, values = evaluated
            if values.size:
                self._coarser[tile].append(evaluated)
            heavy = log_mass > threshold[examples]
            light = examples[~heavy]
            log_light[light] = np.logaddexp(log_light[light], log_mass[~heavy])
            left = self._left.setdefault((level, tile), np.zeros(n, bool))
            left[light] = trusted[light]
            rows = heavy & is_active[examples]
            if not rows.any():
                continue
            for shift in self.grid.shifts:
                child = tuple(2 * t + s for t, s in zip(tile, shift, strict=True))
                pairs.append((child, examples[rows]))
        return merge(pairs), log_light

    def _evaluated(
        self, wanted: Wanted, level: int
    ) -> Iterator[tuple[Tile, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each wanted tile, its examples, the log of the sum over each of its grids, and the values."""
        handed = {tile: self._handed(tile, examples) for tile, examples in wanted.items()}
        known = {tile: values for tile, values in handed.items() if values is not None}
        for group in (known, [tile for tile in wanted if tile not in known]):
            for some in _groups({tile: wanted[tile] for tile in group}):
                yield from self._side_by_side(some, known, level)

    def _handed(self, tile: Tile, examples: np.ndarray) -> np.ndarray | None:
        """Return the values [n, P / 2^L] of the enclosing tile; None if an example has none there."""
        shift = tuple(t % 2 for t in tile)
        parts = self._coarser.get(tuple(t >> 1 for t in tile), [])
        owners = np.concatenate([np.empty(0, int), *(part.examples for part in parts)])  # each at most once
        order = np.argsort(owners)
        place = np.searchsorted(owners, examples, sorter=order)
        if len(owners) < len(examples) or place[-1] == len(owners):
            return None
        if not np.array_equal(owners[order[place]], examples):
            return None
        values = np.concatenate([part.values[:, self.grid.inside[shift]] for part in parts])
        return values[order[place]]

    def _side_by_side(
        self, wanted: Wanted, known: dict[Tile, np.ndarray], level: int
    ) -> Iterator[tuple[Tile, np.ndarray, np.ndarray, np.ndarray]]:
        """Evaluate tiles in parallel, all of them with known values or all without."""
        tiles, examples = list(wanted), list(wanted.values())
        points = np.stack([self.grid.points(tile, level) for tile in tiles])  # [G, P, L]
        dtype = self.x.dtype.as_numpy_dtype
        rows = np.concatenate(examples)
        handed = np.empty([len(rows), 0], dtype)
        if tiles[0] in known:
            points = points[:, self.grid.old :]
            handed = np.concatenate([known[tile] for tile in tiles])
        ends = np.cumsum([0, *map(len, examples)])
        results = self.log_weights(points.astype(dtype), self.x, rows, ends, handed)
        sums, values = (tensor.numpy() for tensor in results)
        self.points += points.shape[0] * points.shape[1]
        self.bounds[:, 0] = np.minimum(self.bounds[:, 0], points.min(axis=(0, 1)))
        self.bounds[:, 1] = np.maximum(self.bounds[:, 1], points.max(axis=(0, 1)))
        if self.on_progress:
            self.on_progress(f"grid {level + 1}: {self.points:,} points")
        for i, tile in enumerate(tiles):
            part = slice(ends[i], ends[i + 1])
            yield tile, examples[i], sums[part], values[part]

    def _covered(self, tile: Tile, done: dict[Tile, np.ndarray], level: int) -> np.ndarray:
        """Return whether the tile is in the sum of each example, at this spacing or before, bool [N]."""
        masks = [done[tile]] if tile in done else []
        for up in range(1, level + 1):
            ancestor = (level - up, tuple(t >> up for t in tile))
            masks += [self._left[ancestor]] if ancestor in self._left else []
        return np.logical_or.reduce(masks) if masks else np.zeros(len(self.x), bool)

    def _missing_neighbours(
        self, tiles: list[Evaluation], done: dict[Tile, np.ndarray], level: int, threshold: np.ndarray
    ) -> Iterator[tuple[Tile, np.ndarray]]:
        """Yield the neighbours, in no sum yet, of tiles whose log-mass is above the threshold [N]."""
        for tile, examples, log_mass, _ in tiles:
            heavy = examples[log_mass > threshold[examples]]
            for neighbour in _neighbours(tile) if heavy.size else ():
                yield neighbour, heavy[~self._covered(neighbour, done, level)[heavy]]

    def _log_rim(self, tiles: list[Evaluation], done: dict[Tile, np.ndarray], level: int) -> np.ndarray:
        """Return the log-mass of the tiles with a neighbour that is in no sum, [N]."""
        log_rim = np.full(len(self.x), -np.inf)
        for tile, examples, log_mass, _ in tiles:
            inside = np.ones(len(examples), bool)
            for neighbour in _neighbours(tile):
                inside &= self._covered(neighbour, done, level)[examples]
            rim = examples[~inside]
            log_rim[rim] = np.logaddexp(log_rim[rim], log_mass[~inside])
        return log_rim


def _groups(wanted: Wanted) -> Iterator[Wanted]:
    """Cut wanted tiles into groups of at most `GROUP` tiles, and of `ROWS` examples or one tile."""
    group: Wanted = {}
    rows = 0
    for tile, examples in wanted.items():
        if group and (len(group) == GROUP or rows + len(examples) > ROWS):
            yield group
            group, rows = {}, 0
        group[tile] = examples
        rows += len(examples)
    if group:
        yield group


def merge(pairs: Iterable[tuple[Tile, np.ndarray]]) -> Wanted:
    """Return the examples that want each tile, sorted and without repeats; unwanted tiles are left out."""
    wanted = defaultdict(list)
    for tile, examples in pairs:
        if len(examples):
            wanted[tile].append(examples)
    return {tile: np.unique(np.concatenate(examples)) for tile, examples in wanted.items()}


def _neighbours(tile: Tile) -> Iterator[Tile]:
    for axis, step in product(range(len(tile)), (-1, 1)):
        yield (*tile[:axis], tile[axis] + step, *tile[axis + 1 :])
