"""A VAE as a distribution over x: p(x) = integral of p(x|z) p(z) dz.

Each entry of `METHODS` is a function `(vae, x [N, *E], *, num_samples, seed) -> [N]`, log p(x) in nats.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from probvae.arguments import choice, count
from probvae.distributions.base import LibraryDistribution
from probvae.errors import InputError
from probvae.inference.quadrature import exact
from probvae.objectives.bound import Model, checked, elbo
from probvae.objectives.importance_weighted import iwae
from probvae.seeds import Seed, as_seed


class GenerativeModel(Model, Protocol):
    """A model that can be drawn from."""

    def sample(self, num_samples: Any, seed: Seed = None) -> tf.Tensor:
        """Draw x from the model, [num_samples, *E]."""


def _exact(vae: Model, x: tf.Tensor, *, num_samples: int, seed: Seed) -> tf.Tensor:
    def quadrature(values: np.ndarray) -> np.ndarray:
        return exact(vae, values).log_marginal.astype(np.float32)

    log_p = tf.numpy_function(quadrature, [x], tf.float32)
    return tf.ensure_shape(log_p, x.shape[:1])


METHODS: dict[str, Callable[..., tf.Tensor]] = {"iwae": iwae, "elbo": elbo, "exact": _exact}


class Marginal(LibraryDistribution):
    """p(x) of a VAE, a `tfd.Distribution` of event shape E.

    `sample` is exact: z ~ p(z), x ~ p(x|z). `log_prob` is exact, by quadrature, for up to three latent
    dimensions; iwae and elbo are lower bounds in expectation. Their draws of z are fixed by `seed`, so that
    equal calls give equal numbers. iwae and elbo have gradients; exact has none.

    Args:
      vae: Model of x.
      num_samples: K, the number of draws of z for iwae and elbo.
      method: Name of the method, a key of `METHODS`.
      seed: Seed of the draws in `log_prob`.

    Raises:
      InputError: The method is unknown, or exact for more than three latent dimensions.
    """

    def __init__(
        self,
        vae: GenerativeModel,
        *,
        num_samples: int = 100,
        method: str = "iwae",
        seed: Seed = 0,
        name: str = "marginal",
    ) -> None:
        parameters = dict(locals())
        choice("method", method, METHODS)
        count("num_samples", num_samples), as_seed(seed)
        if method == "exact" and vae.latent_dim > 3:
            raise InputError(
                f"Quadrature serves up to 3 latent dimensions; this model has {vae.latent_dim}. Use "
                "method='iwae'."
            )
        self.vae, self.num_samples, self.method, self.seed = vae, num_samples, method, seed
        super().__init__(parameters, name, dtype=vae.likelihood(tf.zeros([vae.latent_dim])).dtype)

    def _shapes(self) -> tuple[Any, Any]:
        return [], self.vae.event_shape

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return self.vae.sample(n, seed=seed)

    def _call_log_prob(self, value: Any, name: str, **kwargs: Any) -> tf.Tensor:
        return super()._call_log_prob(checked(self.vae, value), name, **kwargs)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        leading = tf.shape(x)[: tf.rank(x) - len(self.vae.event_shape)]
        flat = tf.reshape(x, [-1, *self.vae.event_shape])
        log_p = METHODS[self.method](self.vae, flat, num_samples=self.num_samples, seed=as_seed(self.seed))
        return tf.reshape(log_p, leading)

    def _mean(self) -> tf.Tensor:
        raise NotImplementedError("The mean of p(x) has no closed form: average draws of it.")
