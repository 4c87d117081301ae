"""The VampPrior: a mixture of posteriors at trained pseudo-inputs."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.distributions.base import LazyDistribution, unwrap
from probvae.distributions.mixtures import BlockedMixture, NormalMixture
from probvae.seeds import Seed, split


class VampPrior(LazyDistribution):
    """The mixture (1/K) sum_k q(z|u_k) of the encoder's posteriors at K learned pseudo-inputs.

    The encoder runs on the pseudo-inputs at every call, so the prior follows it. `variables` are the
    pseudo-inputs alone: the encoder's belong to the encoder, and training needs both.

    Args:
      posterior: x [K, *E] -> q(z|x), any of event shape [L].
      pseudo_inputs: variable [K, *E], unconstrained.
      to_support: maps it to the range of x.
      latent_dim: L.

    References:
      Tomczak & Welling 2018, VAE with a VampPrior, arXiv:1705.07120, equation 9.
    """

    def __init__(
        self,
        posterior: Callable[[tf.Tensor], tfd.Distribution],
        pseudo_inputs: tf.Variable,
        to_support: tfb.Bijector,
        latent_dim: int,
    ) -> None:
        # A function hides the encoder from tf.Module, or its variables would count as the prior's.
        self._posterior_at = lambda u: posterior(to_support.forward(u))  # q(z|u)
        self.pseudo_inputs = pseudo_inputs
        super().__init__(latent_dim, [])

    def _details(self) -> dict[str, Any]:
        return {"pseudo_inputs": self.pseudo_inputs.shape[0]}

    def now(self) -> tfd.Distribution:
        """Return the mixture at the pseudo-inputs and the encoder as they are now."""
        q = unwrap(self._posterior_at(tf.convert_to_tensor(self.pseudo_inputs)))  # q(z|u_k), batch [K]
        weights = tfd.Categorical(logits=tf.zeros(self.pseudo_inputs.shape[0]))
        normal = isinstance(q, tfd.MultivariateNormalDiag)
        return NormalMixture(weights, q) if normal else BlockedMixture(weights, q)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """Draw pseudo-inputs first, so that the encoder runs on n of them and no draw is thrown away."""
        seed_k, seed_z = split(seed, 2)
        k = tf.random.stateless_uniform([n], seed_k, maxval=self.pseudo_inputs.shape[0], dtype=tf.int32)
        return self._posterior_at(tf.gather(self.pseudo_inputs, k)).sample(seed=seed_z)
