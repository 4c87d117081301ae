"""Trainings that share compiled functions: the numbers of trainings alone, and no trace of one in another."""

import contextlib
import dataclasses
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from marked_cases import cases
from tensorflow_probability import distributions as tfd

from probvae import objectives
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.binarization import Prepared
from probvae.distributions import traces
from probvae.models.building import build
from probvae.sklearn import VAETransformer
from probvae.training import shared, workshop
from probvae.training.feeding import Form
from probvae.training.pool import Pool
from probvae.training.shared import Plan
from probvae.training.trainer import Trainer

X = np.random.default_rng(0).standard_normal([23, 3]).astype(np.float32)
TINY = Architecture(event_shape=(3,), network="mlp", likelihood="normal", units=(4,))
FEW = Training(binarize="none", epochs=2, batch_size=8, learning_rate=0.01)
MEMORY = Path(__file__).parents[1] / "benchmark" / "many_fits.py"


def identity(batch, seed):
    return batch


def data(number=23):
    return Prepared(X[:number], X[:5], identity)


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    monkeypatch.setattr(shared, "POOL", Pool(3))
    return shared.POOL


def alone(training, prepared=None, architecture=TINY):
    """The weights and the history of a training with functions of its own."""
    vae = build(architecture, seed=training.seed, dropout=training.dropout)
    history = Trainer(vae, prepared or data(), training).fit()
    return [v.numpy() for v in vae.variables], history


def assert_same(given, expected):
    for a, b in zip(given[0], expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    timeless = [
        [dataclasses.replace(r, seconds=0, images_per_second=0) for r in rows[1]]
        for rows in (given, expected)
    ]
    assert timeless[0] == timeless[1]


def changed(**options):
    return dataclasses.replace(FEW, **options)


OPTIONS = {
    "plain": {},
    "average": {"average": 0.9},
    "schedule": {"schedule": "cosine"},
    "dropout": {"dropout": 0.5, "weight_decay": 0.1},
}


@pytest.mark.parametrize("name", cases(OPTIONS, slow=["schedule", "dropout", "average"]))
def test_a_second_training_has_the_numbers_of_one_alone(name, pool, monkeypatch):
    traced = []

    def counting(*args, **options):
        traced.append(args)
        return objectives.elbo(*args, **options)

    monkeypatch.setitem(objectives.OBJECTIVES, "elbo", counting)
    shared.fit(TINY, data(), changed(**OPTIONS[name]))
    number = len(traced)
    second = changed(seed=5, **OPTIONS[name])
    given = shared.fit(TINY, data(), second)
    assert 0 < number == len(traced) and len(pool) == 1
    assert_same(given, alone(second))


@pytest.mark.slow
def test_other_data_and_other_settings_of_no_graph_share_it_too(pool):
    shared.fit(TINY, data(), FEW)
    other = changed(seed=1, epochs=3, batch_size=5, learning_rate=0.05)
    given = shared.fit(TINY, data(17), other)
    assert len(pool) == 1
    assert_same(given, alone(other, data(17)))


def test_what_a_training_leaves_behind_would_be_seen(monkeypatch, eager):
    """The optimizer starts anew; one that did not would give other weights."""
    monkeypatch.setattr(workshop, "variables_of", lambda optimizer: [])
    shared.fit(TINY, data(), FEW)
    given, _ = shared.fit(TINY, data(), FEW)
    expected, _ = alone(FEW)
    assert any(np.any(a != b) for a, b in zip(given, expected, strict=True))


def test_every_setting_is_in_the_plan_unless_no_graph_holds_it():
    def plan(training, number=23):
        return Plan.of(TINY, data(number), training)

    first, free = plan(FEW), {"seed": 1, "epochs": 9, "batch_size": 3, "learning_rate": 0.5, "data": "digits"}
    assert plan(changed(**free)) == first == plan(FEW, 20)
    in_graph = {
        "objective": "stl", "beta": 2.0, "num_samples": 2, "analytic_kl": True, "weight_decay": 0.1,
        "dropout": 0.1, "average": 0.5, "clip_norm": 1.0, "parts": 2, "on_nonfinite": "skip",
        "schedule": "linear", "warmup_steps": 3,
    }  # fmt: skip
    for name, value in in_graph.items():
        assert plan(changed(**{name: value})) != first, name
    cosine = changed(schedule="cosine")
    for other in ({"epochs": 9}, {"batch_size": 3}, {"learning_rate": 0.5}):
        assert plan(dataclasses.replace(cosine, **other)) != plan(cosine)
    assert plan(cosine, 20) != plan(cosine) and plan(changed(objective="beta_tc"), 20) != plan(
        changed(objective="beta_tc")
    )
    rows = Prepared(X.astype(np.float64), X, identity)
    assert (
        Plan.of(TINY, rows, FEW) != first and Plan.of(TINY, Prepared(X, X, lambda x, seed: x), FEW) != first
    )
    assert Form.of(X) == Form(True, (3,), tf.float32)


def test_an_entry_of_a_registry_that_is_replaced_is_another_plan(monkeypatch):
    first = Plan.of(TINY, data(), FEW)
    monkeypatch.setitem(objectives.OBJECTIVES, "elbo", lambda *args, **options: None)
    assert Plan.of(TINY, data(), FEW) != first


# ---- independence ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_later_fits_do_not_change_earlier_estimators(eager):
    options = {"units": (4,), "epochs": 1, "score_num_samples": 2}
    first = VAETransformer(random_state=0, **options).fit(X)
    vae = first.vae_
    before = first.transform(X), first.score_samples(X), first.sample(3), vae.posterior(X).mean().numpy()
    second = VAETransformer(random_state=1, **options).fit(X)
    assert np.any(second.transform(X) != before[0])
    after = first.transform(X), first.score_samples(X), first.sample(3), vae.posterior(X).mean().numpy()
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    vae.variables[0].assign_add(tf.ones_like(vae.variables[0]))  # a model of the caller's own
    assert np.any(first.transform(X) != before[0])
    np.testing.assert_array_equal(VAETransformer(random_state=0, **options).fit(X).transform(X), before[0])


@pytest.mark.parametrize("error", cases([KeyboardInterrupt, ValueError], slow=[KeyboardInterrupt]))
def test_a_training_that_is_broken_off_is_thrown_away(error, pool, eager):
    shared.fit(TINY, data(), FEW)

    def breaks(row):
        raise error

    with pytest.raises(error):
        shared.fit(TINY, data(), FEW, on_epoch=breaks)
    assert len(pool) == 0
    assert_same(shared.fit(TINY, data(), FEW), alone(FEW))


@pytest.mark.slow
def test_trainings_within_and_beside_each_other(eager):
    expected = {seed: alone(changed(seed=seed)) for seed in (0, 1)}
    found = {}

    def train(seed, **options):
        found[seed, threading.get_ident()] = seed, shared.fit(TINY, data(), changed(seed=seed), **options)

    train(0, on_epoch=lambda row: train(1))
    threads = [threading.Thread(target=train, args=(seed,)) for seed in (0, 1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    for seed, result in found.values():
        assert_same(result, expected[seed])


# ---- memory ------------------------------------------------------------------------------------------


def test_a_pool_keeps_the_last_used_and_frees_the_others():
    class Thing:
        pass

    pool, made = Pool(2), []

    def make():
        made.append(weakref.ref(thing := Thing()))
        return thing

    for key in "abacab":
        with pool.borrowed(key, make) as thing:
            del thing
    gc.collect()
    assert len(made) == 4 and len(pool) == 2  # b went for c, and c for b
    assert [ref() is not None for ref in made] == [True, False, False, True]
    pool.clear()
    assert not len(pool) and made[0]() is None


def graphs_left(within):
    """Whether the graph of a loop that draws is still there after its function."""

    def step(i, total):
        graph.append(weakref.ref(tf.compat.v1.get_default_graph()))
        z = tfd.MultivariateNormalDiag(tf.zeros([2]) + total).sample(seed=(0, 1))
        return i + 1, total + tf.reduce_sum(z)

    graph = []

    @tf.function(autograph=False)
    def loop():
        with within():
            return tf.while_loop(lambda i, total: i < 3, step, (tf.constant(0), tf.constant(0.0)))

    loop()
    del loop
    gc.collect()
    return any(ref() is not None for ref in graph)


def test_a_graph_that_draws_in_a_loop_is_freed():
    assert not graphs_left(traces.forgotten)
    assert graphs_left(contextlib.nullcontext)  # if this fails, TFP has mended its cache: drop `forgotten`


def test_a_workshop_that_is_thrown_away_is_freed(pool):
    shared.fit(TINY, data(), FEW)
    model = weakref.ref(pool._idle[0][1].vae)
    pool.clear()
    gc.collect()
    assert model() is None


@pytest.mark.slow
@pytest.mark.long("test_later_fits_do_not_change_earlier_estimators")
@pytest.mark.parametrize("architectures", [1, 5])
def test_memory_stays_level_over_many_fits(architectures):
    """15 MB for each fit, as graphs that are kept take, would be 600 MB."""
    run = subprocess.run(
        [sys.executable, MEMORY, "--fits", "50", "--warm-up", "10", "--architectures", str(architectures)],
        capture_output=True, text=True, check=True, env=os.environ,
    )  # fmt: skip
    grown = float(run.stdout.split("grown by ")[1].split()[0])
    assert grown < 40, run.stdout
    assert "retracing" not in run.stderr
