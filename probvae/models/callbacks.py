"""Callbacks of Keras: which of them can be used, and the direction of the metrics that they watch."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras

from probvae.errors import InputError
from probvae.models.keras3 import refuse_keras3

MAXIMISED = re.compile(r"(val_|test_|validation_|train_)?(elbo|objective|log_likelihood)")
callbacks = tf_keras.callbacks


def prepared(given: Any) -> Any:
    """Return the callbacks of a training, checked, before a step is taken.

    A callback with mode "auto" that watches elbo, objective or log_likelihood, of any set, maximises it.

    Args:
      given: A callback, a list of them, a `CallbackList`, or None.

    Raises:
      InputError: A callback is of Keras 3 or none at all, or saves whole models.
    """
    each = given.callbacks if isinstance(given, callbacks.CallbackList) else given
    if each is None:
        return None
    each = list(each) if isinstance(each, list | tuple) else [each]
    refuse_keras3("The callbacks", *each)
    for callback in each:
        if not isinstance(callback, callbacks.Callback):
            raise InputError(
                f"Expected callbacks of tf_keras, such as tf_keras.callbacks.EarlyStopping('val_elbo'); "
                f"got a "
                f"{type(callback).__name__}."
            )
        if isinstance(callback, callbacks.ModelCheckpoint) and not callback.save_weights_only:
            raise InputError(
                "ModelCheckpoint cannot save a VAE whole: pass save_weights_only=True, which saves every "
                "variable for vae.load_weights(path), or call probvae.save(vae, folder) after training."
            )
    for callback in each:
        if MAXIMISED.fullmatch(str(getattr(callback, "monitor", ""))):
            for kind, maximise in DIRECTED.items():
                if isinstance(callback, kind):
                    maximise(callback)
    return given if isinstance(given, callbacks.CallbackList) else each


def _maximise_checkpoint(callback: Any) -> None:
    if callback.monitor_op is np.less:
        callback.monitor_op = np.greater
        if callback.best == np.inf:  # no epoch and no initial threshold
            callback.best = -np.inf


def _maximise_stopping(callback: Any) -> None:
    if callback.monitor_op is np.less:  # Keras resets `best` at the beginning of training
        callback.monitor_op, callback.min_delta = np.greater, abs(callback.min_delta)


def _maximise_rate(callback: Any) -> None:
    if callback.mode == "auto":
        callback.mode = "max"
        callback._reset()


DIRECTED: dict[type, Callable[[Any], None]] = {
    callbacks.ModelCheckpoint: _maximise_checkpoint,
    callbacks.EarlyStopping: _maximise_stopping,
    callbacks.ReduceLROnPlateau: _maximise_rate,
}


class CheckedCallbacks(tf_keras.Model):
    """A Keras model whose methods check their callbacks first."""

    def fit(self, x: Any = None, y: Any = None, *, callbacks: Any = None, **options: Any) -> Any:
        """Train the model."""
        return super().fit(x, y, callbacks=prepared(callbacks), **options)

    def evaluate(self, x: Any = None, y: Any = None, *, callbacks: Any = None, **options: Any) -> Any:
        """Evaluate the model."""
        return super().evaluate(x, y, callbacks=prepared(callbacks), **options)

    def predict(self, x: Any, *, callbacks: Any = None, **options: Any) -> Any:
        """Return the predictions of the model."""
        return super().predict(x, callbacks=prepared(callbacks), **options)
