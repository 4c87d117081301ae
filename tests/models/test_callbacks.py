"""Callbacks of Keras in `fit`, and optimizers in `compile`."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from marked_cases import cases
from tensorflow_probability import distributions as tfd
from test_weight_files import MODELS, X, tiny

from probvae import InputError
from probvae.models.callbacks import checked

C = tf_keras.callbacks


@pytest.fixture(scope="module")
def vae():
    model = tiny(posterior="tril", prior="mixture")
    model.compile("adam")
    return model


def fit(vae, *callbacks, epochs=1):
    return vae.fit(X, epochs=epochs, shuffle=False, verbose=0, validation_data=X, callbacks=list(callbacks))


@pytest.mark.parametrize("name", ["elbo", "val_elbo", "test_log_likelihood", "objective", "validation_elbo"])
def test_bounds_are_maximised(name):
    early, rate, best = C.EarlyStopping(name), C.ReduceLROnPlateau(name), C.ModelCheckpoint("a", name)
    best.save_weights_only = True
    checked(checked([early, rate, best]))
    assert early.monitor_op(2.0, 1.0) and rate.monitor_op(2.0, 1.0) and best.monitor_op(2.0, 1.0)
    assert best.best == rate.best == -np.inf and early.min_delta == 0


@pytest.mark.parametrize("name", ["loss", "val_kl", "val_loss"])
def test_others_are_minimised(name):
    early, rate = checked([C.EarlyStopping(name), C.ReduceLROnPlateau(name)])
    assert early.monitor_op(1.0, 2.0) and rate.monitor_op(1.0, 2.0)


@pytest.mark.parametrize("name", cases(["a.weights.h5", "a.keras", "a"], slow=["a.keras", "a"]))
def test_best_weights_are_saved_and_restored(vae, name, tmp_path):
    path = tmp_path / name
    best = C.ModelCheckpoint(str(path), "val_elbo", save_best_only=True, save_weights_only=True)
    early = C.EarlyStopping("val_elbo", patience=5, restore_best_weights=True)
    rising = C.LearningRateScheduler(lambda epoch: (0.0, 0.01, 0.01)[epoch])
    history = fit(vae, best, early, rising, epochs=3).history["val_elbo"]
    assert best.best == early.best == max(history)
    other = tiny(seed=1, posterior="tril", prior="mixture")
    other.load_weights(path)
    if int(np.argmax(history)) == 2:
        for saved, last in zip(other.get_weights(), vae.get_weights(), strict=True):
            np.testing.assert_array_equal(saved, last)


def test_whole_models_are_refused_before_a_step(vae, tmp_path):
    before = vae.get_weights()
    with pytest.raises(InputError, match="save_weights_only=True"):
        fit(vae, C.ModelCheckpoint(str(tmp_path / "folder")))
    with pytest.raises(InputError, match="callbacks must be of tf_keras"):
        fit(vae, tf.keras.callbacks.TerminateOnNaN())
    with pytest.raises(InputError, match="Expected callbacks of tf_keras"):
        fit(vae, "early")
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert list(tmp_path.iterdir()) == []


class Interrupt(C.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_training_goes_on_with_the_same_numbers(tmp_path):
    whole, first, second = (tiny(seed, prior="mixture") for seed in (0, 0, 1))
    for model in (whole, first, second):
        model.compile("adam")
    fit(whole, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        fit(first, C.BackupAndRestore(str(tmp_path)), Interrupt(), epochs=3)
    assert fit(second, C.BackupAndRestore(str(tmp_path)), epochs=3).epoch == [2]
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert fit(second, epochs=1).epoch == [0]  # without the callback, which leaves Keras without a state


@pytest.mark.parametrize("name", cases(MODELS, slow=MODELS))
def test_every_model_is_backed_up_stopped_and_summarized(name, tmp_path):
    """Moving statistics, flows, shared variables: all go on with the numbers of a training in one piece."""
    whole, first, second = (MODELS[name](seed) for seed in (0, 0, 1))
    x = whole.join(X, np.arange(len(X)) % 3).numpy() if whole.context_dim else X

    def train(model, *callbacks):
        model.compile(tf_keras.optimizers.Adam(0.01))
        return model.fit(x, epochs=3, shuffle=False, verbose=0, callbacks=list(callbacks)).history[
            "objective"
        ]

    path = str(tmp_path / "best.h5")
    best = C.ModelCheckpoint(path, "objective", save_weights_only=True, save_best_only=True)
    log = C.CSVLogger(str(tmp_path / "log.csv"))
    expected = train(whole, best, log, C.TerminateOnNaN(), C.EarlyStopping("objective", patience=9))
    assert best.best == max(expected)
    with pytest.raises(KeyboardInterrupt):
        train(first, C.BackupAndRestore(str(tmp_path / "backup")), Interrupt())
    assert train(second, C.BackupAndRestore(str(tmp_path / "backup"))) == expected[2:]
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    second.load_weights(path)
    lines = []
    whole.summary(print_fn=lambda line, **options: lines.append(line))
    total = sum(array.size for array in whole.get_weights())
    assert any(line.startswith(f"Total params: {total} ") for line in lines)


def test_logs_and_summary(vae, tmp_path):
    csv, board = C.CSVLogger(str(tmp_path / "log.csv")), C.TensorBoard(str(tmp_path / "board"))
    fit(vae, csv, board, C.TerminateOnNaN())
    assert "val_elbo" in (tmp_path / "log.csv").read_text() and any((tmp_path / "board").iterdir())
    lines = []
    vae.summary(print_fn=lambda line, **options: lines.append(line))
    total = sum(array.size for array in vae.get_weights())
    assert any(line.startswith(f"Total params: {total} ") for line in lines)


@pytest.mark.slow
def test_optimizers(vae):
    own = tf_keras.optimizers.Adam()
    for optimizer in (tf.keras.optimizers.Adam(), "adamm", None, 3, tfd.Normal(0.0, 1.0)):
        with pytest.raises(InputError, match="tf_keras"):
            vae.compile(optimizer)
    vae.compile(own)
    fit(vae)
    other = tiny()
    other.compile(own)
    before = other.get_weights()
    with pytest.raises(InputError, match="an optimizer of its own"):
        fit(other)
    for old, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    other.compile("adam")
    fit(other)
