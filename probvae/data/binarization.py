"""The preparation of examples: from grey levels to the values that the likelihood models."""

import collections
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from probvae.arguments import choice, instance
from probvae.data.arrays import Array, Stored, chunks, gather, permutation
from probvae.data.binarizations import BINARIZATIONS, Binarize
from probvae.data.dataset import DataSet
from probvae.errors import InputError
from probvae.likelihoods import LIKELIHOODS, check_support
from probvae.seeds import Seed, fold_in

Feed = Callable[[tf.Tensor, Seed], tf.Tensor]


class Prepared(NamedTuple):
    """Data prepared for a model.

    Attributes:
      train: Training examples [N, *E], gathered by index: an array, or `Rows` or `Stored` rows of a file.
      test: Values of x for the test, [M, *E]; memory-mapped, or `Stored` those of a table, if they are many.
      feed: Function (gathered batch, seed) -> x, float32, of each training step. If its x do not show wrong
        examples, it has a method `refuse(examples, name)` that refuses them.
      validation: Values of x for the validation, [V, *E], or None.
    """

    train: Array
    test: np.ndarray | Stored
    feed: Feed
    validation: np.ndarray | Stored | None = None


def prepare(
    data: DataSet,
    *,
    binarize: str = "threshold",
    likelihood: str = "bernoulli",
    classes: int = 256,
    seed: int = 0,
) -> Prepared:
    """Turn examples into the values that a likelihood models.

    Args:
      data: The examples.
      binarize: Name of the binarization, a key of `BINARIZATIONS`; "none" for all but images.
      likelihood: Name of the likelihood whose support is checked, a key of `LIKELIHOODS`.
      classes: K, the number of classes of the likelihood categorical.
      seed: Seed of the draws that are made once.

    Returns:
      `Prepared`. Its `train` is `data.train` itself for "dynamic" and "none". Missing values stay NaN.

    Raises:
      InputError: The values lie outside the support of the likelihood, or are no grey levels.
    """
    instance("data", data, DataSet, "load arrays or a file by probvae.data.load or from_tf_dataset")
    choice("likelihood", likelihood, LIKELIHOODS)
    how = BINARIZATIONS[choice("binarize", binarize, BINARIZATIONS)]
    image = len(data.event_shape) == 3
    if not image and binarize != "none":
        raise InputError(
            f"Only images are binarized; {data.name} holds examples of shape {list(data.event_shape)}: set "
            "--binarize to none."
        )
    rng_train, rng_test, rng_validation = np.random.default_rng([seed, 1]).spawn(3)
    kind = LIKELIHOODS[likelihood](data.event_shape, columns=data.kinds, classes=classes).kind
    binary = image and kind.binary
    advice = f"--binarize is {binarize!r}: choose threshold, static or dynamic." if binary else ""
    levels = 1 if kind.whole else data.levels

    def checked(
        which: str, examples: Array, kept: Binarize | None, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        what = f"{which} {'images' if image else 'examples'} of {data.name}"
        for x in _values(examples, levels, data.missing, kept, rng):
            check_support(likelihood, x, what=what, advice=advice, columns=data.kinds, classes=classes)
            yield x

    def values(which: str, examples: Array, rng: np.random.Generator) -> np.ndarray | Stored:
        parts = checked(which, examples, how.test, rng)
        if isinstance(examples, Stored):  # rows of a table, which are x already
            collections.deque(parts, maxlen=0)
            return examples
        return gather(parts)

    test = values("Test", data.test, rng_test)
    validation = None
    if data.validation is not None:
        validation = values("Validation", data.validation, rng_validation)
    if how.redraw:
        feed = _Redraw(levels, data.missing)
        for x in chunks(_present(data.train)):
            feed.refuse(x, f"Training images of {data.name}")
        return Prepared(data.train, test, feed, validation)
    train = checked(
        "Training", _present(data.train) if how.train is None else data.train, how.train, rng_train
    )
    if how.train is not None:
        return Prepared(gather(train), test, _as_float, validation)
    collections.deque(train, maxlen=0)  # checks the values and keeps none
    return Prepared(data.train, test, _scale(levels), validation)


def random_rows(prepared: Prepared, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random training examples as the model takes them, [n, *E] float32, and their rows [n], sorted.

    All runs on the same data share them. `most` is their number, if there are so many.
    """
    rows = np.sort(permutation(np.random.default_rng(0), len(prepared.train))[:most])
    return prepared.feed(prepared.train[rows], fold_in(0, 0)).numpy(), rows


def _present(examples: Array) -> Array:
    """Return the distinct levels of 8-bit examples, [n, 1, ..., 1], which are enough for a check."""
    if examples.dtype != np.uint8:
        return examples
    seen = np.zeros(256, bool)
    for chunk in chunks(examples):
        seen[chunk] = True
        if seen.all():
            break
    return np.flatnonzero(seen).astype(np.uint8).reshape(-1, *[1] * (examples.ndim - 1))


def _values(
    examples: Array, levels: int, missing: bool, how: Binarize | None, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield x chunk by chunk: binary values as uint8, others, and those with missing values, as float32."""
    for chunk in chunks(examples):
        grey = np.divide(chunk, levels, dtype=np.float32)
        if how is None:
            yield grey
        elif missing:
            yield np.where(np.isnan(grey), grey, how(grey, rng).astype(np.float32))
        else:
            yield how(grey, rng).astype(np.uint8)


def _as_float(batch: tf.Tensor, seed: Seed) -> tf.Tensor:
    return tf.cast(batch, tf.float32)


def _scale(levels: int) -> Feed:
    return _as_float if levels == 1 else lambda batch, seed: tf.cast(batch, tf.float32) / levels


class _Redraw:
    """A feed that draws 0 or 1 at every step, with the grey levels as probabilities."""

    def __init__(self, levels: int, missing: bool) -> None:
        self.levels, self.missing = levels, missing

    def __call__(self, batch: tf.Tensor, seed: Seed) -> tf.Tensor:
        grey = tf.cast(batch, tf.float32)
        drawn = tf.cast(tf.random.stateless_uniform(tf.shape(batch), seed) * self.levels < grey, tf.float32)
        return tf.where(tf.math.is_nan(grey), grey, drawn) if self.missing else drawn

    def refuse(self, examples: np.ndarray, what: str) -> None:
        """Refuse examples that are no grey levels, of which the draws would show nothing."""
        if examples.dtype == np.uint8 and self.levels >= 255:
            return
        good = (examples >= 0) & (examples <= self.levels)
        if self.missing:
            good |= np.isnan(examples)
        if not np.all(good):
            wrong = examples[~good]
            raise InputError(
                f"{what} must hold grey levels from 0 to {self.levels}, as they are binarized at every step; "
                f"{wrong.size:,} of {examples.size:,} are not, such as {wrong.flat[0]:g}."
            )
