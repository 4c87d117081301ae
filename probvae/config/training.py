"""What a run is: its architecture and its training, as frozen dataclasses that JSON can hold.

No TensorFlow here, so that the command line can check its options before anything heavy loads.
"""

import dataclasses
from dataclasses import dataclass

from probvae.config.choices import OBJECTIVES_OF, ONE_DRAW, WHOLE_BATCH
from probvae.config.fields import _Checked, _in_range
from probvae.errors import InputError


@dataclass(frozen=True, repr=False)
class Training(_Checked):
    """How a model is trained; the defaults are the tutorial's.

    Attributes:
      data: a name in `probvae.data.sources.SOURCES`, or the path of a file or folder.
      kind: what arrays hold: image, series or vector; auto decides by their axes.
      image_size: (height, width) to bring images to; empty to leave them.
      crop: how, a key of `probvae.data.images.CROPS`.
      color: of folders of images: rgb, grey, or auto.
      label: the column of a table that holds the labels; empty for none.
      column_kinds: of columns of a table, NAME=KIND, in place of what is guessed.
      binarize: a key of `probvae.data.binarization.BINARIZATIONS`.
      labels: what labels are for: none (not used), condition (p(x|z, y)), semi (likewise, where some may be
        missing).
      labelled: the fraction of the training labels that `semi` sees.
      validation: the fraction of the training set that is held out; the weights that are best on it are kept.
      objective: a key of `probvae.objectives.registry.OBJECTIVES`.
      num_samples: draws of z for each example and step.
      analytic_kl: take the KL of the ELBO in closed form.
      beta: weight of log p(z) - log q(z|x), after its warm-up.
      beta_warmup: how beta gets there, a key of `probvae.objectives.warmup.WARMUPS`.
      beta_warmup_steps: the steps that this takes (of a cycle, for cyclic).
      alpha: order of the Renyi bound.
      free_bits: nats of each latent dimension that are free.
      mmd_weight: of the maximum mean discrepancy.
      batch_size: examples a step.
      epochs: passes over the training set.
      learning_rate: Adam's, at the start.
      schedule: of the learning rate, a key of `probvae.training.trainer.SCHEDULES`.
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
