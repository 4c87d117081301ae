"""The VampPrior: a mixture of posteriors at trained pseudo-inputs."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.distributions.base import LazyDistribution, unwrap
from probvae.distributions.layers import one_at_a_time
from probvae.distributions.mixtures import BlockedMixture, NormalMixture
from probvae.seeds import Seed, split


class VampPrior(LazyDistribution):
    """Mixture (1/K) sum_k q(z|u_k) of the posteriors of the encoder at K learned pseudo-inputs.

    The encoder runs on the pseudo-inputs at every call, so the prior follows it. `variables` holds the
    pseudo-inputs only; those of the encoder belong to the encoder, and training needs both.

    Args:
      posterior: Encoder, a function from x [K, *E] to q(z|x) of event shape [L].
      pseudo_inputs: Unconstrained variable [K, *E].
      to_support: Bijector from the pseudo-inputs to the range of x.
      latent_dim: L, the size of an event.

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
        # The function hides the encoder from tf.Module, so that its variables are not those of the prior.
        def posterior_at(u: tf.Tensor) -> tfd.Distribution:
            with one_at_a_time():  # an encoder of the caller's own may be for one thread only
                return posterior(to_support.forward(u))  # q(z|u)

        self._posterior_at = posterior_at
        self.pseudo_inputs = pseudo_inputs
        super().__init__(latent_dim, [])

    def _details(self) -> dict[str, Any]:
        return {"pseudo_inputs": self.pseudo_inputs.shape[0]}

    def now(self) -> tfd.Distribution:
        """Return the mixture at the current pseudo-inputs and encoder."""
        q = unwrap(self._posterior_at(tf.convert_to_tensor(self.pseudo_inputs)))  # q(z|u_k), batch [K]
        weights = tfd.Categorical(logits=tf.zeros(self.pseudo_inputs.shape[0]))
        normal = isinstance(q, tfd.MultivariateNormalDiag)
        return NormalMixture(weights, q) if normal else BlockedMixture(weights, q)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """Draw pseudo-inputs first, so that the encoder runs on n of them and no draw is discarded."""
        seed_k, seed_z = split(seed, 2)
        k = tf.random.stateless_uniform([n], seed_k, maxval=self.pseudo_inputs.shape[0], dtype=tf.int32)
        return self._posterior_at(tf.gather(self.pseudo_inputs, k)).sample(seed=seed_z)
