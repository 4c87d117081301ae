import csv
import sys
from types import SimpleNamespace

import conditional_models
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae

from probvae import InputError
from probvae.config.architecture import Architecture
from probvae.data.labels import join_rows
from probvae.models.building import build
from probvae.runs import folder as run_folder
from probvae.training import tensorboard_callback, trackers
from probvae.training.tensorboard_callback import TensorBoard

X = np.random.default_rng(3).integers(0, 2, [20, 8, 8, 1]).astype(np.float32)
LABELS = np.arange(20) % 3
CONFIG = {"latent_dim": 2, "filters": (3, 4), "label": ""}


def logs_of(epoch, offset=0.0):
    return {"test_elbo": -50.0 + 3 * epoch + offset, "test_kl": 1.0 + epoch, "learning_rate": 0.25**epoch}


def drive(callbacks, vae, epochs, *, offset=0.0, values=logs_of):
    """What `fit` does with its callbacks, or with one; returns the epochs that were trained."""
    vae.optimizer = tf_keras.optimizers.Adam(1e-3)
    vae.stop_training = False
    everyone = tf_keras.callbacks.CallbackList(np.ravel(callbacks).tolist(), model=vae)
    everyone.on_train_begin()
    done = []
    for epoch in epochs:
        everyone.on_epoch_begin(epoch)
        for variable in vae.trainable_variables:
            variable.assign_add(tf.fill(variable.shape, 0.01))
        everyone.on_epoch_end(epoch, values(epoch, offset))
        done.append(epoch)
        if vae.stop_training:
            break
    everyone.on_train_end()
    return done


# ---- TensorBoard -----------------------------------------------------------------------------------


def events(folder):
    """What TensorBoard reads from a folder: tag -> [(step, tensor)]."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), tensor_size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def test_tensorboard_shows_every_term_of_every_epoch_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    vae = tiny_vae()
    drive(TensorBoard(tmp_path, vae, X, LABELS, epochs=3), vae, range(3))
    found = events(tmp_path)
    assert set(found) == {*logs_of(0), "originals", "reconstructions", "prior draws"}
    for name in logs_of(0):
        assert [step for step, _ in found[name]] == [1, 2, 3]
        np.testing.assert_array_equal(
            [value for _, value in found[name]], np.float32([logs_of(epoch)[name] for epoch in range(3)])
        )
    assert [step for step, _ in found["originals"]] == [0]
    for name in ("reconstructions", "prior draws"):
        assert [step for step, _ in found[name]] == [0, 1, 2, 3]
        pictures = [tf.io.decode_png(tensor[2]).numpy() for _, tensor in found[name]]
        assert pictures[0].min() < 30 and pictures[0].max() == 255 and pictures[0].shape[-1] == 3
        assert np.any(pictures[0] != pictures[3])


def test_tensorboard_thins_the_pictures_of_a_long_training(tmp_path):
    pytest.importorskip("tensorboard")
    vae = tiny_vae()
    drive(TensorBoard(tmp_path, vae, X, epochs=1201), vae, [0, 1, 18, 19, 20, 21, 1200])
    assert [step for step, _ in events(tmp_path)["prior draws"]] == [0, 21, 1201]


def test_tensorboard_goes_on_where_a_training_resumes(tmp_path):
    pytest.importorskip("tensorboard")
    vae = tiny_vae()
    drive(TensorBoard(tmp_path, vae, X, epochs=6), vae, range(4))
    drive(TensorBoard(tmp_path, vae, X, epochs=6), vae, range(2, 6), offset=0.5)
    found = events(tmp_path)
    expected = [(1, -50), (2, -47), (3, -43.5), (4, -40.5), (5, -37.5), (6, -34.5)]
    assert found["test_elbo"] == expected
    assert [step for step, _ in found["reconstructions"]] == list(range(7))
    drive(TensorBoard(tmp_path, vae, X, epochs=6), vae, range(1))  # and from the start
    steps = {tag: [step for step, _ in values] for tag, values in events(tmp_path).items()}
    assert steps["test_elbo"] == [1] and steps["prior draws"] == [0, 1] and steps["originals"] == [0]


def projection(folder):
    """The projector's configuration and its points, as the plugin reads them."""
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    config = projector.ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    (points,) = config.embeddings
    return points, np.loadtxt(folder / points.tensor_path, delimiter="\t", ndmin=2)


@pytest.mark.parametrize("latent_dim", [2, 4])
def test_projector_shows_the_posterior_means_of_the_weights_that_are_kept(tmp_path, latent_dim):
    pytest.importorskip("tensorboard")
    vae = tiny_vae(latent_dim=latent_dim)
    drive(TensorBoard(tmp_path, vae, X, LABELS, epochs=70), vae, range(3))
    points, z = projection(tmp_path)
    assert z.shape == (20, max(3, latent_dim))  # with two columns the projector shows nothing
    np.testing.assert_allclose(z[:, :latent_dim], vae.posterior(X).mean(), rtol=1e-6)
    assert np.all(z[:, latent_dim:] == 0)
    assert [int(line) for line in (tmp_path / points.metadata_path).read_text().split()] == list(LABELS)
    sprite = tf.io.decode_png((tmp_path / points.sprite.image_path).read_bytes()).numpy()
    assert list(points.sprite.single_image_dim) == [8, 8] and sprite.shape == (32, 40, 1)
    np.testing.assert_array_equal(sprite[8:16, 16:24], 255 * X[7])  # the third of the second row of five


def test_sprite_makes_large_images_small_and_wide_ones_grey():
    png, side = tensorboard_callback._sprite(np.full([3, 150, 90, 5], np.nan))
    assert side == (30, 50) and tf.io.decode_png(png).shape == (100, 60, 1)
    png, side = tensorboard_callback._sprite(np.full([1, 4, 4, 3], 255.0))
    assert side == (4, 4) and np.all(tf.io.decode_png(png) == 255)


@pytest.mark.slow
def test_tensorboard_of_vectors_and_of_conditional_models(tmp_path):
    pytest.importorskip("tensorboard")
    vectors = build(Architecture(event_shape=(5,), likelihood="normal", network="mlp", units=(6,)))
    x = np.random.default_rng(0).standard_normal([7, 5])
    drive(TensorBoard(tmp_path / "vectors", vectors, x, epochs=1), vectors, range(1))
    points, _ = projection(tmp_path / "vectors")
    assert not points.metadata_path and not points.sprite.image_path
    conditional = conditional_models.tiny()
    joined = join_rows(X, np.eye(3, dtype=np.float32)[LABELS])
    drive(
        TensorBoard(tmp_path / "y", conditional, joined, LABELS, epochs=1),
        conditional,
        range(1),
    )
    assert projection(tmp_path / "y")[0].sprite.image_path
    for folder in ("vectors", "y"):
        assert [step for step, _ in events(tmp_path / folder)["prior draws"]] == [0, 1]


# ---- Weights & Biases, MLflow ----------------------------------------------------------------------


class Foreign:
    """A callback of another Keras, as far as one can use it: no `_implements_train_batch_hooks`."""

    def __init__(self, calls):
        self.calls = calls

    def set_model(self, model):
        self.calls.append(("model", type(model).__name__))

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append((epoch, logs["test_elbo"]))

    def on_train_end(self, logs=None):
        self.calls.append("end")


class RefusedError(Exception):
    pass


def stand_in_wandb(monkeypatch, *, error=None):
    calls = []

    def init(**options):
        calls.append(options)
        if error:
            raise error
        return SimpleNamespace(id=options["id"] or "abc")

    package = SimpleNamespace(Error=RefusedError, init=init, finish=lambda: calls.append("finish"))
    integration = SimpleNamespace(WandbMetricsLogger=lambda: Foreign(calls))
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.setitem(sys.modules, "wandb.integration.keras", integration)
    return calls


def stand_in_mlflow(monkeypatch, *, error=None):
    calls = []

    def start_run(**options):
        calls.append(options)
        if error:
            raise error
        return SimpleNamespace(info=SimpleNamespace(run_id=options["run_id"] or "abc"))

    package = SimpleNamespace(
        MlflowException=RefusedError,
        set_experiment=lambda name: calls.append(name),
        start_run=start_run,
        log_params=lambda config: calls.append(config),
        end_run=lambda status="finish": calls.append(status),
    )
    integration = SimpleNamespace(MlflowCallback=lambda: Foreign(calls))
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.tensorflow", integration)
    return calls


TRAINED = [("model", "VAE"), "begin", (1, -50.0), (2, -47.0), "end", "finish"]
RESUMED = [("model", "VAE"), "begin", (3, -44.0), "end", "finish"]


def test_wandb_is_called_as_it_expects(monkeypatch, tmp_path):
    calls = stand_in_wandb(monkeypatch)
    folder, vae = tmp_path / "run", tiny_vae()
    drive(trackers.weights_and_biases("digits", CONFIG, folder), vae, range(2))
    opened = {"project": "digits", "name": "run", "config": CONFIG, "dir": str(folder)}
    assert calls == [{**opened, "id": None, "resume": None}, *TRAINED]
    calls.clear()
    drive(trackers.weights_and_biases("digits", CONFIG, folder), vae, [2])
    assert calls == [{**opened, "id": "abc", "resume": "allow"}, *RESUMED]


def test_mlflow_is_called_as_it_expects(monkeypatch, tmp_path):
    calls = stand_in_mlflow(monkeypatch)
    folder, vae = tmp_path / "run", tiny_vae()
    drive(trackers.mlflow("digits", CONFIG, folder), vae, range(2))
    assert calls == ["digits", {"run_id": None, "run_name": "run"}, CONFIG, *TRAINED]
    calls.clear()
    drive(trackers.mlflow("digits", CONFIG, folder), vae, [2])
    assert calls == ["digits", {"run_id": "abc", "run_name": None}, *RESUMED]


def test_mlflow_hears_of_a_training_that_broke_off(monkeypatch, tmp_path):
    calls, at_exit = stand_in_mlflow(monkeypatch), []
    monkeypatch.setattr(trackers.atexit, "register", at_exit.append)
    monkeypatch.setattr(trackers.atexit, "unregister", at_exit.remove)
    drive(trackers.mlflow("digits", CONFIG, tmp_path), tiny_vae(), range(1))
    assert at_exit == [] and calls[-1] == "finish"
    with pytest.raises(KeyError):
        drive(trackers.mlflow("digits", CONFIG, tmp_path), tiny_vae(), range(1), values=lambda *_: {})
    at_exit[0]()
    assert calls[-1] == "FAILED"


@pytest.mark.parametrize(
    ("stand_in", "track", "who"),
    [
        (stand_in_wandb, trackers.weights_and_biases, "Weights & Biases"),
        (stand_in_mlflow, trackers.mlflow, "MLflow"),
    ],
)
def test_a_tracker_that_does_not_start_is_an_input_error(monkeypatch, tmp_path, stand_in, track, who):
    stand_in(monkeypatch, error=RefusedError("no key"))
    with pytest.raises(InputError, match=f"^{who} does not start: no key$"):
        drive(track("digits", CONFIG, tmp_path), tiny_vae(), range(1))
    assert not list(tmp_path.glob("*.id"))


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("wandb", lambda folder: trackers.weights_and_biases("p", {}, folder)),
        ("mlflow", lambda folder: trackers.mlflow("e", {}, folder)),
        (
            "tensorboard.plugins.projector",
            lambda folder: TensorBoard(folder, None, X, epochs=1),
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    name = module.split(".")[0]
    with pytest.raises(InputError) as caught:
        call(tmp_path)
    assert str(caught.value) == f"--{name} needs {name}: pip install 'probvae[{name}]'"


@pytest.mark.filterwarnings("ignore")  # their own, about their own dependencies
def test_the_real_wandb_offline(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    vae = tiny_vae()
    seen = []
    look = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((wandb.run.id, dict(wandb.run.summary)))
    )
    for epochs in (range(2), [2]):
        drive([trackers.weights_and_biases("digits", CONFIG, tmp_path), look], vae, epochs)
        assert wandb.run is None
    assert [summary["epoch/test_elbo"] for _, summary in seen] == [-50, -47, -44]
    assert [summary["epoch/epoch"] for _, summary in seen] == [1, 2, 3]
    assert seen[0][1]["epoch/learning_rate"] == pytest.approx(1e-3)
    assert {name for name, _ in seen} == {(tmp_path / run_folder.WANDB_ID).read_text()}
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


@pytest.mark.filterwarnings("ignore")  # their own, about their own dependencies
def test_the_real_mlflow_offline(monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)  # where it puts artifacts
    vae = tiny_vae()
    for epochs in (range(2), [2]):
        drive(trackers.mlflow("digits", CONFIG, tmp_path / "first"), vae, epochs)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.run_id == (tmp_path / "first" / run_folder.MLFLOW_ID).read_text()
    assert run.info.run_name == "first" and run.info.status == "FINISHED"
    assert {name: str(value) for name, value in CONFIG.items()}.items() <= run.data.params.items()
    history = client.get_metric_history(run.info.run_id, "test_elbo")
    assert sorted((point.step, point.value) for point in history) == [(1, -50), (2, -47), (3, -44)]


# ---- Keras's own -----------------------------------------------------------------------------------


def test_csv_logger(tmp_path):
    vae = tiny_vae()
    for epochs in (range(2), [2]):
        drive([tf_keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True)], vae, epochs)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["epoch"]), float(row["test_elbo"])) for row in rows] == [(0, -50), (1, -47), (2, -44)]


@pytest.mark.parametrize("prior", ["standard_normal", "vamp"])
def test_early_stopping_restores_the_best_weights(prior):
    vae = tiny_vae(prior=prior)
    weights = []
    look = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append([w.numpy() for w in vae.variables])
    )
    stop = tf_keras.callbacks.EarlyStopping(
        "validation_elbo", mode="max", patience=2, restore_best_weights=True
    )
    course = [-9.0, -7.0, -8.0, -7.5, -1.0]
    done = drive([stop, look], vae, range(5), values=lambda epoch, _: {"validation_elbo": course[epoch]})
    assert done == [0, 1, 2, 3]
    for kept, best, last in zip(vae.variables, weights[1], weights[3], strict=True):
        np.testing.assert_array_equal(kept, best)
        assert not kept.trainable or np.any(best != last)
