"""Supports of distributions of x, by their types, for the checks of data."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tensorflow_probability import distributions as tfd

from probvae.distributions import values
from probvae.distributions.base import unwrap
from probvae.distributions.missing import SeenValues


class Support(NamedTuple):
    """The support of p(x|z), value by value.

    Attributes:
      text: Description, for messages.
      contains: Function from x [..., *E], an array or a tensor of floats, to a mask of those in the support.
    """

    text: str
    contains: Callable[[Any], Any]


FINITE = Support(values.NORMAL.support, values.NORMAL.contains)


def _of(kind: values.Elementwise) -> Callable[[Any], Support]:
    return lambda p: Support(kind.support, kind.contains)


def _classes(p: tfd.Categorical) -> Support:
    kind = values.categorical(int(p.logits_parameter().shape[-1]))
    return Support(kind.support, kind.contains)


def _inner(p: Any) -> Support:
    return support_of(p.distribution)


def _seen(p: SeenValues) -> Support:
    inner = support_of(p.distribution)
    return Support(f"{inner.text}, or missing (NaN)", lambda x: inner.contains(x) | (x != x))


# Discrete distributions and those of an interval; all others are of finite numbers.
SUPPORTS: dict[type, Callable[[Any], Support]] = {
    SeenValues: _seen,
    tfd.Independent: _inner,
    tfd.Sample: _inner,
    tfd.BatchReshape: _inner,
    tfd.MixtureSameFamily: lambda p: support_of(p.components_distribution),
    tfd.Bernoulli: _of(values.BERNOULLI),
    tfd.OneHotCategorical: _of(values.BERNOULLI),
    tfd.ContinuousBernoulli: _of(values.CONTINUOUS_BERNOULLI),
    tfd.Beta: _of(values.CONTINUOUS_BERNOULLI),
    tfd.Kumaraswamy: _of(values.CONTINUOUS_BERNOULLI),
    tfd.LogitNormal: _of(values.CONTINUOUS_BERNOULLI),
    tfd.Poisson: _of(values.POISSON),
    tfd.NegativeBinomial: _of(values.POISSON),
    tfd.ZeroInflatedNegativeBinomial: _of(values.POISSON),
    tfd.Geometric: _of(values.POISSON),
    tfd.Binomial: _of(values.POISSON),
    tfd.LogNormal: _of(values.LOGNORMAL),
    tfd.Gamma: _of(values.LOGNORMAL),
    tfd.InverseGamma: _of(values.LOGNORMAL),
    tfd.Exponential: _of(values.LOGNORMAL),
    tfd.Weibull: _of(values.LOGNORMAL),
    tfd.Categorical: _classes,
    tfd.FiniteDiscrete: lambda p: _classes(p._categorical),
}


def support_of(p: tfd.Distribution) -> Support:
    """Return the support of p(x|z); finite numbers for a distribution of a type that is not in `SUPPORTS`.

    >>> import numpy as np
    >>> support = support_of(tfd.Independent(tfd.Poisson(log_rate=[0.0, 0.0]), 1))
    >>> support.text, support.contains(np.array([[2.0, -1.0], [0.5, np.inf]])).tolist()
    ('integers from 0 on', [[True, False], [False, False]])
    """
    p = unwrap(p)
    make = next((SUPPORTS[kind] for kind in type(p).__mro__ if kind in SUPPORTS), _of(values.NORMAL))
    return make(p)
