"""The data of `fit`, `evaluate` and `predict`: arrays, data sets and generators, checked before use."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.arguments import known
from probvae.errors import InputError
from probvae.models.keras3 import refuse_keras3

TRAINED = "x"  # name of the data of a training in messages
KINDS = "an array, a tf.data.Dataset of batches, a generator of batches or a tf_keras.utils.Sequence"


class Batches:
    """A guard of the batches that Keras reads while it works.

    A batch that the model does not take ends the work with the sentence about it, before the step.

    Args:
      vae: Model.
      check_size: Check of the number of examples in each batch of x; other data have no gradient.
    """

    def __init__(self, vae: Any, check_size: Callable[[int], None] = lambda size: None) -> None:
        self._vae, self._check_size = vae, check_size
        self._error: InputError | None = None

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Raise the refusal of a batch in place of the error that TensorFlow makes of it."""
        if error is not None and self._error is not None and error is not self._error:
            raise self._error from None
        if isinstance(error, ValueError) and "non-empty" in str(error):  # Keras read no batch at all
            raise InputError("The data must hold one batch or more; they hold none.") from None

    # ---- data --------------------------------------------------------------------------------------

    def data(
        self, x: Any, y: Any = None, weights: Any = None, class_weight: Any = None, *, what: str = "x"
    ) -> Any:
        """Return data as Keras takes them: (x, y, weights) of arrays, or (batches, None, None).

        Keras drops weights that come without a y, so the weights are also passed as y.

        Args:
          x: Array [N, *E], data set, generator or `Sequence` of batches (x,), (x, y) or (x, y, weights).
          y: The y of arrays, for a conditional model.
          weights: Weights of the examples of arrays, [N].
          class_weight: Weights by class, for arrays whose y are classes.
          what: Name of x in messages.

        Raises:
          InputError: The data are not what the model takes.
        """
        refuse_keras3(what, x)
        lazy = self._lazy(x, what)
        if lazy is None:
            examples, weights = self._arrays(x, y, weights, class_weight, what)
            return examples, weights, weights
        for name, value in (("y", y), ("sample_weight", weights), ("class_weight", class_weight)):
            if value is not None:
                raise InputError(
                    f"{name} must come with arrays; got batches of type {type(x).__name__}: yield (x, y) or "
                    "(x, y, weights)."
                )
        return lazy, None, None

    def _lazy(self, x: Any, what: str) -> Any:
        """Return data that are read batch by batch, with checks; None for arrays."""
        if isinstance(x, tf.data.Dataset):
            return self._dataset(x, what)
        if isinstance(x, tf_keras.utils.Sequence):
            return _Sequence(x, lambda batch: self._batch(batch, what))
        if hasattr(x, "__next__"):
            return self._generator(x, what)
        if isinstance(x, tf.distribute.DistributedDataset | tf.distribute.DistributedIterator):
            return x
        iterates_only = hasattr(x, "__iter__") and not hasattr(x, "__len__")
        if callable(x) or iterates_only or hasattr(x, "batch_sampler"):
            raise InputError(f"{what} must be {KINDS}; got a {type(x).__name__}.")
        return None

    def _arrays(self, x: Any, y: Any, weights: Any, class_weight: Any, what: str) -> tuple[Any, Any]:
        """Return checked examples of arrays, and their weights."""
        if isinstance(x, dict):
            raise InputError(f"{what} must be {KINDS}; got a dict. Give the array of x alone.")
        if class_weight is not None:
            weights = self._of_classes(y, weights, class_weight)
        return self._joined(x, y, what), self._weights(weights, x)

    def _joined(self, x: Any, y: Any, what: str) -> Any:
        """Return checked examples of x and y."""
        if y is None:
            return self._vae.examples(x, what, batch=True)
        if not self._vae.context_dim:
            raise InputError(
                "The model learns p(x) and takes no y (targets): leave y out, or build a ConditionalVAE for "
                "p(x|y)."
            )
        x = self._vae.value_contract.check(x, what, batch=True)
        number, shape = np.shape(x)[0], np.shape(y)
        size = shape[0] if shape else 0
        if size != number:
            raise InputError(f"y must hold one value for each of {number:,} examples; it holds {size:,}.")
        return self._vae.examples(self._vae.join(x, y), what, batch=True)

    def _weights(self, weights: Any, x: Any) -> Any:
        """Return checked weights of the examples."""
        if weights is None:
            return None
        values = np.asarray(known(weights))
        if values.dtype.kind not in "biuf" or values.shape != np.shape(x)[:1]:
            raise InputError(
                f"sample_weight must hold one number for each of {np.shape(x)[0]:,} examples; got "
                f"{values.dtype} of shape {list(values.shape)}."
            )
        if not np.all(np.isfinite(values)) or np.any(values < 0) or not np.any(values):
            raise InputError(
                f"sample_weight must hold finite numbers of at least 0, not all 0; they range from "
                f"{values.min():g} to {values.max():g}."
            )
        return values.astype(np.float32)

    def _of_classes(self, y: Any, weights: Any, class_weight: Any) -> np.ndarray:
        """Return the weights of examples from those of their classes."""
        if y is None or not self._vae.context_dim or weights is not None:
            raise InputError(
                "class_weight needs a conditional model, the classes y and no sample_weight: give "
                "sample_weight alone."
            )
        one_hot = np.asarray(self._vae.as_context(y))
        classes = np.argmax(one_hot, axis=1)
        unknown = sorted(set(map(int, classes)) - set(class_weight))
        if not np.all((one_hot == 0) | (one_hot == 1)) or unknown:
            missing = f"; there is none for class {unknown[0]}" if unknown else "; y are no classes"
            raise InputError(f"class_weight must give the weight of every class of y{missing}.")
        return np.array([class_weight[int(k)] for k in classes], np.float32)

    # ---- batches -----------------------------------------------------------------------------------

    def _batch(self, batch: Any, what: str) -> tuple[Any, ...]:
        """Return (examples,) or (examples, weights, weights) of a batch, of arrays."""
        try:
            parts = batch if isinstance(batch, tuple | list) else (batch,)
            if not 1 <= len(parts) <= 3 or isinstance(parts[0], dict):
                given = "a dict" if isinstance(parts[0], dict) else f"{len(parts)} parts"
                raise InputError(f"A batch of {what} must be x, (x, y) or (x, y, weights); got {given}.")
            x, y, weights = (*parts, None, None)[:3]
            examples, weights = np.asarray(self._joined(x, y, what)), self._weights(weights, x)
            if what == TRAINED:
                self._check_size(len(examples))
        except InputError as error:
            self._error = error
            raise
        return (examples,) if weights is None else (examples, weights, weights)

    def _generator(self, batches: Any, what: str) -> Iterator[tuple[Any, ...]]:
        empty = True
        for batch in batches:
            empty = False
            yield self._batch(batch, what)
        if empty:
            raise InputError(f"{what} must yield one batch or more; it is exhausted: create it again.")

    def _dataset(self, dataset: tf.data.Dataset, what: str) -> tf.data.Dataset:
        """Return a data set of checked batches."""
        spec = dataset.element_spec
        parts = spec if isinstance(spec, tuple | list) else (spec,)
        if not 1 <= len(parts) <= 3 or not all(isinstance(part, tf.TensorSpec) for part in parts):
            raise InputError(
                f"A data set of {what} must yield x, (x, y) or (x, y, weights), each a tensor; it yields "
                f"{spec}. Map it, as in dataset.map(lambda d: d['x'])."
            )
        has_y = len(parts) > 1 and self._vae.context_dim
        contract = self._vae.value_contract if has_y else self._vae.contract
        self._refuse_spec(contract, parts[0], what)
        size = parts[0].shape[0] if parts[0].shape.rank else None
        weighted = len(parts) == 3

        def read(*batch: np.ndarray) -> list[np.ndarray]:
            return list(self._batch(batch, what)[:2])

        def check(*batch: tf.Tensor) -> tuple[Any, ...]:
            dtype = contract.dtype
            done = tf.numpy_function(read, batch, [dtype, tf.float32] if weighted else [dtype])
            done[0].set_shape([size, *self._vae.event_shape])
            if not weighted:
                return (done[0],)
            done[1].set_shape([size])
            return done[0], done[1], done[1]

        with warnings.catch_warnings():
            # Where functions run eagerly, TensorFlow warns that this one does not.
            warnings.filterwarnings("ignore", "Even though the `tf.config.experimental_run_functions")
            return dataset.map(check)

    @staticmethod
    def _refuse_spec(contract: Any, spec: tf.TensorSpec, what: str) -> None:
        """Refuse batches of another shape, as far as it is known before they are read."""
        if spec.shape.rank is None:
            return
        if spec.shape.rank == len(contract.event_shape):
            raise InputError(
                f"A data set of {what} must yield batches of shape [B, "
                f"{', '.join(map(str, contract.event_shape))}]; it yields single examples of {spec.shape}. "
                "Call `.batch(...)`."
            )
        contract.refuse_shape(spec.shape, f"A batch of {what}", batch=True)


class _Sequence(tf_keras.utils.Sequence):
    """A Keras `Sequence` whose batches are checked."""

    def __init__(self, batches: Any, check: Any) -> None:
        self._batches, self._check = batches, check

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._check(self._batches[index])

    def on_epoch_end(self) -> None:
        """Pass the end of an epoch on."""
        self._batches.on_epoch_end()
