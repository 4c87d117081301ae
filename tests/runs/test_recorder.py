"""The files of a training: pictures of conditional models, and the accuracy of a classifier."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conditional_models import tiny, tiny_m2
from marked_cases import cases
from PIL import Image

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.binarization import prepare
from probvae.data.dataset import DataSet
from probvae.data.labels import join_prepared, one_hot
from probvae.runs import metrics
from probvae.runs.checkpoints import Origin
from probvae.runs.job import Job, RunOptions
from probvae.runs.picture_files import first_draws
from probvae.runs.recorder import Recorder
from probvae.training import scoring
from probvae.training.workers import Workers


def images(classes=3):
    rng = np.random.default_rng(0)
    x = (rng.random([40, 8, 8, 1]) < 0.3).astype(np.uint8) * 255
    labels = rng.integers(0, classes, 40)
    return DataSet("tiny", x, x[:20], labels, labels[:20], 255)


@pytest.mark.parametrize("kind", cases(["classes", "covariates"], slow=["covariates"]))
def test_pictures_of_a_conditional_model(kind, tmp_path):
    data, vae = images(), tiny()
    y = one_hot(data.train_labels, 3)
    if kind == "covariates":
        y = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    prepared = join_prepared(prepare(data), y, y[:20])
    (tmp_path / "images").mkdir()
    training, options = Training(epochs=1), RunOptions()
    z, origin = first_draws(vae, training), Origin("f")
    workers = Workers(tf.distribute.get_strategy())
    recorder = Recorder(
        Job(tmp_path, vae, Architecture(), training, data, prepared, z, origin, options, workers)
    )
    recorder.start()
    content = recorder.finish(scoring.compile_test(vae, 0)(prepared.test), interrupted=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == content and "test_accuracy" not in content
    (z, context), _, _ = recorder.pictures.draws
    if kind == "classes":  # a row for each, the same z in a column
        np.testing.assert_array_equal(
            context.reshape(3, 8, 3), np.broadcast_to(np.eye(3)[:, None], [3, 8, 3])
        )
        np.testing.assert_array_equal(z.reshape(3, 8, 2)[0], z.reshape(3, 8, 2)[2])
    else:
        np.testing.assert_array_equal(context, vae.contexts_of(prepared.test[:16]))
    for name in ("originals", "latent_manifold", "latent_means"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 2, name
    shape = (3 * 9 - 1, 8 * 9 - 1) if kind == "classes" else (4 * 9 - 1, 4 * 9 - 1)
    with Image.open(tmp_path / "images" / "prior_at_epoch_0000.png") as picture:
        assert (picture.width > picture.height) == (shape[1] > shape[0])
    np.testing.assert_array_equal(vae.values(prepared.test[:16].astype(np.float32)), data.test[:16] / 255)


def test_accuracy_of_the_m2_model_is_recorded():
    vae = tiny_m2()
    x = np.float32(np.random.default_rng(0).integers(0, 2, [7, 6]))
    guesses = np.argmax(vae.classifier(x).mean(), axis=1)
    terms = scoring.TestTerms(*np.zeros([3, 7], np.float32))
    for shift, accuracy in ((0, 1.0), (1, 0.0)):
        results = metrics.test_results(vae, terms, vae.join(x, (guesses + shift) % 3).numpy())
        assert results["test_accuracy"] == {"mean": accuracy, "standard_error": 0.0}
