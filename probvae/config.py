"""What a run is: its architecture and its training, as frozen dataclasses that JSON can hold.

No TensorFlow here, so that the command line can check its options before anything heavy loads.
"""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any

from probvae.errors import InputError

FORMAT = 1  # of config.json

# The names that each choice may take; a test holds them equal to the registries.
CHOICES: dict[str, tuple[str, ...]] = {
    "posterior": ("diagonal", "tril"),
    "prior": ("standard_normal",),
    "likelihood": ("bernoulli",),
    "objective": ("elbo", "iwae"),
    "binarize": ("threshold", "static", "dynamic", "none"),
    "schedule": ("constant", "cosine"),
}


def _in_range(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"range": (low, high)})


class _Checked:
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
        args = typing.get_args(hint)
        fits = isinstance(value, list | tuple) and all(type(v) is int for v in value)
        if fits and ((args[-1] is Ellipsis and len(value) > 0) or len(value) == len(args)):
            return tuple(value)
        size = "one or more" if args[-1] is Ellipsis else str(len(args))
        raise InputError(f"{name} must be a list of {size} integers; got {value!r}.")
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise InputError(f"{name} must be of type {hint.__name__}; got {value!r}.")
    return value


@dataclass(frozen=True)
class Architecture(_Checked):
    """What rebuilds a model.

    Attributes:
      image_shape: (height, width, channels) of x.
      latent_dim: L, the size of z.
      posterior: q(z|x), a key of `probvae.posteriors.POSTERIORS`.
      prior: p(z), a key of `probvae.priors.PRIORS`.
      likelihood: p(x|z), a key of `probvae.likelihoods.LIKELIHOODS`.
      filters: of the encoder's convolutions; the decoder has the same in reverse.

    Raises:
      InputError: a field of the wrong type, out of range, or no such choice.

    >>> Architecture(latent_dim=0)
    Traceback (most recent call last):
    probvae.errors.InputError: latent_dim must be from 1 to 4096; got 0.
    """

    image_shape: tuple[int, int, int] = _in_range((28, 28, 1), 1, 4096)
    latent_dim: int = _in_range(2, 1, 4096)
    posterior: str = "diagonal"
    prior: str = "standard_normal"
    likelihood: str = "bernoulli"
    filters: tuple[int, ...] = _in_range((32, 64), 1, 4096)


@dataclass(frozen=True)
class Training(_Checked):
    """How a model is trained; the defaults are the tutorial's.

    Attributes:
      data: a name in `probvae.data.SOURCES` or the path of an .npz or .npy file.
      binarize: a key of `probvae.data.BINARIZATIONS`.
      objective: a key of `probvae.objectives.OBJECTIVES`.
      num_samples: draws of z for each example and step.
      analytic_kl: take the KL of the ELBO in closed form.
      batch_size: examples a step.
      epochs: passes over the training set.
      learning_rate: Adam's, at the start.
      schedule: of the learning rate, a key of `probvae.training.SCHEDULES`.
      warmup_steps: steps in which the learning rate rises linearly from zero.
      seed: of weights, order, dynamic binarization and draws of z; what is drawn once for all runs
        (a held-out tenth, static binarization) does not depend on it.

    Raises:
      InputError: a field of the wrong type, out of range, or no such choice.
    """

    data: str = "mnist"
    binarize: str = "threshold"
    objective: str = "elbo"
    num_samples: int = _in_range(1, 1, 100_000)
    analytic_kl: bool = False
    batch_size: int = _in_range(32, 1, 1_000_000)
    epochs: int = _in_range(10, 0, 1_000_000)
    learning_rate: float = _in_range(1e-4, 0.0, 10.0)
    schedule: str = "constant"
    warmup_steps: int = _in_range(0, 0, 1_000_000_000)
    seed: int = _in_range(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "iwae" and self.num_samples == 1 and not self.analytic_kl:
            raise InputError("iwae with one draw is the elbo: set num_samples to 2 or more (5, say).")
        if self.analytic_kl and self.objective != "elbo":
            raise InputError(
                f"analytic_kl is an option of the elbo objective; got objective {self.objective!r}."
            )


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
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"config.json must hold JSON; reading it failed: {error}.") from None
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
