"""What probvae-train does once its options are known and TensorFlow is loaded."""

import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from probvae import __version__, data, runs
from probvae.cli.common import StopOnSignal
from probvae.config import Architecture, Training
from probvae.model import VAE, build
from probvae.training import Row, fit

HEADER = "   epoch   test ELBO   log p(x|z)        KL   train ELBO   images/s   seconds"


def run(
    training: Training,
    architecture_options: dict[str, Any],
    folder: Path,
    *,
    overwrite: bool,
    quiet: bool,
    recipe: str,
) -> None:
    """Load the data, train, and write the run folder."""
    images = data.load(training.data)
    architecture = Architecture(image_shape=images.image_shape, **architecture_options)
    prepared = data.prepare(images, binarize=training.binarize, likelihood=architecture.likelihood)
    vae = build(architecture, seed=training.seed)
    runs.prepare_folder(folder, overwrite=overwrite)
    recorder = runs.Recorder(folder, vae, training, images, prepared)
    console = _Console(training, len(images.train), quiet=quiet)
    console.introduce(vae, training, images, folder, recipe)
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
    click.echo(f"{state}: test ELBO {elbo['mean']:.2f}{error} nats, in {folder}")
    if stop.received is not None:
        sys.exit(128 + stop.received)


class _Console:
    """A progress bar on a terminal, a line an epoch everywhere, nothing if quiet."""

    def __init__(self, training: Training, num_images: int, *, quiet: bool) -> None:
        self.training, self.num_images, self.quiet = training, num_images, quiet
        self.bar: tqdm[Any] | None = None

    def introduce(
        self, vae: VAE, training: Training, images: data.ImageData, folder: Path, recipe: str
    ) -> None:
        """Say what is about to be trained on what."""
        a = vae.architecture
        if self.quiet or a is None:
            return
        weights = sum(int(w.shape.num_elements()) for w in vae.trainable_weights)
        shape = "x".join(str(n) for n in a.image_shape)
        lines = {
            "model": f"{a.posterior} q(z|x), {a.likelihood} p(x|z), {a.prior} p(z); latent {a.latent_dim}, "
            f"filters {','.join(str(n) for n in a.filters)}, {weights:,} weights",
            "data": f"{images.name}: {len(images.train):,} training and {len(images.test):,} test images "
            f"of {shape}, binarize {training.binarize}",
            "recipe": f"{recipe}: Adam {training.learning_rate:g} {training.schedule}, batches of "
            f"{training.batch_size}, {training.objective} with {training.num_samples} draw"
            f"{'s' if training.num_samples > 1 else ''}, seed {training.seed}",
            "folder": str(folder),
        }
        click.echo(f"probvae {__version__}")
        for name, text in lines.items():
            click.echo(f"{name:>8}  {text}")
        click.echo(f"\n{HEADER}   (nats per image)")

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
