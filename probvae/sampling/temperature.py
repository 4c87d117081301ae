"""Priors at a temperature."""

import functools

import numpy as np
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae.arguments import class_of, instance, weight
from probvae.distributions.base import LazyDistribution
from probvae.distributions.chain import Chain, Conditional
from probvae.errors import InputError


def tempered(distribution: tfd.Distribution, temperature: float) -> tfd.Distribution:
    """Return a distribution with draws closer to its centre (T < 1) or further from it (T > 1).

    The standard deviation of a normal is multiplied by T, which is p(z)^(1/T^2), normalized; for mixtures
    those of the components, for flows that of the base distribution, and for hierarchies those of all
    conditionals. The weights of a mixture and the map of a flow do not change.

    Args:
      distribution: p(z).
      temperature: T, above 0; 1 returns the distribution unchanged.

    Raises:
      InputError: T is not above 0, or the distribution has no scale.

    >>> print(tempered(tfd.Normal(1.0, 2.0), 0.5).stddev().numpy())
    1.0

    References:
      Kingma & Dhariwal 2018, Glow, arXiv:1807.03039. Vahdat & Kautz 2020, NVAE, arXiv:2007.03898.
    """
    instance("distribution", distribution, tfd.Distribution, "give p(z), such as vae.prior")
    weight("temperature", temperature, above=True)
    return distribution if temperature == 1 else _scaled(distribution, float(temperature))


@functools.singledispatch
def _scaled(distribution: tfd.Distribution, temperature: float) -> tfd.Distribution:
    """Return the distribution with the standard deviations of its normals multiplied."""
    raise InputError(
        "A temperature multiplies the scale of a normal, of a mixture of normals, of a flow's base or of a "
        f"hierarchy; the prior is {class_of(distribution)}: leave the temperature at 1."
    )


@_scaled.register
def _normal(distribution: tfd.Normal, temperature: float) -> tfd.Distribution:
    return tfd.Normal(distribution.loc, temperature * distribution.scale)


@_scaled.register
def _multivariate_normal(
    distribution: tfd.MultivariateNormalLinearOperator, temperature: float
) -> tfd.Distribution:
    loc = distribution.mean()
    about_loc = tfb.Chain([tfb.Shift(loc), tfb.Scale(np.float32(temperature)), tfb.Shift(-loc)])
    return tfd.TransformedDistribution(distribution, about_loc, name="tempered")


@_scaled.register
def _independent(distribution: tfd.Independent, temperature: float) -> tfd.Distribution:
    scaled = _scaled(distribution.distribution, temperature)
    return tfd.Independent(scaled, distribution.reinterpreted_batch_ndims)


@_scaled.register
def _sample(distribution: tfd.Sample, temperature: float) -> tfd.Distribution:
    return tfd.Sample(_scaled(distribution.distribution, temperature), distribution.sample_shape)


@_scaled.register
def _mixture(distribution: tfd.MixtureSameFamily, temperature: float) -> tfd.Distribution:
    components = _scaled(distribution.components_distribution, temperature)
    return tfd.MixtureSameFamily(distribution.mixture_distribution, components)


@_scaled.register
def _lazy(distribution: LazyDistribution, temperature: float) -> tfd.Distribution:
    return _scaled(distribution.now(), temperature)


# TFP returns this base class for parts that are not composite tensors, such as the flows.
@_scaled.register(tfd.TransformedDistribution.__bases__[0])
def _flow(distribution: tfd.TransformedDistribution, temperature: float) -> tfd.Distribution:
    return tfd.TransformedDistribution(_scaled(distribution.distribution, temperature), distribution.bijector)


@_scaled.register
def _chain(distribution: Chain, temperature: float) -> tfd.Distribution:
    def scaled(conditional: Conditional) -> Conditional:
        return lambda z: _scaled(conditional(z), temperature)

    top, below = _scaled(distribution.top, temperature), map(scaled, distribution.conditionals)
    return Chain(top, list(below), distribution.latent_layers)
