"""The state of an evaluation: a model, its images, and the results so far."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probvae.display import example_noun
from probvae.evaluation.contexts import exact_given
from probvae.evaluation.estimates import MeanEstimate, mean_estimate
from probvae.evaluation.table_check import TableCheck
from probvae.inference.blocks import Stopped
from probvae.inference.calibration import Certificate
from probvae.inference.estimates import Estimate
from probvae.inference.importance_sampling import Importance, importance
from probvae.inference.quadrature import Exact
from probvae.models import conditional
from probvae.models.vae import VAE
from probvae.seeds import Seed, fold_in

EXACT_DIMENSIONS = 3  # largest number of latent dimensions for quadrature


class Line(NamedTuple):
    """One line of the table.

    Attributes:
      key: Name in metrics.json.
      name: Name in the table.
      estimate: Number with its errors.
      unit: Unit of the number.
      note: Remark for the reader.
    """

    key: str
    name: str
    estimate: MeanEstimate
    unit: str = "nats"
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of an evaluation.

    Attributes:
      num_samples: K of the importance-weighted bound.
      tolerance: Tolerance of the quadrature, nats.
      train_images: Number of training images to compare with.
      gap_images: Number of test images, and of training images, with an individually optimized posterior.
      ais_images: Number of images for annealed importance sampling; its bracket simulates up to 20.
      calibrate: Whether to certify the encoder on simulated images.
      calibrate_images: Number of test images for a certificate from draws of p(z|x).
      seed: Seed of all draws.
      stages: Names of the stages to run, of `evaluation.STAGES`, beside the first, "bounds"; all if empty.
    """

    num_samples: int = 100
    tolerance: float = 6e-3
    train_images: int = 2000
    gap_images: int = 50
    ais_images: int = 20
    calibrate: bool = False
    calibrate_images: int = 0
    seed: int = 0
    stages: tuple[str, ...] = ()


class Images(NamedTuple):
    """Float images [N, *E] as the model takes them, joined with y for some, and labels [N] or None."""

    x: np.ndarray
    labels: np.ndarray | None


@dataclasses.dataclass
class Evaluation:
    """A model, its images, and the results so far.

    Attributes:
      vae: Model.
      test: Test images.
      train: Training images to compare with.
      options: Options.
      outliers: Images of another data set to tell from the test images, or None.
      on_progress: Function called with the fraction done of a stage; it may raise `Stopped`.
      strategy: `tf.distribute` strategy that made the model; its replicas share the importance sampling.
      lines: Lines of the table.
      arrays: Results by example, [N] each, of the test images unless the name says otherwise.
      seconds: Duration of each stage.
      skipped: Reasons of the stages that failed.
      importance: Importance sampling of the test images.
      certificates: Certificates of the encoder, by what they are of.
      rows: Training examples of a table that drawn rows are compared with; empty for other data.
      table: Comparison of drawn rows with the data of a table.
    """

    vae: VAE
    test: Images
    train: Images
    options: Options
    outliers: np.ndarray | None = None
    on_progress: Callable[[float], None] = lambda fraction: None
    strategy: Any = None
    lines: list[Line] = dataclasses.field(default_factory=list)
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    importance: Importance | None = None
    certificates: dict[str, Certificate] = dataclasses.field(default_factory=dict)
    rows: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    table: TableCheck | None = None

    def add(
        self, key: str, name: str, values: np.ndarray, errors: np.ndarray | None = None, **texts: str
    ) -> None:
        """Add a mean over examples to the table; `texts` are the unit and the note of its line.

        Examples whose value is not finite are left out, and the note counts them.
        """
        values = np.asarray(values)
        known = np.isfinite(values)
        if not known.all():
            first = int(np.flatnonzero(~known)[0])
            left_out = f"{int(np.sum(~known)):,} of {len(values):,} examples are not finite (the first is "
            left_out += f"example {first}: {values[first]}) and left out"
            texts["note"] = "; ".join(filter(None, [left_out, texts.get("note", "")]))
            values, errors = values[known], None if errors is None else errors[known]
        if len(values) > 1:
            self.add_estimate(key, name, mean_estimate(values, errors), **texts)

    def add_number(self, key: str, name: str, estimate: Estimate, n: int, **texts: str) -> None:
        """Add a number of another kind to the table, with its standard error."""
        value, error = estimate
        summary = MeanEstimate(value, error, None, value - 1.96 * error, value + 1.96 * error, n)
        self.add_estimate(key, name, summary, **texts)

    def add_estimate(self, key: str, name: str, estimate: MeanEstimate, **texts: str) -> None:
        """Add a line to the table."""
        self.lines.append(Line(key, name, estimate, **texts))

    @property
    def noun(self) -> str:
        """Noun for an example: image, or example."""
        return example_noun(self.vae.value_shape)

    def seed(self, stream: int) -> Seed:
        """Return a seed for one purpose."""
        return fold_in(self.options.seed, stream)

    @property
    def by_quadrature(self) -> bool:
        """True if quadrature can compute log p(x): z has few dimensions, and y few different values."""
        y = self.vae.contexts_of(self.test.x)
        few = y is None or len(np.unique(y, axis=0)) <= conditional.MAX_CONTEXTS
        return few and self.vae.latent_dim <= EXACT_DIMENSIONS

    @property
    def has_units(self) -> bool:
        """True for a table whose values have units, which a density depends on."""
        return self.vae.schema is not None and self.vae.schema.has_units

    @property
    def is_table(self) -> bool:
        """True if x is a row of a table."""
        return self.vae.schema is not None and self.vae.schema.is_table

    def in_units(self, log_density: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return a log-density of the values of a table in their own units, from that of their codes x.

        Args:
          log_density: Log-density of the first examples of x, [..., n], in nats.
          x: Examples [N, *E], N at least n.
        """
        if self.vae.schema is None or not self.has_units:
            return log_density
        values = self.vae.values(x[: log_density.shape[-1]])
        return log_density + self.vae.schema.log_slope(values)  # log |d code / d value|

    def exact(self, x: np.ndarray) -> Exact:
        """Return log p(x) of any images by quadrature; log p(x|y), for a conditional model."""
        result = exact_given(
            self.vae, x, tolerance=self.options.tolerance, on_progress=lambda _: self.on_progress(0)
        )
        return result._replace(log_marginal=self.in_units(result.log_marginal, x))

    def sample_importance(self, x: np.ndarray, *, stream: int) -> Importance:
        """Return the importance sampling of any images, K draws each."""
        result = importance(
            self.vae,
            x,
            num_samples=self.options.num_samples,
            seed=self.seed(stream),
            on_progress=self.on_progress,
            strategy=self.strategy,
        )
        densities = {name: self.in_units(getattr(result, name), x) for name in ("bound", "elbo", "curve")}
        return result._replace(**densities)

    def best(self, x: np.ndarray, *, stream: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return log p(x) of any images and its Monte Carlo error: exact, or else the bound with K draws."""
        if self.by_quadrature:
            return self.exact(x).log_marginal, None
        result = self.sample_importance(x, stream=stream)
        return result.bound, result.standard_error

    def known(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the result of `best` for the first n test images, from the earlier stages."""
        if "exact" in self.arrays:
            return self.arrays["exact"][:n], None
        return self.arrays["iwae"][:n], self.arrays["iwae_monte_carlo_error"][:n]

    def stop_unless_all(self, done: int, wanted: int) -> None:
        """End the stage as unfinished if an estimator was stopped before its last example."""
        if done < wanted:
            raise Stopped

    @property
    def best_name(self) -> str:
        """The name of the estimator behind `best`."""
        return "exact" if self.by_quadrature else f"IWAE bound, K = {self.options.num_samples:,}"


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the lines of the table by key, for JSON."""
    return {
        line.key: {
            "name": line.name.strip(),
            "unit": line.unit,
            "note": line.note,
            **{k: v if v is None or np.isfinite(v) else None for k, v in line.estimate._asdict().items()},
        }
        for line in evaluation.lines
    }
