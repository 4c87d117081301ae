"""The options of probvae-sample, and the modes of each. No TensorFlow."""

import dataclasses

from probvae.errors import InputError

# Options of each mode; options that are not named here apply to every mode
MODE_OPTIONS: dict[str, tuple[str, ...]] = {
    "prior": ("num", "temperature", "sampler", "components", "train_images", "label", "given"),
    "classes": ("num", "temperature"),
    "reconstructions": ("num", "draws"),
    "interpolation": ("num", "start", "end", "steps", "path", "label"),
    "traversal": ("image", "dimension", "steps", "label"),
}
FLAGS = {"label": "class", "start": "from", "end": "to", "train_images": "train-images"}
CHOICES = {
    "pixels": ("mean", "draw"),
    "sampler": ("prior", "mixture", "flow"),
    "path": ("linear", "spherical"),
}
LEAST = {"num": 1, "components": 1, "train_images": 1, "draws": 1, "steps": 2}  # smallest integers
LEAST |= {"label": 0, "start": 0, "end": 0, "image": 0, "seed": 0}


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    """Options of `sample`; None stands for the default of the mode.

    Attributes:
      num: Number of draws, test examples or pairs of test examples.
      pixels: Values to show, mean of p(x|z) or draw x ~ p(x|z).
      temperature: Factor of the prior's standard deviation.
      sampler: Distribution of z: prior, or a mixture or flow that is fitted to q(z|x) of the training set.
      components: Number of components of the mixture; None lets held-out data choose it.
      train_images: Number of training examples that a sampler is fitted to.
      label: Class to decode as, for conditional models: its number, or its name.
      draws: Number of draws of z for each example.
      start: Index of the test example at which a path begins.
      end: Index of the test example at which a path ends.
      path: Kind of path between two z, linear or spherical.
      steps: Number of points of a path.
      image: Index of the test example to traverse from.
      dimension: Dimensions of z to traverse; empty for those that vary most.
      data: Name or path of other data than the run was trained on.
      given: Conditions on the columns of a table, NAME=VALUE, NAME=LOW..HIGH or NAME=VALUE|VALUE.
      seed: Seed of the draws.

    Raises:
      InputError: A value is out of range, or not among the choices.
    """

    num: int | None = None
    pixels: str | None = None
    temperature: float | None = None
    sampler: str | None = None
    components: int | None = None
    train_images: int | None = None
    label: int | str | None = None
    draws: int | None = None
    start: int | None = None
    end: int | None = None
    path: str | None = None
    steps: int | None = None
    image: int | None = None
    dimension: tuple[int, ...] = ()
    data: str | None = None
    given: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            named = name == "label" and isinstance(value, str)
            if value is not None and not named and (not isinstance(value, int) or value < least):
                raise InputError(f"{name} must be an integer from {least} on; got {value!r}.")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")

    def refuse_unless_used(self, mode: str) -> None:
        """Refuse an unknown mode, options that it does not use, and an incomplete pair of options."""
        if mode not in MODE_OPTIONS:
            raise InputError(f"mode must be one of {', '.join(MODE_OPTIONS)}; got {mode!r}.")
        for name, value in dataclasses.asdict(self).items():
            modes = [key for key, names in MODE_OPTIONS.items() if name in names]
            if modes and mode not in modes and value not in (None, ()):
                raise InputError(
                    f"--{FLAGS.get(name, name)} is for --mode {' or '.join(modes)}; the mode is {mode}."
                )
        if (self.start is None) != (self.end is None):
            raise InputError("--from and --to name the two ends of one path: give both, or neither.")
        for name in ("sampler", "temperature", "pixels"):
            if self.given and getattr(self, name) not in (None, "prior", "draw"):
                raise InputError(
                    f"--{name} has no effect with --given, which draws z by its own way: leave it out."
                )
        sampler = self.sampler or "prior"
        if self.components and sampler != "mixture":
            raise InputError(f"--components is for --sampler mixture; the sampler is {sampler}.")
        if self.train_images and sampler == "prior":
            raise InputError("--train-images is for --sampler mixture or flow; the prior is not fitted.")
