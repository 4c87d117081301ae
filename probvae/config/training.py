"""The configuration of training."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from probvae.config.choices import OBJECTIVES
from probvae.config.fields import Settings, setting, with_attributes
from probvae.errors import InputError

# Settings that may change when a run is resumed.
CHANGEABLE = ("epochs", "data", "learning_rate", "clip_norm", "on_nonfinite", "patience")


@with_attributes
@dataclass(frozen=True, repr=False)
class Training(Settings):
    """The settings of training; the defaults are the tutorial's.

    Raises:
      InputError: A field has the wrong type, is out of range, is an unknown choice, or has no effect.
    """

    MAIN = ("data", "objective", "batch_size", "epochs", "learning_rate", "seed")

    data: str = setting(
        "mnist",
        help="Data set: mnist, fashion_mnist, kmnist, cifar10, digits (needs no network) or tfds:NAME; or "
        "the path of an .npz, .npy, .csv, .tsv or .parquet file, or of a folder of images.",
        metavar="NAME|PATH",
    )
    kind: str = setting("auto", help="Kind of data in arrays; auto: decided by their number of axes.")
    image_size: tuple[int, ...] = setting(
        (), 1, 4096, help="Height and width to which images are resized.", metavar="N|H,W", of_images=True
    )
    crop: str = setting(
        "center",
        help="Way to fit images to `image_size`: center crops, pad adds black bars, none stretches.",
        of_images=True,
    )
    color: str = setting(
        "auto", help="Channels of a folder of images; auto: rgb if any of them has colours.", of_images=True
    )
    label: str = setting("", help="Column of a table that holds the labels.", metavar="NAME")
    column_kinds: tuple[str, ...] = setting(
        (),
        help="Kind of a column of a table, instead of a guess: normal, lognormal, poisson, categorical, "
        "ordinal:low<high, ignore or another of docs/choices.md; repeatable, or with commas. A name that "
        "holds a comma may stand in double quotes.",
        metavar="NAME=KIND,...",
    )
    delimiter: str = setting(
        "",
        help="Character between the cells of a .csv or .tsv file, or tab.",
        metavar="C",
        unset="the most frequent of comma, semicolon and tab in its first line",
    )
    decimal: str = setting(
        "auto",
        help="Decimal mark of a .csv or .tsv file; auto: a comma in columns where every number has one.",
    )
    na: tuple[str, ...] = setting(
        (),
        help="Text of a missing cell in a .csv or .tsv file, in any case, besides empty cells; repeatable, "
        "or with commas.",
        metavar="TEXT,...",
        unset="NA,N/A,nan,null,?",
    )
    binarize: str = setting(
        "threshold",
        help="Binarization of pixels. threshold: 1 above 0.5. static: drawn once. dynamic: drawn at every "
        "step. none: pixels as they are.",
        unset="threshold; none for other likelihoods than bernoulli",
        of_images=True,
    )
    labels: str = setting(
        "none",
        help="Use of the labels. condition: p(x|z, y). semi: the same, with q(y|x) for unknown labels.",
    )
    labelled: float = setting(1.0, 0.0, 1.0, help="Fraction of the training labels that semi sees.")
    label_seed: int = setting(
        0,
        0,
        2**31 - 1,
        help="Seed of the choice of the labels that semi sees; all runs with one seed see the same.",
    )
    validation: float = setting(
        0.0, 0.0, 0.9, help="Fraction of the training set held out; the weights best on it are kept."
    )
    objective: str = setting("elbo", help="Bound to maximise.")
    num_samples: int = setting(
        1, 1, 100_000, help="Number of draws of z for each example and step; with `groups`, in each group."
    )
    groups: int = setting(1, 1, 100_000, help="Number of groups of draws, for the objectives iwae and piwae.")
    analytic_kl: bool = setting(False, help="Compute the KL in closed form, not by Monte Carlo.")
    beta: float | None = setting(
        None,
        0.0,
        1e6,
        help="Weight of the KL, after its warm-up; for the objective iwae, weight of the ELBO in it.",
        unset="1; 0 for iwae",
    )
    beta_warmup: str = setting("none", help="Curve along which beta rises from zero.")
    beta_warmup_steps: int = setting(
        0, 0, 10**9, help="Steps in which beta rises; for cyclic, steps of a cycle."
    )
    alpha: float = setting(0.5, -100.0, 100.0, help="Order of the Renyi bound, for the objective renyi.")
    free_bits: float = setting(
        0.1, 0.0, 100.0, help="Nats per latent dimension that cost nothing, for the objective free_bits."
    )
    mmd_weight: float = setting(10.0, 0.0, 1e6, help="Weight of the discrepancy in the objective mmd.")
    batch_size: int = setting(32, 1, 1_000_000, help="Number of examples in a batch.")
    epochs: int = setting(10, 0, 1_000_000, help="Number of passes over the training set.")
    optimizer: str = setting(
        "adam",
        help="Optimizer. muon: orthogonal steps for the kernels of layers, and adam for other weights; for "
        "perceptrons and large batches.",
    )
    learning_rate: float = setting(1e-4, 0.0, 10.0, help="Highest learning rate.")
    schedule: str = setting("constant", help="Curve along which the learning rate falls.")
    warmup_steps: int = setting(0, 0, 10**9, help="Steps in which the learning rate rises from zero.")
    clip_norm: float = setting(
        0.0, 0.0, 1e9, help="Upper limit of the gradient's norm over all weights; 0 for none."
    )
    weight_decay: float = setting(
        0.0,
        0.0,
        10.0,
        help="Decay of the kernels: each step takes off this fraction of them, times the learning rate.",
    )
    dropout: float = setting(
        0.0, 0.0, 0.95, help="Fraction of the units of each hidden layer that a training step drops."
    )
    hide: float = setting(
        0.0,
        0.0,
        1.0,
        help="Fraction of the examples of each step of which random values are hidden, so that the model "
        "learns to draw any columns given any others.",
        unset="0.5 for tables, otherwise 0",
    )
    average: float = setting(
        0.0,
        0.0,
        0.999999,
        help="Momentum of a moving average of the weights, for evaluation and results; 0 for none.",
    )
    on_nonfinite: str = setting("stop", help="Response to a step whose objective or gradient is not finite.")
    parts: int = setting(
        1,
        1,
        1024,
        help="Number of parts of a batch that threads process in parallel, each with its own noise.",
        unset="one per core, of at least 16 examples; 1 on a GPU",
    )
    precision: str = setting("float32", help="Precision of the networks; all else is float32 in any case.")
    patience: int = setting(
        0,
        0,
        1_000_000,
        help="Epochs without a better validation ELBO after which training ends; 0 for never.",
    )
    seed: int = setting(
        0,
        0,
        2**31 - 1,
        help="Seed of weights, order, dynamic binarization and draws of z. Draws that all runs share (a "
        "held-out tenth, static binarization) do not depend on it.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.image_size) == 1:
            object.__setattr__(self, "image_size", 2 * self.image_size)
        if len(self.image_size) > 2:
            raise InputError(f"image_size must be a height and a width; got {self.image_size}.")
        parse_kinds(self.column_kinds)
        object.__setattr__(self, "na", tuple(part.strip() for text in self.na for part in text.split(",")))
        if not self.labelled:
            raise InputError("labelled must be above 0: some labels must be known. Got 0.")
        for name, unset in (("labelled", 1), ("label_seed", 0)):
            if self.labels != "semi" and getattr(self, name) != unset:
                raise InputError(f"{name} is an option of labels semi: leave it out, or set labels to semi.")
        if self.beta_warmup != "none" and not self.beta_warmup_steps:
            raise InputError(f"beta_warmup {self.beta_warmup} needs beta_warmup_steps, 1 or more.")
        self._refuse_idle_options()
        if self.patience and not self.validation:
            raise InputError("patience needs a validation set: set validation to a fraction (0.1, say).")
        self._refuse_other_objective()
        if self.parts > 1 and self.whole_batch:
            raise InputError(f"The objective {self.objective} looks at a batch as a whole: set parts to 1.")
        if self.labels == "semi" and self.whole_batch:
            raise InputError(
                f"The objective {self.objective} looks at a batch as a whole, and labels semi at every class "
                "of each example: choose another objective, such as elbo or iwae."
            )

    @property
    def uses_labels(self) -> bool:
        """True for a model of x and a label y."""
        return self.labels != "none"

    @property
    def is_semisupervised(self) -> bool:
        """True if some labels may be unknown."""
        return self.labels == "semi"

    @property
    def whole_batch(self) -> bool:
        """True if the objective of an example depends on the other examples of its batch."""
        return OBJECTIVES[self.objective].whole_batch

    def idle_options(self) -> dict[str, list[str]]:
        """Return the options that the objective does not have, with the objectives that have them."""
        owners: dict[str, list[str]] = {}
        for objective, entry in OBJECTIVES.items():
            for option in entry.options:
                owners.setdefault(option, []).append(objective)
        return {option: names for option, names in owners.items() if self.objective not in names}

    def chosen(self, name: str) -> Any:
        """Return the value of a setting; of beta that of the objective if none is set."""
        if name == "beta" and self.beta is None:
            return 0.0 if OBJECTIVES[self.objective].mixes_elbo else 1.0
        return super().chosen(name)

    def _refuse_other_objective(self) -> None:
        """Refuse numbers with which the objective is another one."""
        entry = OBJECTIVES[self.objective]
        if entry.one_draw and self.num_samples == 1:
            raise InputError(
                f"{self.objective} with one draw is the {entry.one_draw}: set num_samples to 2 or more "
                "(5, say)."
            )
        if entry.one_group and self.groups == 1:
            raise InputError(
                f"{self.objective} with one group of draws is the {entry.one_group}: set groups to 2 or more "
                "(8, say)."
            )
        if entry.mixes_elbo and self.chosen("beta") >= 1:
            raise InputError(
                f"beta is the weight of the elbo in the objective {self.objective}, at least 0 and below 1, "
                f"with which it would be the elbo; got {self.beta:g}."
            )

    def _refuse_idle_options(self) -> None:
        """Refuse an option that has no effect because of another choice."""
        default = {f.name: f.default for f in dataclasses.fields(self)}
        for name, objectives in self.idle_options().items():
            if getattr(self, name) != default[name]:
                raise InputError(
                    f"{name} is an option of the objective{'s' if len(objectives) > 1 else ''} "
                    f"{', '.join(objectives)}; got objective {self.objective!r}."
                )
        if self.beta_warmup_steps and self.beta_warmup == "none":
            raise InputError("beta_warmup_steps needs a beta_warmup: set it to linear, cyclic or cosine.")


KIND_OF_COLUMN = re.compile(r'(?:"((?:[^"]|"")+)"|(.+?))=([a-z_]+(?::[^,="]*)?)(?:,|$)', re.DOTALL)


def parse_kinds(texts: Iterable[str]) -> dict[str, str]:
    """Return kinds of columns by name.

    Args:
      texts: Texts of the form NAME=KIND, or several of these with commas between them. The last "=" divides a
        name from its kind; a name may stand in double quotes.

    Raises:
      InputError: A text has another form.

    >>> parse_kinds(["id=ignore,a=b=normal", '"x=normal,y"=poisson'])
    {'id': 'ignore', 'a=b': 'normal', 'x=normal,y': 'poisson'}
    """
    kinds = {}
    for text in texts:
        place = 0
        while place < len(text) or not text:
            match = KIND_OF_COLUMN.match(text, place)
            if match is None:
                raise InputError(f"column_kinds must be of the form NAME=KIND,NAME=KIND; got {text!r}.")
            quoted, plain, kind = match.groups()
            kinds[plain if quoted is None else quoted.replace('""', '"')] = kind
            place = match.end()
    return kinds


@dataclass(frozen=True)
class Every:
    """The interval of checkpoints within an epoch, in steps or in seconds.

    >>> Every.parse("500"), Every.parse("2m").seconds
    (Every(steps=500, seconds=None), 120.0)
    """

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Every":
        """Read a number of steps ("500"), or of seconds, minutes or hours ("30s", "5m", "2h").

        Raises:
          InputError: The text is neither.
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
