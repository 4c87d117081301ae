"""Views of a latent space of any size: how much of each dimension is used, a projection, traversals."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from probvae import figures
from probvae.conditional import ConditionalVAE
from probvae.figures import DPI, INK
from probvae.model import VAE
from probvae.priors import on_sphere
from probvae.seeds import Seed, fold_in

EXAMPLES = 2000  # of the test set, at most
ROWS, STEPS = 8, 11  # of traversals: dimensions, and values of each
REACH = 2.5  # of a traversal, in standard deviations of q(z)


class Codes(NamedTuple):
    """What q(z|x) says of N examples.

    Attributes:
      loc: [N, L], means of q(z|x); where it does not know them (a flow), draws.
      draws: [N, L], a draw of z for each example.
      variance: [L], Var_x(E_q[z]); None where the means are not known.
    """

    loc: np.ndarray
    draws: np.ndarray
    variance: np.ndarray | None


def encode(vae: VAE, x: np.ndarray, seed: Seed) -> Codes:
    """Encode the first `EXAMPLES` of x [N, *E]."""
    loc, draws = [], []
    known = True
    for start in range(0, min(len(x), EXAMPLES), 500):
        q = vae.posterior(x[start : min(start + 500, EXAMPLES)].astype(np.float32))  # q(z|x)
        draws.append(q.sample(seed=fold_in(seed, start)).numpy())
        if known:
            try:
                loc.append(q.mean().numpy())
            except NotImplementedError:
                known = False
    z = np.concatenate(draws)
    if not known:
        return Codes(z, z, None)
    means = np.concatenate(loc)
    variance = np.var(means, axis=0, ddof=1, dtype=np.float64) if len(means) > 1 else None
    return Codes(means, z, variance)


def projection(loc: np.ndarray, labels: np.ndarray | None) -> Figure:
    """Show codes [N, L], L at least 2, on their first two principal components."""
    centred = loc - loc.mean(axis=0)
    _, scales, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.argmax(np.abs(axes[:2]), axis=1)].diagonal())[:, np.newaxis]
    share = scales[:2] ** 2 / max(float(np.sum(scales**2)), 1e-12)
    figure = figures.latent_means(centred @ axes.T, labels)
    place = figure.axes[0]
    place.set_xlabel(f"first principal component, {share[0]:.0%} of the variance", color=INK)
    place.set_ylabel(f"second principal component, {share[1]:.0%}", color=INK)
    return figure


def traversals(vae: VAE, codes: Codes) -> Figure | None:
    """Show means of p(x|z) where one dimension of z moves and the others stay at their mean over x.

    The dimensions are those whose means vary most over x, or the first ones. None for x that are no images,
    and for z on a sphere, where no coordinate moves alone.

    Args:
      vae: the model, of one class where it was conditional.
      codes: of examples.
    """
    if len(vae.event_shape) != 3 or on_sphere(vae.prior) or isinstance(vae, ConditionalVAE):
        return None
    spread = codes.draws.std(axis=0) if codes.variance is None else codes.variance
    chosen = np.sort(np.argsort(-spread, kind="stable")[:ROWS])
    offsets = np.linspace(-REACH, REACH, STEPS)
    z = np.tile(codes.loc.mean(axis=0), (len(chosen), STEPS, 1)).astype(np.float32)
    for row, dimension in enumerate(chosen):
        z[row, :, dimension] += offsets * codes.draws[:, dimension].std()
    x = vae.likelihood(z.reshape(-1, vae.latent_dim)).mean().numpy()
    return _rows(x, [f"z[{i}]" for i in chosen], [f"{offset:+.3g}" if offset else "0" for offset in offsets])


def _rows(x: np.ndarray, rows: list[str], columns: list[str]) -> Figure:
    height, width = x.shape[1:3]
    picture = figures.tile(x / max(1.0, float(np.nanmax(x, initial=1.0))), len(columns))
    size = 5.0 * picture.shape[0] / picture.shape[1]
    figure = Figure(figsize=(5.7, size + 0.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    figures.show(axes, picture)
    axes.set_xticks(np.arange(len(columns)) * (width + 1) + width / 2, columns)
    axes.set_yticks(np.arange(len(rows)) * (height + 1) + height / 2, rows)
    axes.set_xlabel("standard deviations of q(z)", color=INK, fontsize=9)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    figures.style(axes)
    axes.tick_params(length=0)
    return figure
