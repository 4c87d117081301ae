"""What probvae-train does once its options are known and TensorFlow is loaded."""

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import tensorflow as tf

from probvae.cli.console import Console
from probvae.cli.start import StopOnSignal, renew_report
from probvae.config.architecture import Architecture
from probvae.config.json_file import to_json
from probvae.config.training import Every, Training
from probvae.data import from_config
from probvae.data.binarization import Prepared
from probvae.data.dataset import DataSet
from probvae.errors import InputError
from probvae.models import saving
from probvae.models.building import build
from probvae.models.vae import VAE
from probvae.runs import checkpoints
from probvae.runs.folder import TENSORBOARD, locked, prepare_folder, remove_unfinished, require_run
from probvae.runs.recorder import Recorder
from probvae.runs.restoring import _command, _keep_what_is_good, _restore
from probvae.training import tensorboard_callback, trackers
from probvae.training.non_finite import NonFiniteError
from probvae.training.objective import try_objective
from probvae.training.state import Row, State
from probvae.training.strategies import refuse_unless_shared
from probvae.training.trainer import Trainer
from probvae.training.workers import Workers, watched


@dataclasses.dataclass(frozen=True)
class Conduct:
    """How a run is carried out, which does not change its result.

    Attributes:
      folder: of the run.
      strategy: of `tf.distribute`, whose replicas share the work.
      every: how often a checkpoint is written within an epoch.
      recipe: name to show.
      overwrite: replace the run in the folder.
      quiet: print the closing line only.
      tensorboard: write its files into the folder.
      wandb: a project of Weights & Biases to report to; empty for none.
      mlflow: an experiment of MLflow to report to; empty for none.
      command: the line that was typed, to be kept.
    """

    folder: Path
    strategy: Any
    every: Every
    recipe: str = "resumed"
    overwrite: bool = False
    quiet: bool = False
    tensorboard: bool = False
    wandb: str = ""
    mlflow: str = ""
    command: str = ""


def start(
    training: Training, options: dict[str, Any], conduct: Conduct, *, choose_binarization: bool
) -> None:
    """Load the data, train, and write the run folder.

    `options` are the fields of `Architecture` that the user has named; the data decide the others.
    """
    with _process(conduct) as workers:
        workers.refuse_unless_same("their options", (options, dataclasses.replace(training, data="")))
        refuse_unless_shared(training, conduct.strategy.num_replicas_in_sync)
        with workers.in_step():
            examples = from_config.read(training, missing=options.get("missing", False))
        origin = _origin(conduct, workers, examples)
        options = {**from_config.defaults(examples), **options}
        options |= from_config.shape_fields(examples, training, options["likelihood"])
        architecture = Architecture(**options)
        if choose_binarization:
            binarize = from_config.default_binarize(architecture)
            training = dataclasses.replace(training, binarize=binarize)
        prepared = from_config.prepare(examples, training, architecture)
        vae = build(architecture, seed=training.seed, precision=training.precision)
        try_objective(vae, prepared, training)
        callbacks = _trackers(vae, training, examples, prepared, conduct, workers)
        text = to_json(architecture, training)
        with _folder(
            conduct, workers, lambda: prepare_folder(conduct.folder, text, overwrite=conduct.overwrite)
        ):
            _train(vae, training, examples, prepared, origin, conduct, callbacks, workers)


def resume(conduct: Conduct, changes: dict[str, Any]) -> None:
    """Go on with the run in a folder from its last checkpoint.

    `changes` are the fields of `Training` that the user has named anew.
    """
    folder = conduct.folder
    with _process(conduct) as workers:
        workers.refuse_unless_same("their options", {**changes, "data": "", "resume": True})
        with workers.in_step():
            require_run(folder)
        with _folder(conduct, workers, lambda: remove_unfinished(folder)):
            with workers.in_step():
                architecture, training, examples = _read(folder, changes)
            origin = _origin(conduct, workers, examples)
            refuse_unless_shared(training, conduct.strategy.num_replicas_in_sync)
            prepared = from_config.prepare(examples, training, architecture)
            vae = build(architecture, seed=training.seed, precision=training.precision)
            callbacks = _trackers(vae, training, examples, prepared, conduct, workers)
            _train(vae, training, examples, prepared, origin, conduct, callbacks, workers, resumed=True)


def _read(folder: Path, changes: dict[str, Any]) -> tuple[Architecture, Training, DataSet]:
    """Read what a run folder says of its model and training, and the data of that."""
    architecture, training = saving.read_config(folder)
    if architecture is None or training is None:
        raise InputError(f"{folder} holds a model and no training: only a run of probvae-train can go on.")
    training = dataclasses.replace(training, **changes)
    examples = from_config.read(training, missing=architecture.missing)
    if examples.event_shape != architecture.event_shape:
        raise InputError(
            f"{training.data} holds examples of shape {list(examples.event_shape)}; the model takes "
            f"{list(architecture.event_shape)}: give the data of that run."
        )
    return architecture, training, examples


def _origin(conduct: Conduct, workers: Workers, examples: DataSet) -> checkpoints.Origin:
    """Return what a training starts from; the fingerprint takes a look at all data."""
    fingerprint = examples.fingerprint()
    workers.refuse_unless_same("their data", fingerprint)
    return checkpoints.Origin(
        fingerprint,
        conduct.strategy.num_replicas_in_sync,
        tf.config.threading.get_intra_op_parallelism_threads(),
    )


@contextlib.contextmanager
def _process(conduct: Conduct) -> Iterator[Workers]:
    """Be one of the processes that train together, or the only one."""
    workers = Workers(conduct.strategy)
    with watched(workers.number), conduct.strategy.scope():
        yield workers


@contextlib.contextmanager
def _folder(conduct: Conduct, workers: Workers, prepare: Callable[[], None]) -> Iterator[None]:
    """Hold the run folder's lock, and prepare it, if this is the process that writes."""
    with contextlib.ExitStack() as held:
        with workers.in_step():
            if workers.is_chief:
                held.enter_context(locked(conduct.folder))
                prepare()
        yield


def _trackers(
    vae: VAE,
    training: Training,
    examples: DataSet,
    prepared: Prepared,
    conduct: Conduct,
    workers: Workers,
) -> list[Any]:
    """Return the callbacks of the trackers that are asked for; refuse one that is not installed."""
    found: list[Any] = []
    if not workers.is_chief:
        return found
    folder = conduct.folder
    config = {
        name: value
        for part in (vae.architecture, training)
        if part is not None
        for name, value in dataclasses.asdict(part).items()
    }
    if conduct.tensorboard:
        place, labels = folder / TENSORBOARD, examples.test_labels
        found += tensorboard_callback.tensorboard(
            place, vae, prepared.test, labels, epochs=training.epochs, seed=training.seed
        )
    if conduct.wandb:
        found += trackers.weights_and_biases(conduct.wandb, config, folder)
    if conduct.mlflow:
        found += trackers.mlflow(conduct.mlflow, config, folder)
    return found


def _train(
    vae: VAE,
    training: Training,
    examples: DataSet,
    prepared: Prepared,
    origin: checkpoints.Origin,
    conduct: Conduct,
    callbacks: list[Any],
    workers: Workers,
    *,
    resumed: bool = False,
) -> None:
    folder, chief = conduct.folder, workers.is_chief
    console = Console(training, len(examples.train), quiet=conduct.quiet or not chief)
    trainer = Trainer(vae, prepared, training)
    recorder = None
    if chief:  # before weights are restored: its pictures show draws of the first p(z)
        recorder = Recorder(folder, vae, training, examples, prepared, fingerprint=origin.fingerprint)
    place = _restore(trainer, folder, origin, workers) if resumed else ""
    console.introduce(vae, training, examples, folder, conduct.recipe, place)

    def on_state(state: State) -> None:
        if chief:
            checkpoints.save_state(folder, state, origin)

    def on_epoch(row: Row) -> None:
        console.epoch(row)
        if recorder is not None:
            recorder.epoch(row)

    with StopOnSignal(console.stopping) as stop, _advice_on_disks(folder, console):
        if recorder is not None:
            recorder.start(trainer.history, step=trainer.state().step, command=conduct.command)
            if not resumed:
                on_state(trainer.state())
        try:
            trainer.fit(
                every=conduct.every,
                callbacks=callbacks,
                on_chunk=console.chunk,
                on_epoch=on_epoch,
                on_state=on_state,
                should_stop=stop,
            )
        except NonFiniteError as error:
            console.close()
            step = _keep_what_is_good(trainer, recorder, folder, origin, sound=error.sound)
            change = "--on-nonfinite skip" if error.sound else "--clip-norm 1 or a smaller --learning-rate"
            raise NonFiniteError(
                f"{error} The run is kept as of step {step:,}; go on by {_command(folder)} {change}."
            ) from None
        console.close()
        stopped = workers.anyone(stop())
        if recorder is not None:
            metrics = recorder.finish(interrupted=stopped)
            renew_report(folder)
            _conclude(metrics, folder, stopped=stopped)
        workers.anyone(False)  # the others stay until all is written
    if stopped:
        sys.exit(128 + (stop.received or signal.SIGTERM))


@contextlib.contextmanager
def _advice_on_disks(folder: Path, console: Console) -> Iterator[None]:
    """Say what to do where a file cannot be written."""
    try:
        yield
    except OSError as error:
        console.close()
        raise InputError(
            f"{error.strerror or error}: {error.filename or folder}. The run is safe up to its last "
            f"checkpoint; once that is mended, go on by {_command(folder)}."
        ) from None


def _conclude(metrics: dict[str, Any], folder: Path, *, stopped: bool) -> None:
    elbo = metrics["test_elbo"]
    error = "" if elbo["standard_error"] is None else f" ± {elbo['standard_error']:.2f} (standard error)"
    state = "stopped early" if stopped else "done"
    bits = metrics.get("test_bits_per_dimension")
    coded = "" if bits is None else f", {bits['mean']:.4f} bits/dim"
    right = metrics.get("test_accuracy")
    right = "" if right is None else f", {right['mean']:.2%} of the classes right"
    click.echo(f"{state}: test ELBO {elbo['mean']:.2f}{error} nats{coded}{right}, in {folder}")
    if stopped:
        click.echo(f"to go on: {_command(folder)}")
