"""The recorder of training, which writes the files of the run folder."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probvae.data.binarization import random_rows
from probvae.environment import versions
from probvae.errors import InputError
from probvae.evaluation.table_check import NEIGHBOURS
from probvae.evaluation.table_stages import check_model
from probvae.files import strict_json, writing
from probvae.models import saving
from probvae.runs import metrics
from probvae.runs.files import read_commands
from probvae.runs.folder import COMMANDS, HISTORY, METRICS, TABLE
from probvae.runs.job import Job
from probvae.runs.picture_files import PictureFiles
from probvae.runs.table_files import write_table
from probvae.seeds import fold_in
from probvae.training.scoring import TestTerms
from probvae.training.state import Row

PICTURES_A_RUN = 60  # largest number of pictures of each kind; one after each epoch if they suffice


class Recorder:
    """Writer of the files of a run: configuration, commands, history, weights, pictures, metrics."""

    def __init__(self, job: Job) -> None:
        self.job, self.folder, self.vae, self.training = job, job.folder, job.vae, job.training
        self.pictures = PictureFiles(job)
        self.history: list[Row] = []

    def start(self, history: Sequence[Row] = (), *, step: int = 0) -> None:
        """Write the files that precede training, after the rows and steps of a run that is resumed."""
        self.history = list(history)
        for name in (METRICS, TABLE):  # results of a run that had ended
            (self.folder / name).unlink(missing_ok=True)
        saving.save(self.vae, self.folder, self.training)
        if self.job.options.command:
            self._record(self.job.options.command)
        self.pictures.remove_after(len(self.history))
        self.pictures.originals()
        if not step:
            self.pictures.after_epoch(0, "before training")

    def _record(self, command: str) -> None:
        """Append a command line to commands.json."""
        path = self.folder / COMMANDS
        try:
            earlier = read_commands(path) if path.exists() else []
        except InputError:  # a damaged file, which only the report needs
            earlier = []
        command = command.encode("utf-8", "backslashreplace").decode()  # names that are not in UTF-8
        commands = [*earlier, {"command": command, "versions": versions()}]
        writing.write_text(path, json.dumps(commands, indent=2) + "\n")

    def save_weights(self) -> None:
        """Write the current weights."""
        saving.save_weights(self.vae, self.folder / writing.WEIGHTS)

    def epoch(self, row: Row) -> None:
        """Write the weights and the history after an epoch, and its pictures if they are due."""
        self.history.append(row)
        self.save_weights()
        names = [field.name for field in dataclasses.fields(Row)]
        history = writing.csv_text(names, map(dataclasses.astuple, self.history))
        writing.write_text(self.folder / HISTORY, history)
        every = math.ceil(self.training.epochs / PICTURES_A_RUN)
        if len(self.history) % every == 0 or row.epoch == self.training.epochs:
            words = f"epoch {row.epoch:.4g} · test ELBO {row.test_elbo:.2f} nats"
            self.pictures.after_epoch(len(self.history), words)

    def finish(self, terms: TestTerms, *, interrupted: bool) -> dict[str, Any]:
        """Write the closing pictures and metrics.json, and return its content.

        `terms` are those of the test set with the current weights.
        """
        self.pictures.animations()
        if self.history:
            self.pictures.learning_curves(self.history)
        variance = self.pictures.latent_space()
        if self.training.validation:  # the weights of the best epoch are restored
            self.save_weights()
        units = " in the units of x" if self.job.examples.schema.has_units else ""
        content = {
            **metrics.test_results(self.vae, terms, self.pictures.x),
            **metrics.history_results(self.history),
            "unit": f"nats per example{units}; one draw of z; standard error over test examples",
            "interrupted": interrupted,
            "peak_memory_mb": metrics.peak_memory_mb(),
            "num_weights": int(sum(np.prod(w.shape) for w in self.vae.trainable_weights)),
            "seed": self.training.seed,
            "data": {
                "name": self.job.examples.name,
                "fingerprint_sha256": self.job.origin.fingerprint,
                "train_images": len(self.job.examples.train),
                "test_images": len(self.job.examples.test),
                "binarize": self.training.binarize,
            },
            "versions": versions(),
            "latent_variance": variance,
        }
        writing.write_text(self.folder / METRICS, strict_json.text(content))
        return content

    def check_table(self, warn: Callable[[str], None]) -> None:
        """Compare rows of the model with the data of a table; an error becomes a warning."""
        if not self.job.examples.schema.is_table:
            return
        prepared, seed = self.job.prepared, self.training.seed
        try:
            rows, _ = random_rows(prepared, NEIGHBOURS)
            check = check_model(self.vae, rows, prepared.test, seed=fold_in(seed, -5), choice=seed)
            write_table(self.folder / TABLE, check)
        except Exception as error:  # the run is trained and saved, and stays so
            reason = " ".join(str(error).split()) or type(error).__name__
            warn(f"drawn rows were not compared with the data: {reason}")
