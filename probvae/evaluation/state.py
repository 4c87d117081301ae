"""The state of an evaluation: a model, its images, and the lines and arrays found so far."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probvae.evaluation import contexts
from probvae.evaluation.estimates import MeanEstimate, mean_estimate
from probvae.inference.blocks import Stopped
from probvae.inference.estimates import Estimate
from probvae.inference.importance_sampling import Importance, importance
from probvae.inference.quadrature import Exact
from probvae.models.vae import VAE
from probvae.seeds import fold_in

EXACT_DIMENSIONS = 3  # the most that quadrature serves


class Line(NamedTuple):
    """One line of the table.

    Attributes:
      key: its name in metrics.json.
      name: its name for people.
      estimate: the number, with its errors.
      unit: of the number.
      note: what a reader must know to use it.
    """

    key: str
    name: str
    estimate: MeanEstimate
    unit: str = "nats"
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to evaluate with.

    Attributes:
      num_samples: K of the importance-weighted bound.
      tolerance: of the quadrature, nats.
      train_images: training images to compare with.
      gap_images: test and training images whose own posterior is optimized.
      ais_images: images for annealed importance sampling, and up to 20 simulated ones for its bracket.
      seed: of all draws.
    """

    num_samples: int = 100
    tolerance: float = 6e-3
    train_images: int = 2000
    gap_images: int = 50
    ais_images: int = 20
    seed: int = 0


class Images(NamedTuple):
    """Float images [N, *E] as the model takes them (joined with y where it does) and labels [N] or None."""

    x: np.ndarray
    labels: np.ndarray | None


@dataclasses.dataclass
class Evaluation:
    """A model, what it is evaluated on, and what was found so far.

    Attributes:
      vae: the model.
      test: test images.
      train: the training images to compare with.
      options: how.
      outliers: another data set to tell from the test images, or None.
      on_progress: called with the fraction of a stage; it may raise `Stopped`.
      strategy: the `tf.distribute` strategy that made the model; its replicas share importance sampling out.
      lines: the table.
      arrays: per-example results, [N] each for the test images unless the name says otherwise.
      seconds: that each stage took.
      skipped: stages that could not be done, and why.
      importance: of the test images.
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

    def add(
        self,
        key: str,
        name: str,
        values: np.ndarray,
        errors: np.ndarray | None = None,
        *,
        unit: str = "nats",
        note: str = "",
    ) -> None:
        """Add a mean over examples to the table."""
        if len(values) > 1:
            self.lines.append(Line(key, name, mean_estimate(values, errors), unit, note))

    def add_number(
        self,
        key: str,
        name: str,
        estimate: Estimate,
        n: int,
        *,
        unit: str = "nats",
        note: str = "",
    ) -> None:
        """Add a number that is no plain mean to the table, with its standard error."""
        value, error = estimate
        summary = MeanEstimate(value, error, None, value - 1.96 * error, value + 1.96 * error, n)
        self.lines.append(Line(key, name, summary, unit, note))

    @property
    def by_quadrature(self) -> bool:
        """Whether log p(x) can be had exactly."""
        few = self.vae.latent_dim <= EXACT_DIMENSIONS
        return few and contexts.quadrature_serves(self.vae, self.test.x)

    def exact(self, x: np.ndarray) -> Exact:
        """Return log p(x) of any images by quadrature; log p(x|y), for a conditional model."""
        tolerance = self.options.tolerance
        return contexts.exact_given(
            self.vae, x, tolerance=tolerance, on_progress=lambda _: self.on_progress(0)
        )

    def best(self, x: np.ndarray, *, stream: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return log p(x) of any images and its Monte Carlo error: exact, or else the bound with K draws."""
        if self.by_quadrature:
            return self.exact(x).log_marginal, None
        bound = importance(
            self.vae,
            x,
            num_samples=self.options.num_samples,
            seed=fold_in(self.options.seed, stream),
            on_progress=self.on_progress,
            strategy=self.strategy,
        )
        return bound.bound, bound.standard_error

    def known(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what `best` gives of the first n test images, from the earlier stages."""
        if "exact" in self.arrays:
            return self.arrays["exact"][:n], None
        return self.arrays["iwae"][:n], self.arrays["iwae_monte_carlo_error"][:n]

    def stop_unless_all(self, done: int, wanted: int) -> None:
        """End the stage as unfinished where an estimator was stopped before its last example."""
        if done < wanted:
            raise Stopped

    @property
    def best_name(self) -> str:
        """What `best` computes."""
        return "exact" if self.by_quadrature else f"IWAE bound, K = {self.options.num_samples:,}"


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the table as JSON can hold it, by key."""
    return {
        line.key: {
            "name": line.name.strip(),
            "unit": line.unit,
            "note": line.note,
            **{k: _or_none(v) for k, v in line.estimate._asdict().items()},
        }
        for line in evaluation.lines
    }


def _or_none(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
