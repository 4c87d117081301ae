"""Models that are not compiled, callbacks without effect, copies of parts, and files that refer to others."""

import copy
import pickle

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from test_weight_files import X, tiny

from probvae import InputError, Training
from probvae.data.binarization import Prepared
from probvae.training.trainer import Trainer

C = tf_keras.callbacks


@pytest.fixture(scope="module")
def vae():
    model = tiny(prior="realnvp")
    model.compile("adam")
    model.fit(X, verbose=0)
    model(X)  # Keras can trace a SavedModel from here on
    return model


def unharmed(vae, before):
    assert vae.optimizer is not None
    return all(np.array_equal(a, b) for a, b in zip(before, vae.get_weights(), strict=True))


UNREPORTED = {
    "EarlyStopping watches val_loss": lambda path: C.EarlyStopping(),
    "ReduceLROnPlateau watches elbo": lambda path: C.ReduceLROnPlateau("elbo"),
    "ModelCheckpoint watches val_elbo": lambda path: C.ModelCheckpoint(
        f"{path}/w", "val_elbo", save_weights_only=True, save_best_only=True
    ),
    "names val_elbo": lambda path: C.ModelCheckpoint(f"{path}/{{val_elbo}}.h5", save_weights_only=True),
    "names batch": lambda path: C.ModelCheckpoint(f"{path}/{{batch}}.h5", save_weights_only=True),
    "is malformed": lambda path: C.ModelCheckpoint(f"{path}/{{", save_weights_only=True),
    "is a folder": lambda path: C.ModelCheckpoint(str(path), save_weights_only=True),
}


def test_what_callbacks_need_is_known_before_the_first_step(vae, tmp_path):
    before = vae.get_weights()
    for message, make in UNREPORTED.items():
        with pytest.raises(InputError, match=message):
            vae.fit(X, verbose=0, callbacks=[make(tmp_path)])
    assert unharmed(vae, before) and list(tmp_path.iterdir()) == []
    each = C.ModelCheckpoint(str(tmp_path / "{epoch}-{batch}.h5"), save_weights_only=True, save_freq=1)
    best = C.ModelCheckpoint(
        str(tmp_path / "{val_elbo:.1f}"), "val_elbo", save_weights_only=True, save_best_only=True
    )
    vae.fit(X, batch_size=4, verbose=0, validation_split=0.5, callbacks=[each, best, C.EarlyStopping()])
    assert (tmp_path / "1-1.h5").exists() and len(list(tmp_path.glob("*.index"))) == 1


def trainer(**choices):
    training = Training(epochs=2, batch_size=4, **choices)
    return Trainer(tiny(), Prepared(X, X, lambda x, seed: x), training)


def test_a_trainer_refuses_callbacks_that_it_would_leave_without_effect(tmp_path):
    path, one = str(tmp_path / "w.h5"), trainer()
    before = one.vae.get_weights()
    for message, callback in {
        "BackupAndRestore is for vae.fit": C.BackupAndRestore(str(tmp_path / "backup")),
        "give ModelCheckpoint save_freq='epoch'": C.ModelCheckpoint(
            path, save_weights_only=True, save_freq=2
        ),
        "EarlyStopping watches validation_elbo": C.EarlyStopping("validation_elbo"),
        "save_weights_only=True": C.ModelCheckpoint(path),
    }.items():
        with pytest.raises(InputError, match=message):
            one.fit(callbacks=[callback])
    with pytest.raises(InputError, match="LearningRateScheduler needs a constant learning rate"):
        trainer(schedule="cosine").fit(callbacks=[C.LearningRateScheduler(lambda epoch: 0.1)])
    for old, new in zip(before, one.vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    best = C.ModelCheckpoint(path, "test_elbo", save_weights_only=True, save_best_only=True)
    rows = one.fit(callbacks=[best, C.LearningRateScheduler(lambda epoch: (0.1, 0.01)[epoch])])
    assert [row.learning_rate for row in rows] == pytest.approx([0.1, 0.01])
    assert best.best == max(row.test_elbo for row in rows)


def test_a_model_that_is_not_compiled_and_rates_that_are_no_rates(vae):
    fresh = tiny()
    for call in (fresh.fit, fresh.evaluate, fresh.train_on_batch, fresh.test_on_batch):
        with pytest.raises(InputError, match=r"is not compiled: call vae\.compile"):
            call(X)
    assert fresh.predict(X, verbose=0).shape == X.shape
    for rate in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="finite number of at least 0"):
            vae.compile(tf_keras.optimizers.Adam(rate))
    with pytest.raises(InputError, match="steps_per_execution must be"):
        vae.compile(steps_per_execution=0)
    decay = tf_keras.optimizers.schedules.CosineDecay(0.1, 10)
    for optimizer in (tf_keras.optimizers.SGD(decay), tf_keras.optimizers.legacy.Adam(decay)):
        fresh.compile(optimizer)


def test_a_refused_savedmodel_leaves_the_optimizer(vae, tmp_path):
    before, optimizer = vae.get_weights(), vae.optimizer
    for options in ({}, {"include_optimizer": False}, {"include_optimizer": False, "save_traces": False}):
        with pytest.raises(InputError, match=r"probvae\.save\(vae, folder\)"):
            tf_keras.models.save_model(vae, str(tmp_path / "folder"), **options)
        assert unharmed(vae, before) and vae.optimizer is optimizer
    module = tf.Module()
    module.vae = vae
    with pytest.raises(InputError, match=r"probvae\.save\(vae, folder\)"):
        tf.saved_model.save(module, str(tmp_path / "folder"))
    assert list(tmp_path.iterdir()) == []
    vae.fit(X, verbose=0)


def test_paths_and_arrays_that_cannot_be_used(vae, tmp_path):
    before = vae.get_weights()
    with pytest.raises(InputError, match="local file"):
        vae.save_weights("gs://bucket/w.h5")
    for arrays in (None, [[[1], [1, 2]]] * len(before)):
        with pytest.raises(InputError, match=r"vae\.get_weights\(\) gives"):
            vae.set_weights(arrays)
    vae.save_weights(tmp_path / "w.h5")
    np.ones([6, 4], np.float32).tofile(tmp_path / "elsewhere")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["encoder/0/kernel"]
        outside = [(str(tmp_path / "elsewhere"), 0, 96)]
        file.create_dataset("encoder/0/kernel", [6, 4], "float32", external=outside)
    with pytest.raises(InputError, match="refers to values in other files"):
        vae.load_weights(tmp_path / "w.h5")
    assert unharmed(vae, before)


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_flow_prior_is_not_copied_without_its_networks(vae, copying):
    """The steps of a copy would be those of the original, whatever its own variables."""
    with pytest.raises(InputError, match="flow prior cannot be copied"):
        copying(vae.prior)
