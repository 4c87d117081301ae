"""The display of training and evaluation on the terminal."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from probvae.config.training import Training
from probvae.data import from_config
from probvae.data.dataset import DataSet
from probvae.data.folders import skipped_sentence
from probvae.environment import __version__
from probvae.evaluation import state
from probvae.evaluation.estimates import paired_difference
from probvae.inference.blocks import Stopped
from probvae.models.vae import VAE
from probvae.training.state import Row

EVALUATION_HEADER = f"{'':44}{'mean':>12}{'± images':>10}{'± draws':>10}{'images':>9}"


def _print_comparison(e: state.Evaluation, theirs: Any, other: Path | None) -> None:
    """Print the paired difference of the best estimate that both evaluations have."""
    _, arrays = theirs
    method = "exact" if "exact" in e.arrays and "exact" in arrays else "iwae"
    n = min(len(e.arrays[method]), len(arrays[method]))  # fewer where either was stopped
    d = paired_difference(e.arrays[method][:n], arrays[method][:n])
    what = "log p(x), exact," if method == "exact" else "IWAE bound (not log p(x): each misses its own part)"
    click.echo(
        f"\n{what} minus that of {other}, paired over {n:,} images: {d.mean:+.3f} nats, 95% interval "
        f"{d.low:+.3f} to {d.high:+.3f}; higher on {d.first_better:.0%} of them"
    )


class _Console:
    """A progress bar for each stage on a terminal, and the table's lines as they come."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.stop: Any = lambda: False
        self.bar: tqdm[Any] | None = None
        self.name = ""

    def stage(self, name: str) -> None:
        self.close()
        self.name = name

    def progress(self, fraction: float) -> None:
        """Move the bar; the estimators end where a signal has come."""
        if self.stop():
            raise Stopped
        if self.quiet:
            return
        if self.bar is None:
            self.bar = tqdm(
                total=100, desc=self.name, unit="%", disable=None, leave=False, dynamic_ncols=True
            )
        self.bar.update(max(0.0, round(100 * fraction, 1) - self.bar.n))

    def lines(self, lines: list[state.Line]) -> None:
        self.close()
        for line in lines:
            click.echo(_as_text(line))

    def stopping(self) -> None:
        self.close()
        click.echo("stopping: giving what is known (Ctrl-C again to abandon it)", err=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _as_text(line: state.Line) -> str:
    value = line.estimate
    unit = "" if line.unit in ("nats", "") else f" {line.unit}"
    digits = 0 if float(value.mean).is_integer() and np.isnan(value.standard_error) else 2
    digits = 4 if digits and abs(value.mean) < 10 else digits
    errors = [value.standard_error, value.monte_carlo_error]
    shown = ["" if v is None or np.isnan(v) else f"{v:.3f}" for v in errors]
    numbers = f"{value.mean:12.{digits}f}{shown[0]:>10}{shown[1]:>10}{value.num_examples:9,}"
    return f"{line.name:44}{numbers}{unit}" + (f"\n      {line.note}" if line.note else "")


TRAINING_HEADER = "   epoch   test ELBO   log p(x|z)        KL    objective   images/s   seconds"


class Console:
    """A progress bar on a terminal, a line an epoch everywhere, nothing if quiet."""

    def __init__(self, training: Training, num_images: int, *, quiet: bool) -> None:
        self.training, self.num_images, self.quiet = training, num_images, quiet
        self.bar: tqdm[Any] | None = None

    def introduce(
        self, vae: VAE, training: Training, examples: DataSet, folder: Path, recipe: str, place: str
    ) -> None:
        """Say what is about to be trained on what, and from which place on where a run is resumed."""
        a = vae.architecture
        if self.quiet or a is None:
            return
        weights = sum(int(w.shape.num_elements()) for w in vae.trainable_weights)
        widths = a.units if a.network in ("mlp", "gated_mlp") else a.filters
        layers = f" in layers of {','.join(map(str, a.latent_layers))}" if a.latent_layers else ""
        y = f"; {a.context_dim} classes y" if a.context_dim else ""
        image = len(a.event_shape) == 3
        lines = {
            "model": f"{a.posterior} q(z|x), {a.likelihood} p(x|z), {a.prior} p(z); latent {a.latent_dim}"
            f"{layers}{y}, {a.network} {','.join(map(str, widths))}, {weights:,} weights",
            "data": from_config.describe(examples) + (f", binarize {training.binarize}" if image else ""),
            "recipe": f"{recipe}: Adam {training.learning_rate:g} {training.schedule}, batches of "
            f"{training.batch_size}, {training.objective} with {training.num_samples} draw"
            f"{'s' if training.num_samples > 1 else ''}, seed {training.seed}",
            "folder": str(folder),
        }
        if place:
            lines["resumed"] = place
        click.echo(f"probvae {__version__}")
        for name, text in lines.items():
            click.echo(f"{name:>8}  {text}")
        if examples.skipped:
            click.echo(skipped_sentence(examples), err=True)
        click.echo(f"\n{TRAINING_HEADER}   (nats per {'image' if image else 'example'})")

    def chunk(self, epoch: int, images: int) -> None:
        """Move the bar."""
        if self.quiet:
            return
        if self.bar is None:
            self.bar = tqdm(
                total=self.num_images,
                desc=f"epoch {epoch + 1}/{self.training.epochs}",
                unit=" images",
                disable=None,  # no bar where standard error is not a terminal
                leave=False,
                dynamic_ncols=True,
            )
        self.bar.update(images)

    def epoch(self, row: Row) -> None:
        """Replace the bar by the epoch's line."""
        self.close()
        if not self.quiet:
            done = f"{row.epoch:.4g}/{self.training.epochs}"
            click.echo(
                f"{done:>8}{row.test_elbo:12.2f}{row.test_log_likelihood:13.2f}{row.test_kl:10.2f}"
                f"{row.train_elbo:13.2f}{row.images_per_second:11,.0f}{row.seconds:10.1f}{_counts(row)}"
            )

    def stopping(self) -> None:
        """Say that Ctrl-C was understood."""
        self.close()
        click.echo("stopping: saving what has been learnt (Ctrl-C again to abandon it)", err=True)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _counts(row: Row) -> str:
    """Say how many steps of an epoch were skipped and clipped, if any were."""
    counts = ((row.skipped_steps, "skipped"), (row.clipped_steps, "clipped"))
    found = [f"{number:,} {what}" for number, what in counts if number]
    return f"   steps: {', '.join(found)}" if found else ""
