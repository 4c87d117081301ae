import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae
from linear_gaussian import LinearGaussian

import probvae
from probvae import InputError
from probvae.files import npz
from probvae.files.writing import write_atomic


@pytest.mark.slow
def test_same_numbers_in_a_new_process(x, tmp_path):
    vaes = {name: tiny_vae(name) for name in ("diagonal", "tril")}
    for name, vae in vaes.items():
        probvae.save(vae, tmp_path / name)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, tensorflow as tf, probvae\n"
        "x = tf.constant(np.load('x.npy'))\n"
        "for name in sys.argv[1:]:\n"
        "    np.save(f'{name}.npy', probvae.elbo(probvae.load(name), x, num_samples=3, seed=9))\n"
    )
    subprocess.run([sys.executable, "-c", code, *vaes], check=True, capture_output=True, cwd=tmp_path)
    for name, vae in vaes.items():
        np.testing.assert_array_equal(
            np.load(tmp_path / f"{name}.npy"), probvae.elbo(vae, x, num_samples=3, seed=9)
        )


def test_config_is_json_and_weights_need_no_pickle(vae, tmp_path):
    probvae.save(vae, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"]["latent_dim"] == 2 and config["training"] is None
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as weights:
        names = set(weights.files)
    assert {"encoder/0/kernel", "decoder/0/kernel"} <= names
    assert len(names) == len(vae.weights)


def test_names_do_not_depend_on_what_else_was_built(tmp_path):
    for folder in ("a", "b"):
        probvae.save(tiny_vae(), tmp_path / folder)
    files = [np.load(tmp_path / folder / "weights.npz").files for folder in ("a", "b")]
    assert files[0] == files[1]


class Discriminated(probvae.VAE):
    """A model type with a part of its own."""

    def named_parts(self):
        return {**super().named_parts(), "discriminator": self.discriminator}


def test_a_part_is_saved_under_its_own_name(vae, tmp_path):
    models = []
    for value in (1.0, 2.0):
        model = Discriminated(vae.prior, vae.encoder, vae.decoder)
        model.discriminator = tf_keras.Sequential(
            [tf_keras.layers.Dense(1, kernel_initializer=tf_keras.initializers.Constant(value))]
        )
        model.discriminator.build([None, 2])
        models.append(model)
    first, second = models
    assert first.trainable_weights[-2] is first.discriminator.weights[0]
    probvae.save(first, tmp_path)
    with np.load(tmp_path / "weights.npz") as weights:
        own = {name for name in weights.files if name not in saved_names(vae, tmp_path / "plain")}
    assert own == {"discriminator/0/kernel", "discriminator/1/bias"}
    probvae.load(tmp_path, second)
    np.testing.assert_array_equal(second.discriminator.weights[0], np.ones([2, 1]))


def saved_names(vae, folder):
    probvae.save(vae, folder)
    with np.load(folder / "weights.npz") as weights:
        return set(weights.files)


def test_own_networks(tmp_path):
    model = LinearGaussian()
    vae, other = model.vae(), model.vae(shift=1.0)
    x = tf.constant(model.sample(4, seed=0))
    probvae.save(vae, tmp_path)
    with pytest.raises(InputError, match="holds no architecture"):
        probvae.load(tmp_path)
    assert not np.allclose(probvae.elbo(other, x, seed=0), probvae.elbo(vae, x, seed=0))
    probvae.load(tmp_path, other)
    np.testing.assert_array_equal(probvae.elbo(other, x, seed=0), probvae.elbo(vae, x, seed=0))


def test_a_model_that_does_not_fit_is_refused_and_left_alone(tmp_path):
    probvae.save(tiny_vae("tril"), tmp_path)
    wrong = tiny_vae("diagonal")
    before = wrong.get_weights()
    with pytest.raises(InputError, match=r"encoder/4/kernel must have shape \[4, 4\] .* it has \[4, 5\]"):
        probvae.load(tmp_path, wrong)
    with pytest.raises(InputError, match=r"does not fit the model: it lacks .*decoder/2/kernel"):
        probvae.load(tmp_path, LinearGaussian().vae())
    for old, new in zip(before, wrong.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    probvae.save(tiny_vae(), folder)
    return folder


@pytest.mark.parametrize("damage", ["absent", "empty", "half", "flipped", "text"])
@pytest.mark.parametrize("name", ["config.json", "weights.npz"])
def test_damaged_files_are_refused_in_one_sentence(name, damage, saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif damage != "absent":
        path.write_bytes(b"" if damage == "empty" else b"not this")
    with pytest.raises(InputError, match=name):
        probvae.load(tmp_path)


def test_a_pickle_is_never_loaded(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    weights = npz.read_arrays(tmp_path / "weights.npz")
    weights["encoder/0/kernel"] = np.array([print], dtype=object)
    np.savez(tmp_path / "weights.npz", **weights)
    with pytest.raises(InputError, match="cannot be read as weights: it holds Python objects"):
        probvae.load(tmp_path)


KEY = "decoder/2/kernel"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {KEY: w[KEY].astype(np.float64)}, "must be of type float32 .* is float64"),
        (lambda w: {KEY: w[KEY].T}, "kernel must have shape"),
        (lambda w: {KEY: np.where(w[KEY] == w[KEY][1, 0, 2, 1], np.nan, w[KEY])}, r"nan, at \(1, 0, 2, 1\)"),
        (lambda w: {KEY: w[KEY] + np.float32(np.inf)}, r"not, the first, inf, at \(0, 0, 0, 0\)"),
        (lambda w: {"../kernel": w[KEY]}, "which is no plain name"),
        (lambda w: {"other": w[KEY]}, r"it lacks \[\] and has the unknown \['other'\]"),
    ],
)  # fmt: skip
def test_weights_that_are_refused(change, message, saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    model = probvae.load(tmp_path)
    before = model.get_weights()
    weights = npz.read_arrays(tmp_path / "weights.npz")
    np.savez(tmp_path / "weights.npz", **{**weights, **change(weights)})
    with pytest.raises(InputError, match=message):
        probvae.load(tmp_path, model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_of_the_other_byte_order_are_the_same(tmp_path):
    model = tiny_vae()
    probvae.save(model, tmp_path)
    weights = npz.read_arrays(tmp_path / "weights.npz")
    np.savez_compressed(tmp_path / "weights.npz", **{key: w.astype(">f4") for key, w in weights.items()})
    for old, new in zip(model.get_weights(), probvae.load(tmp_path).get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_headers_are_compared_before_values_are_read(saved, tmp_path, monkeypatch):
    """A member of the wrong shape is refused although its values cannot be had."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    weights = npz.read_arrays(tmp_path / "weights.npz")
    np.savez(tmp_path / "weights.npz", **{**weights, KEY: np.zeros([2**20], np.float32)})

    def fail(*arguments):
        raise AssertionError("values were read")

    monkeypatch.setattr(npz, "_parts", fail)
    with pytest.raises(InputError, match="kernel must have shape"):
        npz.read_expected(
            tmp_path / "weights.npz", "weights", {key: ((7, 7), w.dtype) for key, w in weights.items()}
        )


@pytest.mark.parametrize("name", ["config.json", "weights.npz"])
def test_a_pipe_is_not_waited_for(name, saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is no regular file"):
        probvae.load(tmp_path)


def test_a_very_large_configuration_is_not_read(tmp_path):
    (tmp_path / "config.json").write_bytes(b" " * 4_000_001)
    with pytest.raises(InputError, match="at most 4,000,000 bytes to be a run's configuration"):
        probvae.load(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
