"""probvae-train: the training of a VAE, with all its results in a run folder."""

import contextlib
import functools
import os
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from probvae.cli.command import COMMAND_LINE, Command
from probvae.cli.start import make_strategy, quiet_start, thread_options
from probvae.config.architecture import DECIDED_BY_DATA, Architecture
from probvae.config.choices import CHOICES, OF_TABLES, RECIPES
from probvae.config.fields import kind_of
from probvae.config.training import CHANGEABLE, Every, Training
from probvae.environment import __version__
from probvae.errors import InputError
from probvae.training import cluster

SETTINGS = {  # the fields that are options, in their order in --help
    field.name: field
    for field in (Training.__dataclass_fields__["data"], *fields(Architecture), *fields(Training))
    if field.name not in DECIDED_BY_DATA
}
ARCHITECTURE = {field.name: field.default for field in fields(Architecture) if field.name in SETTINGS}


def _as_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _setting(name: str) -> Callable[[Any], Any]:
    """Return the option of a field of `Architecture` or `Training`, whose default the recipe decides."""
    default, about = SETTINGS[name].default, SETTINGS[name].metadata
    kind = kind_of(SETTINGS[name].type)
    options: dict[str, Any] = {"type": kind, "metavar": about["metavar"] or None}
    if name in CHOICES:
        options = {"type": click.Choice(CHOICES[name])}
    elif SETTINGS[name].type == tuple[str, ...]:
        options |= {"type": str, "multiple": True, "callback": lambda context, option, values: values or None}
    elif isinstance(default, tuple):
        options |= {"type": str, "callback": _integers, "metavar": about["metavar"] or "N,N,..."}
    elif kind is bool:
        options = {"is_flag": True}
    elif kind in (int, float):
        options["metavar"] = "X" if kind is float else "N"
    text = re.sub("`(.*?)`", lambda match: _as_option(match[1]), about["help"])
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    text += "" if kind is bool else f" [{about['unset'] or shown or 'none'}]"
    return click.option(_as_option(name), default=None, help=text, **options)


def _settings(command: Any) -> Any:
    """Give a command the options of all settings but --data."""
    for name in reversed(SETTINGS):
        command = command if name == "data" else _setting(name)(command)
    return command


def _integers(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        message = f"{text!r} is not a list of integers with commas, such as 32,64."
        raise click.BadParameter(message) from None


@click.command("probvae-train", cls=Command, context_settings={"max_content_width": 100})
@_setting("data")
@click.option(
    "--recipe",
    type=click.Choice(tuple(RECIPES)),
    default="tutorial",
    help="tutorial: exactly TensorFlow's tutorial. tuned: the same networks, trained better in the same "
    "10 epochs. All other options override the recipe. [tutorial]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Run folder to create. [runs/DATA-TIME]",
)
@click.option("--overwrite", is_flag=True, help="Replace the run in --output.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Run to continue from its last checkpoint, as if it had never stopped. Of its settings only "
    f"{', '.join(map(_as_option, CHANGEABLE))} can change; --data is the new place of the same data.",
)
@click.option(
    "--checkpoint-every",
    default="5m",
    metavar="N|30s|5m|2h",
    help="Number of steps, or time, between checkpoints within an epoch; each epoch ends with one. [5m]",
)
@_settings
@click.option(
    "--tensorboard", is_flag=True, help="Write terms, pictures and latent space to FOLDER/tensorboard."
)
@click.option("--wandb", default="", metavar="PROJECT", help="Report to Weights & Biases.")
@click.option("--mlflow", default="", metavar="EXPERIMENT", help="Report to MLflow.")
@click.option(
    "--strategy",
    type=click.Choice(cluster.STRATEGY_NAMES),
    default="none",
    help="Devices among which each batch is divided. mirrored: all GPUs of this machine, or its CPU devices. "
    "multi_worker: the processes that TF_CONFIG names, one for each machine or GPU. [none]",
)
@thread_options
@click.option("--quiet", is_flag=True, help="Print only the last line.")
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
    ends a run early and saves its weights. [Defaults in brackets.]
    """  # noqa: D301
    given = {name: value for name, value in options.items() if value is not None}
    conduct: dict[str, Any] = {
        "every": Every.parse(checkpoint_every),
        "overwrite": overwrite,
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
            from probvae.cli.console import TrainingConsole
            from probvae.runs import job
            from probvae.runs import training as runs
        with (console := TrainingConsole("resumed", quiet=quiet)):
            chosen = job.RunOptions(strategy=devices, **conduct)
            run = runs.resume(resume, options=chosen, observer=console, should_stop=console.stop, **given)
            console.conclude(run)
        return
    architecture = {name: given.pop(name) for name in ARCHITECTURE if name in given}
    training = Training(**{**RECIPES[recipe], **given})
    _check(architecture, training)
    if output is None and strategy == "multi_worker":
        raise InputError("With several workers, name the run folder that they share: add --output.")
    _wait(strategy, quiet=quiet)
    setup = functools.partial(_set_up, make, strategy, training, given.get("parts"))
    with quiet_start(setup) as (devices, parts):
        from probvae.cli.console import TrainingConsole
        from probvae.runs import job
        from probvae.runs import training as runs
    with (console := TrainingConsole(recipe, quiet=quiet)):
        run = runs.train(
            architecture,
            {**given, "parts": parts},
            output=output,
            recipe=recipe,
            options=job.RunOptions(strategy=devices, **conduct),
            observer=console,
            should_stop=console.stop,
        )
        console.conclude(run)


def _set_up(
    make: Callable[[int], Any], strategy: str, training: Training, parts: int | None
) -> tuple[Any, int]:
    """Return the strategy and the number of parts of a batch."""
    from probvae.training import strategies

    parts = parts or strategies.default_parts(training, strategy)
    return make(parts), parts


def _parts_of(folder: Path) -> int:
    """Return the number of parts of a batch in a run; 1 if its configuration cannot be read."""
    from probvae.runs import files

    with contextlib.suppress(OSError, InputError):
        return files.read_config(folder)[1].parts
    return 1


def _wait(strategy: str, *, quiet: bool) -> None:
    """Wait for the other workers, with the strategy multi_worker."""
    if strategy != "multi_worker":
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a lost worker is reported in one line
    parsed = cluster.parse(os.environ.get(cluster.VARIABLE))
    if parsed.index == 0 and len(parsed.workers) > 1 and not quiet:
        click.echo(f"waiting for {len(parsed.workers)} workers: {', '.join(parsed.workers)}", err=True)
    cluster.wait_for_all(parsed)


def _refuse_changes(given: dict[str, Any], recipe: str, output: Path | None, overwrite: bool) -> None:
    """Refuse options that a resumed run cannot change."""
    fixed = [name for name in given if name not in CHANGEABLE]
    fixed += [name for name, set_ in (("output", output), ("overwrite", overwrite)) if set_]
    fixed += ["recipe"] if recipe != "tutorial" else []
    if fixed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise InputError(f"A resumed run keeps its settings: leave {names} out, or start another run.")


def _check(architecture: dict[str, Any], training: Training) -> None:
    """Refuse bad settings before TensorFlow is loaded; fields that the data decide get examples."""
    placeholders: dict[str, Any] = {}
    if "latent_layers" in architecture:
        placeholders["latent_dim"] = sum(architecture["latent_layers"])
    if architecture.get("likelihood") in OF_TABLES:
        placeholders |= {"columns": ("normal",), "event_shape": (1,)}
    if training.uses_labels:
        placeholders["context_dim"] = 2
    Architecture(**{**placeholders, **architecture})


if __name__ == "__main__":
    main()
