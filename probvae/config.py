"""What a run is: its architecture and its training, as frozen dataclasses that JSON can hold.

No TensorFlow here, so that the command line can check its options before anything heavy loads.
"""

import dataclasses
import json
import math
import typing
from dataclasses import dataclass, field
from typing import Any

from probvae import display, strict_json
from probvae.errors import InputError
from probvae.sizes import refuse_too_large

FORMAT = 2  # of config.json
MAX_CONFIG = 4_000_000  # bytes of it: 100,000 columns of a table

# The names that each choice may take; a test holds them equal to the registries.
CHOICES: dict[str, tuple[str, ...]] = {
    "posterior": ("diagonal", "tril", "low_rank", "mixture", "iaf", "spline", "von_mises_fisher"),
    "prior": ("standard_normal", "mixture", "vamp", "realnvp", "maf", "spline", "uniform_sphere"),
    "likelihood": (
        "bernoulli",
        "continuous_bernoulli",
        "normal_fixed",
        "normal_shared",
        "normal",
        "discretized_logistic",
        "logistic_mixture",
        "poisson",
        "negative_binomial",
        "categorical",
        "mixed",
    ),
    "network": ("conv", "residual_conv", "conv1d", "mlp", "gated_mlp"),
    "activation": ("relu", "elu", "gelu", "swish", "tanh"),
    "objective": ("elbo", "iwae", "stl", "dreg", "renyi", "chi", "free_bits", "beta_tc", "mmd"),
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


# What an objective with one draw of z is; objectives that look at a batch as a whole; whose an option is.
ONE_DRAW = {"iwae": "elbo", "dreg": "stl", "renyi": "elbo", "chi": "stl"}
WHOLE_BATCH = ("free_bits", "beta_tc", "mmd")
_WEIGHED = ("elbo", "stl", "free_bits", "beta_tc", "mmd")
OBJECTIVES_OF = {
    "analytic_kl": ("elbo", "free_bits"),
    "beta": _WEIGHED,
    "beta_warmup": _WEIGHED,
    "alpha": ("renyi",),
    "free_bits": ("free_bits",),
    "mmd_weight": ("mmd",),
}


def _in_range(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"range": (low, high)})


class _Checked(display.Configuration):
    """Checks every field's type, range and choice when the dataclass is made."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _as_type(f.name, getattr(self, f.name), hints[f.name])
            object.__setattr__(self, f.name, value)
            low, high = f.metadata.get("range", (None, None))
            for number in value if isinstance(value, tuple) else (value,):
                if low is not None and not low <= number <= high:
                    raise InputError(f"{f.name} must be from {low:,} to {high:,}; got {value}.")
            if f.name in CHOICES and value not in CHOICES[f.name]:
                names = ", ".join(CHOICES[f.name])
                raise InputError(f"{f.name} must be one of {names}; got {value!r}.")


def _as_type(name: str, value: Any, hint: Any) -> Any:
    """Check `value` against a field's type; an int serves as a float and a list as a tuple."""
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if isinstance(value, list | tuple) and all(type(v) is kind for v in value):
            return tuple(value)
        what = {int: "integers", str: "strings"}[kind]
        raise InputError(f"{name} must be a list of {what}; got {value!r}.")
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not hint:
        raise InputError(f"{name} must be of type {hint.__name__}; got {value!r}.")
    return value


@dataclass(frozen=True, repr=False)
class Architecture(_Checked):
    """What rebuilds a model.

    Attributes:
      event_shape: of x: (height, width, channels) of images, (time, channels) of series, (size,) of vectors.
      latent_dim: L, the size of z.
      latent_layers: sizes of the layers of a hierarchy, z_1 (the top) first; they sum to `latent_dim`. Empty
        for a model of one layer.
      posterior: q(z|x), a key of `probvae.posteriors.POSTERIORS`.
      prior: p(z), a key of `probvae.priors.PRIORS`.
      likelihood: p(x|z), a key of `probvae.likelihoods.LIKELIHOODS`.
      network: of encoder and decoder, a key of `probvae.networks.NETWORKS`.
      filters: of the encoder's convolutions; the decoder has the same in reverse.
      units: of the hidden layers of a multilayer perceptron; likewise.
      activation: of the hidden layers, a Keras name.
      components: of a mixture prior, or pseudo-inputs of the VampPrior.
      columns: kinds of the columns of a table, for the likelihood mixed: normal, lognormal, bernoulli,
        continuous_bernoulli, poisson, negative_binomial, categorical:K.
      classes: K of the likelihood categorical, whose values are 0 to K - 1.
      missing: whether x may have missing values, NaN; the encoder then also sees which are.
      context_dim: size of y in p(x|z, y) and q(z|x, y); 0 for a model without.
      classifier: whether y is a class that may be unknown, with q(y|x) (the M2 model of Kingma et al. 2014).

    Raises:
      InputError: a field of the wrong type, out of range, or no such choice; choices that do not go together;
        a model larger than `probvae.sizes` allows.

    >>> Architecture(latent_dim=0)
    Traceback (most recent call last):
    probvae.errors.InputError: latent_dim must be from 1 to 4096; got 0.
    """

    MAIN = ("event_shape", "latent_dim", "posterior", "prior", "likelihood", "network")

    event_shape: tuple[int, ...] = _in_range((28, 28, 1), 1, 1_000_000)
    latent_dim: int = _in_range(2, 1, 4096)
    latent_layers: tuple[int, ...] = _in_range((), 1, 4096)
    posterior: str = "diagonal"
    prior: str = "standard_normal"
    likelihood: str = "bernoulli"
    network: str = "conv"
    filters: tuple[int, ...] = _in_range((32, 64), 1, 4096)
    units: tuple[int, ...] = _in_range((200, 200), 1, 65_536)
    activation: str = "relu"
    components: int = _in_range(100, 1, 100_000)
    columns: tuple[str, ...] = ()
    classes: int = _in_range(256, 2, 65_536)
    missing: bool = False
    context_dim: int = _in_range(0, 0, 4096)
    classifier: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.event_shape) <= 3:
            raise InputError(f"event_shape must have one to three sizes; got {self.event_shape}.")
        for name in ("filters", "units"):
            if not getattr(self, name):
                raise InputError(f"{name} must be a list of one or more integers; got ().")
        if self.latent_layers and sum(self.latent_layers) != self.latent_dim:
            raise InputError(
                f"latent_layers must sum to latent_dim; got {self.latent_layers} and {self.latent_dim}."
            )
        if len(self.latent_layers) == 1:
            raise InputError("latent_layers must name two or more layers; use latent_dim for one.")
        if self.latent_layers and (self.posterior, self.prior) != ("diagonal", "standard_normal"):
            raise InputError(
                "A hierarchy has the posterior diagonal and the prior standard_normal in each of its layers; "
                f"got {self.posterior} and {self.prior}."
            )
        if self.latent_layers and self.context_dim:
            raise InputError("A hierarchy cannot be conditional: leave latent_layers or the labels out.")
        if self.classifier and not self.context_dim:
            raise InputError("classifier needs classes: context_dim must be 2 or more; got 0.")
        if (self.likelihood == "mixed") != bool(self.columns):
            raise InputError(
                "columns and the likelihood mixed belong together: got likelihood "
                f"{self.likelihood} and {len(self.columns)} columns."
            )
        if self.columns and self.event_shape != (len(self.columns),):
            raise InputError(
                f"columns must be {self.event_shape[0]}, one for each value of x; got {len(self.columns)}."
            )
        if self.context_dim and self.prior == "vamp":
            raise InputError("The prior vamp does not know y: choose another prior for a conditional model.")
        refuse_too_large(self)


@dataclass(frozen=True, repr=False)
class Training(_Checked):
    """How a model is trained; the defaults are the tutorial's.

    Attributes:
      data: a name in `probvae.data.SOURCES`, or the path of a file or folder.
      kind: what arrays hold: image, series or vector; auto decides by their axes.
      image_size: (height, width) to bring images to; empty to leave them.
      crop: how, a key of `probvae.data.CROPS`.
      color: of folders of images: rgb, grey, or auto.
      label: the column of a table that holds the labels; empty for none.
      column_kinds: of columns of a table, NAME=KIND, in place of what is guessed.
      binarize: a key of `probvae.data.BINARIZATIONS`.
      labels: what labels are for: none (not used), condition (p(x|z, y)), semi (likewise, where some may be
        missing).
      labelled: the fraction of the training labels that `semi` sees.
      validation: the fraction of the training set that is held out; the weights that are best on it are kept.
      objective: a key of `probvae.objectives.OBJECTIVES`.
      num_samples: draws of z for each example and step.
      analytic_kl: take the KL of the ELBO in closed form.
      beta: weight of log p(z) - log q(z|x), after its warm-up.
      beta_warmup: how beta gets there, a key of `probvae.objectives.WARMUPS`.
      beta_warmup_steps: the steps that this takes (of a cycle, for cyclic).
      alpha: order of the Renyi bound.
      free_bits: nats of each latent dimension that are free.
      mmd_weight: of the maximum mean discrepancy.
      batch_size: examples a step.
      epochs: passes over the training set.
      learning_rate: Adam's, at the start.
      schedule: of the learning rate, a key of `probvae.training.SCHEDULES`.
      warmup_steps: steps in which the learning rate rises linearly from zero.
      clip_norm: the gradient's norm, over all weights, is cut to this; 0 for no limit.
      on_nonfinite: what a step does whose objective or gradient is not finite: stop the training, or skip it.
      parts: that a batch is cut into, worked on side by side by a thread each, with noise of their own.
      precision: of the networks; weights, distributions and the bound are float32 in any case.
      patience: epochs without a better ELBO on the validation set after which training stops; 0 for never.
      seed: of weights, order, dynamic binarization and draws of z; what is drawn once for all runs
        (a held-out tenth, static binarization) does not depend on it.

    Raises:
      InputError: a field of the wrong type, out of range, or no such choice.
    """

    MAIN = ("data", "objective", "batch_size", "epochs", "learning_rate", "seed")

    data: str = "mnist"
    kind: str = "auto"
    image_size: tuple[int, ...] = _in_range((), 1, 4096)
    crop: str = "center"
    color: str = "auto"
    label: str = ""
    column_kinds: tuple[str, ...] = ()
    binarize: str = "threshold"
    labels: str = "none"
    labelled: float = _in_range(1.0, 0.0, 1.0)
    validation: float = _in_range(0.0, 0.0, 0.9)
    objective: str = "elbo"
    num_samples: int = _in_range(1, 1, 100_000)
    analytic_kl: bool = False
    beta: float = _in_range(1.0, 0.0, 1e6)
    beta_warmup: str = "none"
    beta_warmup_steps: int = _in_range(0, 0, 1_000_000_000)
    alpha: float = _in_range(0.5, -100.0, 100.0)
    free_bits: float = _in_range(0.1, 0.0, 100.0)
    mmd_weight: float = _in_range(10.0, 0.0, 1e6)
    batch_size: int = _in_range(32, 1, 1_000_000)
    epochs: int = _in_range(10, 0, 1_000_000)
    learning_rate: float = _in_range(1e-4, 0.0, 10.0)
    schedule: str = "constant"
    warmup_steps: int = _in_range(0, 0, 1_000_000_000)
    clip_norm: float = _in_range(0.0, 0.0, 1e9)
    on_nonfinite: str = "stop"
    parts: int = _in_range(1, 1, 1024)
    precision: str = "float32"
    patience: int = _in_range(0, 0, 1_000_000)
    seed: int = _in_range(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.image_size) == 1:
            object.__setattr__(self, "image_size", 2 * self.image_size)
        if len(self.image_size) > 2:
            raise InputError(f"image_size must be a height and a width; got {self.image_size}.")
        for kind in self.column_kinds:
            if kind.count("=") != 1:
                raise InputError(f"column_kinds must be of the form NAME=KIND; got {kind!r}.")
        if not self.labelled:
            raise InputError("labelled must be above 0: some labels must be known. Got 0.")
        if self.labels != "semi" and self.labelled != 1:
            raise InputError("labelled is an option of labels semi: leave it out, or set labels to semi.")
        if self.beta_warmup != "none" and not self.beta_warmup_steps:
            raise InputError(f"beta_warmup {self.beta_warmup} needs beta_warmup_steps, 1 or more.")
        self._refuse_idle_options()
        if self.patience and not self.validation:
            raise InputError("patience needs a validation set: set validation to a fraction (0.1, say).")
        if self.objective in ONE_DRAW and self.num_samples == 1:
            same = ONE_DRAW[self.objective]
            raise InputError(
                f"{self.objective} with one draw is the {same}: set num_samples to 2 or more (5, say)."
            )
        if self.parts > 1 and self.objective in WHOLE_BATCH:
            raise InputError(f"The objective {self.objective} looks at a batch as a whole: set parts to 1.")
        if self.labels == "semi" and self.objective in WHOLE_BATCH:
            raise InputError(
                f"The objective {self.objective} looks at a batch as a whole, and labels semi at every class "
                "of each example: choose another objective, such as elbo or iwae."
            )

    def _refuse_idle_options(self) -> None:
        """Refuse an option that another choice makes idle, so that nobody believes it was used."""
        default = {f.name: f.default for f in dataclasses.fields(self)}
        for name, objectives in OBJECTIVES_OF.items():
            if getattr(self, name) != default[name] and self.objective not in objectives:
                raise InputError(
                    f"{name} is an option of the objective{'s' if len(objectives) > 1 else ''} "
                    f"{', '.join(objectives)}; got objective {self.objective!r}."
                )
        if self.beta_warmup_steps and self.beta_warmup == "none":
            raise InputError("beta_warmup_steps needs a beta_warmup: set it to linear, cyclic or cosine.")


@dataclass(frozen=True)
class Every:
    """How often a checkpoint is written within an epoch: at every so many steps, or seconds.

    >>> Every.parse("500"), Every.parse("2m").seconds
    (Every(steps=500, seconds=None), 120.0)
    """

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Every":
        """Read a number of steps ("500"), or of seconds, minutes or hours ("30s", "5m", "2h").

        Raises:
          InputError: neither.
        """
        units = {"s": 1, "m": 60, "h": 3600}
        unit = units.get(text[-1:])
        try:
            number = int(text) if unit is None else float(text[:-1]) * unit
        except ValueError:
            number = 0
        if not 0 < number < 1e9:
            raise InputError(f"checkpoint_every must be a number of steps, or a time: 30s, 5m; got {text!r}.")
        return cls(steps=int(number)) if unit is None else cls(seconds=float(number))


# What a recipe changes from the defaults of `Training`.
RECIPES: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "tuned": {"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 500},
}


def to_json(architecture: Architecture | None, training: Training | None = None) -> str:
    """Write config.json's text; `None` where a model was not built from an architecture."""
    parts = {"architecture": architecture, "training": training}
    config = {k: v and dataclasses.asdict(v) for k, v in parts.items()}
    return json.dumps({"format": FORMAT, **config}, indent=2) + "\n"


def from_json(text: str) -> tuple[Architecture | None, Training | None]:
    """Read config.json's text, strictly.

    Returns:
      The architecture and the training, either of them None where it was not saved.

    Raises:
      InputError: not JSON, another format, an unknown key, or a field that is refused.

    >>> from_json(to_json(Architecture(latent_dim=3)))[0].latent_dim
    3
    """
    config = strict_json.parse(text, "config.json", levels=3)
    if not isinstance(config, dict):
        raise InputError(f"config.json must hold an object; it holds {type(config).__name__}.")
    if config.get("format") != FORMAT:
        raise InputError(
            f"config.json must be of format {FORMAT}; it is of format {config.get('format')!r}. "
            "Use the version of probvae that wrote it."
        )
    _refuse_unknown("config.json", config, {"format", "architecture", "training"})
    return _read(Architecture, config, "architecture"), _read(Training, config, "training")


def _read(cls: Any, config: dict[str, Any], name: str) -> Any:
    part = config.get(name)
    if part is None:
        return None
    if not isinstance(part, dict):
        raise InputError(f"{name} in config.json must be an object; got {part!r}.")
    _refuse_unknown(f"{name} in config.json", part, {f.name for f in dataclasses.fields(cls)})
    return cls(**part)


def _refuse_unknown(where: str, part: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(part) - known)
    if unknown:
        raise InputError(
            f"{where} has the unknown key {unknown[0]!r}; the known ones are {', '.join(sorted(known))}."
        )
