"""Callbacks of Keras: which of them can be used, and the direction of the metrics that they watch."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from probvae.errors import InputError
from probvae.models.keras3 import refuse_keras3

PREFIX = "(val_|test_|validation_|train_)?"
MAXIMISED = re.compile(PREFIX + "(elbo|objective|log_likelihood)")
REPORTED = re.compile(PREFIX + "(elbo|objective|log_likelihood|kl|loss)")
VALIDATION = ("val_loss", "val_elbo", "val_log_likelihood", "val_kl")
callbacks = tf_keras.callbacks


def checked(given: Any, reported: Collection[str] | None = None) -> Any:
    """Return the callbacks of a training, checked, before a step is taken.

    A callback with mode "auto" that watches elbo, objective or log_likelihood, of any set, maximises it.

    Args:
      given: A callback, a list of them, a `CallbackList`, or None.
      reported: Names of the metrics at the end of an epoch; None for a call that is no training.

    Raises:
      InputError: A callback is of Keras 3 or none at all, saves whole models, or watches or writes to a path
        with a metric that is not reported.
    """
    each = given.callbacks if isinstance(given, callbacks.CallbackList) else given
    if each is None:
        return None
    each = list(each) if isinstance(each, list | tuple) else [each]
    refuse_keras3("The callbacks", *each)
    for callback in each:
        if not isinstance(callback, callbacks.Callback):
            raise InputError(
                "Expected callbacks of tf_keras, such as tf_keras.callbacks.EarlyStopping('val_elbo'); got "
                f"{callback!r}."
            )
        if isinstance(callback, callbacks.ModelCheckpoint) and not callback.save_weights_only:
            raise InputError(
                "ModelCheckpoint cannot save a VAE whole: pass save_weights_only=True, which saves every "
                "variable for vae.load_weights(path), or call probvae.save(vae, folder) after training."
            )
        if reported is not None:
            _refuse_unreported(callback, reported, all_known=all(map(_is_of_keras, each)))
    for callback in each:
        if MAXIMISED.fullmatch(str(getattr(callback, "monitor", ""))):
            for kind, maximise in MAXIMISERS.items():
                if isinstance(callback, kind):
                    maximise(callback)
    return given if isinstance(given, callbacks.CallbackList) else each


def checked_for_trainer(given: Any, reported: Collection[str], *, scheduled: bool) -> Any:
    """Return the callbacks of a `Trainer`, checked as `checked` does: it calls them once an epoch.

    Args:
      given: Callbacks, as for `checked`.
      reported: Names of the metrics at the end of an epoch.
      scheduled: Whether a schedule sets the learning rate.

    Raises:
      InputError: A callback cannot be used, as in `checked` or because it would have no effect.
    """
    given = checked(given, reported)
    each = getattr(given, "callbacks", given) or []
    for callback in each:
        kind = type(callback).__name__
        if isinstance(callback, callbacks.BackupAndRestore):
            raise InputError(
                "BackupAndRestore is for vae.fit: a Trainer goes on from its own state, which on_state hands "
                "out and restore takes."
            )
        if getattr(callback, "save_freq", "epoch") != "epoch":
            raise InputError(f"A Trainer calls callbacks once an epoch: give {kind} save_freq='epoch'.")
        if scheduled and isinstance(callback, RATE_CALLBACKS):
            raise InputError(
                f"{kind} needs a constant learning rate, and a schedule sets it here: choose "
                "schedule='constant' without warmup_steps, or leave the callback out."
            )
    return each


def _is_of_keras(callback: Any) -> bool:
    """Return whether a callback is one of Keras's own, which report no metric but the learning rate."""
    return type(callback).__module__.startswith("tf_keras.")


def _refuse_unreported(callback: Any, reported: Collection[str], *, all_known: bool) -> None:
    """Refuse metrics that are not reported; other names may be reported by callbacks of the user."""
    kind, names = type(callback).__name__, ", ".join(sorted(reported))
    watched = str(getattr(callback, "monitor", ""))
    used = isinstance(callback, tuple(MAXIMISERS)) and getattr(callback, "save_best_only", True)
    if used and (all_known or REPORTED.fullmatch(watched)) and watched not in reported:
        raise InputError(
            f"{kind} watches {watched}, which this training does not report: watch one of {names}. "
            "Metrics of a validation set need validation data."
        )
    if isinstance(callback, callbacks.ModelCheckpoint):
        places = {"epoch": 1, **dict.fromkeys(reported, 0.0)}
        places |= {"batch": 1} if callback.save_freq != "epoch" else {}
        try:
            path = callback.filepath.format(**places)
        except KeyError as error:
            if all_known or REPORTED.fullmatch(error.args[0]) or error.args[0] == "batch":
                raise InputError(
                    f"The path {callback.filepath} of {kind} names {error.args[0]}, which is not known when "
                    f"it saves: name epoch or one of {names}."
                ) from None
            return
        except (ValueError, IndexError) as error:
            raise InputError(f"The path {callback.filepath} of {kind} is malformed: {error}.") from None
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder: give {kind} the path of a file, such as w.weights.h5.")


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


MAXIMISERS: dict[type, Callable[[Any], None]] = {
    callbacks.ModelCheckpoint: _maximise_checkpoint,
    callbacks.EarlyStopping: _maximise_stopping,
    callbacks.ReduceLROnPlateau: _maximise_rate,
}
# Callbacks that set the learning rate.
RATE_CALLBACKS = (callbacks.ReduceLROnPlateau, callbacks.LearningRateScheduler)


class CheckedCallbacks(tf_keras.Model):
    """A Keras model whose methods check their callbacks first."""

    def fit(self, x: Any = None, y: Any = None, *, callbacks: Any = None, **options: Any) -> Any:
        """Train the model."""
        validated = options.get("validation_data") is not None or options.get("validation_split")
        reported = ("loss", "objective", "lr", *(VALIDATION if validated else ()))
        return super().fit(x, y, callbacks=checked(callbacks, reported), **options)

    def evaluate(self, x: Any = None, y: Any = None, *, callbacks: Any = None, **options: Any) -> Any:
        """Evaluate the model."""
        return super().evaluate(x, y, callbacks=checked(callbacks), **options)

    def predict(self, x: Any, *, callbacks: Any = None, **options: Any) -> Any:
        """Return the predictions of the model."""
        return super().predict(x, callbacks=checked(callbacks), **options)
