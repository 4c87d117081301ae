"""A density on the plane, or on the circle, against its draws: tests over small cells."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy import stats


class Plane:
    """Small cells of the plane, or of the circle, with their probabilities.

    Args:
      log_prob: from points [M, 2] to log-densities [M].
      draws: [N, 2], of thousands.
      circle: whether the points lie on the unit circle.
    """

    def __init__(
        self, log_prob: Callable[[tf.Tensor], tf.Tensor], draws: np.ndarray, *, circle: bool = False
    ):
        self.draws, self.circle = draws, circle
        if self.circle:
            angle = (np.arange(2000) + 0.5) / 2000 * 2 * np.pi
            self.points = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
            self.volume = 2 * np.pi / 2000
        else:
            self.low, self.high = self.draws.min(axis=0) - 1, self.draws.max(axis=0) + 1
            side = (np.arange(96) + 0.5) / 96
            grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
            self.points = (self.low + (self.high - self.low) * grid).astype(np.float32)
            self.volume = np.prod((self.high - self.low) / 96)
        log_probs = np.asarray(log_prob(tf.constant(self.points)), np.float64)
        self.probabilities = np.exp(log_probs) * self.volume

    def cell(self, z):
        """The coarse cell of each point."""
        if self.circle:
            return np.floor((np.arctan2(z[:, 1], z[:, 0]) % (2 * np.pi)) / (2 * np.pi) * 40).astype(int) % 40
        place = np.clip((z - self.low) / (self.high - self.low) * 16, 0, 15).astype(int)
        return place[:, 0] * 16 + place[:, 1]

    def p_value(self, draws):
        """Chi-square test that the draws come from the probabilities of the cells."""
        expected = np.bincount(self.cell(self.points), self.probabilities, minlength=256) * len(draws)
        seen = np.bincount(self.cell(draws), minlength=256)
        rare = expected < 10
        expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-3))
        seen = np.append(seen[~rare], seen[rare].sum())
        return stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), len(expected) - 1)

    def moved(self):
        """The draws, displaced: what a test has to catch."""
        if self.circle:
            return self.draws @ np.array([[np.cos(0.15), np.sin(0.15)], [-np.sin(0.15), np.cos(0.15)]])
        return self.draws + 0.15 * self.draws.std(axis=0)
