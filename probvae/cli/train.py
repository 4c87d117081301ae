"""probvae-train: train a VAE on images and keep everything about the run in a folder."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from probvae import __version__
from probvae.cli.common import Command, quiet_start
from probvae.config import CHOICES, RECIPES, Architecture, Training

ARCHITECTURE = {f.name: f.default for f in dataclasses.fields(Architecture)}
DEFAULTS = {**ARCHITECTURE, **{f.name: f.default for f in dataclasses.fields(Training)}}


def _setting(name: str, help_text: str, **options: Any) -> Callable[[Any], Any]:
    """Make the option of one field of `Architecture` or `Training`; absent, the recipe decides it."""
    default = DEFAULTS[name]
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    if name in CHOICES:
        options.setdefault("type", click.Choice(CHOICES[name]))
    elif isinstance(default, int | float) and not isinstance(default, bool):
        options.setdefault("type", type(default))
        options.setdefault("metavar", "X" if isinstance(default, float) else "N")
    return click.option(f"--{name.replace('_', '-')}", default=None, help=f"{help_text} [{shown}]", **options)


def _filters(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        message = f"{text!r} is not a list of integers with commas, such as 32,64."
        raise click.BadParameter(message) from None


@click.command("probvae-train", cls=Command, context_settings={"max_content_width": 100})
@_setting(
    "data",
    "mnist, fashion_mnist, digits (needs no network), or an .npz / .npy file of images.",
    metavar="NAME|PATH",
)
@click.option(
    "--recipe",
    type=click.Choice(tuple(RECIPES)),
    default="tutorial",
    help="tutorial: exactly TensorFlow's tutorial. tuned: the same networks, better trained in the same "
    "10 epochs. Every other option overrides it. [tutorial]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Run folder to make. [runs/DATA-TIME]",
)
@click.option("--overwrite", is_flag=True, help="Replace the run in --output.")
@_setting("latent_dim", "Size of z.")
@_setting("posterior", "q(z|x).")
@_setting("prior", "p(z).")
@_setting("likelihood", "p(x|z).")
@_setting("filters", "Width of each convolution.", callback=_filters, metavar="N,N,...")
@_setting(
    "binarize",
    "threshold: 1 where a pixel is above 0.5. static: drawn once. dynamic: drawn at every step. none: "
    "pixels as they are.",
)
@_setting("objective", "Bound to maximise.")
@_setting("num_samples", "Draws of z for each example and step.")
@_setting("analytic_kl", "KL in closed form in place of Monte Carlo.", is_flag=True)
@_setting("batch_size", "Examples a step.")
@_setting("epochs", "Passes over the training set.")
@_setting("learning_rate", "Adam's, at its highest.")
@_setting("schedule", "How the learning rate falls.")
@_setting("warmup_steps", "Steps in which the learning rate rises from zero.")
@_setting("seed", "Of everything random.")
@click.option("--quiet", is_flag=True, help="Print the closing line only.")
@click.version_option(__version__, prog_name="probvae-train")
def main(recipe: str, output: Path | None, overwrite: bool, quiet: bool, **options: Any) -> None:
    r"""Train a convolutional VAE of TFP distributions.

    \b
    probvae-train                        the tutorial on MNIST
    probvae-train --data digits          no network needed
    probvae-train --data my.npz --latent-dim 16 --posterior tril --recipe tuned

    The run folder holds config.json, weights.npz, history.csv, metrics.json and pictures. Ctrl-C ends a
    run early and keeps what it has learnt. [Defaults in brackets.]
    """
    given = {name: value for name, value in options.items() if value is not None}
    architecture = {name: given.pop(name) for name in ARCHITECTURE if name in given}
    Architecture(**architecture)  # refuses bad choices before anything heavy is loaded
    training = Training(**{**RECIPES[recipe], **given})
    if output is None:
        output = Path("runs") / f"{Path(training.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    with quiet_start():
        from probvae.cli.training_run import run
    run(training, architecture, output, overwrite=overwrite, quiet=quiet, recipe=recipe)


if __name__ == "__main__":
    main()
