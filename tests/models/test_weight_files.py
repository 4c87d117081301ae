"""Every way of saving a model: every variable arrives in a new process, or one sentence refuses."""

import copy
import pickle
import subprocess
import sys
import unittest.mock
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae import Architecture, InputError, build
from probvae.models import weight_files
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

X = np.random.default_rng(0).integers(0, 2, [8, 6]).astype(np.float32)
SPHERES = ("von_mises_fisher", "uniform_sphere")


def tiny(seed=0, **choices):
    choices = {"likelihood": "bernoulli", "latent_dim": 2, **choices}
    return build(Architecture(event_shape=(6,), network="mlp", units=(4,), **choices), seed=seed)


def own(seed=0):
    """A model of the caller's own networks, with moving statistics and a prior with variables."""
    tf_keras.utils.set_random_seed(seed)
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((6,)),
            tf_keras.layers.Dense(4, "tanh"),
            tf_keras.layers.BatchNormalization(),
            tf_keras.layers.Dense(tfpl.MultivariateNormalTriL.params_size(2)),
            tfpl.MultivariateNormalTriL(2),
        ]
    )
    decoder = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((2,)), tf_keras.layers.Dense(6), tfpl.IndependentBernoulli((6,))]
    )
    location = tf.Variable(np.random.default_rng(seed).standard_normal(2).astype(np.float32))
    return probvae.VAE(tfd.MultivariateNormalDiag(location, tf.ones(2)), encoder, decoder)


CHOICES = {
    **{f"posterior {name}": {"posterior": name} for name in POSTERIORS if name not in SPHERES},
    **{f"prior {name}": {"prior": name} for name in PRIORS if name not in SPHERES},
    "flows": {"posterior": "iaf", "prior": "realnvp"},
    "sphere": {"posterior": "von_mises_fisher", "prior": "uniform_sphere"},
    "normal": {"likelihood": "normal"},
    "ladder": {"latent_layers": (1, 1)},
    "conditional": {"context_dim": 3},
    "M2": {"context_dim": 3, "classifier": True},
}
MODELS = {**{name: lambda seed, c=c: tiny(seed, **c) for name, c in CHOICES.items()}, "own": own}
QUICK = ("flows", "own")
FILES = ("a.h5", "a.hdf5", "a.weights.h5", "a.keras", "a.npz", "checkpoint of Keras")


def write(vae, folder):
    """Save a model in every way that works."""
    for name in FILES:
        vae.save_weights(folder / name)
    tf.train.Checkpoint(model=vae).write(str(folder / "checkpoint of TensorFlow"))
    probvae.save(vae, folder / "saved")
    np.savez(folder / "expected.npz", *vae.get_weights())
    if vae.has_log_terms:
        np.save(folder / "bound.npy", bound(vae))


def bound(vae):
    """The ELBO of the examples, the classes of which are 0, 1, 2, 0, ..."""
    x = vae.join(X, np.arange(len(X)) % 3) if vae.context_dim else X
    return probvae.elbo(vae, tf.constant(x), num_samples=2, seed=0)


def check(names, root):
    """Load every file into other models; a new process calls it."""
    for name in names:
        vae, folder = MODELS[name](1), Path(root) / name
        with np.load(folder / "expected.npz") as file:
            expected = [file[key] for key in file.files]
        assert len(expected) == len(vae.variables) == len(vae.weights), name
        ways = {
            **dict.fromkeys(FILES, lambda vae, path: vae.load_weights(path)),
            "checkpoint of TensorFlow": lambda vae, path: tf.train.Checkpoint(model=vae).read(str(path)),
            "saved": lambda vae, path: probvae.load(path, vae),
        }
        for way, load in ways.items():
            vae.set_weights([np.zeros_like(array) for array in expected])
            load(vae, folder / way)
            for variable, array in zip(vae.weights, expected, strict=True):
                np.testing.assert_array_equal(variable, array, err_msg=f"{name}, {way}")
        if vae.has_log_terms:
            np.testing.assert_array_equal(bound(vae), np.load(folder / "bound.npy"), err_msg=name)


@pytest.mark.parametrize(
    "names", [QUICK, pytest.param(tuple(MODELS), marks=pytest.mark.slow)], ids=["quick", "all"]
)
def test_every_variable_arrives_in_a_new_process(names, tmp_path):
    for name in names:
        (tmp_path / name).mkdir()
        write(MODELS[name](0), tmp_path / name)
    code = "import sys, test_weight_files as t; t.check(sys.argv[2:], sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, *names],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def flows():
    vae = tiny(posterior="iaf", prior="realnvp")
    vae.compile("adam")
    return vae


REFUSED = {
    "save": lambda vae, path: vae.save(path),
    "save .keras": lambda vae, path: vae.save(f"{path}.keras"),
    "save_model": lambda vae, path: tf_keras.models.save_model(vae, path),
    "saved_model": lambda vae, path: tf.saved_model.save(vae, path),
    "export": lambda vae, path: vae.export(path),
    "pickle": lambda vae, path: pickle.dumps(vae),
    "copy": lambda vae, path: copy.copy(vae),
    "deepcopy": lambda vae, path: copy.deepcopy(vae),
    "clone_model": lambda vae, path: tf_keras.models.clone_model(vae),
    "to_json": lambda vae, path: vae.to_json(),
    "to_yaml": lambda vae, path: vae.to_yaml(),
    "get_config": lambda vae, path: vae.get_config(),
}


@pytest.mark.slow
def test_other_ways_are_refused_and_harm_nothing(flows, tmp_path):
    before = flows.get_weights()
    for name, call in REFUSED.items():
        with pytest.raises(InputError, match=r"probvae\.save\(vae, folder\)"):
            call(flows, str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []
    for old, new in zip(before, flows.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    flows.fit(X, verbose=0)
    probvae.save(flows, tmp_path)


def test_weights_of_another_model_are_refused_and_none_assigned(flows, tmp_path):
    before, other = flows.get_weights(), tiny()
    (tmp_path / "damaged.h5").write_bytes(b"no weights")
    (tmp_path / "damaged.index").write_bytes(b"no weights")
    for name in FILES:
        other.save_weights(tmp_path / name)
        with pytest.raises(InputError, match=r"does not fit the model: it lacks"):
            flows.load_weights(tmp_path / name)
    wider = build(Architecture(event_shape=(6,), network="mlp", units=(5,), latent_dim=2))
    for name in FILES:
        with pytest.raises(InputError, match=r"must (be|have) .*shape \[6, 5\]"):
            wider.load_weights(tmp_path / name)
    for name, message in (
        ("damaged.h5", "cannot be read as weights"),
        ("damaged", "cannot be read as weights"),
        ("absent.h5", "There is no file"),
        ("absent", "There is no file"),
        ("", "is a folder"),
    ):
        with pytest.raises(InputError, match=message):
            flows.load_weights(tmp_path / name)
    for option in ("by_name", "skip_mismatch"):
        with pytest.raises(InputError, match="loads all of its weights or none"):
            flows.load_weights(tmp_path / "a.h5", **{option: True})
    with pytest.raises(InputError, match="already exists"):
        flows.save_weights(tmp_path / "a.h5", overwrite=False)
    with pytest.raises(InputError, match=r"Expected \d+ arrays of weights"):
        flows.set_weights(before[1:])
    with pytest.raises(InputError, match="must have shape"):
        flows.set_weights([*before[:-1], np.zeros([1, 1, 1])])
    other.variables[0].assign(np.full(other.variables[0].shape, np.nan))
    for name in FILES:
        with pytest.raises(InputError, match="The weights are not finite"):
            other.save_weights(tmp_path / name)
        with unittest.mock.patch.object(weight_files, "refuse_not_finite"):  # as another program might
            other.save_weights(tmp_path / name)
        with pytest.raises(InputError, match="must be finite"):
            tiny().load_weights(tmp_path / name)
    for old, new in zip(before, flows.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "choices", [{"posterior": "iaf"}, {"posterior": "spline"}, {"latent_dim": 4, "latent_layers": (2, 2)}]
)
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
def test_an_encoder_alone_is_saved_with_the_networks_that_are_no_layers(choices, name, tmp_path):
    """With TFP's layer 12 of the 40 variables of an IAF arrive, and HDF5 refuses their names."""
    vae, other = tiny(1, **choices), tiny(2, **choices)
    vae.encoder.save_weights(str(tmp_path / name))
    other.encoder.load_weights(str(tmp_path / name))
    for variable, loaded in zip(vae.encoder.variables, other.encoder.variables, strict=True):
        np.testing.assert_array_equal(variable, loaded)


def test_an_encoder_refuses_a_file_without_the_networks_of_its_posterior(flows):
    """Such are the files that Keras wrote by itself."""
    with pytest.raises(InputError, match=r"Expected 36 variables of layer \w+ in the file; found 0"):
        flows.encoder.get_layer("posterior").load_own_variables({})
