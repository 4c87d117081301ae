"""A run folder: what a training writes while it runs and when it ends."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probvae import figures
from probvae.config.training import Training
from probvae.data.binarization import Prepared
from probvae.data.labels import is_one_hot
from probvae.data.loading import ImageData
from probvae.errors import InputError
from probvae.evaluation.latents import bits_per_dimension
from probvae.figures import latent
from probvae.files import writing
from probvae.likelihoods import likelihood_of
from probvae.models import saving
from probvae.models.conditional import ConditionalVAE, contexts_of, values
from probvae.models.vae import VAE
from probvae.priors import on_sphere
from probvae.runs.files import read_commands
from probvae.runs.folder import COMMANDS, HISTORY, IMAGES, METRICS
from probvae.runs.metrics import _mean_and_error, _test_accuracy, _versions, peak_memory_mb
from probvae.seeds import fold_in
from probvae.training.scoring import compile_test
from probvae.training.state import Row

GRID = 16  # images of the tutorial's picture
COLUMNS, CLASSES = 8, 15  # of a conditional model's prior draws, a class a row
FRAMES_A_RUN = 60  # pictures of each kind, at most; after every epoch where there are no more epochs


class Recorder:
    """Writes a run's files: pictures of fixed test images and prior draws, history, weights, metrics.

    Args:
      folder: of the run, where a process may write nothing but these files.
      vae: the model.
      training: how it is trained.
      data: the examples, and `prepared`, what the model sees of them.
      fingerprint: of the data.
    """

    def __init__(
        self,
        folder: Path,
        vae: VAE,
        training: Training,
        data: ImageData,
        prepared: Prepared,
        *,
        fingerprint: str,
    ) -> None:
        self.folder, self.vae, self.training, self.data = folder, vae, training, data
        self.x_test, self.fingerprint = prepared.test, fingerprint
        self.history: list[Row] = []
        self.fixed_x = prepared.test[:GRID].astype(np.float32)
        z = vae.prior.sample(GRID, seed=fold_in(training.seed, -2)).numpy()  # z ~ p(z)
        self.draws = _fixed_draws(vae, z, prepared.test)

    def start(self, history: Sequence[Row] = (), *, step: int = 0, command: str = "") -> None:
        """Write what is known before training: the configuration, the command and the first pictures.

        Args:
          history: rows of the epochs that are done, where a run is resumed.
          step: steps that are done.
          command: the line that started or resumed the run; empty where there was none.
        """
        self.history = list(history)
        (self.folder / METRICS).unlink(missing_ok=True)  # those of a run that has ended
        saving.save(self.vae, self.folder, self.training)
        if command:
            self._record(command)
        self._remove_pictures_after(len(self.history))
        x = values(self.vae, self.fixed_x)
        self._write("originals.png", figures.to_png(figures.example_grid(x, title="Test images")))
        if not step:
            self._pictures("before training")

    def _record(self, command: str) -> None:
        """Add a command to those that have trained the run."""
        path = self.folder / COMMANDS
        try:
            before = read_commands(path) if path.exists() else []
        except InputError:  # damaged: nothing but the report needs it
            before = []
        commands = [*before, {"command": command, "versions": _versions()}]
        writing.write_text(path, json.dumps(commands, indent=2) + "\n")

    def save_weights(self) -> None:
        """Write the weights as they are."""
        saving.save_weights(self.vae, self.folder / writing.WEIGHTS)

    def epoch(self, row: Row) -> None:
        """Write everything that an epoch has changed."""
        self.history.append(row)
        self.save_weights()
        self._write(HISTORY, _as_csv(self.history).encode())
        every = math.ceil(self.training.epochs / FRAMES_A_RUN)
        if len(self.history) % every == 0 or row.epoch == self.training.epochs:
            self._pictures(f"epoch {row.epoch:.4g} · test ELBO {row.test_elbo:.2f} nats")

    def finish(self, *, interrupted: bool) -> dict[str, Any]:
        """Write the closing pictures and metrics.json; return the metrics."""
        for name, gif in (("image", "reconstructions.gif"), ("prior", "prior.gif")):
            if frames := self._frames(name):
                self._write(gif, figures.to_gif([path.read_bytes() for path in frames]))
        if self.history:
            figure = figures.learning_curves(
                {
                    "Test ELBO": [row.test_elbo for row in self.history],
                    "Reconstruction E[log p(x|z)]": [row.test_log_likelihood for row in self.history],
                    "KL": [row.test_kl for row in self.history],
                },
                [row.epoch for row in self.history],
            )
            self._write("learning_curves.png", figures.to_png(figure))
        variance = self._latent_space()
        if self.training.validation:  # the best epoch's weights are back
            self.save_weights()
        metrics = self._metrics(interrupted) | {"latent_variance": variance}
        writing.write_text(self.folder / METRICS, json.dumps(metrics, indent=2) + "\n")
        return metrics

    def _write(self, name: str, content: bytes) -> None:
        writing.write_atomic(self.folder / name, lambda file: file.write(content))

    def _pictures(self, state: str) -> None:
        """Write the tutorial's picture, and one of prior draws, in the state after the last epoch."""
        reconstructions = self.vae.reconstruct(self.fixed_x, seed=fold_in(self.training.seed, -3)).numpy()
        images = {
            "image": (reconstructions, 4, "Reconstructions"),
            "prior": (
                self.vae.likelihood(*self.draws.arguments).mean().numpy(),
                self.draws.columns,
                self.draws.what,
            ),
        }
        for name, (x, columns, what) in images.items():
            png = figures.to_png(figures.example_grid(x, columns=columns, title=f"{what}, {state}"))
            self._write(f"{IMAGES}/{name}_at_epoch_{len(self.history):04d}.png", png)

    def _frames(self, name: str) -> list[Path]:
        return sorted((self.folder / IMAGES).glob(f"{name}_at_epoch_*.png"), key=_epoch_of)

    def _remove_pictures_after(self, epochs: int) -> None:
        """Remove the pictures of epochs that are going to be trained again."""
        for path in (*self._frames("image"), *self._frames("prior")):
            if _epoch_of(path) > epochs:
                path.unlink()

    def _latent_space(self) -> list[float] | None:
        """Write the views of the latent space; return Var_x(E_q[z]) by dimension, where it is known."""
        vae = self._unconditional()
        if self.vae.latent_dim == 2:
            self._latent_plane(vae)
        codes = latent.encode(self.vae, self.x_test, fold_in(self.training.seed, -4))
        if self.vae.latent_dim > 2 and len(codes.loc) > 2:
            labels = self.data.test_labels
            shown = None if labels is None else labels[: len(codes.loc)]
            self._write("latent_projection.png", figures.to_png(latent.projection(codes.loc, shown)))
        figure = latent.traversals(vae, codes)
        if figure is not None:
            self._write("traversals.png", figures.to_png(figure))
        return None if codes.variance is None else [float(v) for v in codes.variance]

    def _unconditional(self) -> VAE:
        """Return the model; where it is conditional, p(x|y) of the first y that is drawn."""
        if not isinstance(self.vae, ConditionalVAE):
            return self.vae
        return self.vae.given(self.draws.arguments[1][0])

    def _latent_plane(self, vae: VAE) -> None:
        if len(vae.event_shape) == 3:
            manifold = figures.latent_circle if on_sphere(vae.prior) else figures.latent_manifold
            figure = manifold(lambda z: vae.likelihood(z).mean().numpy())
            self._write("latent_manifold.png", figures.to_png(figure))
        batches = [self.x_test[i : i + 500].astype(np.float32) for i in range(0, len(self.x_test), 500)]
        loc = np.concatenate([self.vae.posterior(x).mean().numpy() for x in batches])
        self._write("latent_means.png", figures.to_png(figures.latent_means(loc, self.data.test_labels)))

    def _metrics(self, interrupted: bool) -> dict[str, Any]:
        terms = compile_test(self.vae, self.training.seed)(self.x_test)
        seconds = sum(row.seconds for row in self.history)
        images = sum(row.images_per_second * row.seconds for row in self.history)
        return {
            **{f"test_{name}": _mean_and_error(value) for name, value in terms._asdict().items()},
            **_test_accuracy(self.vae, self.x_test),
            **self._bits_per_dimension(terms.elbo),
            "train_elbo": self.history[-1].train_elbo if self.history else None,
            **self._best_epoch(),
            "unit": "nats per example; one draw of z; standard error over test images",
            "epochs": self.history[-1].epoch if self.history else 0,
            "interrupted": interrupted,
            "skipped_steps": sum(row.skipped_steps for row in self.history),
            "clipped_steps": sum(row.clipped_steps for row in self.history),
            "training_seconds": seconds,
            "images_per_second": images / seconds if seconds else None,
            "peak_memory_mb": peak_memory_mb(),
            "num_weights": int(sum(np.prod(w.shape) for w in self.vae.trainable_weights)),
            "seed": self.training.seed,
            "data": {
                "name": self.data.name,
                "fingerprint_sha256": self.fingerprint,
                "train_images": len(self.data.train),
                "test_images": len(self.data.test),
                "binarize": self.training.binarize,
            },
            "versions": _versions(),
        }

    def _bits_per_dimension(self, elbo: np.ndarray) -> dict[str, Any]:
        """For 8-bit images, minus the ELBO in bits for each value of x: at least what coding them costs."""
        a = self.vae.architecture
        if a is None or not likelihood_of(a).kind.grey_levels:
            return {}
        bits = bits_per_dimension(elbo, a.event_shape)
        return {"test_bits_per_dimension": _mean_and_error(bits)}

    def _best_epoch(self) -> dict[str, Any]:
        found = [r for r in self.history if r.validation_elbo is not None and r.epoch == int(r.epoch)]
        if not found:
            return {}
        best = max(found, key=lambda row: row.validation_elbo or -math.inf)
        return {"best_epoch": best.epoch, "validation_elbo": best.validation_elbo}


def _epoch_of(picture: Path) -> int:
    digits = picture.stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else 0


class _Draws(NamedTuple):
    """What the picture of prior draws shows: the mean of `vae.likelihood(*arguments)`, so many in a row."""

    arguments: tuple[Any, ...]
    columns: int
    what: str


def _fixed_draws(vae: VAE, z: np.ndarray, test: np.ndarray) -> _Draws:
    """For a conditional model: the same z for every class, or, where y is no class, the y of test images."""
    if not isinstance(vae, ConditionalVAE):
        return _Draws((z,), 4, "Prior draws")
    y = contexts_of(vae, test)
    if not is_one_hot(y):
        return _Draws((z, y[np.arange(len(z)) % len(y)]), 4, "Prior draws at the y of test images")
    y = np.eye(vae.context_dim, dtype=np.float32)[:CLASSES]
    z_of_every_class = np.tile(z[:COLUMNS], [len(y), 1])
    return _Draws((z_of_every_class, np.repeat(y, COLUMNS, axis=0)), COLUMNS, "Prior draws, a class a row")


def _as_csv(history: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in dataclasses.fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in history)
    return text.getvalue()
