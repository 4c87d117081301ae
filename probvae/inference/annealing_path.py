"""The annealing path from an initial distribution to p(x, z), and its transitions."""

import dataclasses
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from probvae.arguments import choice, weight
from probvae.inference.annealing_starts import INITIALS, Start
from probvae.inference.blocks import at_least
from probvae.objectives.bound import Model
from probvae.objectives.memory import refuse_values


@dataclasses.dataclass(frozen=True)
class Annealing:
    """The options of `ais`, `reverse_ais` and `bdmc`.

    Attributes:
      num_chains: C, the number of chains for each example.
      num_steps: K, the number of annealing distributions after the first. With P pilot chains the cost is
        at most that of (C + 2 P) * K * num_leapfrog_steps gradients of log p(x|z) for each example.
      num_leapfrog_steps: Number of leapfrog steps of a transition.
      step_size: Leapfrog step where the adaptation begins, in standard deviations of q(z|x) or p(z).
      initial: Name of r, a key of `INITIALS`: "prior", "posterior" for q(z|x), or "mixture", where half of
        the chains begin at each and r is the density of both together.
      num_pilot_chains: P, the number of chains for each example that fit the schedule and the step sizes
        beforehand.
      num_populations: G, the number of populations of C chains in `ais`. Above 1, the chains of a population
        are resampled by their weights on the way: sequential Monte Carlo, at G times the cost. An estimate is
        trusted where two are effective, so take at least 3, better 4.
    """

    num_chains: int = 16
    num_steps: int = 200
    num_leapfrog_steps: int = 3
    step_size: float = 0.5
    initial: str = "mixture"
    num_pilot_chains: int = 8
    num_populations: int = 1

    def __post_init__(self) -> None:
        at_least(num_chains=(self.num_chains, 2), num_steps=(self.num_steps, 1))
        at_least(num_leapfrog_steps=(self.num_leapfrog_steps, 1))
        at_least(num_pilot_chains=(self.num_pilot_chains, 2), num_populations=(self.num_populations, 1))
        weight("step_size", self.step_size, above=True)
        choice("initial", self.initial, INITIALS)

    def refuse_values(self, batch_size: int, latent_dim: int) -> None:
        """Refuse numbers of chains and steps whose values do not fit into memory."""
        numbers = {"num_chains": self.num_chains, "num_pilot_chains": self.num_pilot_chains}
        if self.num_populations > 1:
            numbers["num_chains * num_populations"] = self.num_chains * self.num_populations
        name, chains = max(numbers.items(), key=lambda item: item[1])
        refuse_values(name, chains, 4 * batch_size * latent_dim)  # z, its momentum, and the gradients of both
        refuse_values("num_steps", self.num_steps, 20 * batch_size)


class Path:
    """The densities of the path, for one block of examples x [B, *E], and the transitions of its chains.

    A transition moves u = F' z, in which the density is nearly round: F F' is the inverse covariance of
    q(z|x), or one that goes from that of p(z) to it as beta grows. Transitions of both kinds take turns. They
    do not depend on where a chain began; otherwise E[w] = p(x) would not hold.

    Args:
      vae: Model of x.
      annealing: Options.
      x: Data [B, *E].
      num_chains: C, the number of chains.
      scales: Result of `Start.precisions`. Chains there and back need the same.
      backwards: Whether the path is for chains from p(z|x) back to r, as in `Start`.
    """

    def __init__(
        self,
        vae: Model,
        annealing: Annealing,
        x: tf.Tensor,
        num_chains: int,
        scales: tuple[tf.Tensor, tf.Tensor],
        *,
        backwards: bool = False,
    ) -> None:
        self.vae, self.x, self.num_leapfrog_steps = vae, x, annealing.num_leapfrog_steps
        self.start = Start(vae, x, annealing.initial, num_chains, backwards=backwards)  # r(z)
        self.end_precision, self.precisions = scales

    def log_joint(self, z: tf.Tensor) -> tf.Tensor:
        """Return log p(x, z), [C, B], at z [C, B, L]."""
        return self.vae.prior.log_prob(z) + self.vae.likelihood(z).log_prob(self.x)

    def log_prob(self, z: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """Return log f, [C, B], at z [C, B, L] and beta [B]."""
        return (1 - beta) * self.start.log_prob(z) + beta * self.log_joint(z)

    def bootstrap(self, z: tf.Tensor, beta: tf.Tensor) -> Any:
        """Return the results of TFP before the first transition, at beta [B]."""
        return self._kernel(beta, tf.ones_like(beta), None).bootstrap_results(z)

    def transition(
        self,
        z: tf.Tensor,
        results: Any,
        *,
        beta: tf.Tensor,
        kind: tf.Tensor,
        step_size: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, Any]:
        """Move z [C, B, L] at beta [B], with the coordinates of component `kind` and step sizes [B]."""
        part = beta[:, tf.newaxis, tf.newaxis]
        precision = (1 - part) * tf.gather(self.precisions, kind) + part * self.end_precision
        factor = tf.linalg.cholesky(precision)  # F
        of_u = _solve(factor, _gradient(results), adjoint=False)  # the gradient in u
        u, moved = self._kernel(beta, step_size, factor).one_step(
            _times(factor, z, adjoint=True), _with(results, _value(results), of_u), seed=seed
        )
        # A rejected chain stays where it was, to the bit.
        z = tf.where(moved.is_accepted[..., tf.newaxis], _solve(factor, u, adjoint=True), z)
        return z, _with(moved, _value(moved), _times(factor, _gradient(moved), adjoint=False))

    def temper(self, z: tf.Tensor, results: Any, beta: tf.Tensor, target: tf.Tensor) -> Any:
        """Convert the results of TFP at beta > 0, [B], to another beta, without a call of the decoder.

        log f is linear in beta and log r is cheap, so log p(z, x) and its gradient follow from log f.
        """
        log_r, grad_r = tfp.math.value_and_gradient(self.start.log_prob, z)

        def move(f: tf.Tensor, r: tf.Tensor, beta: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
            return (1 - target) * r + (target / beta) * (f - (1 - beta) * r)

        gradient = move(_gradient(results), grad_r, beta[:, tf.newaxis], target[:, tf.newaxis])
        return _with(results, move(_value(results), log_r, beta, target), gradient)

    def slope(self, z: tf.Tensor, results: Any, beta: tf.Tensor) -> tf.Tensor:
        """Return d log f / d beta = log p(z, x) - log r, [C, B], from the results at beta > 0, [B]."""
        return (_value(results) - self.start.log_prob(z)) / beta

    def rounded(self, z: tf.Tensor) -> tf.Tensor:
        """Return z [C, B, L] in coordinates in which q(z|x) is round, [B, C, L]."""
        return tf.einsum("bji,cbj->bci", tf.linalg.cholesky(self.end_precision), z)

    def _kernel(
        self, beta: tf.Tensor, step_size: tf.Tensor, factor: tf.Tensor | None
    ) -> tfp.mcmc.HamiltonianMonteCarlo:
        def target(u: tf.Tensor) -> tf.Tensor:
            return self.log_prob(u if factor is None else _solve(factor, u, adjoint=True), beta)

        sizes = step_size[tf.newaxis, :, tf.newaxis]
        return tfp.mcmc.HamiltonianMonteCarlo(target, sizes, self.num_leapfrog_steps)


def _value(results: Any) -> tf.Tensor:
    return results.accepted_results.target_log_prob


def _gradient(results: Any) -> tf.Tensor:
    return results.accepted_results.grads_target_log_prob[0]


def _with(results: Any, value: tf.Tensor, gradient: tf.Tensor) -> Any:
    accepted = results.accepted_results._replace(target_log_prob=value, grads_target_log_prob=[gradient])
    return results._replace(accepted_results=accepted)


def _times(factor: tf.Tensor, z: tf.Tensor, *, adjoint: bool) -> tf.Tensor:
    """Return F z, or F' z, for F [B, L, L] and z [C, B, L]."""
    return tf.einsum("bji,cbj->cbi" if adjoint else "bij,cbj->cbi", factor, z)


def _solve(factor: tf.Tensor, u: tf.Tensor, *, adjoint: bool) -> tf.Tensor:
    """Return z with F z = u, or F' z = u, for F [B, L, L] lower triangular and u [C, B, L]."""
    z = tf.linalg.triangular_solve(factor, tf.transpose(u, [1, 2, 0]), adjoint=adjoint)
    return tf.transpose(z, [2, 0, 1])
