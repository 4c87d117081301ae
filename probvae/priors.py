"""Priors p(z): TFP distributions of event shape [L], trained through their `tf.Variable`s.

Each entry of `PRIORS` is a function `(latent_dim, *, seed, context) -> tfd.Distribution`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.display import Shown
from probvae.errors import InputError
from probvae.flow_networks import made
from probvae.flow_transforms import SPLINE_BINS, affine
from probvae.flow_transforms import spline as spline_transform
from probvae.flows import AutoregressiveStep, CouplingStep, Flow, couplings
from probvae.mixtures import BlockedMixture, NormalMixture
from probvae.seeds import Seed, split
from probvae.spherical import SphericalUniform

FLOW_STEPS, FLOW_HIDDEN = 4, (128, 128)
FLOW_MOMENT_DRAWS = 4096  # behind the mean and the variance of a flow prior


class PriorContext(NamedTuple):
    """What a prior may need to know of the model around it.

    Attributes:
      posterior: x [K, *E] -> q(z|x) of batch [K]: the encoder.
      event_shape: E, the shape of one x.
      components: K, of a mixture.
      to_support: maps unconstrained pseudo-inputs [K, *E] to the range of x: `tfb.Sigmoid()` for [0, 1].
    """

    posterior: Callable[[tf.Tensor], tfd.Distribution] | None = None
    event_shape: tuple[int, ...] = ()
    components: int = 10
    to_support: tfb.Bijector | None = None


NO_CONTEXT = PriorContext()


def standard_normal(
    latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT
) -> tfd.Distribution:
    """Build the unit normal of event shape [L]; nothing in it is learned, drawn or taken from the context.

    >>> print(standard_normal(2).log_prob([0.0, 0.0]).numpy().round(4))
    -1.8379
    """
    zeros = tf.zeros([latent_dim])
    return tfd.MultivariateNormalDiag(zeros, scale_diag=tf.ones_like(zeros), name="prior")


def uniform_sphere(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build the uniform distribution on the unit sphere in R^L, for the posterior von_mises_fisher.

    Raises:
      InputError: L is 1.
    """
    if latent_dim < 2:
        raise InputError(
            f"The prior uniform_sphere lies on the sphere in R^L: expected latent_dim of 2 or more, got "
            f"{latent_dim}. Change latent_dim or choose another prior."
        )
    return SphericalUniform(latent_dim, name="prior")


def mixture(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a learned mixture of `context.components` normals with independent coordinates.

    At the start the components' means are drawn from N(0, I / 2) and their variances are 1/2, so that the
    whole has about the mean and the variance of the unit normal; the weights are equal.
    """
    rng = np.random.default_rng([seed, 21])
    shape = (context.components, latent_dim)
    half = np.sqrt(np.float32(0.5))
    positive = tfb.Chain([tfb.Shift(1e-4), tfb.Softplus()])
    return NormalMixture(
        tfd.Categorical(logits=tf.Variable(tf.zeros(context.components), name="logits")),
        tfd.MultivariateNormalDiag(
            tf.Variable(half * rng.standard_normal(shape).astype(np.float32), name="loc"),
            scale_diag=tfp.util.TransformedVariable(tf.fill(shape, half), positive, name="scale"),
        ),
        name="prior",
    )


# ---- priors made anew at every call --------------------------------------------------------------


class MadeAnew(Shown, tfd.Distribution):
    """A distribution that `now()` makes at every call, from variables as they are then.

    A flow needs that because TFP keeps what a bijector found at a tensor as long as the tensor lives: a
    `tfd.TransformedDistribution` asked twice for the log-density at one tensor, with a step of training
    between, answers with a mixture of old and new.

    Args:
      latent_dim: L.
      modules: hold the variables; they become the distribution's.
    """

    def __init__(self, latent_dim: int, modules: Sequence[Any], name: str = "prior") -> None:
        self.latent_dim = latent_dim
        self.modules = list(modules)
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"latent_dim": latent_dim},
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        raise NotImplementedError("This prior has no batch of parameters.")

    def _details(self) -> dict[str, Any]:
        return {"variables": len(self.trainable_variables)}

    def now(self) -> tfd.Distribution:
        """Return the distribution that the variables define now."""
        raise NotImplementedError

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self.latent_dim])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self.latent_dim])

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return self.now().log_prob(z)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return self.now().sample(n, seed=seed)

    def _mean(self) -> tf.Tensor:
        return self.now().mean()

    def _variance(self) -> tf.Tensor:
        return self.now().variance()

    def _covariance(self) -> tf.Tensor:
        return self.now().covariance()


class FlowPrior(MadeAnew):
    """A flow from the unit normal.

    `mean` and `stddev` are from FLOW_MOMENT_DRAWS draws: see `probvae.flows.Flow`.

    Args:
      latent_dim: L.
      networks: whose variables are trained.
      steps: from nothing to the bijectors in the order in which they act.
    """

    def __init__(
        self, latent_dim: int, networks: Sequence[tf.Module], steps: Callable[[], list[tfb.Bijector]]
    ) -> None:
        self._steps = steps
        super().__init__(latent_dim, networks)

    def now(self) -> tfd.Distribution:
        """Return the flow that the networks define now."""
        unit = tfd.MultivariateNormalDiag(tf.zeros(self.latent_dim), tf.ones(self.latent_dim))
        return Flow(unit, tfb.Chain(self._steps()[::-1]), moment_draws=FLOW_MOMENT_DRAWS)


def realnvp(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a real NVP: FLOW_STEPS affine couplings of the unit normal; density and draws in one pass each.

    References:
      Dinh et al. 2017, Density Estimation Using Real NVP, arXiv:1605.08803.
    """
    return _coupling_prior(latent_dim, affine, outputs=2, seed=seed)


def maf(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a masked autoregressive flow: FLOW_STEPS steps from z to the unit normal, each a MADE.

    The density is quick, and a draw takes L passes of each step.

    References:
      Papamakarios, Pavlakou & Murray 2017, Masked Autoregressive Flow for Density Estimation,
      arXiv:1705.07057.
    """
    nets = [
        made(latent_dim, hidden=FLOW_HIDDEN, reverse=bool(step % 2), seed=seed * 100 + step)
        for step in range(FLOW_STEPS)
    ]
    return FlowPrior(
        latent_dim,
        [net for net, _ in nets],
        lambda: [tfb.Invert(AutoregressiveStep(net, order, transform=affine)) for net, order in nets],
    )


def spline(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a neural spline flow: FLOW_STEPS spline couplings of the unit normal.

    The splines bend -5 .. 5 and leave what is outside; density and draws take one pass each. Modes that lie
    apart, which affine flows join by bridges, come out apart.

    References:
      Durkan et al. 2019, Neural Spline Flows, arXiv:1906.04032.
    """
    return _coupling_prior(latent_dim, spline_transform, outputs=3 * SPLINE_BINS - 1, seed=seed)


def _coupling_prior(latent_dim: int, transform: Any, *, outputs: int, seed: int) -> FlowPrior:
    nets = couplings(latent_dim, steps=FLOW_STEPS, hidden=FLOW_HIDDEN, outputs=outputs, seed=seed)
    return FlowPrior(
        latent_dim,
        [net for net, _ in nets],
        lambda: [CouplingStep(net, part, transform=transform) for net, part in nets],
    )


class VampPrior(MadeAnew):
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
        q = self._posterior_at(tf.convert_to_tensor(self.pseudo_inputs))  # q(z|u_k), batch [K]
        q = getattr(q, "tensor_distribution", q)
        weights = tfd.Categorical(logits=tf.zeros(self.pseudo_inputs.shape[0]))
        normal = isinstance(q, tfd.MultivariateNormalDiag)
        return NormalMixture(weights, q) if normal else BlockedMixture(weights, q)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """Draw pseudo-inputs first, so that the encoder runs on n of them and no draw is thrown away."""
        seed_k, seed_z = split(seed, 2)
        k = tf.random.stateless_uniform([n], seed_k, maxval=self.pseudo_inputs.shape[0], dtype=tf.int32)
        return self._posterior_at(tf.gather(self.pseudo_inputs, k)).sample(seed=seed_z)


def vamp(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a VampPrior with `context.components` pseudo-inputs, at first unit normal before `to_support`.

    Raises:
      InputError: the context has no posterior or no `to_support`.
    """
    if context.posterior is None or context.to_support is None:
        raise InputError(
            "The prior vamp is a mixture of the encoder's posteriors: expected a PriorContext with posterior "
            "and to_support, got one without. Give both, or choose another prior."
        )
    rng = np.random.default_rng([seed, 22])
    shape = (context.components, *context.event_shape)
    pseudo_inputs = tf.Variable(rng.standard_normal(shape).astype(np.float32), name="pseudo_inputs")
    return VampPrior(context.posterior, pseudo_inputs, context.to_support, latent_dim)


# ---- the registry --------------------------------------------------------------------------------

PRIORS: dict[str, Callable[..., tfd.Distribution]] = {
    "standard_normal": standard_normal,
    "mixture": mixture,
    "vamp": vamp,
    "realnvp": realnvp,
    "maf": maf,
    "spline": spline,
    "uniform_sphere": uniform_sphere,
}

SPHERE_POSTERIORS = ("von_mises_fisher",)
SPHERE_PRIORS = ("uniform_sphere", "vamp")  # vamp is made of the posteriors, so it lies where they do


def compatible(posterior: str, prior: str) -> None:
    """Refuse a posterior and a prior of which one lies on the sphere and the other does not.

    Args:
      posterior: a key of `probvae.posteriors.POSTERIORS`.
      prior: a key of `PRIORS`.

    Raises:
      InputError: such a pair: each has density zero where the other lives.

    >>> compatible("iaf", "vamp")
    """
    if posterior in SPHERE_POSTERIORS and prior not in SPHERE_PRIORS:
        raise InputError(
            f"The posterior {posterior} lies on the unit sphere and the prior {prior} does not: expected a "
            f"prior among {', '.join(SPHERE_PRIORS)}, or another posterior."
        )
    if prior == "uniform_sphere" and posterior not in SPHERE_POSTERIORS:
        raise InputError(
            f"The prior uniform_sphere lies on the unit sphere and the posterior {posterior} does not: "
            f"expected the posterior {SPHERE_POSTERIORS[0]}, or another prior."
        )


def on_sphere(prior: tfd.Distribution) -> bool:
    """Whether all draws of a prior lie on the unit sphere.

    >>> on_sphere(tfd.SphericalUniform(3)), on_sphere(tfd.MultivariateNormalDiag(tf.zeros(3)))
    (True, False)
    """
    if isinstance(prior, VampPrior):
        prior = prior.now().components_distribution
    return isinstance(prior, tfd.SphericalUniform | tfd.VonMisesFisher)
