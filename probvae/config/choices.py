"""The choices of a configuration, and the recipes of training.

The tables hold the facts that must be known before TensorFlow is loaded; tests compare them with the
functions and models themselves.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from probvae.errors import InputError

# ---- objectives ----------------------------------------------------------------------------------


class Objective(NamedTuple):
    """The settings of an objective."""

    options: tuple[str, ...] = ()  # settings beside `num_samples`; keywords but for `beta_warmup`
    one_draw: str = ""  # objective that it equals with one draw of z, which is then refused; empty if allowed
    whole_batch: bool = False  # whether the value of an example depends on the other examples of its batch
    num_examples: bool = False  # whether its function also takes the size of the training set
    one_group: str = ""  # objective that it equals with one group of draws, as with `one_draw`
    mixes_elbo: bool = False  # whether beta is the share of the ELBO in it, 0 unless set, not the KL's weight


OBJECTIVES = {
    "elbo": Objective(options=("beta", "beta_warmup", "analytic_kl")),
    "iwae": Objective(options=("groups", "beta"), one_draw="elbo", mixes_elbo=True),
    "piwae": Objective(options=("groups",), one_group="iwae"),
    "stl": Objective(options=("beta", "beta_warmup")),
    "dreg": Objective(one_draw="stl"),
    "renyi": Objective(options=("alpha",), one_draw="elbo"),
    "chi": Objective(one_draw="stl"),
    "free_bits": Objective(options=("free_bits", "beta", "beta_warmup", "analytic_kl"), whole_batch=True),
    "beta_tc": Objective(options=("beta", "beta_warmup"), whole_batch=True, num_examples=True),
    "mmd": Objective(options=("mmd_weight", "beta", "beta_warmup"), whole_batch=True),
}


# ---- parts of a model, and their sizes -----------------------------------------------------------


def dense(*sizes: int, context: int = 0) -> int:
    """Return the number of weights of dense layers of these sizes, each with a context as further input.

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
    """The numbers of parameters and of inner weights of q(z|x), as functions of the latent dimension."""

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

# The number of weights of p(z), from the latent dimension and the numbers of components and values of x.
PRIORS: dict[str, Callable[[int, int, int], int]] = {
    "standard_normal": lambda latent_dim, components, values: 0,
    "mixture": lambda latent_dim, components, values: components * (2 * latent_dim + 1),
    "vamp": lambda latent_dim, components, values: components * values,
    "realnvp": lambda latent_dim, components, values: _couplings(latent_dim, outputs=2),
    "maf": lambda latent_dim, components, values: _autoregressive(latent_dim),
    "spline": lambda latent_dim, components, values: _couplings(latent_dim, outputs=23),
    "uniform_sphere": lambda latent_dim, components, values: 0,
}

MAX_CLASSES = 65_536  # largest number of levels of a column


class ColumnKind(NamedTuple):
    """The sizes of a kind of column, as functions of its number of levels K.

    Attributes:
      levels: K; 0 for numbers, None if it stands behind a colon, as in categorical:3.
      parameters: Number of parameters of p(x|z) that a decoder gives.
      trained: Number of parameters that are trained numbers, the same for every z.
      inputs: Number of inputs of an encoder.
      is_size: Whether the column is the logarithm of the size of its row, in units that stand behind a colon.
      takes_size: Whether the column is a count, whose rate the size of its row multiplies.
    """

    levels: int | None = 0
    parameters: Callable[[int], int] = lambda levels: 2
    trained: Callable[[int], int] = lambda levels: 0
    inputs: Callable[[int], int] = lambda levels: 1
    is_size: bool = False
    takes_size: bool = False


COLUMNS = {
    "normal": ColumnKind(),
    "normal_shared": ColumnKind(parameters=lambda levels: 1, trained=lambda levels: 1),
    "student_t": ColumnKind(trained=lambda levels: 1),
    "lognormal": ColumnKind(),
    "bernoulli": ColumnKind(levels=2, parameters=lambda levels: 1),
    "continuous_bernoulli": ColumnKind(parameters=lambda levels: 1),
    "poisson": ColumnKind(parameters=lambda levels: 1, takes_size=True),
    "negative_binomial": ColumnKind(takes_size=True),
    "zero_inflated_negative_binomial": ColumnKind(parameters=lambda levels: 3, takes_size=True),
    "size": ColumnKind(is_size=True),
    "categorical": ColumnKind(None, parameters=lambda levels: levels, inputs=lambda levels: levels),
    "ordinal": ColumnKind(
        None,
        parameters=lambda levels: 1,
        trained=lambda levels: levels - 1,
        inputs=lambda levels: levels - 1,
    ),
}


class ColumnSizes(NamedTuple):
    """The sizes of a column, as in `ColumnKind`."""

    levels: int
    parameters: int
    trained: int
    inputs: int


def column_sizes(kind: str) -> ColumnSizes:
    """Return the sizes of a column; those of a normal one if there is no such kind.

    An unknown kind is refused where the model is built.

    Raises:
      InputError: The column has more than `MAX_CLASSES` levels.

    >>> column_sizes("categorical:3").parameters
    3
    """
    name, _, digits = kind.partition(":")
    known = COLUMNS.get(name, ColumnKind())
    if (known.levels is None) != digits.isdecimal():
        known = ColumnKind()
    if known.levels is None and (len(digits) > 9 or int(digits) > MAX_CLASSES):
        raise InputError(f"A column must have at most {MAX_CLASSES:,} classes; got the kind {kind!r}.")
    levels = int(digits) if known.levels is None else known.levels
    return ColumnSizes(levels, known.parameters(levels), known.trained(levels), known.inputs(levels))


def refuse_sizes(columns: Mapping[Any, str]) -> None:
    """Refuse columns of which several are the size of the rows, or one is and none is a count.

    Args:
      columns: Kinds of the columns of a table, by name or index.

    Raises:
      InputError: There are such columns.

    >>> refuse_sizes({"hours": "size", "calls": "poisson"})
    """
    kinds = {name: COLUMNS.get(kind.partition(":")[0], ColumnKind()) for name, kind in columns.items()}
    sizes = [name for name, kind in kinds.items() if kind.is_size]
    if len(sizes) > 1:
        raise InputError(
            f"One column, at most, can be the size of the rows; got {', '.join(map(repr, sizes))}: give the "
            "others another kind."
        )
    counts = [name for name, kind in COLUMNS.items() if kind.takes_size]
    if sizes and not any(kind.takes_size for kind in kinds.values()):
        raise InputError(
            f"Column {sizes[0]!r} is the size of the rows, which multiplies the rates of counts, and no "
            f"column is a count: give one a kind of counts ({', '.join(counts)}), or this one another kind."
        )


# The number of parameters of p(x|z) at one place of x, from an architecture `m` and the number of channels.
LIKELIHOODS: dict[str, Callable[[Any, int], int]] = {
    "bernoulli": lambda m, channels: channels,
    "continuous_bernoulli": lambda m, channels: channels,
    "normal_fixed": lambda m, channels: channels,
    "normal_shared": lambda m, channels: channels,  # and one shared scale
    "normal": lambda m, channels: 2 * channels,
    "discretized_logistic": lambda m, channels: 2 * channels,
    "logistic_mixture": lambda m, channels: 100 if m.event_shape[2:] == (3,) else 30 * channels,
    "poisson": lambda m, channels: channels,
    "negative_binomial": lambda m, channels: 2 * channels,
    "categorical": lambda m, channels: m.classes * channels,
    "mixed": lambda m, channels: sum(column_sizes(kind).parameters for kind in m.columns),
}


OF_TABLES = ("mixed",)  # likelihoods of tables, which need the kinds of the columns
FROM_EXAMPLES = ("vamp",)  # priors whose components are q(z|x) of examples x, without y
ON_SPHERES = ("uniform_sphere",)  # priors on a sphere


class Network(NamedTuple):
    """The layers of encoder and decoder.

    Attributes:
      taps: Size of a convolution's kernel; 0 for a network of dense layers.
      padded: Whether the encoder's convolutions are padded.
      residual: Whether a residual block follows each convolution.
      gated: Whether each hidden dense layer has a gate of the same size.
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


CONVOLUTIONS = tuple(name for name, network in NETWORKS.items() if network.taps)


class Users(NamedTuple):
    """The users of a setting of `Architecture`, without which it is idle.

    Attributes:
      owner: Setting whose choice decides.
      choices: Choices of it that use the setting.
      also: Another setting that uses it wherever it is set; empty for none.
    """

    owner: str
    choices: tuple[str, ...]
    also: str = ""


DENSE = tuple(name for name in NETWORKS if name not in CONVOLUTIONS)
USERS = {
    "filters": Users("network", CONVOLUTIONS),
    "units": Users("network", DENSE, also="latent_layers"),
    "components": Users("prior", ("mixture", "vamp")),
    "classes": Users("likelihood", ("categorical",)),
}


# ---- names ---------------------------------------------------------------------------------------

# The names of each choice; a test compares them with the registries.
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
    "decimal": ("auto", ".", ","),
    "labels": ("none", "condition", "semi"),
    "beta_warmup": ("none", "linear", "cyclic", "cosine"),
    "optimizer": ("adam", "muon"),
    "schedule": ("constant", "cosine", "linear", "exponential"),
    "on_nonfinite": ("stop", "skip"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}

# The differences of a recipe from the defaults of `Training`.
RECIPES: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "tuned": {"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 500},
}
