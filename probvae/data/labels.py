"""Labels: one-hot codes, examples joined with them, labels left out on purpose."""

import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from probvae.data.arrays import Array, Stored, chunks, gather, store
from probvae.data.binarization import Feed, Prepared
from probvae.errors import InputError
from probvae.objectives.semisupervised import _check_fraction
from probvae.seeds import Seed


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return one-hot codes [N, C], uint8, of classes [N]; -1, an unknown class, becomes zeros.

    Raises:
      InputError: A label is no integer from -1 to C - 1.

    >>> one_hot(np.array([1, -1]), 3).tolist()
    [[0, 1, 0], [0, 0, 0]]
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not labels.size:
        raise InputError(f"Labels must be integers [N]; got {labels.dtype} of shape {list(labels.shape)}.")
    if not -1 <= labels.min() <= labels.max() < num_classes:
        raise InputError(
            f"Labels must be classes from 0 to {num_classes - 1}, or -1 where not known; got {labels.min()} "
            f"to {labels.max()}."
        )
    return (labels[:, None] == np.arange(num_classes)).view(np.uint8)


def join_rows(x: Array, y: np.ndarray) -> np.ndarray | Stored:
    """Return joined rows [N, D + C] of x [N, *E] and y [N, C]: uint8 if both are, else float32.

    Those of a `Stored` x are as `store` returns them.

    Raises:
      InputError: There is not one y for each x.
    """
    if y.ndim != 2 or len(x) != len(y):
        raise InputError(
            f"Expected y of shape [{len(x)}, C], one for each example; got shape {list(y.shape)}."
        )
    kind = np.uint8 if x.dtype == y.dtype == np.uint8 else np.float32

    def parts() -> Iterator[np.ndarray]:
        start = 0
        for chunk in chunks(x):
            stop = start + len(chunk)
            yield np.concatenate([chunk.reshape(len(chunk), -1), y[start:stop]], axis=1).astype(kind)
            start = stop

    return store(parts()) if isinstance(x, Stored) else gather(parts())


def join_prepared(prepared: Prepared, train_y: np.ndarray, test_y: np.ndarray) -> Prepared:
    """Return the data of a conditional model: rows [N, D + C] of x and y.

    The transformation of each batch (dynamic binarization) applies to x alone.

    Args:
      prepared: Data x. Its validation set, if any, is left out.
      train_y: Training y [N, C]: `one_hot(labels, C)`, or covariates.
      test_y: Test y [M, C], likewise.

    Raises:
      InputError: There is not one y for each x.
    """
    shape = prepared.test.shape[1:]
    feed = _JoinedFeed(prepared.feed, shape)
    return Prepared(join_rows(prepared.train, train_y), join_rows(prepared.test, test_y), feed)


class _JoinedFeed:
    """A feed of joined rows that changes x [*E] alone."""

    def __init__(self, feed: Feed, shape: tuple[int, ...]) -> None:
        self._feed, self._shape, self._size = feed, shape, math.prod(shape)
        self.refuse = self._refuse if getattr(feed, "refuse", None) else None

    def __call__(self, batch: tf.Tensor, seed: Seed) -> tf.Tensor:
        x = self._feed(tf.reshape(batch[:, : self._size], [-1, *self._shape]), seed)
        y = tf.cast(batch[:, self._size :], x.dtype)
        return tf.concat([tf.reshape(x, [-1, self._size]), y], axis=1)

    def _refuse(self, examples: np.ndarray, what: str) -> None:
        self._feed.refuse(examples[:, : self._size], what)  # type: ignore[attr-defined]
        if not np.all(np.isfinite(examples[:, self._size :])):
            raise InputError(
                f"The y of {what[0].lower()}{what[1:]} must be finite; they are not all: mend them."
            )


def is_one_hot(y: np.ndarray) -> bool:
    """Return whether every row of y [N, C] is a one-hot class."""
    return bool(np.all((y == 0) | (y == 1)) and np.all(y.sum(axis=1) == 1))


def forget_labels(y: np.ndarray, labelled: float, *, seed: int = 0) -> np.ndarray:
    """Return one-hot classes y [N, C] with zeros for all but a fraction of the examples of each class.

    Args:
      y: One-hot classes [N, C].
      labelled: Fraction of each class that is kept, rounded, but at least one example.
      seed: Seed of the choice. It does not depend on the seed of a run, so that runs compare.

    Raises:
      InputError: The fraction is not above 0 and at most 1.

    >>> forget_labels(np.eye(2, dtype=np.uint8)[[0] * 10 + [1] * 30], 0.1).sum(axis=0).tolist()
    [1, 3]
    """
    _check_fraction(labelled)
    y, rng = np.array(y), np.random.default_rng([seed, 31])
    for k in range(y.shape[1]):
        rows = rng.permutation(np.flatnonzero(y[:, k]))
        y[rows[max(1, round(labelled * len(rows))) :]] = 0
    return y
