"""Priors p(z): TFP distributions of event shape [L] with trained `tf.Variable`s.

Each entry of `PRIORS` is a `Prior`, called as `(latent_dim, *, seed, context) -> tfd.Distribution`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.distributions.flows.flow import FlowPrior
from probvae.distributions.flows.networks import made
from probvae.distributions.flows.steps import AutoregressiveStep, CouplingStep, couplings
from probvae.distributions.flows.transforms import SPLINE_BINS, affine
from probvae.distributions.flows.transforms import spline as spline_transform
from probvae.distributions.mixtures import NormalMixture
from probvae.distributions.sphere import SphericalUniform
from probvae.distributions.vamp import VampPrior
from probvae.errors import InputError
from probvae.posteriors import POSTERIORS

FLOW_STEPS, FLOW_HIDDEN = 4, (128, 128)


class PriorContext(NamedTuple):
    """Parts of a model that its prior may use.

    Attributes:
      posterior: Encoder, a function from x [K, *E] to q(z|x) of batch [K].
      event_shape: E, the shape of one x.
      components: K, the number of components of a mixture.
      to_support: Bijector from unconstrained pseudo-inputs [K, *E] to the range of x: `tfb.Sigmoid()` for
        [0, 1].
    """

    posterior: Callable[[tf.Tensor], tfd.Distribution] | None = None
    event_shape: tuple[int, ...] = ()
    components: int = 10
    to_support: tfb.Bijector | None = None


NO_CONTEXT = PriorContext()


def standard_normal(
    latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT
) -> tfd.Distribution:
    """Build the unit normal of event shape [L], which has no variables; seed and context are not used.

    >>> print(standard_normal(2).log_prob([0.0, 0.0]).numpy().round(4))
    -1.8379
    """
    zeros = tf.zeros([latent_dim])
    return tfd.MultivariateNormalDiag(zeros, scale_diag=tf.ones_like(zeros), name="prior")


def uniform_sphere(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build the uniform distribution on the unit sphere in R^L, L > 1, for the posterior von_mises_fisher."""
    if latent_dim < 2:
        raise InputError(
            f"The prior uniform_sphere lies on the sphere in R^L: expected latent_dim of 2 or more, got "
            f"{latent_dim}. Change latent_dim or choose another prior."
        )
    return SphericalUniform(latent_dim, name="prior")


def mixture(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a learned mixture of `context.components` normals with independent coordinates.

    The initial means are drawn from N(0, I / 2), the variances are 1/2 and the weights are equal, so that
    mean and variance of the mixture are close to those of the unit normal.
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


def realnvp(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a real NVP: FLOW_STEPS affine couplings of the unit normal, with density and draws in one pass.

    References:
      Dinh et al. 2017, Density Estimation Using Real NVP, arXiv:1605.08803.
    """
    return _coupling_prior(latent_dim, affine, outputs=2, seed=seed)


def maf(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a masked autoregressive flow: FLOW_STEPS steps from z to the unit normal, each a MADE.

    The density takes one pass of each step, a draw L passes.

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

    The splines are the identity outside -5 .. 5; density and draws take one pass. Separate modes stay
    separate, where affine flows join them.

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


def vamp(latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT) -> tfd.Distribution:
    """Build a VampPrior with `context.components` pseudo-inputs, at first unit normal before `to_support`."""
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


class Prior(NamedTuple):
    """A family of priors.

    Attributes:
      build: Function `(latent_dim, *, seed, context) -> tfd.Distribution`.
      on_sphere: Whether z lies on the unit sphere.
      follows_posterior: Whether z lies on the unit sphere if that of the posterior does.
      has_components: Whether `context.components` is used.
    """

    build: Callable[..., tfd.Distribution]
    on_sphere: bool = False
    follows_posterior: bool = False
    has_components: bool = False

    def __call__(
        self, latent_dim: int, *, seed: int = 0, context: PriorContext = NO_CONTEXT
    ) -> tfd.Distribution:
        """Build p(z)."""
        return self.build(latent_dim, seed=seed, context=context)


PRIORS: dict[str, Prior] = {
    "standard_normal": Prior(standard_normal),
    "mixture": Prior(mixture, has_components=True),
    "vamp": Prior(vamp, follows_posterior=True, has_components=True),
    "realnvp": Prior(realnvp),
    "maf": Prior(maf),
    "spline": Prior(spline),
    "uniform_sphere": Prior(uniform_sphere, on_sphere=True),
}


def compatible(posterior: str, prior: str) -> None:
    """Check that posterior and prior, by their names, lie both on the unit sphere, or neither.

    >>> compatible("iaf", "vamp")
    """
    if PRIORS[prior].follows_posterior or POSTERIORS[posterior].on_sphere == PRIORS[prior].on_sphere:
        return
    if POSTERIORS[posterior].on_sphere:
        priors = [name for name, entry in PRIORS.items() if entry.on_sphere]
        priors += [name for name, entry in PRIORS.items() if entry.follows_posterior]
        raise InputError(
            f"The posterior {posterior} lies on the unit sphere and the prior {prior} does not: expected a "
            f"prior among {', '.join(priors)}, or another posterior."
        )
    posteriors = [name for name, entry in POSTERIORS.items() if entry.on_sphere]
    raise InputError(
        f"The prior {prior} lies on the unit sphere and the posterior {posterior} does not: expected the "
        f"posterior {', '.join(posteriors)}, or another prior."
    )


def on_sphere(prior: tfd.Distribution) -> bool:
    """Return whether all draws of a prior lie on the unit sphere.

    >>> on_sphere(tfd.SphericalUniform(3)), on_sphere(tfd.MultivariateNormalDiag(tf.zeros(3)))
    (True, False)
    """
    if isinstance(prior, VampPrior):
        prior = prior.now().components_distribution
    return isinstance(prior, tfd.SphericalUniform | tfd.VonMisesFisher)
