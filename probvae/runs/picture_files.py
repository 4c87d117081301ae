"""The picture files of a run: reconstructions and prior draws by epoch, and views of the latent space."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from probvae import figures
from probvae.config.training import Training
from probvae.evaluation.latents import active_units
from probvae.figures import latent
from probvae.figures.curves import draw_history
from probvae.files import writing
from probvae.inference.blocks import in_blocks
from probvae.models.vae import VAE
from probvae.priors import on_sphere
from probvae.runs.files import epoch_pictures
from probvae.runs.folder import IMAGES
from probvae.runs.job import Job
from probvae.seeds import fold_in
from probvae.training.state import Row

GRID = 16  # number of images in the picture of the tutorial
SEEN = 10_000  # test examples whose standard deviations are the unit of pictures of a table
SHOWN = 100_000  # test examples in the picture of the latent plane, at most


def first_draws(vae: VAE, training: Training) -> np.ndarray:
    """Return draws of p(z) of the new model, [GRID, L], which the pictures of all epochs show."""
    return vae.prior.sample(GRID, seed=fold_in(training.seed, -2)).numpy()  # z ~ p(z)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the columns of x [N, D], of what is seen; 0 and 1 without any."""
    seen = ~np.isnan(x)
    number = np.maximum(seen.sum(axis=0), 1)
    center = np.where(seen, x, 0).sum(axis=0, dtype=np.float64) / number
    deviation = np.sqrt(np.where(seen, (x - center) ** 2, 0).sum(axis=0) / number)
    return center, np.where(deviation > 0, deviation, 1.0)


class PictureFiles:
    """Writer of the pictures of a run; each shows the model with its current weights."""

    def __init__(self, job: Job) -> None:
        self.folder, self.vae, self.training = job.folder, job.vae, job.training
        self.x, self.labels = job.prepared.test, job.class_names(SHOWN)
        columns = job.examples.schema.columns
        self.names = tuple(column.name for column in columns)
        self.last = np.array([max(len(column.levels) - 1, 0) for column in columns])  # codes; 0 of numbers
        self.fixed_x = self.x[:GRID].astype(np.float32)
        self.center, self.deviation = _moments(self.vae.values(self.x[: SEEN if columns else 1]))
        self.draws = self.vae.fixed_draws(job.first_draws, self.x[: latent.EXAMPLES])

    def _write(self, name: str, figure: Any) -> None:
        writing.write_bytes(self.folder / name, figures.to_png(figure))

    def originals(self) -> None:
        """Write the fixed test images."""
        x = self._spread(self.vae.values(self.fixed_x))
        self._write("originals.png", figures.example_grid(x, title="Test examples", names=self.names))

    def _spread(self, x: np.ndarray) -> np.ndarray:
        """Return x of a picture: numbers in standard deviations, up to 4, and levels spread from -2 to 2."""
        if not self.names:
            return x
        numbers = np.clip((x - self.center) / self.deviation, -4, 4)
        return np.where(self.last > 0, 4 * x / np.maximum(self.last, 1) - 2, numbers)

    def after_epoch(self, epochs: int, words: str) -> None:
        """Write the pictures of reconstructions, as in the tutorial, and of prior draws after an epoch."""
        reconstructions = self.vae.reconstruct(self.fixed_x, seed=fold_in(self.training.seed, -3)).numpy()
        arguments, columns, title = self.draws
        images = {
            "image": (reconstructions, 4, "Reconstructions"),
            "prior": (self.vae.likelihood(*arguments).mean().numpy(), columns, title),
        }
        for kind, (x, columns, title) in images.items():
            figure = figures.example_grid(
                self._spread(x), columns=columns, title=f"{title}, {words}", names=self.names
            )
            self._write(f"{IMAGES}/{kind}_at_epoch_{epochs:04d}.png", figure)

    def remove_after(self, epochs: int) -> None:
        """Remove the pictures of later epochs, which will be trained again."""
        for kind in ("image", "prior"):
            for picture in epoch_pictures(self.folder, kind):
                if picture.epochs > epochs:
                    picture.path.unlink()

    def animations(self) -> None:
        """Write the pictures of all epochs as animations."""
        for kind, name in (("image", "reconstructions.gif"), ("prior", "prior.gif")):
            if pictures := epoch_pictures(self.folder, kind):
                gif = figures.to_gif([picture.path.read_bytes() for picture in pictures])
                writing.write_bytes(self.folder / name, gif)

    def learning_curves(self, history: Sequence[Row]) -> None:
        """Write the curves of the test ELBO and its two terms over the epochs."""
        names = [field.name for field in dataclasses.fields(Row)]
        columns = {name: [getattr(row, name) for row in history] for name in names}
        self._write("learning_curves.png", draw_history(columns))

    def latent_space(self) -> list[float] | None:
        """Write the views of the latent space; return Var_x(E_q[z]) by dimension, None if unknown."""
        vae = self.vae.unconditional(self.x[: latent.EXAMPLES])
        if self.vae.latent_dim == 2:
            self._latent_plane(vae)
        codes = latent.encode(self.vae, self.x, fold_in(self.training.seed, -4))
        if self.vae.latent_dim > 2 and len(codes.loc) > 2:
            shown = None if self.labels is None else self.labels[: len(codes.loc)]
            self._write("latent_projection.png", latent.projection(codes.loc, shown))
        figure = latent.traversals(vae, codes)
        if figure is not None:
            self._write("traversals.png", figure)
        variance = codes.variance
        if variance is None and len(codes.draws) > 1 and not on_sphere(self.vae.prior):  # of means from draws
            seed = fold_in(self.training.seed, -6)
            variance = active_units(self.vae, self.x[: latent.EXAMPLES], seed=seed).variances
        return None if variance is None else [float(value) for value in variance]

    def _latent_plane(self, vae: VAE) -> None:
        """Write the latent plane decoded by a model of x alone, and the means of q(z|x) in it."""
        if len(vae.event_shape) == 3:
            manifold = figures.latent_circle if on_sphere(self.vae.prior) else figures.latent_manifold
            self._write("latent_manifold.png", manifold(lambda z: vae.likelihood(z).mean().numpy()))
        shown = min(len(self.x), SHOWN)
        loc = in_blocks(lambda rows: self.vae.posterior(self.x[rows].astype(np.float32)).mean(), shown, 500)
        labels = None if self.labels is None else self.labels[:shown]
        self._write("latent_means.png", figures.latent_means(loc, labels))
