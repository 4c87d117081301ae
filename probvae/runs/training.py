"""The training of a run: begun or gone on with, and written into its folder."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from probvae.config.architecture import DECIDED_BY_DATA, Architecture
from probvae.config.json_file import to_json
from probvae.config.training import CHANGEABLE, Training
from probvae.data import from_config
from probvae.data.dataset import DataSet
from probvae.errors import InputError
from probvae.models.building import build
from probvae.runs import checkpoints
from probvae.runs.command_line import resume_command
from probvae.runs.folder import TENSORBOARD, locked, prepare_folder, remove_unfinished, require_run
from probvae.runs.job import Job, RunOptions
from probvae.runs.observer import Observer, never
from probvae.runs.picture_files import first_draws
from probvae.runs.recorder import Recorder
from probvae.runs.reports.page import renew_report
from probvae.runs.restoring import keep_last_good, restore
from probvae.runs.run import Run
from probvae.training import tensorboard_callback, trackers
from probvae.training.non_finite import NonFiniteError
from probvae.training.objective import try_objective
from probvae.training.state import Row, State
from probvae.training.strategies import refuse_unless_shared
from probvae.training.trainer import Trainer
from probvae.training.workers import Workers, watched


def train(
    architecture: Architecture | Mapping[str, Any] | None = None,
    training: Training | Mapping[str, Any] | None = None,
    data: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    options: RunOptions | None = None,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = never,
) -> Run:
    """Train a model as `probvae-train` does: the same settings give the same weights, bit for bit.

    Args:
      architecture: Configuration of the model, or its fields that differ from what suits the data.
      training: Configuration of the training, or its fields that differ from the defaults; the data decide
        whether they are binarized, unless `binarize` is among these.
      data: Name or path of the data, in place of `training.data`.
      output: Folder of the run; runs/DATA-TIME unless given.
      options: How the run is carried out.
      observer: Receiver of the progress.
      should_stop: Function that is asked about twice a second; where it returns True, the training ends and
        keeps what it has learnt: `run.interrupted` is then True, and `resume` goes on.

    Returns:
      The run.

    Raises:
      InputError: a setting is refused, the data cannot be read or do not fit, or the folder is in use.
      NonFiniteError: the objective or its gradient is no longer finite.

    >>> run = probvae.runs.train({"latent_dim": 3}, {"epochs": 5}, data="digits")  # doctest: +SKIP
    """
    options, observer = _with_strategy(options), observer or Observer()
    named, settings = _named(Architecture, architecture), _named(Training, training)
    settings |= {} if data is None else {"data": os.fspath(data)}
    if "latent_layers" in named:
        named.setdefault("latent_dim", sum(named["latent_layers"]))
    complete = Training(**settings)
    folder = default_folder(complete) if output is None else Path(output)
    with _workers(options) as workers:
        workers.refuse_unless_same("their options", (named, dataclasses.replace(complete, data="")))
        refuse_unless_shared(complete, options.strategy.num_replicas_in_sync)
        with workers.in_step():
            examples = from_config.read(complete, missing=named.get("missing", False))
        origin = _origin(examples, options, workers)
        full = _complete(named, examples, complete)
        if "binarize" not in settings:
            complete = dataclasses.replace(complete, binarize=from_config.default_binarize(full))
        job = _job(folder, full, complete, examples, origin, options, workers)
        try_objective(job.vae, job.prepared, complete)
        callbacks = _trackers(job)
        text = to_json(full, complete)
        with _held(folder, workers, lambda: prepare_folder(folder, text, overwrite=options.overwrite)):
            _train(job, callbacks, observer, should_stop)
    return Run(folder)


def resume(
    folder: str | os.PathLike[str],
    *,
    options: RunOptions | None = None,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = never,
    **changes: Any,
) -> Run:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    Args:
      folder: Folder of the run, or the run.
      options: How the run is carried out.
      observer: Receiver of the progress.
      should_stop: As of `train`.
      **changes: Fields of `Training` to change, such as `epochs`; `data` says where the same data are now.

    Returns:
      The run, read anew.

    Raises:
      InputError: no run, no checkpoint, other data, or a setting that cannot change.
      NonFiniteError: as of `train`.
    """
    folder, options, observer = Path(folder), _with_strategy(options), observer or Observer()
    if fixed := [name for name in changes if name not in CHANGEABLE]:
        raise InputError(
            f"A resumed run keeps its settings: leave {', '.join(fixed)} out, or start another run."
        )
    with _workers(options) as workers:
        workers.refuse_unless_same("their options", {**changes, "data": "", "resume": True})
        with workers.in_step():
            require_run(folder)
        with _held(folder, workers, lambda: remove_unfinished(folder)):
            with workers.in_step():
                run = Run(folder, changes.get("data"))
                training, examples = dataclasses.replace(run.training, **changes), run.examples
            origin = _origin(examples, options, workers)
            refuse_unless_shared(training, options.strategy.num_replicas_in_sync)
            job = _job(folder, run.architecture, training, examples, origin, options, workers)
            _train(job, _trackers(job), observer, should_stop, resumed=True)
    return Run(folder)


def default_folder(training: Training) -> Path:
    """Return the folder of a new run for which nobody named one."""
    return Path("runs") / f"{Path(training.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


# ---- preparation -----------------------------------------------------------------------------------


def _with_strategy(options: RunOptions | None) -> RunOptions:
    options = options or RunOptions()
    return dataclasses.replace(options, strategy=options.strategy or tf.distribute.get_strategy())


def _named(cls: Any, fields: Any) -> dict[str, Any]:
    """Return the fields of a configuration that are given, by their names."""
    names = [field.name for field in dataclasses.fields(cls)]
    if isinstance(fields, cls):
        return {name: getattr(fields, name) for name in names}
    if unknown := sorted((fields or {}).keys() - names):
        raise InputError(f"{cls.__name__} has the fields {', '.join(names)}; got {unknown[0]!r}.")
    return dict(fields or {})


def _complete(named: dict[str, Any], examples: DataSet, training: Training) -> Architecture:
    """Return an architecture: the given fields, and the others as they suit the data.

    Raises:
      InputError: a field that the data decide is given and another one.
    """
    fields = {**from_config.defaults(examples), **named}
    decided = {f.name: f.default for f in dataclasses.fields(Architecture) if f.name in DECIDED_BY_DATA}
    decided |= from_config.shape_fields(examples, training, fields["likelihood"])
    for name, value in decided.items():
        if name in named and named[name] != value:
            raise InputError(
                f"{name} must be {value!r} for the data {examples.name} with labels {training.labels}; got "
                f"{named[name]!r}."
            )
    return Architecture(**{**fields, **decided})


@contextlib.contextmanager
def _workers(options: RunOptions) -> Iterator[Workers]:
    """Be one of the processes that train together, or the only one."""
    workers = Workers(options.strategy)
    with watched(workers.number), options.strategy.scope():
        yield workers


@contextlib.contextmanager
def _held(folder: Path, workers: Workers, prepare: Callable[[], None]) -> Iterator[None]:
    """Hold the run folder's lock, and prepare it, if this is the process that writes."""
    with contextlib.ExitStack() as held:
        with workers.in_step():
            if workers.is_chief:
                held.enter_context(locked(folder))
                prepare()
        yield


def _origin(examples: DataSet, options: RunOptions, workers: Workers) -> checkpoints.Origin:
    """Return the origin of a training; the fingerprint takes a look at all data."""
    fingerprint = examples.fingerprint()
    workers.refuse_unless_same("their data", fingerprint)
    return checkpoints.Origin(
        fingerprint,
        options.strategy.num_replicas_in_sync,
        tf.config.threading.get_intra_op_parallelism_threads(),
    )


def _job(
    folder: Path,
    architecture: Architecture,
    training: Training,
    examples: DataSet,
    origin: checkpoints.Origin,
    options: RunOptions,
    workers: Workers,
) -> Job:
    """Prepare the data and build the model."""
    prepared = from_config.prepare(examples, training, architecture)
    vae = build(architecture, seed=training.seed, precision=training.precision)
    z = first_draws(vae, training)
    return Job(folder, vae, architecture, training, examples, prepared, z, origin, options, workers)


def _trackers(job: Job) -> list[Any]:
    """Return the callbacks of the trackers that are asked for; refuse one that is not installed."""
    options, training = job.options, job.training
    callbacks: list[Any] = []
    if not job.workers.is_chief:
        return callbacks
    config = {**_named(Architecture, job.architecture), **_named(Training, training)}
    if options.tensorboard:
        callbacks += tensorboard_callback.tensorboard(
            job.folder / TENSORBOARD,
            job.vae,
            job.prepared.test,
            job.examples.test_labels,
            epochs=training.epochs,
            seed=training.seed,
        )
    if options.wandb:
        callbacks += trackers.weights_and_biases(options.wandb, config, job.folder)
    if options.mlflow:
        callbacks += trackers.mlflow(options.mlflow, config, job.folder)
    return callbacks


# ---- training --------------------------------------------------------------------------------------


def _train(
    job: Job,
    callbacks: list[Any],
    observer: Observer,
    should_stop: Callable[[], bool],
    *,
    resumed: bool = False,
) -> None:
    """Train from the beginning or the last checkpoint to the end, and write the run's files."""
    folder, training, workers = job.folder, job.training, job.workers
    trainer = Trainer(job.vae, job.prepared, training)
    recorder = None
    if workers.is_chief:
        recorder = Recorder(
            *(folder, job.vae, training, job.examples, job.prepared),
            fingerprint=job.origin.fingerprint,
            z=job.first_draws,
        )
    observer.begin_training(job, restore(trainer, job, observer.warn) if resumed else "")

    def on_state(state: State) -> None:
        if workers.is_chief:
            checkpoints.save_state(folder, state, job.origin)

    def on_epoch(row: Row) -> None:
        observer.epoch(row)
        if recorder is not None:
            recorder.epoch(row)

    with _advice_on_disks(folder, observer):
        if recorder is not None:
            recorder.start(trainer.history, step=trainer.state().step, command=job.options.command)
            if not resumed:
                on_state(trainer.state())
        try:
            trainer.fit(
                every=job.options.every,
                callbacks=callbacks,
                on_chunk=observer.chunk,
                on_epoch=on_epoch,
                on_state=on_state,
                should_stop=should_stop,
            )
        except NonFiniteError as error:
            observer.close()
            step = keep_last_good(trainer, recorder, job, sound=error.sound)
            if recorder is not None:
                renew_report(folder, observer.warn)
            change = "--on-nonfinite skip" if error.sound else "--clip-norm 1 or a smaller --learning-rate"
            raise NonFiniteError(
                f"{error} The run is kept as of step {step:,}; go on by {resume_command(folder)} {change}."
            ) from None
        observer.close()
        stopped = workers.anyone(should_stop())
        if recorder is not None:
            recorder.finish(trainer.test(job.prepared.test), interrupted=stopped)
            renew_report(folder, observer.warn)
        workers.wait()  # for the files


@contextlib.contextmanager
def _advice_on_disks(folder: Path, observer: Observer) -> Iterator[None]:
    """Say what to do where a file cannot be written."""
    try:
        yield
    except OSError as error:
        observer.close()
        raise InputError(
            f"{error.strerror or error}: {error.filename or folder}. The run is safe up to its last "
            f"checkpoint; once that is mended, go on by {resume_command(folder)}."
        ) from None
