"""The data of `fit`, `evaluate` and `predict`: every kind gives the numbers that arrays give."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from marked_cases import cases
from python_doors import model, right

import probvae
from probvae import objectives
from probvae.seeds import fold_in

WEIGHTS = np.float32([0, 1, 2, 3, 0, 1, 2, 3])
CLASSES = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def conditional(seed=0):
    architecture = probvae.Architecture(event_shape=(6,), network="mlp", units=(4,), context_dim=3)
    vae = probvae.build(architecture, seed=seed)
    vae.compile(tf_keras.optimizers.SGD(0.1))
    return vae


def trained(vae, *args, **options):
    """The variables after an epoch of two steps."""
    vae.fit(*args, **{"batch_size": 4, "shuffle": False, "verbose": 0, **options})
    return vae.get_weights()


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


class Batches(tf_keras.utils.Sequence):
    def __init__(self, *arrays):
        self.arrays = arrays

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return tuple(array[4 * i : 4 * i + 4] for array in self.arrays)


def test_weights_weigh_what_is_reported():
    vae, x = model(), right()
    terms = objectives.log_terms(vae, x, seed=fold_in(fold_in(0, -1), 0))
    names = ("loss", "elbo", "log_likelihood", "kl")
    kl = terms.log_posterior - terms.log_prior
    values = [-terms.log_weights, terms.log_weights, terms.log_likelihood, kl]
    for weights in (None, WEIGHTS):
        found = vae.evaluate(x, sample_weight=weights, batch_size=8, verbose=0, return_dict=True)
        for name, value in zip(names, values, strict=True):
            np.testing.assert_allclose(found[name], np.average(value[0], weights=weights), rtol=1e-5)


@pytest.mark.slow
def test_every_kind_of_data_trains_as_arrays_do():
    """x and y, joined or not, weights of examples and of classes, data sets, generators, sequences."""
    x, y = right(), CLASSES
    vae = conditional()
    start, joined = vae.get_weights(), vae.join(x, y).numpy()
    weights = np.float32([2, 0, 1])[y]
    dataset = tf.data.Dataset.from_tensor_slices
    unknown = tf.data.Dataset.from_generator(lambda: iter([joined[:4], joined[4:]]), output_types=tf.float32)

    def afresh(*args, **options):
        vae.set_weights(start)
        vae.optimizer.iterations.assign(0)  # the number of the step seeds the draws
        return trained(vae, *args, **options)

    expected, weighted = afresh(joined), afresh(joined, sample_weight=weights)
    assert any(not np.array_equal(a, b) for a, b in zip(expected, weighted, strict=True))
    for args, options in (
        ((x, y), {}),
        ((x, np.eye(3)[y]), {}),
        ((x.astype(np.uint8), y), {}),
        ((x.tolist(), y.tolist()), {}),
        ((dataset((x, y)).batch(4),), {"batch_size": None}),
        ((dataset(joined).batch(4),), {"batch_size": None}),
        ((unknown,), {"batch_size": None}),
        ((iter([(x[:4], y[:4]), (x[4:], y[4:])]),), {"batch_size": None}),
        ((Batches(x, y),), {"batch_size": None}),
    ):
        assert_same(afresh(*args, **options), expected)
    for args, options in (
        ((x, y), {"class_weight": {0: 2.0, 1: 0.0, 2: 1.0}}),
        ((x, y), {"sample_weight": weights}),
        ((dataset((x, y, weights)).batch(4),), {"batch_size": None}),
        ((Batches(x, y, weights),), {"batch_size": None}),
        ((iter([(x[:4], y[:4], weights[:4]), (x[4:], y[4:], weights[4:])]),), {"batch_size": None}),
    ):
        assert_same(afresh(*args, **options), weighted)


@pytest.mark.parametrize("kind", cases(["dataset", "generator", "sequence"], slow=["generator", "sequence"]))
def test_a_later_wrong_batch_ends_the_training_after_the_steps_before_it(kind):
    good = right()
    bad = np.concatenate([good[:4], 255 * good[4:]])
    whole, vae = model(), model()
    expected = trained(whole, good[:4])
    data = {
        "dataset": tf.data.Dataset.from_tensor_slices(bad).batch(4),
        "generator": iter([(bad[:4],), (bad[4:],)]),
        "sequence": Batches(bad),
    }[kind]
    with pytest.raises(probvae.InputError, match=r"x must hold 0 or 1 .* from 0 to 255"):
        trained(vae, data, batch_size=None)
    assert_same(vae.get_weights(), expected)
    trained(vae, good)


def test_what_cannot_be_used_is_refused():
    vae, x, batches = model(), right(), tf.data.Dataset.from_tensor_slices(right()).batch(4)
    given = conditional()
    for message, fit in (
        ("takes no y", lambda: vae.fit(x, x)),
        ("class_weight needs a conditional model", lambda: vae.fit(x, class_weight={0: 1.0})),
        ("there is none for class 2", lambda: given.fit(x, CLASSES, class_weight={0: 1.0, 1: 1.0})),
        ("one number for each of 8 examples", lambda: vae.fit(x, sample_weight=np.ones(3))),
        ("finite numbers of at least 0", lambda: vae.fit(x, sample_weight=-WEIGHTS)),
        ("a number above 0; all are 0", lambda: vae.fit(x, sample_weight=0 * WEIGHTS)),
        ("sample_weight must come with arrays", lambda: vae.fit(batches, sample_weight=WEIGHTS)),
        ("for each of 8 examples; .* shape is", lambda: given.fit(x, CLASSES[:3])),
        ("for each of 8 examples; .* shape is", lambda: given.fit(x, 2)),
        (r"Give y\[:, 0\]", lambda: given.fit(x, CLASSES[:, None])),
        ("y must", lambda: given.fit(x, [[1.0], [1.0, 2.0]] * 4)),
        ("y must", lambda: given.fit(x, tf.ragged.constant([[1.0], [1.0, 2.0]] * 4))),
        ("Classes are integers from 0 to 2", lambda: given.fit(x, CLASSES + 5)),
        ("validation_data must be x", lambda: vae.fit(x, validation_data=(x, None, None, None))),
        ("validation_split must be", lambda: vae.fit(x, validation_split=1.5)),
        ("takes no metrics", lambda: vae.compile(metrics=["mse"])),
        ("takes no loss", lambda: vae.compile(loss="mse")),
        ("one batch or more", lambda: vae.fit(iter([]))),
    ):
        with pytest.raises(probvae.InputError, match=message):
            fit()


@pytest.mark.slow
def test_wrong_validation_data_do_not_stay():
    """Keras keeps the validation data of a call that fails, and evaluates them in the next."""
    vae, x = model(), right()
    with pytest.raises(probvae.InputError, match="validation_data must hold 0 or 1"):
        vae.fit(x, validation_data=tf.data.Dataset.from_tensor_slices(3 * x).batch(4), verbose=0)
    history = vae.fit(x, validation_data=(x, None, WEIGHTS), verbose=0).history
    found = vae.evaluate(x, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    assert history["val_elbo"] == [found["elbo"]]
