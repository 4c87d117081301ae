"""What probvae-train shows on the terminal while it trains."""

from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from probvae import __version__, run_data
from probvae.config import Training
from probvae.data import DataSet, skipped_sentence
from probvae.model import VAE
from probvae.progress import Row

HEADER = "   epoch   test ELBO   log p(x|z)        KL    objective   images/s   seconds"


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
            "data": run_data.describe(examples) + (f", binarize {training.binarize}" if image else ""),
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
