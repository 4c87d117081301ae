"""The choices that a configuration may name, and the recipes of training.

A table here says of its choices what must be known before TensorFlow is loaded; tests compare it with the
functions and models themselves.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from probvae.errors import InputError

# ---- objectives ----------------------------------------------------------------------------------


class Objective(NamedTuple):
    """The settings of an objective.

    Attributes:
      options: settings that it has beside `num_samples`; all but `beta_warmup` are keywords of its function.
      one_draw: name of the objective that it equals with one draw of z; empty where one draw is allowed.
      whole_batch: whether the value of an example depends on the other examples of its batch.
      num_examples: whether its function also takes the size of the training set.
    """

    options: tuple[str, ...] = ()
    one_draw: str = ""
    whole_batch: bool = False
    num_examples: bool = False


OBJECTIVES = {
    "elbo": Objective(options=("beta", "beta_warmup", "analytic_kl")),
    "iwae": Objective(one_draw="elbo"),
    "stl": Objective(options=("beta", "beta_warmup")),
    "dreg": Objective(one_draw="stl"),
    "renyi": Objective(options=("alpha",), one_draw="elbo"),
    "chi": Objective(one_draw="stl"),
    "free_bits": Objective(options=("free_bits", "beta", "beta_warmup", "analytic_kl"), whole_batch=True),
    "beta_tc": Objective(options=("beta", "beta_warmup"), whole_batch=True, num_examples=True),
    "mmd": Objective(options=("mmd_weight", "beta", "beta_warmup"), whole_batch=True),
}


# ---- the parts of a model, and their sizes -------------------------------------------------------


def dense(*sizes: int, context: int = 0) -> int:
    """Return the number of weights of dense layers of these sizes, each of which also sees a context.

    >>> dense(3, 5)
    20
    """
    return sum((inputs + context + 1) * outputs for inputs, outputs in pairwise(sizes))


def _couplings(latent_dim: int, outputs: int, context: int = 0) -> int:
    """Return the number of weights of a flow of four coupling steps."""
    changed = (latent_dim - latent_dim // 2, latent_dim // 2 or latent_dim)
    return 2 * sum(dense(latent_dim - n, 128, 128, outputs * n, context=context) for n in changed)


def _autoregressive(latent_dim: int, context: int = 0) -> int:
    """Return the number of weights of a flow of four autoregressive steps."""
    return 4 * dense(latent_dim, 128, 128, 2 * latent_dim, context=context)


class Posterior(NamedTuple):
    """The size of a posterior, for L latent dimensions.

    Attributes:
      parameters: number of parameters of q(z|x), from L.
      weights: number of weights of the networks inside of q(z|x), from L.
    """

    parameters: Callable[[int], int]
    weights: Callable[[int], int] = lambda latent_dim: 0


POSTERIORS = {
    "diagonal": Posterior(lambda n: 2 * n),
    "tril": Posterior(lambda n: n * (n + 3) // 2),
    "low_rank": Posterior(lambda n: 2 * n + n * min(n, 4)),
    "mixture": Posterior(lambda n: 4 * (1 + 2 * n)),
    "iaf": Posterior(lambda n: 2 * n + 64, lambda n: _autoregressive(n, context=64)),
    "spline": Posterior(lambda n: 2 * n + 64, lambda n: _couplings(n, outputs=23, context=64)),
    "von_mises_fisher": Posterior(lambda n: n + 1),
}


class Prior(NamedTuple):
    """The size of a prior.

    Attributes:
      weights: number of weights, from L, the number of components and the number of values of x.
    """

    weights: Callable[[int, int, int], int] = lambda latent_dim, components, values: 0


PRIORS = {
    "standard_normal": Prior(),
    "mixture": Prior(lambda latent_dim, components, values: components * (2 * latent_dim + 1)),
    "vamp": Prior(lambda latent_dim, components, values: components * values),
    "realnvp": Prior(lambda latent_dim, *_: _couplings(latent_dim, outputs=2)),
    "maf": Prior(lambda latent_dim, *_: _autoregressive(latent_dim)),
    "spline": Prior(lambda latent_dim, *_: _couplings(latent_dim, outputs=23)),
    "uniform_sphere": Prior(),
}


class Likelihood(NamedTuple):
    """The size of a likelihood.

    Attributes:
      parameters: number of parameters of p(x|z) at each place of x (pixel, time or row), all channels
        together, from the `Architecture`.
      weights: number of weights of its own.
    """

    parameters: Callable[[Any], int]
    weights: int = 0


def _for_each_value(parameters: int) -> Callable[[Any], int]:
    return lambda architecture: parameters * architecture.event_shape[-1]


def _logistic_mixture(architecture: Any) -> int:
    channels = architecture.event_shape[-1]
    return 100 if len(architecture.event_shape) == 3 and channels == 3 else 30 * channels


# The number of parameters of a column of a table of each kind; "categorical:K" has K.
COLUMNS = {
    "normal": 2,
    "lognormal": 2,
    "bernoulli": 1,
    "continuous_bernoulli": 1,
    "poisson": 1,
    "negative_binomial": 2,
}
MAX_CLASSES = 65_536  # the most classes of a column


def categories(kind: str) -> int:
    """Return K of a column of the kind categorical:K, and 0 for other kinds.

    Raises:
      InputError: K is above `MAX_CLASSES`.
    """
    name, _, digits = kind.partition(":")
    if name != "categorical" or not digits.isdecimal():
        return 0
    if len(digits) > 9 or int(digits) > MAX_CLASSES:
        raise InputError(f"A column must have at most {MAX_CLASSES:,} classes; got the kind {kind!r}.")
    return int(digits)


LIKELIHOODS = {
    "bernoulli": Likelihood(_for_each_value(1)),
    "continuous_bernoulli": Likelihood(_for_each_value(1)),
    "normal_fixed": Likelihood(_for_each_value(1)),
    "normal_shared": Likelihood(_for_each_value(1), weights=1),
    "normal": Likelihood(_for_each_value(2)),
    "discretized_logistic": Likelihood(_for_each_value(2)),
    "logistic_mixture": Likelihood(_logistic_mixture),
    "poisson": Likelihood(_for_each_value(1)),
    "negative_binomial": Likelihood(_for_each_value(2)),
    "categorical": Likelihood(lambda architecture: architecture.classes * architecture.event_shape[-1]),
    # An unknown kind is refused where the model is built.
    "mixed": Likelihood(lambda a: sum(categories(kind) or COLUMNS.get(kind, 2) for kind in a.columns)),
}


class Network(NamedTuple):
    """The layers of a pair of networks.

    Attributes:
      taps: size of a convolution's kernel; 0 for a network of dense layers.
      padded: whether the encoder's convolutions are padded.
      residual: whether a residual block follows each convolution.
      gated: whether each hidden dense layer has a gate of the same size.
    """

    taps: int = 0
    padded: bool = True
    residual: bool = False
    gated: bool = False


NETWORKS = {
    "conv": Network(taps=9, padded=False),
    "residual_conv": Network(taps=9, residual=True),
    "conv1d": Network(taps=5),
    "mlp": Network(),
    "gated_mlp": Network(gated=True),
}


# ---- the names -----------------------------------------------------------------------------------

# The names that each choice may take; a test holds them equal to the registries.
CHOICES: dict[str, tuple[str, ...]] = {
    "posterior": tuple(POSTERIORS),
    "prior": tuple(PRIORS),
    "likelihood": tuple(LIKELIHOODS),
    "network": tuple(NETWORKS),
    "activation": ("relu", "elu", "gelu", "swish", "tanh"),
    "objective": tuple(OBJECTIVES),
    "binarize": ("threshold", "static", "dynamic", "none"),
    "kind": ("auto", "image", "series", "vector"),
    "crop": ("center", "none", "pad"),
    "color": ("auto", "rgb", "grey"),
    "labels": ("none", "condition", "semi"),
    "beta_warmup": ("none", "linear", "cyclic", "cosine"),
    "schedule": ("constant", "cosine", "linear", "exponential"),
    "on_nonfinite": ("stop", "skip"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}

# The changes of a recipe from the defaults of `Training`.
RECIPES: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "tuned": {"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 500},
}
