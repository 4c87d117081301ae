"""A training that is about to begin: its model, its data, its folder and its options."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

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
    """Options of how a run is carried out, which do not change its result.

    Attributes:
      every: Time or number of steps between two checkpoints within an epoch.
      overwrite: Whether the run that is in the folder is replaced.
      tensorboard: Whether files for TensorBoard are written into the folder.
      wandb: Project of Weights & Biases to report to; empty for none.
      mlflow: Experiment of MLflow to report to; empty for none.
      strategy: `tf.distribute` strategy, whose replicas share the work; None for the current one.
      command: Command line that was typed, to be kept; empty where there was none.
    """

    every: Every = CHECKPOINT_INTERVAL
    overwrite: bool = False
    tensorboard: bool = False
    wandb: str = ""
    mlflow: str = ""
    strategy: Any = None
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Job:
    """A training with all that it needs.

    Attributes:
      folder: Folder of the run.
      vae: Model to train.
      architecture: Configuration of the model.
      training: Settings of the training.
      examples: Examples as they were read.
      prepared: Examples as the model sees them.
      first_draws: Draws of the model's first p(z), for the pictures.
      origin: Data and devices, to be kept with each checkpoint.
      options: How the run is carried out.
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
