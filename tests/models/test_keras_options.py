"""The arguments of Keras's methods, and the functions and layers that a user adds to a step."""

import functools
import threading

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from python_doors import model, right, says
from tensorflow_probability import layers as tfpl

import probvae
from probvae.models.ascent import ascend
from probvae.models.training_view import seeded_by_steps

X = right()
BATCHES = tf.data.Dataset.from_tensor_slices(X).batch(4)
ONE_REPLICA = tf.distribute.MirroredStrategy(["CPU:0"])


class Broken(tf_keras.utils.Sequence):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise KeyError("of the user")


def broken():
    yield (X[:4],)
    raise KeyError("of the user")


@pytest.fixture(scope="module")
def vae():
    return model()


# ---- arguments -----------------------------------------------------------------------------------

REFUSED = {
    "fit": [
        ("verbose must be", {"verbose": "zz"}),
        ("shuffle must be", {"shuffle": 3}),
        ("initial_epoch must be at most epochs", {"epochs": 2, "initial_epoch": 3}),
        ("validation_freq must be a whole number", {"validation_freq": 0}),
        ("workers must be a whole number", {"workers": -1}),
        ("use_multiprocessing must be", {"use_multiprocessing": "x"}),
        ("no argument 'epoch': did you mean epochs", {"epoch": 2}),
        ("validation_split needs an array", {"x": BATCHES, "validation_split": 0.2}),
        ("of 1 leaves 0 and 1", {"x": X[:1], "validation_split": 0.2}),
        ("no effect beside validation_data", {"validation_split": 0.2, "validation_data": X}),
        ("validation_split must be a number", {"validation_split": "a"}),
        ("x never ends", {"x": BATCHES.repeat()}),
        ("validation_data never ends", {"validation_data": BATCHES.repeat()}),
        ("Give the data set itself", {"x": ONE_REPLICA.experimental_distribute_dataset(BATCHES)}),
        ("dense", {"x": tf.sparse.from_dense(X)}),
        ("dense", {"x": tf.RaggedTensor.from_tensor(X)}),
        ("each a tensor", {"x": tf.data.Dataset.from_tensor_slices(tf.sparse.from_dense(X)).batch(4)}),
    ],
    "evaluate": [("x never ends", {"x": BATCHES.repeat()}), ("return_dict must be", {"return_dict": "x"})],
    "predict": [("x never ends", {"x": BATCHES.repeat()}), ("no argument 'epochs'", {"epochs": 1})],
    "train_on_batch": [("one batch, an array", {"x": BATCHES}), ("reset_metrics", {"reset_metrics": "x"})],
    "test_on_batch": [("one batch, an array", {"x": iter([X])})],
    "predict_on_batch": [("one batch, an array", {"x": BATCHES})],
    "compile": [
        ("jit_compile must be", {"jit_compile": "x"}),
        ("run_eagerly must be", {"run_eagerly": "x"}),
        ("steps_per_execution must be", {"steps_per_execution": 0}),
        ("no argument 'learning_rate'", {"learning_rate": 0.1}),
    ],
}


@pytest.mark.parametrize("method", REFUSED)
def test_values_that_keras_would_misread_are_refused(method, vae):
    before = vae.get_weights()
    for message, options in REFUSED[method]:
        arguments = options if method == "compile" else {"x": X, **options}
        said = says(functools.partial(getattr(vae, method), **arguments))
        assert message in said and not said.startswith("!!") and said.endswith((".", "?")), (options, said)
    for a, b in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_arguments_may_be_given_in_the_order_of_keras(vae):
    start, found = vae.get_weights(), []
    for args, options in (
        ((X, None, 4, 2, 0, None, np.float32(0.5)), {"shuffle": False}),
        ((X,), {"batch_size": 4, "epochs": 2, "verbose": 0, "validation_split": 0.5, "shuffle": False}),
    ):
        vae.set_weights(start)
        vae.compile(tf_keras.optimizers.SGD(0.1))
        found.append(vae.fit(*args, **options).history)
    assert found[0] == found[1] and len(found[0]["val_elbo"]) == 2
    assert vae.evaluate(X, None, 4, 0) == vae.evaluate(X, batch_size=4, verbose=0)
    for message, call in (
        ("it is given by its place and by its name", lambda: vae.fit(X, x=X)),
        ("at most 19 arguments; got 20", lambda: vae.fit(*[None] * 20)),
    ):
        with pytest.raises(probvae.InputError, match=message):
            call()


def test_an_error_of_the_users_data_stays_what_it_is(vae):
    for data in (broken(), Broken()):
        with pytest.raises(KeyError, match="of the user"):
            vae.fit(data, verbose=0)


def test_batches_may_lack_y_and_weigh_nothing(vae):
    """(x, None), (x, None, weights); a batch whose weights are all 0 takes part in no mean."""
    weights = np.float32([0, 0, 0, 0, 1, 2, 3, 4])
    expected = vae.evaluate(X, sample_weight=weights, batch_size=4, verbose=0)
    weighted = tf.data.Dataset.from_tensor_slices((X, weights)).batch(4).map(lambda x, w: (x, None, w))
    assert vae.evaluate(weighted, verbose=0) == expected
    assert vae.evaluate(X, sample_weight=weights[:, None], batch_size=4, verbose=0) == expected
    plain = vae.evaluate(BATCHES.map(lambda x: (x, None)), verbose=0)
    assert plain == vae.evaluate(X, batch_size=4, verbose=0)


# ---- objectives ----------------------------------------------------------------------------------


def terms(vae, x, seed):
    return probvae.objectives.log_weights(vae, x, num_samples=3, seed=seed)


OBJECTIVES = {
    "[B, 1]": (
        lambda vae, x, *, seed: probvae.elbo(vae, x, seed=seed)[:, None],
        "float32 of shape [None, 1]",
    ),
    "a scalar": (lambda vae, x, *, seed: tf.reduce_mean(probvae.elbo(vae, x, seed=seed)), "of shape []"),
    "[1]": (lambda vae, x, *, seed: terms(vae, x, seed)[:1, 0], "of shape [1]"),
    "[S, B]": (lambda vae, x, *, seed: terms(vae, x, seed), "of shape [3, None]"),
    "None": (lambda vae, x, *, seed: None, "it returned None"),
    "an array": (lambda vae, x, *, seed: np.zeros(8), "it returned an ndarray"),
    "without gradient": (lambda vae, x, *, seed: tf.reduce_sum(x, 1), "none of the 8 trained variables"),
    "half a draw": (functools.partial(probvae.iwae, num_samples=2.5), "num_samples must be a whole number"),
    "without seed": (lambda vae, x: None, "unexpected keyword argument 'seed'"),
    "with more": (lambda vae, x, beta, *, seed: None, "missing a required argument: 'beta'"),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_that_are_none_are_refused_in_a_sentence(name, vae):
    objective, message = OBJECTIVES[name]

    def fit():
        vae.compile(objective=objective)
        vae.fit(X, sample_weight=np.ones(8), verbose=0)

    said = says(fit)
    assert message in said and said.startswith(("The objective", "num_samples")) and said.endswith("."), said


def test_a_step_that_is_not_finite_is_not_taken(vae):
    """Neither the weights, nor the optimizer, nor moving statistics know of it."""

    def objective(vae, x, *, seed):
        bound = probvae.elbo(vae, x, seed=seed)
        return bound + tf.where(x[:, 0] > 0, np.float32(np.nan), 0.0) * bound

    good = X[X[:, 0] == 0][:2]
    bad, start = X[X[:, 0] > 0][:2], vae.get_weights()
    assert len(good) == len(bad) == 2
    finals = []
    for data in ([good, bad, good], [good, good]):
        vae.set_weights(start)
        vae.compile("adam", objective)
        history = vae.fit(iter([(x,) for x in data]), verbose=0).history
        finals.append([*vae.get_weights(), *(v.numpy() for v in vae.optimizer.variables)])
        assert np.isnan(history["loss"][0]) == (len(data) == 3)
    for a, b in zip(*finals, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(start, finals[0], strict=False))


@pytest.mark.parametrize("optimizer", ["LossScaleOptimizer", "legacy.Adam", "SGD"])
def test_every_optimizer_leaves_out_a_step_that_is_not_finite(optimizer, vae):
    of = tf_keras.optimizers
    made = {
        "LossScaleOptimizer": lambda: tf_keras.mixed_precision.LossScaleOptimizer(of.Adam()),
        "legacy.Adam": of.legacy.Adam,
        "SGD": lambda: of.SGD(0.1, momentum=0.9),
    }[optimizer]()
    before, x = vae.get_weights(), tf.constant(X)
    ascend(vae, made, lambda vae, x, *, seed: np.nan * probvae.elbo(vae, x, seed=seed), x, (0, 0))
    for a, b in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_xla_compiles_a_model_or_says_what_it_needs():
    """The gradient of a Cholesky factor needs batches of one size there."""
    vae = probvae.build(probvae.Architecture((6,), network="mlp", units=(4,), posterior="tril"))
    vae.compile(jit_compile=True)
    before = vae.get_weights()
    with pytest.raises(probvae.InputError, match="batches of unequal sizes: call compile again"):
        vae.fit(X, batch_size=3, verbose=0)
    np.testing.assert_array_equal(before[0], vae.get_weights()[0])
    vae.compile(jit_compile=True)
    assert np.isfinite(vae.fit(X, batch_size=4, verbose=0).history["loss"][0])


# ---- layers and variables of the user ------------------------------------------------------------


class Scaled(probvae.VAE):
    """A VAE with a variable, a layer and frozen layers of its own."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.shift = tf.Variable(0.5)
        self.extra = [tf_keras.layers.Dense(6), tf_keras.layers.Dense(6, trainable=False)]
        for layer in self.extra:
            layer.build([None, 6])

    def posterior(self, x, training=False):
        return super().posterior(x, training)

    def bound(self, x, *, seed):
        values = self.extra[1](self.extra[0](x))
        return probvae.elbo(self, x, seed=seed) - tf.reduce_sum((values - self.shift) ** 2, axis=1)


def test_variables_of_a_subclass_are_trained_saved_and_counted(tmp_path):
    def made(seed):
        parts = probvae.build(probvae.Architecture(event_shape=(6,), network="mlp", units=(4,)), seed=seed)
        return Scaled(parts.prior, parts.encoder, parts.decoder)

    vae, other = made(0), made(1)
    assert len(vae.trainable_variables) == 8 + 3 and len(vae.variables) == 8 + 5
    vae.compile(tf_keras.optimizers.SGD(0.01), lambda vae, x, *, seed: vae.bound(x, seed=seed))
    before = vae.get_weights()
    vae.fit(X, verbose=0)
    trained = {id(v) for v in vae.trainable_variables}
    for variable, value in zip(vae.weights, before, strict=True):
        assert np.array_equal(variable, value) == (id(variable) not in trained), variable.name
    for path in (tmp_path / "w.npz", tmp_path / "w.weights.h5", tmp_path / "checkpoint"):
        vae.save_weights(path)
        other.load_weights(path)
        for a, b in zip(vae.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        other.set_weights(before)
    probvae.save(vae, tmp_path / "whole")
    probvae.load(tmp_path / "whole", other)
    np.testing.assert_array_equal(other.shift, vae.shift)


def after(*layers):
    """A VAE whose encoder begins with these layers."""
    parts, inputs = model(), tf_keras.layers.InputLayer((6,))
    head = [tf_keras.layers.Dense(4), tfpl.IndependentNormal(2)]
    return probvae.VAE(parts.prior, tf_keras.Sequential([inputs, *layers, *head]), parts.decoder)


def test_layers_that_a_step_would_build_are_refused():
    class Late(Scaled):
        def bound(self, x, *, seed):
            self.late = getattr(self, "late", None) or tf_keras.layers.Dense(1)
            return probvae.elbo(self, x, seed=seed) + self.late(x)[:, 0]

    parts = model()
    vae = Late(parts.prior, parts.encoder, parts.decoder)
    vae.compile("sgd", lambda vae, x, *, seed: vae_of(vae).bound(x, seed=seed), run_eagerly=True)
    vae_of = lambda view: view.out_of_training  # noqa: E731
    with pytest.raises(probvae.InputError, match="made its variables in the first step"):
        vae.fit(X, verbose=0)
    with pytest.raises(probvae.InputError, match="compile the model again"):
        vae.fit(X, verbose=0)
    vae.compile("sgd", vae.objective, run_eagerly=True)
    vae.fit(X, verbose=0)


def test_a_layer_that_raises_leaves_the_moving_statistics():
    norm = tf_keras.layers.BatchNormalization()

    class Raises(tf_keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise RuntimeError("of the user")
            return x

    vae = after(norm, Raises())
    with pytest.raises(RuntimeError, match="of the user"):
        ascend(vae, tf_keras.optimizers.SGD(0.1), probvae.elbo, tf.constant(X), (0, 0))
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(6))
    np.testing.assert_array_equal(norm.moving_variance, np.ones(6))


def test_a_layer_in_training_mode_can_be_called_beside_a_step():
    """What another thread draws meanwhile is drawn by the layer's own generator."""
    drop, found = tf_keras.layers.Dropout(0.5), []
    vae = after(drop)
    with seeded_by_steps(vae):
        thread = threading.Thread(target=lambda: found.append(drop(tf.ones([100]), training=True)))
        thread.start()
        thread.join()
    assert set(found[0].numpy()) == {0.0, 2.0}


def test_stateful_layers_are_refused():
    inputs = tf_keras.layers.InputLayer(batch_input_shape=(4, 6))
    lstm = tf_keras.layers.LSTM(3, stateful=True, name="memory")
    head = [tf_keras.layers.Dense(4), tfpl.IndependentNormal(2)]
    encoder = tf_keras.Sequential([inputs, tf_keras.layers.Reshape((6, 1)), lstm, *head])
    parts = model()
    with pytest.raises(probvae.InputError, match="Layer 'memory' is stateful"):
        probvae.VAE(parts.prior, encoder, parts.decoder)


# ---- models that a training would not mend ---------------------------------------------------------


def test_weights_that_are_not_finite_are_refused_by_name():
    vae = model()
    kernel = vae.encoder.trainable_variables[0]
    kernel.assign(np.nan * kernel)
    for call in (vae.fit, vae.evaluate, vae.train_on_batch, vae.test_on_batch):
        with pytest.raises(probvae.InputError, match=r"The weights are not finite .encoder/0/kernel"):
            call(X)


def test_names_of_metrics_are_those_of_the_values(vae):
    vae.compile("adam")
    values = vae.evaluate(X, verbose=0)
    assert dict(zip(vae.metrics_names, values, strict=True)) == vae.evaluate(X, verbose=0, return_dict=True)


def test_one_batch_is_one_step(vae):
    vae.compile("adam", steps_per_execution=2)
    for call in (vae.train_on_batch, vae.test_on_batch, vae.predict_on_batch):
        with pytest.raises(probvae.InputError, match="compile with steps_per_execution=1"):
            call(X)
    vae.compile("adam")


def test_names_that_no_callback_reports_are_refused(vae):
    of = tf_keras.callbacks
    for callback in (
        of.EarlyStopping("val_elb0"),
        of.ReduceLROnPlateau("accuracy"),
        of.ModelCheckpoint("m-{val_acc:.2f}.weights.h5", save_weights_only=True),
        of.ModelCheckpoint("m.weights.h5", "val_foo", save_best_only=True, save_weights_only=True),
    ):
        with pytest.raises(probvae.InputError, match=r"does not report|is not known when"):
            vae.fit(X, validation_data=X, callbacks=[callback], verbose=0)


def test_a_folder_of_a_run_is_not_written_over(tmp_path, vae):
    probvae.save(vae, tmp_path, probvae.Training())
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(probvae.InputError, match="is the folder of a run"):
        probvae.save(vae, tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
    probvae.save(vae, tmp_path, probvae.Training(epochs=3))
