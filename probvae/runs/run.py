"""A run folder opened in Python: each part of it is read when it is first asked for."""

import csv
import dataclasses
import functools
import io
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probvae import display
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.files import strict_json
from probvae.files.reading import read_text
from probvae.runs.folder import HISTORY, IMAGES, METRICS, PICTURES, require_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probvae.data.binarization import Prepared
    from probvae.data.dataset import DataSet
    from probvae.models.vae import VAE


EVALUATION, PER_EXAMPLE = "evaluation", "per_example.npz"
MAX_METRICS, MAX_HISTORY = 2**24, 2**26  # bytes
FROM_DATA = ("event_shape", "columns", "context_dim", "classifier")  # what probvae-train takes from the data
ALWAYS = (
    "data",
    "binarize",
    "parts",
    "seed",
)  # options whose absence may mean another value than the default


class Evaluated(NamedTuple):
    """What `probvae-evaluate` found.

    Attributes:
      metrics: metrics.json: means with their errors, and the conditions.
      per_example: name -> array over the test examples, in nats.
    """

    metrics: dict[str, Any]
    per_example: dict[str, np.ndarray]


def open_run(folder: str | os.PathLike[str]) -> "Run":
    """Open a run folder that `probvae-train` made, also while it is being trained.

    Args:
      folder: of the run.

    Returns:
      `Run`. Opening reads config.json alone.

    Raises:
      InputError: no run folder, or its config.json is damaged.
    """
    return Run(folder)


class Run:
    """A run: its model, configuration, history, metrics, data and pictures.

    Files are read when they are first asked for, as files that nobody vouches for, and kept; open the folder
    again to see what a training has written since.

    Args:
      folder: of the run.

    Attributes:
      folder: its path.
      architecture: what rebuilds the model.
      training: how it is trained.

    Raises:
      InputError: no run folder; or, from an attribute, a file that is absent or damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        from probvae.models.saving import read_config

        self.folder = Path(folder)
        require_run(self.folder)
        architecture, training = read_config(self.folder)
        if architecture is None or training is None:
            raise InputError(
                f"{self.folder} is no run of probvae-train: its config.json names no architecture or no "
                "training. A saved model is loaded by probvae.load(folder)."
            )
        self.architecture: Architecture = architecture
        self.training: Training = training

    @functools.cached_property
    def model(self) -> "VAE":
        """The trained model, as `probvae.load` gives it."""
        from probvae.models.saving import load

        return load(self.folder)

    @functools.cached_property
    def history(self) -> dict[str, np.ndarray]:
        """history.csv: column -> [epochs] float64, NaN where a cell is empty; empty before the first epoch.

        ELBO, log-likelihood and KL are means over the test set in nats per example; see
        `probvae.training.state.Row`.
        """
        path = self.folder / HISTORY
        if not path.exists():
            return {}
        header, *rows = list(csv.reader(io.StringIO(read_text(path, "a run's history", MAX_HISTORY)))) or [[]]
        if not header or len(set(header)) < len(header) or any(len(row) != len(header) for row in rows):
            raise InputError(f"{path} must hold columns with names, of one length; train or save it again.")
        try:
            values = np.array([[float(cell or "nan") for cell in row] for row in rows], np.float64)
        except ValueError as error:
            raise InputError(f"{path} must hold numbers; {error}. Train or save it again.") from None
        return dict(zip(header, values.reshape(len(rows), len(header)).T, strict=True))

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: what the training ended with; empty while it has not ended."""
        return _json(self.folder / METRICS)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of Python and of the packages that trained the run; empty while it has not ended."""
        return _part(self.metrics, "versions")

    @functools.cached_property
    def evaluation(self) -> Evaluated | None:
        """What `probvae-evaluate` wrote into the folder; None where it has not been."""
        from probvae.files import npz

        folder = self.folder / EVALUATION
        if not (folder / METRICS).exists():
            return None
        arrays = folder / PER_EXAMPLE
        return Evaluated(_json(folder / METRICS), dict(npz.read_arrays(arrays)) if arrays.exists() else {})

    @functools.cached_property
    def data(self) -> "DataSet":
        """The examples and labels that the run was trained and tested on, read anew from where they were.

        Raises:
          InputError: they are no longer there, or are others: their fingerprint is not the run's.
        """
        from probvae.data import from_config

        found = from_config.read(self.training, missing=self.architecture.missing)
        known = _part(self.metrics, "data").get("fingerprint_sha256")
        if known is not None and found.fingerprint() != known:
            raise InputError(
                f"{self.training.data} holds other data than the run was trained on. Bring these back, or "
                "load what there is by probvae.data.loading.load."
            )
        return found

    @functools.cached_property
    def prepared(self) -> "Prepared":
        """The data as the model sees them: `prepared.test` is x, [M, *E]."""
        from probvae.data import from_config

        return from_config.prepare(self.data, self.training, self.architecture)

    @property
    def pictures(self) -> dict[str, Path]:
        """Name -> path of the pictures that are there; those of single epochs as images/NAME."""
        names = [*PICTURES, *sorted(f"{IMAGES}/{p.name}" for p in (self.folder / IMAGES).glob("*.png"))]
        return {name: self.folder / name for name in names if (self.folder / name).is_file()}

    def learning_curves(self) -> "Figure":
        """Draw the test ELBO and its two parts over the epochs, nats per example.

        Raises:
          InputError: there is no epoch yet.
        """
        from probvae.figures.curves import learning_curves

        names = {
            "Test ELBO": "test_elbo",
            "Reconstruction E[log p(x|z)]": "test_log_likelihood",
            "KL": "test_kl",
        }
        history = self.history
        if not all(name in history and len(history[name]) for name in ("epoch", *names.values())):
            raise InputError(f"{self.folder} has no epoch in its history yet.")
        curves = {title: history[name].tolist() for title, name in names.items()}
        return learning_curves(curves, history["epoch"].tolist())

    @property
    def command(self) -> str:
        """A command line that trains the same model anew, all that matters spelt out but the output folder.

        >>> run = Run.__new__(Run)
        >>> run.architecture, run.training = Architecture(latent_dim=8), Training(data="digits")
        >>> run.command
        'probvae-train --data digits --latent-dim 8 --binarize threshold --parts 1 --seed 0'
        """
        words = ["probvae-train", *_options(self.architecture, self.training)]
        return " ".join(shlex.quote(word) for word in words)

    def _facts(self) -> list[tuple[str, Any]]:
        rows: list[tuple[str, Any]] = [("architecture", self.architecture), ("training", self.training)]
        try:
            done = self.history.get("epoch", np.zeros(1))[-1:]
            ended = "" if self.metrics else ", not ended"
            rows.append(("epochs", f"{done.sum():.4g} of {self.training.epochs}{ended}"))
            rows += [("test_elbo", f"{elbo:.2f} nats") for elbo in self.history.get("test_elbo", [])[-1:]]
        except InputError as error:  # to be shown must not fail
            rows.append(("damaged", error))
        evaluated = (self.folder / EVALUATION / METRICS).exists()
        return [*rows, ("evaluation", "yes" if evaluated else "none")]

    def __repr__(self) -> str:
        return (
            "\n".join([f"<Run {self.folder}", *(f"  {name:12}  {value}" for name, value in self._facts())])
            + ">"
        )

    def _repr_html_(self) -> str:
        return display.table(f"Run {self.folder}", [*self._facts(), ("command", self.command)])


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found = strict_json.parse(read_text(path, "metrics", MAX_METRICS), path.name, levels=10)
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold an object; it holds {type(found).__name__}.")
    return found


def _part(found: dict[str, Any], name: str) -> dict[str, Any]:
    part = found.get(name)
    return part if isinstance(part, dict) else {}


def _options(architecture: Architecture, training: Training) -> list[str]:
    """Return the options of probvae-train that make these two, as words."""
    always = ALWAYS if len(architecture.event_shape) == 3 else (*ALWAYS, "likelihood", "network")
    words: list[str] = []
    fields = {
        f.name: (config, f.default) for config in (training, architecture) for f in dataclasses.fields(config)
    }
    first = ("data", *(f.name for f in dataclasses.fields(architecture)))
    for name in dict.fromkeys((*first, *fields)):
        config, default = fields[name]
        value = getattr(config, name)
        if name in FROM_DATA or (value == default and name not in always):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option)
        elif name == "column_kinds":
            words += [word for kind in value for word in (option, kind)]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words
