"""Keras callbacks that show a training in TensorBoard, Weights & Biases or MLflow.

Each function returns a list for `fit`'s `callbacks`. Steps count epochs as history.csv does: 0 is the state
before training, 1 the state after the first epoch. The three packages are optional.
"""

import atexit
import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.conditional import ConditionalVAE, contexts_of, values
from probvae.data.arrays import Array
from probvae.errors import InputError
from probvae.model import VAE
from probvae.run_folder import MLFLOW_ID, WANDB_ID
from probvae.seeds import Seed, fold_in
from probvae.writing import write_atomic, write_text

EXAMPLES = 16  # in a picture
PICTURES = 60  # of each kind, at most, besides those before training and after the last epoch
POINTS = 2000  # test examples in the projector
SPRITE_SIDE = 64  # pixels of an image in the projector, at most; 2,000 of them fit into its 8,192 pixels
AXES = 3  # of the projector's view


def _package(name: str) -> Any:
    """Import an optional package; its extra and its option are called as it is."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if (error.name or "").split(".")[0] != package:
            raise
        raise InputError(f"--{package} needs {package}: pip install 'probvae[{package}]'") from None


# ---- TensorBoard -----------------------------------------------------------------------------------


def tensorboard(
    folder: Path | str,
    vae: VAE,
    test: Array,
    labels: np.ndarray | None = None,
    *,
    epochs: int,
    seed: Seed = 0,
) -> list[tf_keras.callbacks.Callback]:
    """Write scalars, pictures and the latent space for TensorBoard.

    A training that is resumed writes into the same folder: whatever that holds from the first resumed epoch
    on no longer counts. TensorBoard itself shows ten pictures of each kind unless it is started with
    `--samples_per_plugin images=100`.

    Args:
      folder: for `tensorboard --logdir`.
      vae: the model that is trained.
      test: x as the model sees it, [N, *E]; the first 16 are reconstructed, the first 2,000 projected.
      labels: their labels [N], or None.
      epochs: of the whole training, which decide how many epochs lie between two pictures.
      seed: of the draws of z in the pictures, the same for each.

    Raises:
      InputError: tensorboard is not installed.
    """
    _package("tensorboard.plugins.projector")
    return [_TensorBoard(Path(folder), vae, test, labels, epochs, seed)]


class _TensorBoard(tf_keras.callbacks.Callback):
    """The callback of `tensorboard`; the first epoch opens its file, as it tells where training starts."""

    def __init__(
        self, folder: Path, vae: VAE, test: Array, labels: np.ndarray | None, epochs: int, seed: Seed
    ) -> None:
        super().__init__()
        self.folder, self.vae, self.epochs, self.seed = folder, vae, epochs, seed
        self.test = test[:POINTS].astype(np.float32)
        self.labels = None if labels is None else labels[:POINTS]
        self.fixed_x = self.test[:EXAMPLES]
        self.fixed_z = vae.prior.sample(len(self.fixed_x), seed=fold_in(seed, 0)).numpy()  # z ~ p(z)
        self.writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.writer = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.writer is not None:
            return
        self.writer = tf.summary.create_file_writer(str(self.folder))
        _forget(self.writer, first_step=epoch + 1 if epoch else 0)
        if not epoch and not int(self.model.optimizer.iterations.numpy()):
            self._show("originals", values(self.vae, self.fixed_x), 0)
            self._draw(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = epoch + 1
        with self.writer.as_default(done):
            for name, value in (logs or {}).items():
                tf.summary.scalar(name, value)
        if done % math.ceil(self.epochs / PICTURES) == 0 or done == self.epochs:
            self._draw(done)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.writer is not None:
            write_projection(self.folder, self.vae, self.test, self.labels)  # of the weights that are kept
            self.writer.close()

    def _draw(self, step: int) -> None:
        """Write the pictures and the latent space in their present state."""
        vae, x = self.vae, self.fixed_x
        y = (contexts_of(vae, x),) if isinstance(vae, ConditionalVAE) else ()
        self._show("reconstructions", vae.reconstruct(x, seed=fold_in(self.seed, 1)).numpy(), step)
        self._show("prior draws", vae.likelihood(self.fixed_z, *y).mean().numpy(), step)
        write_projection(self.folder, vae, self.test, self.labels)

    def _show(self, name: str, x: np.ndarray, step: int) -> None:
        from probvae import figures

        figure = figures.example_grid(x, title=f"{name}, epoch {step}")
        picture = tf.io.decode_png(figures.to_png(figure), channels=3)
        with self.writer.as_default(step):
            tf.summary.image(name, picture[tf.newaxis])


def _forget(writer: Any, *, first_step: int) -> None:
    """Tell TensorBoard that a new start has taken the place of what was written from this step on.

    TensorFlow 1's FileWriter did it for a restarted session; TensorFlow 2 has only the operation left.
    """
    log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    event = tf.compat.v1.Event(step=first_step, session_log=log)
    tf.raw_ops.ImportEvent(writer=writer._resource, event=event.SerializeToString())


def write_projection(folder: Path, vae: VAE, x: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Write the means of q(z|x) for TensorBoard's projector, with labels and images where there are any.

    Args:
      folder: TensorBoard's.
      vae: the model.
      x: [N, *E] as the model sees it.
      labels: [N], or None.
    """
    projector = _package("tensorboard.plugins.projector")
    folder.mkdir(parents=True, exist_ok=True)
    config = projector.ProjectorConfig()
    points = config.embeddings.add(tensor_name="means of q(z|x)", tensor_path="latents.tsv")
    z = np.concatenate([vae.posterior(x[i : i + 500]).mean().numpy() for i in range(0, len(x), 500)])
    z = np.pad(z, [(0, 0), (0, max(0, AXES - z.shape[1]))])  # else the projector shows no points at all
    write_text(folder / "latents.tsv", "".join("\t".join(map(str, row)) + "\n" for row in z))
    if labels is not None:
        write_text(folder / "metadata.tsv", "".join(f"{label}\n" for label in labels))
        points.metadata_path = "metadata.tsv"
    shown = values(vae, x)
    if shown.ndim == 4:
        sprite, side = _sprite(shown)
        write_atomic(folder / "sprite.png", lambda file: file.write(sprite))
        points.sprite.image_path = "sprite.png"
        points.sprite.single_image_dim.extend(side)
    projector.visualize_embeddings(str(folder), config)


def _sprite(images: np.ndarray) -> tuple[bytes, tuple[int, int]]:
    """Put images [N, H, W, C] into one square PNG, row by row; return it and each one's width and height."""
    from probvae import figures

    every = math.ceil(max(images.shape[1:3]) / SPRITE_SIDE)
    images = np.nan_to_num(images[:, ::every, ::every])
    if images.shape[-1] not in (1, 3):
        images = images.mean(axis=-1, keepdims=True)
    picture = figures.tile(images / max(1.0, float(images.max())), math.ceil(math.sqrt(len(images))), gap=0)
    png = tf.io.encode_png((255 * picture.clip(0, 1)).round().astype(np.uint8)).numpy()
    return png, (images.shape[2], images.shape[1])


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
