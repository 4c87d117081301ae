"""A run folder: what a training writes while it runs and when it ends."""

import csv
import dataclasses
import io
import json
import math
import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from probvae import __version__, checkpoints, figures
from probvae.config import Training
from probvae.data import ImageData, Prepared
from probvae.errors import InputError
from probvae.model import VAE
from probvae.seeds import fold_in
from probvae.training import Row, compile_test

GRID = 16  # images of the tutorial's picture
METRICS, HISTORY, IMAGES = "metrics.json", "history.csv", "images"
PICTURES = (
    "reconstructions.gif",
    "prior.gif",
    "originals.png",
    "latent_manifold.png",
    "latent_means.png",
    "learning_curves.png",
)
FRAMES = ("image_at_epoch_*.png", "prior_at_epoch_*.png")


def prepare_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Make a run folder.

    Args:
      folder: must be absent or empty, unless `overwrite`.
      overwrite: empty an existing *run* folder of the files that a run writes; other files stay.

    Raises:
      InputError: the folder is in use, or cannot be made.
    """
    try:
        in_use = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if in_use and not overwrite:
            raise InputError(
                f"{folder} exists already: choose another --output, or add --overwrite to replace that run."
            )
        if in_use and not (folder / checkpoints.CONFIG).is_file():
            raise InputError(
                f"{folder} is not a run folder (it has no {checkpoints.CONFIG}), so it is not overwritten: "
                "choose another --output."
            )
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        names = (checkpoints.WEIGHTS, METRICS, HISTORY, *PICTURES)
        frames = [path for pattern in FRAMES for path in (folder / IMAGES).glob(pattern)]
        for path in [*(folder / name for name in names), *frames]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be used: {error.strerror}.") from None


class Recorder:
    """Writes a run's files: pictures of fixed test images and prior draws, history, weights, metrics."""

    def __init__(self, folder: Path, vae: VAE, training: Training, data: ImageData, prepared: Prepared):
        self.folder, self.vae, self.training, self.data, self.x_test = (
            folder,
            vae,
            training,
            data,
            prepared.test,
        )
        self.history: list[Row] = []
        self.frames: dict[str, list[bytes]] = {"image": [], "prior": []}
        self.fixed_x = prepared.test[:GRID].astype(np.float32)
        self.fixed_z = vae.prior.sample(GRID, seed=fold_in(training.seed, -2))  # z ~ p(z)

    def start(self) -> None:
        """Write what is known before training: the configuration and the first pictures."""
        checkpoints.save(self.vae, self.folder, self.training)
        self._write("originals.png", figures.to_png(figures.image_grid(self.fixed_x, title="Test images")))
        self._pictures("before training")

    def epoch(self, row: Row) -> None:
        """Write everything that an epoch has changed."""
        self.history.append(row)
        checkpoints.save_weights(self.vae, self.folder / checkpoints.WEIGHTS)
        self._write(HISTORY, _as_csv(self.history).encode())
        self._pictures(f"epoch {row.epoch:.4g} · test ELBO {row.test_elbo:.2f} nats")

    def finish(self, *, interrupted: bool) -> dict[str, Any]:
        """Write the closing pictures and metrics.json; return the metrics."""
        for name, gif in (("image", "reconstructions.gif"), ("prior", "prior.gif")):
            self._write(gif, figures.to_gif(self.frames[name]))
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
        if self.vae.latent_dim == 2:
            self._latent_plane()
        metrics = self._metrics(interrupted)
        checkpoints.write_text(self.folder / METRICS, json.dumps(metrics, indent=2) + "\n")
        return metrics

    def _write(self, name: str, content: bytes) -> None:
        checkpoints.write_atomic(self.folder / name, lambda file: file.write(content))

    def _pictures(self, state: str) -> None:
        """Write the tutorial's picture, and one of prior draws, in the state after the last epoch."""
        images = {
            "image": (
                self.vae.reconstruct(self.fixed_x, seed=fold_in(self.training.seed, -3)),
                "Reconstructions",
            ),
            "prior": (self.vae.likelihood(self.fixed_z).mean(), "Prior draws"),
        }
        for name, (x, what) in images.items():
            png = figures.to_png(figures.image_grid(x.numpy(), title=f"{what}, {state}"))
            self._write(f"{IMAGES}/{name}_at_epoch_{len(self.frames[name]):04d}.png", png)
            self.frames[name].append(png)

    def _latent_plane(self) -> None:
        manifold = figures.latent_manifold(lambda z: self.vae.likelihood(z).mean().numpy())
        self._write("latent_manifold.png", figures.to_png(manifold))
        batches = [self.x_test[i : i + 500].astype(np.float32) for i in range(0, len(self.x_test), 500)]
        loc = np.concatenate([self.vae.posterior(x).mean().numpy() for x in batches])
        self._write("latent_means.png", figures.to_png(figures.latent_means(loc, self.data.test_labels)))

    def _metrics(self, interrupted: bool) -> dict[str, Any]:
        terms = compile_test(self.vae, self.training.seed)(self.x_test)
        seconds = sum(row.seconds for row in self.history)
        images = sum(row.images_per_second * row.seconds for row in self.history)
        return {
            **{f"test_{name}": _mean_and_error(value) for name, value in terms._asdict().items()},
            "train_elbo": self.history[-1].train_elbo if self.history else None,
            "unit": "nats per example; one draw of z; standard error over test images",
            "epochs": self.history[-1].epoch if self.history else 0,
            "interrupted": interrupted,
            "training_seconds": seconds,
            "images_per_second": images / seconds if seconds else None,
            "peak_memory_mb": peak_memory_mb(),
            "num_weights": int(sum(np.prod(w.shape) for w in self.vae.trainable_weights)),
            "seed": self.training.seed,
            "data": {
                "name": self.data.name,
                "fingerprint_sha256": self.data.fingerprint(),
                "train_images": len(self.data.train),
                "test_images": len(self.data.test),
                "binarize": self.training.binarize,
            },
            "versions": {
                "python": platform.python_version(),
                "probvae": __version__,
                **{
                    name: version(name)
                    for name in ("tensorflow", "tensorflow-probability", "tf-keras", "numpy")
                },
            },
        }


def _as_csv(history: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in dataclasses.fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in history)
    return text.getvalue()


def _mean_and_error(values: np.ndarray) -> dict[str, float | None]:
    """Mean over examples and its standard error; one example tells nothing of the error."""
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(np.mean(values, dtype=np.float64)), "standard_error": error}


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
