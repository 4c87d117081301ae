"""The display of training and evaluation on the terminal."""

import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import numpy as np
from tqdm import tqdm

from probvae.cli.start import StopOnSignal
from probvae.config.choices import CONVOLUTIONS
from probvae.data import from_config, schema_text
from probvae.data.folders import skipped_sentence
from probvae.environment import __version__
from probvae.evaluation.state import Line
from probvae.runs.command_line import resume_command
from probvae.runs.comparison import Comparison
from probvae.runs.job import Job
from probvae.runs.observer import Observer
from probvae.runs.run import Run
from probvae.training.state import Row

TRAINING_HEADER = "   epoch   test ELBO   log p(x|z)        KL    objective   images/s   seconds"
EVALUATION_HEADER = f"{'':44}{'mean':>12}{'± examples':>12}{'± draws':>10}{'examples':>10}"


class Console(Observer):
    """A progress bar on a terminal. Once the work has begun, Ctrl-C ends it early.

    Args:
      quiet: Whether no progress is shown.
      stopping: Words for the work that follows Ctrl-C, which are printed then.
    """

    def __init__(self, *, quiet: bool, stopping: str = "") -> None:
        self.quiet = quiet
        self.bar: tqdm[Any] | None = None
        self.name = ""
        self.stop = StopOnSignal(lambda: self._say_stopping(stopping))

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
        self.stop.end()

    def _say_stopping(self, words: str) -> None:
        self.close()
        click.echo(f"stopping: {words} (Ctrl-C again to abandon it)", err=True)

    def progress(self, fraction: float) -> None:
        """Advance the bar."""
        if self.quiet:
            return
        if self.bar is None:
            self.bar = tqdm(
                total=100, desc=self.name, unit="%", disable=None, leave=False, dynamic_ncols=True
            )
        self.bar.update(max(0.0, round(100 * fraction, 1) - self.bar.n))

    def warn(self, message: str) -> None:
        """Print a warning on standard error."""
        click.echo(f"Warning: {message}", err=True)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def exit(self, default: int) -> NoReturn:
        """End the process with the exit code of the signal that was received, or of a default signal."""
        sys.exit(128 + (self.stop.received or default))


# ---- evaluation ------------------------------------------------------------------------------------


class EvaluationConsole(Console):
    """A progress bar for each stage on a terminal, and the lines of the table as they are computed."""

    def __init__(self, run: Any, *, quiet: bool) -> None:
        super().__init__(quiet=quiet, stopping="giving what is known")
        self.run = run

    def begin(self, words: str) -> None:
        """Print the header of the table."""
        click.echo(f"{self.run}, {words}\n\n{EVALUATION_HEADER}")
        self.stop.begin()

    def stage(self, name: str) -> None:
        """Show the name of the stage beside the bar."""
        self.close()
        self.name = name

    def lines(self, lines: Sequence[Line]) -> None:
        """Print lines of the table."""
        self.close()
        for line in lines:
            click.echo(_as_text(line))


class PageConsole(Console):
    """A progress bar on a terminal while a web page is made."""

    def __init__(self, run: Any, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self.run = run

    def begin(self, words: str) -> None:
        """Print the run and the contents of the page."""
        if not self.quiet:
            click.echo(f"{self.run}, {words}")


def print_comparison(comparison: Comparison, other: Any) -> None:
    """Print the paired difference of the best estimate that two evaluations have in common."""
    method, mean, n = comparison.method, comparison.difference, comparison.num_examples
    name = "log p(x), exact," if method == "exact" else "IWAE bound (below log p(x), by gaps that differ)"
    click.echo(
        f"\n{name} minus that of {other}, paired over {n:,} examples: {mean.mean:+.3f} nats, 95% interval "
        f"{mean.low:+.3f} to {mean.high:+.3f}; higher on {mean.first_better:.0%} of them"
    )


def _fixed(value: float, digits: int) -> str:
    """Return a number with so many digits behind the point; one that would fill its column, in powers of 10.

    >>> _fixed(-12.3456, 2), _fixed(-308291635.15, 2)
    ('-12.35', '-3.083e+08')
    """
    text = f"{value:.{digits}f}"
    return text if len(text) < 10 else f"{value:.4g}"


def _as_text(line: Line) -> str:
    value = line.estimate
    unit = "" if line.unit in ("nats", "") else f" {line.unit}"
    digits = 0 if float(value.mean).is_integer() and np.isnan(value.standard_error) else 2
    digits = 4 if digits and abs(value.mean) < 10 else digits
    errors = [value.standard_error, value.monte_carlo_error]
    shown = ["" if v is None or np.isnan(v) else _fixed(v, 3) for v in errors]
    numbers = f"{_fixed(value.mean, digits):>12}{shown[0]:>12}{shown[1]:>10}{value.num_examples:10,}"
    return f"{line.name:44}{numbers}{unit}" + (f"\n      {line.note}" if line.note else "")


# ---- training --------------------------------------------------------------------------------------


class TrainingConsole(Console):
    """A progress bar on a terminal, and one line for each epoch.

    Args:
      recipe: Name of the recipe to show.
      quiet: Whether only the closing line is printed.
    """

    def __init__(self, recipe: str, *, quiet: bool) -> None:
        super().__init__(quiet=quiet, stopping="saving what has been learnt")
        self.recipe = recipe

    def begin_training(self, job: Job, place: str) -> None:
        """Print the model, the data, the recipe and the folder, and the step at which a run is resumed."""
        self.job, self.quiet = job, self.quiet or not job.workers.is_chief
        if not self.quiet:
            self._introduce(job, place)
        self.stop.begin()

    def _introduce(self, job: Job, place: str) -> None:
        architecture, training, examples = job.architecture, job.training, job.examples
        weights = sum(int(w.shape.num_elements()) for w in job.vae.trainable_weights)
        is_perceptron = architecture.network not in CONVOLUTIONS
        widths = architecture.units if is_perceptron else architecture.filters
        sizes = ",".join(map(str, architecture.latent_layers))
        layers = f" in layers of {sizes}" if architecture.is_hierarchy else ""
        y = f"; {architecture.num_classes} classes y" if architecture.is_conditional else ""
        image = len(architecture.event_shape) == 3
        draws = f"{training.num_samples} draw{'s' if training.num_samples > 1 else ''}"
        draws = f"{training.groups} groups of {draws}" if training.groups > 1 else draws
        lines = {
            "model": f"{architecture.posterior} q(z|x), {architecture.likelihood} p(x|z), "
            f"{architecture.prior} p(z); latent {architecture.latent_dim}{layers}{y}, {architecture.network} "
            f"{','.join(map(str, widths))}, {weights:,} weights",
            "data": from_config.describe(examples) + (f", binarize {training.binarize}" if image else ""),
            "recipe": f"{self.recipe}: {training.optimizer.capitalize()} {training.learning_rate:g} "
            f"{training.schedule}, batches of {training.batch_size}, {training.objective} with {draws}, seed "
            f"{training.seed}",
            "folder": str(job.folder),
        }
        if training.hide:
            lines["hidden"] = (
                f"random values of {training.hide:.0%} of the examples of each step, so that any can be "
                "given later; the objective is that of the others (--hide 0 hides none)"
            )
        if place:
            lines["resumed"] = place
        click.echo(f"probvae {__version__}")
        for name, text in lines.items():
            click.echo(f"{name:>8}  {text}")
        if examples.skipped:
            click.echo(skipped_sentence(examples), err=True)
        if examples.schema.is_table:
            click.echo("\n" + schema_text.as_table(examples.schema, examples.num_missing, examples.reasons))
        units = ", in the units of x" if examples.schema.has_units else ""
        header = TRAINING_HEADER if image else TRAINING_HEADER.replace("  images/s", "examples/s")
        click.echo(f"\n{header}   (nats per {'image' if image else 'example'}{units})")

    def chunk(self, epoch: int, examples: int) -> None:
        """Advance the bar."""
        if self.quiet:
            return
        if self.bar is None:
            self.bar = tqdm(
                total=len(self.job.examples.train),
                desc=f"epoch {epoch + 1}/{self.job.training.epochs}",
                unit=" examples",
                disable=None,  # no bar where standard error is not a terminal
                leave=False,
                dynamic_ncols=True,
            )
        self.bar.update(examples)

    def epoch(self, row: Row) -> None:
        """Replace the bar by the line of the epoch."""
        self.close()
        if not self.quiet:
            done = f"{row.epoch:.4g}/{self.job.training.epochs}"
            click.echo(
                f"{done:>8}{row.test_elbo:12.2f}{row.test_log_likelihood:13.2f}{row.test_kl:10.2f}"
                f"{row.train_elbo:13.2f}{row.images_per_second:11,.0f}{row.seconds:10.1f}{_counts(row)}"
            )

    def conclude(self, run: Run) -> None:
        """Print the closing line, and end the process if the training was stopped."""
        if self.job.workers.is_chief:
            click.echo(_conclusion(run))
            if run.interrupted:
                click.echo(f"to go on: {resume_command(run.folder)}")
        if run.interrupted:
            self.exit(signal.SIGTERM)


def _counts(row: Row) -> str:
    """Return the numbers of skipped and clipped steps of an epoch in words; empty if there were none."""
    counts = ((row.skipped_steps, "skipped"), (row.clipped_steps, "clipped"))
    parts = [f"{number:,} {word}" for number, word in counts if number]
    return f"   steps: {', '.join(parts)}" if parts else ""


def _conclusion(run: Run) -> str:
    elbo, sd = (run.metric("test_elbo", name) for name in ("mean", "standard_error"))
    error = "" if sd is None else f" ± {sd:.2f} (standard error)"
    shown = f"{elbo:.2f}{error} nats" if elbo is not None else "not finite, because of some test examples"
    state = "stopped early" if run.interrupted else "done"
    bits = run.metric("test_bits_per_dimension", "mean")
    coded = "" if bits is None else f", {bits:.4f} bits/dim"
    accuracy = run.metric("test_accuracy", "mean")
    right = "" if accuracy is None else f", {accuracy:.2%} of the classes right"
    return f"{state}: test ELBO {shown}{coded}{right}, in {run.folder}"
