"""The job of training: its model, data, folder and options."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from probvae.arguments import flag
from probvae.config.architecture import Architecture
from probvae.config.training import Every, Training
from probvae.data.binarization import Prepared
from probvae.data.dataset import DataSet
from probvae.models.vae import VAE
from probvae.runs.checkpoints import Origin
from probvae.training.trainer import CHECKPOINT_INTERVAL
from probvae.training.workers import Workers


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options of the execution of a run, which do not change its result.

    Attributes:
      every: Time or number of steps between two checkpoints within an epoch.
      overwrite: Whether an existing run in the folder is replaced.
      tensorboard: Whether files for TensorBoard are written into the folder.
      wandb: Project of Weights & Biases to report to; empty for none.
      mlflow: Experiment of MLflow to report to; empty for none.
      strategy: `tf.distribute` strategy, whose replicas share the work; None for the current one.
      command: Command line to record; empty for none.
    """

    every: Every = CHECKPOINT_INTERVAL
    overwrite: bool = False
    tensorboard: bool = False
    wandb: str = ""
    mlflow: str = ""
    strategy: Any = None
    command: str = ""

    def __post_init__(self) -> None:
        for name in ("overwrite", "tensorboard"):
            flag(name, getattr(self, name))


@dataclasses.dataclass(frozen=True)
class Job:
    """The input of training.

    Attributes:
      folder: Folder of the run.
      vae: Model to train.
      architecture: Configuration of the model.
      training: Settings of the training.
      examples: Examples as read.
      prepared: Examples as the model takes them.
      first_draws: Draws of p(z) of the new model, for the pictures.
      origin: Data and devices, which are saved with each checkpoint.
      options: Options of the execution.
      workers: Processes that train together.
    """

    folder: Path
    vae: VAE
    architecture: Architecture
    training: Training
    examples: DataSet
    prepared: Prepared
    first_draws: np.ndarray
    origin: Origin
    options: RunOptions
    workers: Workers

    def class_names(self, most: int) -> np.ndarray | None:
        """Return the names of the classes of the first test examples, at most a number; None if unknown."""
        labels = self.examples.test_labels
        return None if labels is None else self.examples.schema.named(labels[:most])
