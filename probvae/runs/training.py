"""The training of a run, which starts or resumes it and writes its folder."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from probvae.config.architecture import Architecture
from probvae.config.choices import RECIPES
from probvae.config.training import CHANGEABLE, Training
from probvae.data import from_config
from probvae.data.dataset import DataSet
from probvae.errors import InputError
from probvae.models.building import build
from probvae.models.saving import config_text
from probvae.runs import checkpoints, completion
from probvae.runs.command_line import resume_command
from probvae.runs.folder import TENSORBOARD, locked, prepare_folder, remove_unfinished, require_run
from probvae.runs.job import Job, RunOptions
from probvae.runs.observer import Observer, never
from probvae.runs.picture_files import first_draws
from probvae.runs.recorder import Recorder
from probvae.runs.reports.page import renew_report
from probvae.runs.restoring import keep_last_good, restore
from probvae.runs.run import Run
from probvae.training import trackers
from probvae.training.non_finite import NonFiniteError
from probvae.training.objective import try_objective
from probvae.training.state import Row, State
from probvae.training.strategies import refuse_unless_shared
from probvae.training.tensorboard_callback import POINTS, TensorBoard
from probvae.training.trainer import Trainer
from probvae.training.workers import Workers, watched


def train(
    architecture: Architecture | Mapping[str, Any] | None = None,
    training: Training | Mapping[str, Any] | None = None,
    data: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: str = "tutorial",
    options: RunOptions | None = None,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = never,
) -> Run:
    """Train a model as `probvae-train` does; the same settings give the same weights, bit for bit.

    Args:
      architecture: Configuration of the model, or the fields that differ from the defaults for the data.
      training: Configuration of the training, or the fields that differ from the defaults; without `binarize`
        or `hide` among these, the data decide them.
      data: Name or path of the data, instead of `training.data`.
      output: Folder of the run; runs/DATA-TIME unless given.
      recipe: Recipe, a key of `probvae.config.choices.RECIPES`, for the settings that are not given.
      options: Options of the execution.
      observer: Observer of the progress.
      should_stop: Function that is called about twice a second. If it returns True, the training ends and
        saves its state: `run.interrupted` is then True, and `resume` continues it.

    Returns:
      Trained run.

    Raises:
      InputError: A setting is refused, the data cannot be read or do not fit, or the folder is in use.
      NonFiniteError: The objective or its gradient is no longer finite.

    >>> run = probvae.runs.train({"latent_dim": 3}, {"epochs": 5}, data="digits")  # doctest: +SKIP
    """
    options, observer = _with_strategy(options), observer or Observer()
    named, chosen = completion.named(Architecture, architecture), completion.named(Training, training)
    typed = completion.typed(architecture, training) | (completion.BY_DATA & chosen.keys())
    if data is not None and not isinstance(data, str | os.PathLike):
        raise InputError(
            f"data must be a name or a path, which the run can read again; got {type(data).__name__}. Write "
            "it to a file first: a DataFrame by to_csv or to_parquet, arrays by numpy.savez."
        )
    chosen = {**RECIPES[recipe], **chosen, **({} if data is None else {"data": os.fspath(data)})}
    if "latent_layers" in named:
        named.setdefault("latent_dim", sum(named["latent_layers"]))
    complete = Training(**chosen)
    folder = default_folder(complete) if output is None else Path(output)
    with _workers(options) as workers:
        workers.refuse_unless_same("their options", (named, dataclasses.replace(complete, data="")))
        refuse_unless_shared(complete, options.strategy.num_replicas_in_sync)
        with workers.in_step():
            examples = from_config.read(complete, missing=completion.takes_missing(named, typed, complete))
        for remark in examples.remarks if workers.is_chief else ():
            observer.warn(remark)
        origin = _origin(examples, options, workers)
        full = completion.complete_architecture(named, examples, complete)
        completion.refuse_idle(typed, full, complete)
        warn = observer.warn if workers.is_chief else (lambda sentence: None)
        complete = completion.complete_training(complete, typed, full, examples, warn)
        if sentence := completion.advice(examples, typed, full, complete):
            warn(sentence)
        job = _job(folder, full, complete, examples, origin, options, workers)
        try_objective(job.vae, job.prepared, complete)
        callbacks = _trackers(job)
        text = config_text(full, complete, job.vae.schema)
        with _exclusive(
            folder,
            workers,
            lambda: prepare_folder(folder, text, schema=job.vae.schema, overwrite=options.overwrite),
        ):
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
    """Resume a run from its last checkpoint, as if it had never stopped.

    Args:
      folder: Folder of the run, or a `Run`.
      options: Options of the execution.
      observer: Observer of the progress.
      should_stop: Function as in `train`.
      **changes: Fields of `Training` to change, such as `epochs`; `data` is the new place of the same data.

    Returns:
      Trained run.

    Raises:
      InputError: The run or its checkpoint is missing, the data differ, or a setting cannot change.
      NonFiniteError: The objective or its gradient is no longer finite.
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
        with _exclusive(folder, workers, lambda: remove_unfinished(folder)):
            with workers.in_step():
                run = Run(folder, changes.get("data"))
                training, examples = dataclasses.replace(run.training, **changes), run.examples
            origin = _origin(examples, options, workers)
            refuse_unless_shared(training, options.strategy.num_replicas_in_sync)
            job = _job(folder, run.architecture, training, examples, origin, options, workers)
            _train(job, _trackers(job), observer, should_stop, resumed=True)
    return Run(folder)


def default_folder(training: Training) -> Path:
    """Return the default folder of a new run."""
    return Path("runs") / f"{Path(training.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


# ---- preparation -----------------------------------------------------------------------------------


def _with_strategy(options: RunOptions | None) -> RunOptions:
    options = options or RunOptions()
    return dataclasses.replace(options, strategy=options.strategy or tf.distribute.get_strategy())


@contextlib.contextmanager
def _workers(options: RunOptions) -> Iterator[Workers]:
    """Join the processes that train together, or train alone."""
    workers = Workers(options.strategy)
    with watched(workers.number), options.strategy.scope():
        yield workers


@contextlib.contextmanager
def _exclusive(folder: Path, workers: Workers, prepare: Callable[[], None]) -> Iterator[None]:
    """Lock and prepare the run folder, in the process that writes."""
    with contextlib.ExitStack() as stack:
        with workers.in_step():
            if workers.is_chief:
                stack.enter_context(locked(folder))
                prepare()
        yield


def _origin(examples: DataSet, options: RunOptions, workers: Workers) -> checkpoints.Origin:
    """Return the origin of a training; its fingerprint reads all data."""
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
    """Prepare the data, build the model, and return the job."""
    prepared = from_config.prepare(examples, training, architecture)
    schema = from_config.schema_of(examples, training, architecture)
    vae = build(
        architecture,
        seed=training.seed,
        precision=training.precision,
        dropout=training.dropout,
        schema=schema,
    )
    z = first_draws(vae, training)
    return Job(folder, vae, architecture, training, examples, prepared, z, origin, options, workers)


def _trackers(job: Job) -> list[Any]:
    """Return the callbacks of the trackers of the options; refuse one that is not installed."""
    options, training = job.options, job.training
    callbacks: list[Any] = []
    if not job.workers.is_chief:
        return callbacks
    config = {**completion.named(Architecture, job.architecture), **completion.named(Training, training)}
    if options.tensorboard:
        folder, seed, epochs = job.folder / TENSORBOARD, training.seed, training.epochs
        test, labels = job.prepared.test, job.class_names(POINTS)
        callbacks.append(TensorBoard(folder, job.vae, test, labels, epochs=epochs, seed=seed))
    if options.wandb:
        callbacks.append(trackers.weights_and_biases(options.wandb, config, job.folder))
    if options.mlflow:
        callbacks.append(trackers.mlflow(options.mlflow, config, job.folder))
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
    """Train from the start or the last checkpoint to the end, and write the files of the run."""
    folder, workers = job.folder, job.workers
    trainer = Trainer(job.vae, job.prepared, job.training)
    recorder = Recorder(job) if workers.is_chief else None
    observer.begin_training(job, restore(trainer, job, observer.warn) if resumed else "")

    def on_state(state: State) -> None:
        if workers.is_chief:
            checkpoints.save_state(folder, state, job.origin)

    def on_epoch(row: Row) -> None:
        observer.epoch(row)
        if recorder is not None:
            recorder.epoch(row)

    trainer.show_average()
    with _advice_on_disks(folder, observer):
        if recorder is not None:
            recorder.start(trainer.history, step=trainer.state().step)
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
            recorder.check_table(observer.warn)
            renew_report(folder, observer.warn)
        workers.wait()  # until the chief has written the files


@contextlib.contextmanager
def _advice_on_disks(folder: Path, observer: Observer) -> Iterator[None]:
    """Raise an error with advice if a file cannot be written."""
    try:
        yield
    except OSError as error:
        observer.close()
        raise InputError(
            f"{error.strerror or error}: {error.filename or folder}. The run is safe up to its last "
            f"checkpoint; once that is mended, go on by {resume_command(folder)}."
        ) from None
