"""What probvae-train does once its options are known and TensorFlow is loaded."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from probvae import __version__, run_data, runs
from probvae.building import build
from probvae.cli.common import StopOnSignal
from probvae.config import Architecture, Training
from probvae.data import DataSet, skipped_sentence
from probvae.model import VAE
from probvae.training import Row, fit, try_objective

HEADER = "   epoch   test ELBO   log p(x|z)        KL    objective   images/s   seconds"


def run(
    training: Training,
    options: dict[str, Any],
    folder: Path,
    *,
    choose_binarization: bool,
    overwrite: bool,
    quiet: bool,
    recipe: str,
) -> None:
    """Load the data, train, and write the run folder.

    `options` are the fields of `Architecture` that the user has named; the data decide the others.
    """
    examples = run_data.read(training, missing=options.get("missing", False))
    options = {**run_data.defaults(examples), **options}
    options |= run_data.shape_fields(examples, training, options["likelihood"])
    architecture = Architecture(**options)
    if choose_binarization:
        binarize = run_data.default_binarize(architecture)
        training = dataclasses.replace(training, binarize=binarize)
    prepared = run_data.prepare(examples, training, architecture)
    vae = build(architecture, seed=training.seed)
    try_objective(vae, prepared, training)
    runs.prepare_folder(folder, overwrite=overwrite)
    recorder = runs.Recorder(folder, vae, training, examples, prepared)
    console = _Console(training, len(examples.train), quiet=quiet)
    console.introduce(vae, training, examples, folder, recipe)
    recorder.start()

    def on_epoch(row: Row) -> None:
        console.epoch(row)
        recorder.epoch(row)

    with StopOnSignal(console.stopping) as stop:
        fit(vae, prepared, training, on_chunk=console.chunk, on_epoch=on_epoch, should_stop=stop)
        console.close()
        metrics = recorder.finish(interrupted=stop())
    elbo = metrics["test_elbo"]
    error = "" if elbo["standard_error"] is None else f" ± {elbo['standard_error']:.2f} (standard error)"
    state = "stopped early" if stop() else "done"
    bits = metrics.get("test_bits_per_dimension")
    coded = "" if bits is None else f", {bits['mean']:.4f} bits/dim"
    right = metrics.get("test_accuracy")
    right = "" if right is None else f", {right['mean']:.2%} of the classes right"
    click.echo(f"{state}: test ELBO {elbo['mean']:.2f}{error} nats{coded}{right}, in {folder}")
    if stop.received is not None:
        sys.exit(128 + stop.received)


class _Console:
    """A progress bar on a terminal, a line an epoch everywhere, nothing if quiet."""

    def __init__(self, training: Training, num_images: int, *, quiet: bool) -> None:
        self.training, self.num_images, self.quiet = training, num_images, quiet
        self.bar: tqdm[Any] | None = None

    def introduce(self, vae: VAE, training: Training, examples: DataSet, folder: Path, recipe: str) -> None:
        """Say what is about to be trained on what."""
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
            "data": run_data.describe(examples) + (f", binarize {training.binarize}" if image else ""),
            "recipe": f"{recipe}: Adam {training.learning_rate:g} {training.schedule}, batches of "
            f"{training.batch_size}, {training.objective} with {training.num_samples} draw"
            f"{'s' if training.num_samples > 1 else ''}, seed {training.seed}",
            "folder": str(folder),
        }
        click.echo(f"probvae {__version__}")
        for name, text in lines.items():
            click.echo(f"{name:>8}  {text}")
        if examples.skipped:
            click.echo(skipped_sentence(examples), err=True)
        click.echo(f"\n{HEADER}   (nats per {'image' if image else 'example'})")

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
                f"{row.train_elbo:13.2f}{row.images_per_second:11,.0f}{row.seconds:10.1f}"
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
