"""The data of `fit`, `evaluate` and `predict`: arrays, data sets and generators, checked before use."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from probvae.arguments import class_of, known
from probvae.errors import InputError
from probvae.models.contract import Contract
from probvae.models.keras3 import refuse_keras3

TRAINED = "x"  # name of the data of a training in messages
KINDS = "an array, a tf.data.Dataset of batches, a generator of batches or a tf_keras.utils.Sequence"


class Batches:
    """A guard of the batches that Keras reads while it works.

    A batch that the model does not take ends the work with the sentence about it, before the step.

    Args:
      vae: Model.
      contract: Contract of x in the first call of `data`; that of the model by default.
      check_size: Check of the number of examples in each batch of x; other data have no gradient.
    """

    def __init__(
        self,
        vae: Any,
        contract: Contract | None = None,
        check_size: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._vae, self._check_size = vae, check_size
        self._contract = vae.contract if contract is None else contract
        self._error: Exception | None = None

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Raise the refusal of a batch in place of the error that TensorFlow makes of it."""
        if error is None or isinstance(error, InputError):
            return
        first = self._error or _refusal_behind(error)
        if first is not None and first is not error:
            raise first from None
        if isinstance(error, ValueError) and "non-empty" in str(error):  # Keras read no batch at all
            raise InputError("The data must hold one batch or more; they hold none.") from None
        if isinstance(error, tf.errors.InvalidArgumentError) and "tf2xla conversion failed" in str(error):
            raise InputError(
                "XLA (jit_compile=True) cannot compile this model for batches of unequal sizes: call compile "
                "again, without jit_compile or for a batch_size that divides the number of examples."
            ) from error

    # ---- data --------------------------------------------------------------------------------------

    def data(
        self,
        x: Any,
        y: Any = None,
        weights: Any = None,
        class_weight: Any = None,
        *,
        what: str = TRAINED,
        steps: int | None = None,
    ) -> Any:
        """Return data as Keras takes them: (x, y, weights) of arrays, or (batches, None, None).

        Keras drops weights that come without a y, so the weights are also passed as y.

        Args:
          x: Array [N, *E], data set, generator or `Sequence` of batches (x,), (x, y) or (x, y, weights).
          y: The y of arrays, for a conditional model.
          weights: Weights of the examples of arrays, [N].
          class_weight: Weights by class, for arrays whose y are classes.
          what: Name of x in messages. Of other data than `TRAINED`, the classes must be known.
          steps: Number of batches to read; None for all.

        Raises:
          InputError: The data are not what the model takes.
        """
        refuse_keras3(what, x)
        lazy = self._lazy(x, what, steps)
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

    def one_batch(self, x: Any, y: Any = None, weights: Any = None, class_weight: Any = None) -> Any:
        """Return one batch as Keras takes it; arguments are those of `data`, x being an array."""
        refuse_keras3(TRAINED, x)
        if self._lazy(x, TRAINED, 1) is not None:
            raise InputError(
                f"x must be one batch, an array [B, ...]; got {class_of(x)}: call fit, evaluate or "
                "predict for several."
            )
        examples, weights = self._arrays(x, y, weights, class_weight, TRAINED)
        return examples, weights, weights

    def _lazy(self, x: Any, what: str, steps: int | None) -> Any:
        """Return data that are read batch by batch, with checks; None for arrays."""
        if isinstance(x, tf.data.Dataset):
            if x.cardinality() == tf.data.INFINITE_CARDINALITY and steps is None:
                raise InputError(
                    f"{what} never ends: give the number of its batches, steps_per_epoch in fit, "
                    "validation_steps for validation_data, steps otherwise."
                )
            return self._dataset(x, what)
        if isinstance(x, tf_keras.utils.Sequence):
            return _Sequence(x, lambda batch: self._batch(batch, what), self._keep)
        if hasattr(x, "__next__"):
            return self._generator(x, what)
        if isinstance(x, tf.distribute.DistributedDataset | tf.distribute.DistributedIterator):
            raise InputError(
                f"{what} must be {KINDS}; got {class_of(x)}. Give the data set itself: it is divided "
                "among the replicas."
            )
        iterates_only = hasattr(x, "__iter__") and not hasattr(x, "__len__")
        if callable(x) or iterates_only or hasattr(x, "batch_sampler"):
            raise InputError(f"{what} must be {KINDS}; got {class_of(x)}.")
        return None

    def _arrays(self, x: Any, y: Any, weights: Any, class_weight: Any, what: str) -> tuple[Any, Any]:
        """Return checked examples of arrays, and their weights."""
        if isinstance(x, dict):
            raise InputError(f"{what} must be {KINDS}; got a dict. Give the array of x alone.")
        name = "sample_weight"
        if class_weight is not None:
            name, weights = "class_weight", self._of_classes(y, weights, class_weight)
        examples, weights = self._joined(x, y, what), self._weights(weights, x, name)
        if weights is not None and not np.any(weights):
            raise InputError(f"{name} must hold a number above 0; all are 0.")
        return examples, weights

    def _joined(self, x: Any, y: Any, what: str) -> Any:
        """Return checked examples of x and y."""
        contract = self._contract if what == TRAINED else self._vae.contract
        if y is None:
            return contract.check(x, what, batch=True)
        if not self._vae.context_dim:
            raise InputError(
                "The model learns p(x) and takes no y (targets): leave y out (weights come third, as in "
                "(x, None, weights)), or build a ConditionalVAE for p(x|y)."
            )
        x = self._vae.value_contract.check(x, what, batch=True)
        y, number = self._vae.as_context(y), np.shape(x)[0]
        if y.shape.rank != 2 or y.shape[0] != number:
            hint = " Give y[:, 0]." if y.shape.rank == 3 and y.shape[1] == 1 else ""
            raise InputError(
                f"y must hold one class, or one vector, for each of {number:,} examples; with classes as "
                f"vectors its shape is {y.shape.as_list()}.{hint}"
            )
        return contract.check(self._vae.join(x, y), what, batch=True)

    def _weights(self, weights: Any, x: Any, name: str = "sample_weight") -> Any:
        """Return checked weights of the examples, [N]."""
        if weights is None:
            return None
        values = np.asarray(known(weights))
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.dtype.kind not in "biuf" or values.shape != np.shape(x)[:1]:
            raise InputError(
                f"{name} must hold one number for each of {np.shape(x)[0]:,} examples; got "
                f"{values.dtype} of shape {list(values.shape)}."
            )
        if not np.all(np.isfinite(values)) or np.any(values < 0):
            raise InputError(
                f"{name} must hold finite numbers of at least 0; they range from {values.min():g} to "
                f"{values.max():g}."
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
            self._keep(error)
            raise
        return (examples,) if weights is None else (examples, weights, weights)

    def _keep(self, error: Exception) -> None:
        """Keep the error of a batch, of which TensorFlow would make another."""
        self._error = error

    def _generator(self, batches: Any, what: str) -> Iterator[tuple[Any, ...]]:
        read = 0
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                break
            except Exception as error:
                self._keep(error)
                raise
            read += 1
            yield self._batch(batch, what)
        if not read:
            raise InputError(f"{what} must yield one batch or more; it is exhausted: create it again.")

    def _dataset(self, dataset: tf.data.Dataset, what: str) -> tf.data.Dataset:
        """Return a data set of checked batches."""
        spec = dataset.element_spec
        parts = spec if isinstance(spec, tuple | list) else (spec,)
        present = [part for part in parts if not isinstance(part, tf.NoneTensorSpec)]
        if not 1 <= len(parts) <= 3 or not all(
            isinstance(part, tf.TensorSpec) for part in (parts[0], *present)
        ):
            raise InputError(
                f"A data set of {what} must yield x, (x, y) or (x, y, weights), each a tensor; it yields "
                f"{spec}. Map it, as in dataset.map(lambda d: d['x'])."
            )
        places = [i for i, part in enumerate(parts) if isinstance(part, tf.TensorSpec)]
        contract = self._vae.value_contract if 1 in places and self._vae.context_dim else self._vae.contract
        self._refuse_spec(contract, parts[0], what)
        size = parts[0].shape[0] if parts[0].shape.rank else None
        weighted = 2 in places

        def read(*values: np.ndarray) -> list[np.ndarray]:
            batch = dict(zip(places, values, strict=True))
            return list(self._batch([batch.get(i) for i in range(3)], what)[:2])

        def check(*batch: Any) -> tuple[Any, ...]:
            dtype = contract.dtype
            values = [batch[i] for i in places]
            done = tf.numpy_function(read, values, [dtype, tf.float32] if weighted else [dtype])
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


def _refusal_behind(error: BaseException) -> InputError | None:
    """Return the `InputError` of which an error was made, as TensorFlow does within a step."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, InputError):
        behind = behind.__cause__ or behind.__context__
    return behind


class _Sequence(tf_keras.utils.Sequence):
    """A Keras `Sequence` whose batches are checked.

    Args:
      batches: `Sequence`.
      check: Function from a batch to the batch as Keras takes it.
      keep: Function that is called with an error of the `Sequence` itself.
    """

    def __init__(self, batches: Any, check: Any, keep: Any) -> None:
        self._batches, self._check, self._keep = batches, check, keep

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        try:
            batch = self._batches[index]
        except Exception as error:
            self._keep(error)
            raise
        return self._check(batch)

    def on_epoch_end(self) -> None:
        """Pass the end of an epoch on."""
        self._batches.on_epoch_end()
