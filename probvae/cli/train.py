"""probvae-train: train a VAE on images and keep everything about the run in a folder."""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from probvae.cli.command import COMMAND_LINE, Command
from probvae.cli.start import AT_LEAST_ONE, make_strategy, quiet_start, thread_options
from probvae.config.architecture import Architecture
from probvae.config.choices import CHOICES, RECIPES
from probvae.config.training import Every, Training
from probvae.environment import __version__
from probvae.errors import InputError
from probvae.training import cluster

FROM_DATA = ("event_shape", "columns", "context_dim", "classifier")  # fields that the data decides
ARCHITECTURE = {f.name: f.default for f in dataclasses.fields(Architecture) if f.name not in FROM_DATA}
CHANGEABLE = ("epochs", "data", "learning_rate", "clip_norm", "on_nonfinite", "patience")  # of a resumed run
DEFAULTS = {**ARCHITECTURE, **{f.name: f.default for f in dataclasses.fields(Training)}}


def _setting(name: str, help_text: str, **options: Any) -> Callable[[Any], Any]:
    """Make the option of one field of `Architecture` or `Training`; absent, the recipe decides it."""
    default = DEFAULTS[name]
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    shown = "none" if shown in ("", ()) else shown
    if name in CHOICES:
        options.setdefault("type", click.Choice(CHOICES[name]))
    elif isinstance(default, tuple):
        options = {"callback": _integers, "metavar": "N,N,...", **options}
    elif isinstance(default, bool):
        options["is_flag"] = True
    elif isinstance(default, int | float):
        options.setdefault("type", type(default))
        options.setdefault("metavar", "X" if isinstance(default, float) else "N")
    return click.option(f"--{name.replace('_', '-')}", default=None, help=f"{help_text} [{shown}]", **options)


def _integers(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
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
    "mnist, fashion_mnist, kmnist, cifar10, digits (needs no network), tfds:NAME; an .npz, .npy, .csv or "
    ".parquet file; a folder of images.",
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
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Go on with this run from its last checkpoint, as if it had never stopped. Of the settings only "
    "--epochs, --data (a new place), --learning-rate, --clip-norm, --on-nonfinite and --patience may change.",
)
@click.option(
    "--checkpoint-every",
    default="5m",
    metavar="N|30s|5m|2h",
    help="Steps, or time, from one checkpoint to the next within an epoch; there is one after each. [5m]",
)
@_setting("latent_dim", "Size of z.")
@_setting("posterior", "q(z|x).")
@_setting("prior", "p(z).")
@_setting("likelihood", "p(x|z); unless given, mixed for tables and normal for series and vectors.")
@_setting("network", "Of encoder and decoder; unless given, conv1d for series and mlp for vectors.")
@_setting("filters", "Width of each convolution, for conv, residual_conv and conv1d.")
@_setting("units", "Width of each hidden layer, for mlp and gated_mlp.")
@_setting("activation", "Of the hidden layers.")
@_setting("components", "Of the prior mixture; pseudo-inputs of vamp.")
@_setting("classes", "Of the likelihood categorical.")
@_setting("missing", "x may have missing values (NaN).")
@_setting("latent_layers", "Sizes of the layers of a hierarchy, the top first.")
@_setting(
    "binarize",
    "threshold: 1 where a pixel is above 0.5. static: drawn once. dynamic: drawn at every step. none: "
    "pixels as they are, also unless given for other likelihoods than bernoulli.",
)
@_setting(
    "labels", "condition: p(x|z, y) and q(z|x, y). semi: likewise with labels partly unknown, and q(y|x)."
)
@_setting("labelled", "Fraction of the training labels that semi sees.")
@_setting("validation", "Fraction of the training set held out; the weights best on it are kept.")
@_setting("kind", "What arrays hold.")
@_setting("image_size", "Bring images to this size.", metavar="N|H,W")
@_setting("crop", "How.")
@_setting("color", "Of a folder of images.")
@_setting("label", "Column of a table that holds the labels.", metavar="NAME")
@_setting(
    "column_kinds",
    "Column of a table: normal, bernoulli, poisson, categorical or ignore, in place of a guess. Repeatable.",
    multiple=True,
    metavar="NAME=KIND",
    callback=lambda context, parameter, values: values or None,
)
@_setting("objective", "Bound to maximise.")
@_setting("num_samples", "Draws of z for each example and step.")
@_setting("analytic_kl", "KL in closed form in place of Monte Carlo.")
@_setting("beta", "Weight of the KL, after its warm-up.")
@_setting("beta_warmup", "How beta rises from zero.")
@_setting("beta_warmup_steps", "Steps that this takes.")
@_setting("alpha", "Order of the objective renyi.")
@_setting("free_bits", "Nats of each latent dimension that are free, for the objective free_bits.")
@_setting("mmd_weight", "Of the objective mmd.")
@_setting("batch_size", "Examples a step.")
@_setting("epochs", "Passes over the training set.")
@_setting("learning_rate", "Adam's, at its highest.")
@_setting("schedule", "How the learning rate falls.")
@_setting("warmup_steps", "Steps in which the learning rate rises from zero.")
@_setting("clip_norm", "Cut the gradient's norm to this.")
@_setting("on_nonfinite", "What to do with a step that is not finite.")
@_setting("patience", "Epochs without a better ELBO on the validation set after which training stops.")
@_setting("precision", "Of the networks.")
@click.option(
    "--parts",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Of a batch, worked on side by side with noise of their own, a thread each. [a core each, of 16 "
    "examples or more; 1 on a GPU]",
)
@_setting("seed", "Of everything random.")
@click.option("--tensorboard", is_flag=True, help="Write FOLDER/tensorboard: terms, pictures, latent space.")
@click.option("--wandb", default="", metavar="PROJECT", help="Report to Weights & Biases.")
@click.option("--mlflow", default="", metavar="EXPERIMENT", help="Report to MLflow.")
@click.option(
    "--strategy",
    type=click.Choice(cluster.STRATEGIES),
    default="none",
    help="mirrored: all GPUs of this machine, or its CPU devices. multi_worker: the processes that TF_CONFIG "
    "names, one a machine or GPU. Each batch is shared out over them. [none]",
)
@thread_options
@click.option("--quiet", is_flag=True, help="Print the closing line only.")
@click.version_option(__version__, prog_name="probvae-train")
def main(
    recipe: str,
    output: Path | None,
    overwrite: bool,
    resume: Path | None,
    checkpoint_every: str,
    tensorboard: bool,
    wandb: str,
    mlflow: str,
    strategy: str,
    threads: int | None,
    inter_threads: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a convolutional VAE of TFP distributions.

    \b
    probvae-train                        the tutorial on MNIST
    probvae-train --data digits          no network needed
    probvae-train --data my.npz --latent-dim 16 --posterior tril --recipe tuned
    probvae-train --resume runs/digits-20261125-120000

    The run folder holds config.json, weights.npz, history.csv, metrics.json, checkpoints and pictures. Ctrl-C
    ends a run early and keeps what it has learnt. [Defaults in brackets.]
    """  # noqa: D301
    given = {name: value for name, value in options.items() if value is not None}
    conduct: dict[str, Any] = {
        "every": Every.parse(checkpoint_every),
        "quiet": quiet,
        "tensorboard": tensorboard,
        "wandb": wandb,
        "mlflow": mlflow,
        "command": click.get_current_context().meta[COMMAND_LINE],
    }
    make = functools.partial(make_strategy, strategy, threads, inter_threads)
    if resume is not None:
        _refuse_changes(given, recipe, output, overwrite)
        _wait(strategy, quiet=quiet)
        with quiet_start(lambda: make(_parts_of(resume))) as devices:
            from probvae.runs.training import Conduct
            from probvae.runs.training import resume as resume_run
        resume_run(Conduct(resume, devices, **conduct), given)
        return
    architecture = {name: given.pop(name) for name in ARCHITECTURE if name in given}
    training = Training(**{**RECIPES[recipe], **given})
    if "latent_layers" in architecture:
        architecture.setdefault("latent_dim", sum(architecture["latent_layers"]))
    _check(architecture, training)
    if output is None and strategy == "multi_worker":
        raise InputError("With several workers, name the run folder that they share: add --output.")
    _wait(strategy, quiet=quiet)
    if output is None:
        output = Path("runs") / f"{Path(training.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"

    def setup() -> tuple[Any, Training]:
        from probvae.training import strategies

        parts = given.get("parts") or strategies.default_parts(training, strategy)
        return make(parts), dataclasses.replace(training, parts=parts)

    with quiet_start(setup) as (devices, training):
        from probvae.runs.training import Conduct, start
    start(
        training,
        architecture,
        Conduct(output, devices, recipe=recipe, overwrite=overwrite, **conduct),
        choose_binarization="binarize" not in given,
    )


def _parts_of(folder: Path) -> int:
    """Return the parts of a batch in a run's configuration, or 1: what is wrong with it is said later."""
    from probvae.models import saving

    with contextlib.suppress(OSError, InputError):
        _, training = saving.read_config(folder)
        return training.parts if training else 1
    return 1


def _wait(strategy: str, *, quiet: bool) -> None:
    """Wait for the other processes, if several train together."""
    if strategy != "multi_worker":
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a lost worker is told in one line
    found = cluster.parse(os.environ.get(cluster.VARIABLE))
    if found.index == 0 and len(found.workers) > 1 and not quiet:
        click.echo(f"waiting for {len(found.workers)} workers: {', '.join(found.workers)}", err=True)
    cluster.wait_for_all(found)


def _refuse_changes(given: dict[str, Any], recipe: str, output: Path | None, overwrite: bool) -> None:
    """Refuse what a resumed run cannot change."""
    fixed = [name for name in given if name not in CHANGEABLE]
    fixed += [name for name, set_ in (("output", output), ("overwrite", overwrite)) if set_]
    fixed += ["recipe"] if recipe != "tutorial" else []
    if fixed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise InputError(f"A resumed run keeps its settings: leave {names} out, or start another run.")


def _check(architecture: dict[str, Any], training: Training) -> None:
    """Refuse bad choices before anything heavy is loaded; what the data decide is made up."""
    made_up: dict[str, Any] = {}
    if architecture.get("likelihood") == "mixed":
        made_up = {"columns": ("normal",), "event_shape": (1,)}
    if training.labels != "none":
        made_up["context_dim"] = 2
    Architecture(**architecture, **made_up)


if __name__ == "__main__":
    main()
