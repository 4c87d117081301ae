"""Callback for TensorBoard: scalars, images and a projection of the latent space."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.data.arrays import Array
from probvae.files.writing import write_atomic, write_text
from probvae.models.encoding import encode
from probvae.models.vae import VAE
from probvae.seeds import Seed, fold_in
from probvae.training.trackers import _package

EXAMPLES = 16  # number of examples in an image
PICTURES = 60  # largest number of images of a kind, except those before training and after the last epoch
POINTS = 2000  # number of test examples in the projector
SPRITE_SIDE = 64  # limit of the pixels along an image in the projector, whose sprite has 8,192 at most
AXES = 3  # smallest number of dimensions in which the projector shows points


class TensorBoard(tf_keras.callbacks.Callback):
    """Keras callback that writes scalars, images and the latent space for TensorBoard.

    A resumed training writes to the same folder and replaces its content from the first resumed epoch on.
    TensorBoard shows ten images of each kind unless started with `--samples_per_plugin images=100`.

    Args:
      folder: Folder for `tensorboard --logdir`.
      vae: Model to train.
      test: Input of the model, [N, *E]; the first 16 are reconstructed, the first 2,000 projected.
      labels: Labels of the test examples [N], or None.
      epochs: Number of epochs of the training, which determines the number of epochs between images.
      seed: Seed of the draws of z for the images, the same for all epochs.

    Raises:
      InputError: The package tensorboard is not installed.
    """

    def __init__(
        self,
        folder: Path,
        vae: VAE,
        test: Array,
        labels: np.ndarray | None = None,
        *,
        epochs: int,
        seed: Seed = 0,
    ) -> None:
        _package("tensorboard.plugins.projector")
        super().__init__()
        self.folder, self.vae, self.epochs, self.seed = folder, vae, epochs, seed
        self.test = test[:POINTS].astype(np.float32)
        self.labels = None if labels is None else labels[:POINTS]
        self.fixed_x = self.test[:EXAMPLES]
        self.fixed_z = vae.prior.sample(len(self.fixed_x), seed=fold_in(seed, 0)).numpy()  # z ~ p(z)
        self.writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget the file of an earlier training."""
        self.writer = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Open the file in the first epoch, whose number is then known."""
        if self.writer is not None:
            return
        self.writer = tf.summary.create_file_writer(str(self.folder))
        _forget(self.writer, first_step=epoch + 1 if epoch else 0)
        if not epoch and not int(self.model.optimizer.iterations.numpy()):
            self._show("originals", self.vae.values(self.fixed_x), 0)
            self._draw(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the logs of an epoch, and its images if they are due."""
        done = epoch + 1
        with self.writer.as_default(done):
            for name, value in (logs or {}).items():
                tf.summary.scalar(name, value)
        if done % math.ceil(self.epochs / PICTURES) == 0 or done == self.epochs:
            self._draw(done)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the latent space of the result, and close the file."""
        if self.writer is not None:
            write_projection(self.folder, self.vae, self.test, self.labels)  # with the weights of the result
            self.writer.close()

    def _draw(self, step: int) -> None:
        """Write the images and the latent space at the current weights."""
        vae, x = self.vae, self.fixed_x
        self._show("reconstructions", vae.reconstruct(x, seed=fold_in(self.seed, 1)).numpy(), step)
        self._show("prior draws", vae.likelihood_at(self.fixed_z, x).mean().numpy(), step)
        write_projection(self.folder, vae, self.test, self.labels)

    def _show(self, name: str, x: np.ndarray, step: int) -> None:
        from probvae.figures.images import example_grid, to_png

        figure = example_grid(x, title=f"{name}, epoch {step}")
        picture = tf.io.decode_png(to_png(figure), channels=3)
        with self.writer.as_default(step):
            tf.summary.image(name, picture[tf.newaxis])


def _forget(writer: Any, *, first_step: int) -> None:
    """Make TensorBoard discard the events from a step on.

    TensorFlow 1 wrote this event for restarted sessions; TensorFlow 2 has an operation for it only.
    """
    log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    event = tf.compat.v1.Event(step=first_step, session_log=log)
    tf.raw_ops.ImportEvent(writer=writer._resource, event=event.SerializeToString())


def write_projection(folder: Path, vae: VAE, x: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Write the means of q(z|x) for the projector of TensorBoard, with labels [N] and images if available."""
    projector = _package("tensorboard.plugins.projector")
    folder.mkdir(parents=True, exist_ok=True)
    config = projector.ProjectorConfig()
    points = config.embeddings.add(tensor_name="means of q(z|x)", tensor_path="latents.tsv")
    z = encode(vae, x).loc
    z = np.pad(z, [(0, 0), (0, max(0, AXES - z.shape[1]))])  # no points are shown in fewer dimensions
    write_text(folder / "latents.tsv", "".join("\t".join(map(str, row)) + "\n" for row in z))
    if labels is not None:
        write_text(folder / "metadata.tsv", "".join(f"{label}\n" for label in labels))
        points.metadata_path = "metadata.tsv"
    shown = vae.values(x)
    if shown.ndim == 4:
        sprite, side = _sprite(shown)
        write_atomic(folder / "sprite.png", lambda file: file.write(sprite))
        points.sprite.image_path = "sprite.png"
        points.sprite.single_image_dim.extend(side)
    projector.visualize_embeddings(str(folder), config)


def _sprite(images: np.ndarray) -> tuple[bytes, tuple[int, int]]:
    """Return a square PNG of images [N, H, W, C], row by row, and the width and height of an image."""
    from probvae.figures.images import tile

    every = math.ceil(max(images.shape[1:3]) / SPRITE_SIDE)
    images = np.nan_to_num(images[:, ::every, ::every])
    if images.shape[-1] not in (1, 3):
        images = images.mean(axis=-1, keepdims=True)
    picture = tile(images / max(1.0, float(images.max())), math.ceil(math.sqrt(len(images))), gap=0)
    png = tf.io.encode_png((255 * picture.clip(0, 1)).round().astype(np.uint8)).numpy()
    return png, (images.shape[2], images.shape[1])
