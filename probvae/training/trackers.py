"""Keras callbacks that show a training in TensorBoard, Weights & Biases or MLflow.

Each function returns a list for `fit`'s `callbacks`. Steps count epochs as history.csv does: 0 is the state
before training, 1 the state after the first epoch. The three packages are optional.
"""

import atexit
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tf_keras

from probvae.errors import InputError
from probvae.files.writing import write_text

WANDB_ID, MLFLOW_ID = "wandb.id", "mlflow.id"  # files of a run folder, which say what run goes on there


def _package(name: str) -> Any:
    """Import an optional package; its extra and its option are called as it is."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if (error.name or "").split(".")[0] != package:
            raise
        raise InputError(f"--{package} needs {package}: pip install 'probvae[{package}]'") from None


# ---- Weights & Biases, MLflow ----------------------------------------------------------------------


def weights_and_biases(
    project: str, config: Mapping[str, Any], folder: Path | str
) -> list[tf_keras.callbacks.Callback]:
    """Log to Weights & Biases through its own Keras callback, online or as WANDB_MODE says.

    The run keeps its id in `folder`; a training that is resumed there goes on with that run.

    Args:
      project: of Weights & Biases.
      config: what the run is listed with.
      folder: of the run; its name is the run's.

    Raises:
      InputError: wandb is not installed; when training begins, it does not start.
    """
    wandb = _package("wandb")
    logger = _package("wandb.integration.keras").WandbMetricsLogger
    folder = Path(folder)

    def start() -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        known = _read_id(folder / WANDB_ID)
        try:
            run = wandb.init(
                project=project,
                name=folder.name,
                config=dict(config),
                dir=str(folder),
                id=known,
                resume="allow" if known else None,
            )
        except wandb.Error as error:
            raise InputError(f"Weights & Biases does not start: {error}") from None
        write_text(folder / WANDB_ID, run.id)
        return logger()

    return [_Tracker(start, wandb.finish)]


def mlflow(
    experiment: str, config: Mapping[str, Any], folder: Path | str
) -> list[tf_keras.callbacks.Callback]:
    """Log to MLflow through its own Keras callback, to where MLFLOW_TRACKING_URI says.

    The run keeps its id in `folder`; a training that is resumed there goes on with that run.

    Args:
      experiment: of MLflow, made where there is none.
      config: what the run is listed with.
      folder: of the run; its name is the run's.

    Raises:
      InputError: mlflow is not installed; when training begins, it does not start.
    """
    package = _package("mlflow")
    callback = _package("mlflow.tensorflow").MlflowCallback
    folder = Path(folder)

    def start() -> Any:
        known = _read_id(folder / MLFLOW_ID)
        try:
            package.set_experiment(experiment)
            run = package.start_run(run_id=known, run_name=None if known else folder.name)
            if not known:
                package.log_params(dict(config))
        except package.MlflowException as error:
            raise InputError(f"MLflow does not start: {error}") from None
        atexit.register(fail)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / MLFLOW_ID, run.info.run_id)
        return callback()

    def fail() -> None:  # at exit MLflow itself would say that a training that broke off is finished
        package.end_run("FAILED")

    def finish() -> None:
        atexit.unregister(fail)
        package.end_run()

    return [_Tracker(start, finish)]


def _read_id(path: Path) -> str | None:
    return path.read_text().strip() if path.is_file() else None


class _Tracker(tf_keras.callbacks.Callback):
    """Drives a callback written for Keras 3, which tf_keras's `CallbackList` refuses.

    Args:
      start: opens the tracker's run and returns the tracker's callback.
      finish: closes the run.
    """

    def __init__(self, start: Callable[[], Any], finish: Callable[[], Any]) -> None:
        super().__init__()
        self.start, self.finish = start, finish
        self.callback: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.callback = self.start()
        self.callback.set_model(self.model)
        self.callback.on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.callback.on_epoch_end(epoch + 1, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.callback.on_train_end(logs)
        self.finish()
