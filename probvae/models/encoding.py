"""The codes of examples: means and draws of q(z|x)."""

from typing import NamedTuple

import numpy as np

from probvae.inference.blocks import accepted
from probvae.objectives.bound import Model
from probvae.seeds import Seed, fold_in

BLOCK = 500  # examples in one call of the encoder


class Codes(NamedTuple):
    """The codes of N examples.

    Attributes:
      loc: Means of q(z|x), [N, L]; the draws where q(z|x) has no mean in closed form.
      draws: One draw of z for each example, [N, L].
      exact: Whether `loc` are means.
    """

    loc: np.ndarray
    draws: np.ndarray
    exact: bool

    @property
    def variance(self) -> np.ndarray | None:
        """Var_x(E_q[z]), [L]; None for a single example, and where the means are not known."""
        if not self.exact or len(self.loc) < 2:
            return None
        return np.var(self.loc, axis=0, ddof=1, dtype=np.float64)


def encode(vae: Model, x: np.ndarray, seed: Seed = 0) -> Codes:
    """Encode examples [N, *E], block by block.

    Args:
      vae: Model.
      x: Examples [N, *E] as the model takes them.
      seed: Seed of the draws.
    """
    x = accepted(vae, x)
    means, draws, exact = [], [], True
    for start in range(0, len(x), BLOCK):
        q = vae.posterior(x[start : start + BLOCK].astype(np.float32))  # q(z|x)
        draws.append(q.sample(seed=fold_in(seed, start)).numpy())
        if exact:
            try:
                means.append(q.mean().numpy())
            except NotImplementedError:
                exact = False
    z = np.concatenate(draws)
    return Codes(np.concatenate(means) if exact else z, z, exact)
