"""Keras callbacks that log training to Weights & Biases or MLflow, which are optional packages.

Steps are epochs as in history.csv: 1 is the state after the first epoch.
"""

import atexit
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tf_keras

from probvae.errors import InputError
from probvae.files.writing import write_text

WANDB_ID, MLFLOW_ID = "wandb.id", "mlflow.id"  # files of a run folder, each with the id of its run


def _package(name: str) -> Any:
    """Import an optional package, which has an extra and an option of its name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if (error.name or "").split(".")[0] != package:
            raise
        raise InputError(f"--{package} needs {package}: pip install 'probvae[{package}]'") from None


def weights_and_biases(project: str, config: Mapping[str, Any], folder: Path | str) -> "_Tracker":
    """Return a callback that logs to a project of Weights & Biases, online or according to WANDB_MODE.

    The run has the name of `folder`, which holds its id, so that a resumed training continues it.
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

    return _Tracker(start, wandb.finish)


def mlflow(experiment: str, config: Mapping[str, Any], folder: Path | str) -> "_Tracker":
    """Return a callback that logs to an experiment of MLflow, created if missing, at MLFLOW_TRACKING_URI.

    The run has the name of `folder`, which holds its id, so that a resumed training continues it.
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

    def fail() -> None:  # at exit MLflow would mark an interrupted training as finished
        package.end_run("FAILED")

    def finish() -> None:
        atexit.unregister(fail)
        package.end_run()

    return _Tracker(start, finish)


def _read_id(path: Path) -> str | None:
    return path.read_text().strip() if path.is_file() else None


class _Tracker(tf_keras.callbacks.Callback):
    """Adapter of a callback for Keras 3, opened by `start` and closed by `finish`, for tf_keras's list."""

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
