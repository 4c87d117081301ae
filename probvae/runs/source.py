"""What probvae-sample works on: a trained model, its data where they are asked for, and the options."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probvae.data import from_config
from probvae.data.dataset import DataSet
from probvae.errors import InputError
from probvae.models import saving
from probvae.models.vae import VAE
from probvae.priors import on_sphere
from probvae.sampling.draws import posterior_draws
from probvae.seeds import fold_in


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asks for; None where it says nothing."""

    num: int | None = None
    pixels: str | None = None
    temperature: float | None = None
    sampler: str | None = None
    components: int | None = None
    train_images: int | None = None
    label: int | None = None
    draws: int | None = None
    start: int | None = None
    end: int | None = None
    path: str | None = None
    steps: int | None = None
    image: int | None = None
    dimension: tuple[int, ...] = ()
    data: str | None = None
    seed: int = 0


class Examples(NamedTuple):
    """x [N, *E] and labels [N] or None."""

    x: np.ndarray
    labels: np.ndarray | None


class Run:
    """A trained model, and its data where they are asked for.

    Args:
      folder: of the run.
      source: other data than the run's.

    Raises:
      InputError: the folder holds no run of probvae-train.
    """

    def __init__(self, folder: Path, source: str | None) -> None:
        architecture, training = saving.read_config(folder)
        if architecture is None or training is None:
            raise InputError(
                f"{folder} is no run of probvae-train: its config.json names no architecture or training."
            )
        self.folder, self.source = folder, source
        self.architecture, self.training = architecture, training
        self.vae = saving.load(folder)

        self._models: dict[int, VAE] = {}

    def model(self, label: int | None = None) -> VAE:
        """Return the model, of one class where it is conditional.

        Raises:
          InputError: a class is missing, is none of the model's, or is given for a model without.
        """
        classes = self.architecture.context_dim
        if not classes:
            if label is not None:
                raise InputError(
                    "--class is for conditional models, trained with --labels condition or semi; this one "
                    "has no classes."
                )
            return self.vae
        if label is None:
            raise InputError(
                f"The model is conditional: add --class C, from 0 to {classes - 1}, or --mode classes."
            )
        if not 0 <= label < classes:
            raise InputError(f"--class must be from 0 to {classes - 1} for this model; got {label}.")
        if label not in self._models:
            self._models[label] = self.vae.given(label)
        return self._models[label]

    @functools.cached_property
    def examples(self) -> DataSet:
        """The data as they were read."""
        try:
            found = from_config.read(self.training, missing=self.architecture.missing, source=self.source)
        except InputError as error:
            where = f" The run was trained on {self.training.data!r}; --data says where that is now."
            raise InputError(f"{error}{'' if self.source else where}") from None
        if found.event_shape != self.architecture.event_shape:
            raise InputError(
                f"The model takes x of shape {list(self.architecture.event_shape)}; {found.name} holds "
                f"{list(found.event_shape)}."
            )
        return found

    @functools.cached_property
    def units(self) -> DataSet | None:
        """The data where they are a table at hand, in whose units rows can be written; else None."""
        try:
            return self.examples if self.examples.columns else None
        except InputError:
            if self.source:
                raise
            return None

    @functools.cached_property
    def _prepared(self) -> Any:
        alone = dataclasses.replace(self.architecture, context_dim=0, classifier=False)  # x without y
        return from_config.prepare(self.examples, self.training, alone)

    @functools.cached_property
    def test(self) -> Examples:
        """The test set."""
        return Examples(self._prepared.test, self.examples.test_labels)

    def of_class(self, label: int | None) -> Examples:
        """Return the test examples of one class, or all of them."""
        x, labels = self.test
        if label is None:
            return self.test
        if labels is None or not np.any(labels == label):
            raise InputError(f"The test set of {self.examples.name} has no examples of class {label}.")
        return Examples(x[labels == label], labels[labels == label])

    def train(self, n: int, label: int | None) -> np.ndarray:
        """Return the first n training examples, of one class where it is given."""
        which = np.arange(len(self._prepared.train))
        if label is not None:
            labels = self.examples.train_labels
            which = which[:0] if labels is None else which[labels == label]
        if not len(which):
            raise InputError(f"{self.examples.name} has no training examples of class {label}.")
        return self._prepared.feed(self._prepared.train[which[:n]], fold_in(0, 0)).numpy()

    def label_of(self, index: int, label: int | None = None) -> int | None:
        """Return the class of a test example, or `label` where given; None for a model without classes."""
        if label is not None or not self.architecture.context_dim:
            return label
        if self.test.labels is None:
            raise InputError(f"The model is conditional, and {self.examples.name} has no labels.")
        return int(self.test.labels[self._checked(index)])

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self.test.x):
            raise InputError(f"There are {len(self.test.x):,} test examples, numbered from 0; got {index}.")
        return index

    def encode(self, index: int) -> np.ndarray:
        """Return the mean of q(z|x) of a test example, [L]; on a sphere its direction, of a flow a draw."""
        vae = self.model(self.label_of(self._checked(index)))
        x = np.asarray(self.test.x[index : index + 1], np.float32)
        try:
            z = vae.posterior(x).mean().numpy()[0]
        except NotImplementedError:
            return posterior_draws(vae, x)[0, 0]
        return z / np.linalg.norm(z) if on_sphere(vae.prior) else z
