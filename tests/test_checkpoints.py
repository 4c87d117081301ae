import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_vae
from linear_gaussian import LinearGaussian

import probvae
from probvae import InputError
from probvae.checkpoints import write_atomic


def test_same_numbers_in_a_new_process(vae, x, tmp_path):
    probvae.save(vae, tmp_path / "run")
    code = (
        "import sys, numpy as np, tensorflow as tf, probvae\n"
        "vae = probvae.load(sys.argv[1])\n"
        "x = tf.constant(np.load(sys.argv[2]))\n"
        "np.save(sys.argv[3], probvae.elbo(vae, x, num_samples=3, seed=9))\n"
    )
    np.save(tmp_path / "x.npy", x)
    paths = [str(tmp_path / name) for name in ("run", "x.npy", "elbo.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(paths[2]), probvae.elbo(vae, x, num_samples=3, seed=9))


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


@pytest.mark.parametrize("damage", ["absent", "empty", "half", "flipped", "text"])
@pytest.mark.parametrize("name", ["config.json", "weights.npz"])
def test_damaged_files_are_refused_in_one_sentence(name, damage, tmp_path):
    probvae.save(tiny_vae(), tmp_path)
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


def test_a_pickle_is_never_loaded(tmp_path):
    probvae.save(tiny_vae(), tmp_path)
    np.savez(tmp_path / "weights.npz", **{"encoder/0/kernel": np.array([print], dtype=object)})
    with pytest.raises(InputError, match="cannot be read"):
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
