"""Where the annealing path begins: p(z), q(z|x), or a mixture of both, and the scales of its chains."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.objectives.bound import Model
from probvae.seeds import fold_in

INITIALS: dict[str, float] = {"mixture": 0.5, "prior": 0.0, "posterior": 1.0}  # share of q(z|x) in r
BACKWARDS = 0.95  # the share of q(z|x) in a mixture at the end of a path backwards
FEWEST_DRAWS, MOST_DRAWS, DRAWS_PER_DIMENSION = 256, 2048, 8  # behind a covariance
SHRINKAGE = 1e-4  # of correlations, so that float32 can factor their matrix


class Start:
    """The density r(z) of the path's start, for one block of examples x [B, *E].

    r is the mixture of q(z|x) and p(z) with the shares of the chains that begin at each. The first chains
    begin at q(z|x) and the others at p(z), so that neither is left out by chance; r is the density of the
    mean over all chains. Backwards, no chain begins at r, and r is nearly q(z|x): where this is good, no
    chain from p(z|x) finds its way to p(z), and the bound is too high by -log of the share of q(z|x).

    Attributes:
      posterior: q(z|x), of batch shape [B].
      components: Distributions of the mixture, of batch shape [B].
      counts: Numbers of chains that begin at each component.
      shares: Shares of the components in r.
    """

    def __init__(
        self, vae: Model, x: tf.Tensor, initial: str, num_chains: int, *, backwards: bool = False
    ) -> None:
        self.posterior = vae.posterior(x)
        both = (self.posterior, tfd.BatchBroadcast(vae.prior, [x.shape[0]]))
        counts = chain_counts(initial, num_chains)
        self.components = [part for part, n in zip(both, counts, strict=True) if n]
        self.counts = [n for n in counts if n]
        self.shares = [n / num_chains for n in self.counts]
        if backwards and len(self.shares) > 1:
            self.shares = [BACKWARDS, 1 - BACKWARDS]

    def sample(self, seed: tf.Tensor) -> tf.Tensor:
        """Draw z [C, B, L].

        The draw is copied: TFP's bijectors recognize their own draws and compute `log_prob` at one of them
        from the noise behind it, with a wrong gradient in z or none.
        """
        parts = enumerate(zip(self.components, self.counts, strict=True))
        drawn = [component.sample(n, seed=fold_in(seed, i)) for i, (component, n) in parts]
        return tf.identity(tf.concat(drawn, axis=0))

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Return log r [C, B] at z [C, B, L]."""
        logs = [component.log_prob(z) for component in self.components]
        if len(logs) == 1:
            return logs[0]
        shares = tf.constant(np.log(self.shares), z.dtype)
        return tf.reduce_logsumexp(tf.stack(logs) + shares[:, tf.newaxis, tf.newaxis], axis=0)

    def precisions(self, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the inverse covariance of q(z|x), [B, L, L], and those of the M components, [M, B, L, L]."""
        ours = _precision(self.posterior, fold_in(seed, 0))
        others = [ours if c is self.posterior else _precision(c, fold_in(seed, 1)) for c in self.components]
        return ours, tf.stack(others)


def chain_counts(initial: str, num_chains: int) -> tuple[int, int]:
    """Return how many chains begin at q(z|x), and at p(z): at least one where the share is not 0.

    >>> chain_counts("mixture", 16), chain_counts("mixture", 3), chain_counts("prior", 16)
    ((8, 8), (2, 1), (0, 16))
    """
    share = INITIALS[initial]
    ours = min(max(round(share * num_chains), int(share > 0)), num_chains - int(share < 1))
    return ours, num_chains - ours


def _precision(distribution: tfd.Distribution, seed: tf.Tensor) -> tf.Tensor:
    """Return the inverse of the covariance of draws, [B, L, L]; correlations shrink where draws are few."""
    size = distribution.event_shape[-1]
    wanted = DRAWS_PER_DIMENSION * size
    n = min(max(wanted, FEWEST_DRAWS), MOST_DRAWS)
    z = distribution.sample(n, seed=seed)  # [n, B, L]
    spread = tf.math.reduce_std(z, axis=0) + 1e-12
    z = (z - tf.reduce_mean(z, axis=0)) / spread
    shrinkage = max(SHRINKAGE, 1 - n / wanted)
    unit = tf.eye(size, batch_shape=[z.shape[1]], dtype=z.dtype)
    correlations = (1 - shrinkage) * tf.einsum("sbi,sbj->bij", z, z) / n + shrinkage * unit
    inverse = tf.linalg.cholesky_solve(tf.linalg.cholesky(correlations), unit)
    return inverse / (spread[:, :, tf.newaxis] * spread[:, tf.newaxis, :])
