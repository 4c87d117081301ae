"""A run: the files of its folder, its model and its data, each read on first access."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probvae import display
from probvae.errors import InputError
from probvae.files import npz, outputs
from probvae.files.writing import SCHEMA, WEIGHTS
from probvae.runs import files
from probvae.runs.collection import located
from probvae.runs.command_line import train_command
from probvae.runs.files import EvaluationResults
from probvae.runs.folder import COMMANDS, EVALUATION, HISTORY, IMAGES, METRICS, PER_EXAMPLE, PICTURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probvae.data.arrays import Stored
    from probvae.data.binarization import Prepared
    from probvae.data.dataset import DataSet
    from probvae.data.schema import Schema
    from probvae.models.vae import VAE
    from probvae.runs.known_data import Known


class Examples(NamedTuple):
    """Examples x [N, *E] and their labels [N], or None."""

    x: "np.ndarray | Stored"
    labels: np.ndarray | None


def open_run(folder: str | os.PathLike[str]) -> "Run":
    """Open a run folder of `probvae-train`, also during its training; only config.json is read.

    Args:
      folder: Folder of the run, or the name of a model of the package, a key of `probvae.runs.PRETRAINED`.

    Returns:
      `Run`.

    Raises:
      InputError: The folder is not a run folder, or its config.json is damaged.
    """
    return Run(folder)


def as_run(run: "Run | str | os.PathLike[str]", source: str | None = None) -> "Run":
    """Return a run or the run of a folder, with other data if a source is given."""
    return run if isinstance(run, Run) and source is None else Run(run, source)


class Run:
    """A run: its model, configuration, history, metrics, data and pictures.

    Files are read once, on first access; open the folder again to read what a training has written since.

    Args:
      folder: Folder of the run.
      source: Name or path of other data than the run was trained on; None for the run's own.
      lenient: Whether a damaged file counts as absent and is listed in `problems` instead of an error.

    Attributes:
      folder: Path of the folder.
      name: Name of the folder.
      architecture: Configuration of the model.
      training: Configuration of the training.

    Raises:
      InputError: The folder is not a run folder or, on access to an attribute, a file is absent or damaged.
    """

    def __init__(
        self, folder: str | os.PathLike[str], source: str | None = None, *, lenient: bool = False
    ) -> None:
        self.folder, self.source, self.lenient = located(outputs.path_of("run", folder)), source, lenient
        self.architecture, self.training, self.schema_sha256 = files.read_config(self.folder)
        self.name = self.folder.resolve().name or str(self.folder)
        self._pictures: dict[str, bytes] = {}
        self._models: dict[int | None, VAE] = {}
        self._problems: dict[str, str] = {}

    def __fspath__(self) -> str:
        return str(self.folder)

    # ---- files -------------------------------------------------------------------------------------

    def read_file(self, name: str, read: Callable[[Path], Any], default: Any) -> Any:
        """Read a file of the folder; return the default if it is absent, or damaged in a lenient run."""
        path = self.folder / name
        if not path.exists():
            return default
        try:
            return read(path)
        except InputError as error:
            if not self.lenient:
                raise
            self._problems[name] = str(error).replace(f"{self.folder}/", "")
            return default

    @property
    def problems(self) -> list[str]:
        """Error messages of the damaged files that a lenient run has read."""
        return list(self._problems.values())

    @functools.cached_property
    def history(self) -> dict[str, np.ndarray]:
        """history.csv: column -> [epochs] float64, NaN for an empty cell; empty before the first epoch.

        ELBO, log-likelihood and KL are means over the test set in nats per example; see
        `probvae.training.state.Row`.
        """
        return self.read_file(HISTORY, files.read_history, {})

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: the results of the training; empty before its end."""
        return self.read_file(METRICS, files.read_object, {})

    def metric(self, *keys: str) -> float | None:
        """Return the finite number of metrics.json at a path of keys, or None."""
        return files.number(self.metrics, *keys)

    @property
    def interrupted(self) -> bool:
        """True if the training was stopped before its end and not resumed since."""
        return self.metrics.get("interrupted") is True

    @property
    def versions(self) -> dict[str, str]:
        """Versions of Python and the packages that trained the run; empty before its end."""
        return files.part(self.metrics, "versions", dict)

    @property
    def fingerprint(self) -> str | None:
        """SHA-256 of the training data; None before the end of the training."""
        return files.part(self.metrics, "data", dict).get("fingerprint_sha256")

    @functools.cached_property
    def commands(self) -> list[dict[str, Any]]:
        """commands.json: each command line that trained the run, with the versions of the packages."""
        return self.read_file(COMMANDS, files.read_commands, [])

    @functools.cached_property
    def evaluation(self) -> EvaluationResults | None:
        """Results of `probvae-evaluate`; None if the run has not been evaluated."""
        metrics = self.read_file(f"{EVALUATION}/{METRICS}", files.read_object, {})
        if not metrics:
            return None
        return EvaluationResults(metrics, self.read_file(f"{EVALUATION}/{PER_EXAMPLE}", npz.read_arrays, {}))

    @functools.cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of weights.npz; empty if it is absent."""
        return self.read_file(WEIGHTS, files.sha256, "")

    @property
    def is_evaluation_stale(self) -> bool:
        """True if the evaluation is of other weights than the current ones."""
        if self.evaluation is None:
            return False
        return self.evaluation.conditions.get("weights_sha256") != self.weights_sha256

    @property
    def pictures(self) -> dict[str, Path]:
        """Paths of the existing pictures by name; the names of those of an epoch are images/NAME."""
        names = [*PICTURES, *sorted(f"{IMAGES}/{p.name}" for p in (self.folder / IMAGES).glob("*.png"))]
        return {name: self.folder / name for name in names if (self.folder / name).is_file()}

    def picture(self, name: str) -> bytes:
        """Return a PNG of the folder by its relative path; empty if it is absent."""
        if name not in self._pictures:
            self._pictures[name] = self.read_file(name, files.read_picture, b"")
        return self._pictures[name]

    def read_all(self, pictures: Iterable[str] = ()) -> None:
        """Read all files but the model and the data, and the given pictures."""
        for name in ("history", "metrics", "commands", "is_evaluation_stale", "saved_schema"):
            getattr(self, name)
        for name in pictures:
            self.picture(name)

    # ---- model -------------------------------------------------------------------------------------

    @functools.cached_property
    def model(self) -> "VAE":
        """The trained model, as `probvae.load` returns it; that of an older run has its schema, if known."""
        from probvae.models.saving import load

        vae = load(self.folder)
        if vae.schema is None and self.fingerprint is not None:
            vae.schema = self.schema
        return vae

    def class_index(self, label: int | str | None) -> int | None:
        """Return the number of a class that is given by its name or its number; None for none."""
        if label is None or (isinstance(label, int) and not self.architecture.num_classes):
            return None if label is None else int(label)
        if self.schema is None:
            if str(label).isdecimal():
                return int(label)
            raise InputError(f"The names of the classes are unknown: give a number; got {label!r}.")
        if not self.schema.classes and not self.architecture.num_classes and not str(label).isdecimal():
            raise InputError(f"The data of the run have no classes: leave the class out; got {label!r}.")
        return self.schema.class_index(label)

    def class_name(self, label: int | str | None) -> str:
        """Return the name of a class, or its number where the classes have no names."""
        index = self.class_index(label)
        return str(index) if self.schema is None or index is None else self.schema.class_name(index)

    def model_of(self, label: int | str | None = None) -> "VAE":
        """Return the model, for one class if it is conditional.

        Raises:
          InputError: The class is missing or unknown, or given for a model without classes.
        """
        index = self.class_index(label)
        if index not in self._models:
            self._models[index] = self.model.of_class(index)
        return self._models[index]

    def sample(self, num_draws: int = 1, given: Mapping[str, Any] | None = None, *, seed: Any = 0) -> Any:
        """Draw from the model in the units of the data; `sampling.sample_rows` has the arguments."""
        from probvae.sampling.conditional_draws import sample_rows

        return sample_rows(self.model, num_draws, given, seed=seed)

    def encode(self, index: int) -> np.ndarray:
        """Return the mean of q(z|x) of a test example, [L]; its direction on a sphere, a draw for a flow."""
        from probvae.priors import on_sphere
        from probvae.sampling.draws import posterior_draws

        vae = self.model_of(self.label_of(self._checked(index)))
        x = np.asarray(self.test.x[index : index + 1], np.float32)
        try:
            z = vae.posterior(x).mean().numpy()[0]
        except NotImplementedError:
            return posterior_draws(vae, x)[0, 0]
        return z / np.linalg.norm(z) if on_sphere(vae.prior) else z

    # ---- data --------------------------------------------------------------------------------------

    @functools.cached_property
    def _known(self) -> "Known":
        from probvae.runs.known_data import known_of

        return known_of(self)

    @functools.cached_property
    def saved_schema(self) -> "Schema | None":
        """schema.json; None in an older run, which has none."""
        from probvae.data.schema_file import read_schema

        if self.schema_sha256 is None:
            return None
        try:
            return read_schema(self.folder, self.schema_sha256)
        except InputError as error:
            if not self.lenient:
                raise
            self._problems[SCHEMA] = str(error).replace(f"{self.folder}/", "")
            return None

    @property
    def schema(self) -> "Schema | None":
        """Schema of the data: schema.json or, in an older run, that of its data file if this is the same."""
        return self.saved_schema or self._known.schema

    @functools.cached_property
    def examples(self) -> "DataSet":
        """Examples and labels, read from `source` or else from the place of the data of the run.

        Raises:
          InputError: The examples cannot be read, or have another shape.
        """
        return self.read(self.source)

    def read(self, source: str | None, *, labels: bool = True) -> "DataSet":
        """Read the data of a name or path, or those of the run, by its schema; with their labels or not."""
        from probvae.runs.known_data import read_examples

        return read_examples(self, self._known, source, labels=labels)

    @functools.cached_property
    def data(self) -> "DataSet":
        """Examples and labels of the training and the test of the run, read from their place.

        Raises:
          InputError: The data are no longer there, or their fingerprint is not that of the run.
        """
        if self.source is None and not self.examples.agrees_with(self.fingerprint):
            raise InputError(
                f"{self.training.data} holds other data than the run was trained on. Bring these back, or "
                "load what there is by probvae.data.loading.load."
            )
        return self.examples

    @functools.cached_property
    def prepared(self) -> "Prepared":
        """The data as the model takes them; `prepared.test` is x, [M, *E]."""
        from probvae.data import from_config

        return from_config.prepare(self.data, self.training, self.architecture)

    @functools.cached_property
    def _values(self) -> "Prepared":
        """The data without y; their fingerprint is not checked."""
        from probvae.data import from_config

        without_y = dataclasses.replace(self.architecture, context_dim=0, classifier=False)
        return from_config.prepare(self.examples, self.training, without_y)

    @property
    def test(self) -> Examples:
        """The test set, without y."""
        return Examples(self._values.test, self.examples.test_labels)

    def of_class(self, label: int | str | None) -> Examples:
        """Return the test examples of one class, or all of them."""
        x, labels = self.test
        index = self.class_index(label)
        if index is None:
            return self.test
        if labels is None or not np.any(labels == index):
            raise InputError(
                f"The test set of {self.examples.name} has no examples of class {self.class_name(label)}."
            )
        return Examples(x[labels == index], labels[labels == index])

    def train_examples(self, n: int, label: int | str | None = None) -> np.ndarray:
        """Return the first n training examples as the model takes them, of one class if it is given."""
        from probvae.seeds import fold_in

        prepared, labels = self._values, self.examples.train_labels
        rows = np.arange(min(n, len(prepared.train)))
        if label is not None:
            rows = rows[:0] if labels is None else np.flatnonzero(labels == self.class_index(label))
        if not len(rows):
            raise InputError(
                f"{self.examples.name} has no training examples of class {self.class_name(label)}."
            )
        return prepared.feed(prepared.train[rows[:n]], fold_in(0, 0)).numpy()

    def label_of(self, index: int, label: int | str | None = None) -> int | None:
        """Return the class of a test example, or `label` if given; None for a model without classes."""
        if label is not None or not self.architecture.is_conditional:
            return self.class_index(label)
        if self.test.labels is None:
            raise InputError(f"The model is conditional, and {self.examples.name} has no labels.")
        return int(self.test.labels[self._checked(index)])

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self.test.x):
            raise InputError(f"There are {len(self.test.x):,} test examples, numbered from 0; got {index}.")
        return index

    # ---- display -----------------------------------------------------------------------------------

    def learning_curves(self) -> "Figure":
        """Draw the test ELBO and its two terms over the epochs, nats per example.

        Raises:
          InputError: The history has no epoch yet.
        """
        from probvae.figures.curves import draw_history

        return draw_history(self.history)

    @property
    def command(self) -> str:
        """A command line that trains the same model again, without the output folder."""
        return train_command(self.architecture, self.training)

    def _facts(self) -> list[tuple[str, Any]]:
        rows: list[tuple[str, Any]] = [("architecture", self.architecture), ("training", self.training)]
        try:
            done = self.history.get("epoch", np.zeros(1))[-1:]
            ended = "" if self.metrics else ", not ended"
            rows.append(("epochs", f"{done.sum():.4g} of {self.training.epochs}{ended}"))
            rows += [("test_elbo", f"{elbo:.2f} nats") for elbo in self.history.get("test_elbo", [])[-1:]]
        except InputError as error:  # repr() must not fail
            rows.append(("damaged", error))
        evaluated = (self.folder / EVALUATION / METRICS).exists()
        return [*rows, ("evaluation", "yes" if evaluated else "none")]

    def __repr__(self) -> str:
        lines = [f"<Run {self.folder}", *(f"  {name:12}  {value}" for name, value in self._facts())]
        return "\n".join(lines) + ">"

    def _repr_html_(self) -> str:
        return display.table(f"Run {self.folder}", [*self._facts(), ("command", self.command)])
