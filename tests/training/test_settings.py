"""What a `Trainer` refuses: settings without an effect, and examples that the model does not take."""

import numpy as np
import pytest
import tensorflow as tf

from probvae import Architecture, Training, build
from probvae.data import Prepared, prepare
from probvae.data.arrays import Rows
from probvae.data.dataset import DataSet
from probvae.data.labels import join_prepared
from probvae.errors import InputError
from probvae.training import Trainer

SHAPE = {"event_shape": (6,), "network": "mlp", "units": (4,)}
X = np.random.default_rng(0).integers(0, 2, [600, 6]).astype(np.float32)
Y = np.eye(3, dtype=np.float32)[np.arange(600) % 3]


def plain(x=X):
    return Prepared(x, X[:5], lambda batch, seed: tf.cast(batch, tf.float32))


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"dropout": 0.1}, r"build\(architecture, dropout=0\.1\)"),
        ({"precision": "mixed_bfloat16"}, r"build\(architecture, precision='mixed_bfloat16'\)"),
        ({"labels": "condition"}, "a context_dim"),
        ({"labels": "semi"}, "a context_dim"),
        ({"validation": 0.1}, "validation=0.1"),
        ({"validation": 0.1, "patience": 3}, "validation=0.1"),
    ],
)
def test_a_setting_without_an_effect_is_refused(settings, advice):
    with pytest.raises(InputError, match=f"{next(iter(settings))}=.*{advice}.*leave .* out"):
        Trainer(build(Architecture(**SHAPE)), plain(), Training(**settings))


def test_a_setting_that_the_model_is_built_with_is_taken():
    built = {"dropout": 0.1, "precision": "mixed_bfloat16"}
    Trainer(build(Architecture(**SHAPE), **built), plain(), Training(**built))
    data, conditional = join_prepared(plain(), Y, Y[:5]), Architecture(context_dim=3, **SHAPE)
    Trainer(build(conditional), data, Training(labels="condition"))
    with pytest.raises(InputError, match=r"labels='semi'.*no classifier: .*classifier=True"):
        Trainer(build(conditional), data, Training(labels="semi"))
    semi = Architecture(context_dim=3, classifier=True, **SHAPE)
    Trainer(build(semi), data, Training(labels="semi"))
    Trainer(build(Architecture(**SHAPE)), plain()._replace(validation=X[:5]), Training(validation=0.1))


def images(value=None, dtype=np.float32):
    grey = np.random.default_rng(0).random([600, 2, 3, 1]).astype(dtype)
    if value is not None:
        grey[-1, 0, 0] = value
    return DataSet("tiny", grey, grey[:5] if value is None else images().test, None, None, 1)


def wrong(value):
    x = X.copy()
    x[-1, 2] = value
    return x


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5, 255])
def test_every_training_example_in_memory_is_checked(value):
    vae, training = build(Architecture(**SHAPE)), Training()
    with pytest.raises(InputError, match=r"The training set .*\."):
        Trainer(vae, plain(wrong(value)), training)
    scaled = Prepared(wrong(value) * 3, X[:5], lambda batch, seed: tf.cast(batch, tf.float32) / 3)
    with pytest.raises(InputError, match=r"The training set "):
        Trainer(vae, scaled, training)
    joined = join_prepared(plain(), Y, Y[:5])
    joined.train[-1, -1] = np.nan
    with pytest.raises(InputError, match=r"The training set "):
        Trainer(build(Architecture(context_dim=3, **SHAPE)), joined, training)
    Trainer(vae, plain(), training)
    Trainer(vae, plain(Rows(wrong(value), np.arange(600))), training)  # a file: the first 500 examples


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 255])
def test_grey_levels_are_checked_where_each_step_draws_the_pixels(value):
    architecture = {**SHAPE, "event_shape": (2, 3, 1)}
    data = prepare(images(), binarize="dynamic")
    with pytest.raises(InputError, match=r"Training images of tiny must hold grey levels from 0 to 1.* 1 of"):
        prepare(images(value), binarize="dynamic")
    bad = data._replace(train=images(value).train)
    with pytest.raises(InputError, match=r"The training set must hold grey levels from 0 to 1"):
        Trainer(build(Architecture(**architecture)), bad, Training())
    conditional, joined = build(Architecture(context_dim=3, **architecture)), join_prepared(bad, Y, Y[:5])
    with pytest.raises(InputError, match=r"The training set must hold grey levels"):
        Trainer(conditional, joined, Training(labels="condition"))
    Trainer(build(Architecture(**architecture)), data, Training())
