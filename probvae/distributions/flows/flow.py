"""Normalizing flows as distributions, and as priors with trained steps."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.display import ReprMixin
from probvae.distributions.base import LazyDistribution
from probvae.distributions.flows.steps import AutoregressiveStep
from probvae.errors import InputError
from probvae.seeds import as_seed


class Flow(ReprMixin, tfd.TransformedDistribution):
    """A symmetric base distribution pushed through a bijector, with moments by Monte Carlo.

    `mean`, `variance`, `stddev` and `covariance` have no closed form: they are those of `moment_draws` draws
    at a fixed seed, half of them the mirror images of the others about the mean of the base. So they are
    reproducible and have gradients. The mean is exact if the bijector is affine; otherwise its sampling error
    is at most about stddev * sqrt(2 / moment_draws).

    Args:
      distribution: Base distribution, of event shape [L].
      bijector: Bijector from values of the base to z.
      centre: Value [..., L] of the distribution when it is converted to a tensor.
      moment_draws: Even number of draws for the moments.
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        bijector: tfb.Bijector,
        *,
        centre: tf.Tensor | None = None,
        moment_draws: int = 64,
        name: str = "flow",
    ) -> None:
        parameters = dict(locals())
        self.centre: Any = centre
        self._moment_draws = moment_draws
        super().__init__(distribution, bijector, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return tfd.TransformedDistribution._parameter_properties(dtype, num_classes)

    @property
    def density_passes(self) -> int:
        """Number of passes of the networks for `log_prob` at a z that it did not draw: L, or 1."""
        steps = getattr(self.bijector, "bijectors", [self.bijector])
        return max((len(step.order) for step in steps if isinstance(step, AutoregressiveStep)), default=1)

    def _moment_sample(self) -> tf.Tensor:
        x = self.distribution.sample(self._moment_draws // 2, seed=as_seed(0))
        return self.bijector.forward(tf.concat([x, 2 * self.distribution.mean() - x], axis=0))

    def _mean(self) -> tf.Tensor:
        return tf.reduce_mean(self._moment_sample(), axis=0)

    def _variance(self) -> tf.Tensor:
        return tf.math.reduce_variance(self._moment_sample(), axis=0)

    def _stddev(self) -> tf.Tensor:
        return tf.math.reduce_std(self._moment_sample(), axis=0)

    def _covariance(self) -> tf.Tensor:
        z = self._moment_sample()
        z = z - tf.reduce_mean(z, axis=0)
        return tf.einsum("s...i,s...j->...ij", z, z) / self._moment_draws


FLOW_MOMENT_DRAWS = 4096  # number of draws for the mean and the variance of a flow prior


class FlowPrior(LazyDistribution):
    """A flow from the unit normal, with moments from FLOW_MOMENT_DRAWS draws: see `Flow`.

    Args:
      latent_dim: L, the size of an event.
      networks: Networks of the steps, with the trained variables.
      steps: Function that returns the bijectors in the order in which they act.
    """

    def __init__(
        self, latent_dim: int, networks: Sequence[tf.Module], steps: Callable[[], list[tfb.Bijector]]
    ) -> None:
        self._steps = steps
        super().__init__(latent_dim, networks)

    def __reduce__(self) -> NoReturn:
        """Refuse copies and pickles: the steps are a function of the networks of this prior."""
        raise InputError(
            "A flow prior cannot be copied or pickled: build its model again and give it the weights, "
            "other.set_weights(vae.get_weights())."
        )

    def now(self) -> tfd.Distribution:
        """Return the flow at the current variables of the networks."""
        unit = tfd.MultivariateNormalDiag(tf.zeros(self.latent_dim), tf.ones(self.latent_dim))
        return Flow(unit, tfb.Chain(self._steps()[::-1]), moment_draws=FLOW_MOMENT_DRAWS)
