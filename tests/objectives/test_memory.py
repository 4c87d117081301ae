"""Calls without a gradient decode in blocks, with the same numbers; gradients that do not fit are refused."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conditional_models import tiny, tiny_m2
from conftest import shared_vae, tiny_vae
from marked_cases import cases

import probvae
from probvae import InputError, Training, environment, objectives
from probvae.data.binarization import Prepared
from probvae.objectives import memory
from probvae.objectives.semisupervised import m2
from probvae.sampling import draws

X = (np.random.default_rng(0).random([4, 8, 8, 1]) > 0.5).astype(np.float32)


@pytest.fixture
def rows_of(monkeypatch):
    """A function that lists the numbers of rows in the eager calls of a method of an object."""

    def watch(owner, name):
        sizes, call = [], getattr(owner, name)

        def counted(rows, *args, **options):
            if tf.executing_eagerly():
                sizes.append(rows.shape[0])
            return call(rows, *args, **options)

        monkeypatch.setattr(owner, name, counted)
        return sizes

    return watch


@pytest.fixture
def decoded(rows_of):
    """A function that lists the numbers of rows in the calls of a model's decoder."""
    return lambda vae: rows_of(vae._folded_decoder.split.network, "call")


@pytest.mark.parametrize(
    ("posterior", "prior"), cases([("diagonal", "standard_normal"), ("iaf", "vamp")], slow=[("iaf", "vamp")])
)
def test_blocks_have_the_numbers_of_one(posterior, prior, monkeypatch, decoded):
    vae = shared_vae(posterior, prior=prior)
    functions = {
        **{
            name: functools.partial(objectives.OBJECTIVES[name], num_samples=100) for name in ("iwae", "dreg")
        },
        "elbo": functools.partial(probvae.elbo, num_samples=100),
        "stl": functools.partial(objectives.stl, num_samples=20),
    }
    one = {name: function(vae, X, seed=1) for name, function in functions.items()}
    sizes = decoded(vae)
    monkeypatch.setattr(memory, "BUDGET", 2**17)
    for name, function in functions.items():
        sizes.clear()
        np.testing.assert_allclose(function(vae, X, seed=1), one[name], rtol=1e-5, err_msg=name)
        rows = 80 if name == "stl" else 400
        assert max(sizes) < rows <= sum(sizes), name


def test_a_prior_and_an_encoder_work_in_blocks_too(monkeypatch, rows_of):
    vae, x = shared_vae(prior="mixture", components=8), np.tile(X, [25, 1, 1, 1])
    one = probvae.elbo(vae, x, seed=1), vae(x).mean(), vae.posterior(x).mean()
    encoded = rows_of(vae._folded_encoder.split.network, "call")
    scored = rows_of(vae.prior, "log_prob")
    monkeypatch.setattr(memory, "BUDGET", 2**14)
    many = probvae.elbo(vae, x, seed=1), vae(x).mean(), vae.posterior(x).mean()
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert max(encoded) < 100 and sum(encoded) == 300
    assert max(scored) < 100 and sum(scored) == 100


def test_predict_takes_smaller_batches_than_it_is_given(monkeypatch):
    vae, x, batches = shared_vae(), np.tile(X, [25, 1, 1, 1]), []
    one = vae.predict(x, batch_size=100, verbose=0)
    monkeypatch.setattr(memory, "BUDGET", 2**16)
    count = tf_keras.callbacks.LambdaCallback(on_predict_batch_end=lambda i, logs: batches.append(i))
    many = vae.predict(x, batch_size=100, verbose=0, callbacks=[count])
    np.testing.assert_allclose(many, one, rtol=1e-5)
    assert len(batches) > 1


@pytest.mark.parametrize("bound", cases(["conditional", "m2"], slow=["conditional"]))
def test_pairs_of_x_and_y_work_in_blocks(bound, monkeypatch):
    if bound == "conditional":
        vae, objective = tiny(), probvae.iwae
        x = vae.join(np.tile(X, [5, 1, 1, 1]), np.arange(20) % 3)
    else:
        vae, objective = tiny_m2(), m2
        x = vae.join(np.tile(X[:, 0, :6, 0], [5, 1]), np.arange(20) % 4 - 1)
    one = objective(vae, x, num_samples=10, seed=1)
    monkeypatch.setattr(memory, "BUDGET", 2**14)
    np.testing.assert_allclose(objective(vae, x, num_samples=10, seed=1), one, rtol=1e-5)


def test_draws_of_many_parameters_take_blocks_with_seeds_of_their_own(monkeypatch, decoded):
    vae = shared_vae()
    one = vae.sample(30, seed=1).numpy()
    sizes = decoded(vae)
    monkeypatch.setattr(memory, "PARAMETERS_PER_SEED", 64 * 10)
    drawn = vae.sample(30, seed=1).numpy()
    assert sizes == [10, 10, 10]
    compiled = tf.function(lambda: vae.sample(30, seed=1))()  # the same blocks, without a loop
    np.testing.assert_array_equal(compiled, drawn)
    z = vae.prior.sample(30, seed=probvae.seeds.split(1, 2)[0])
    np.testing.assert_array_equal(
        drawn[:10], vae.likelihood(z[:10]).sample(seed=probvae.seeds.split(1, 2)[1])
    )
    assert np.any(drawn[10:] != one[10:])
    monkeypatch.setattr(memory, "BUDGET", 2**13)  # decoded in smaller blocks, the draws are the same
    sizes.clear()
    np.testing.assert_array_equal(vae.sample(30, seed=1), drawn)
    assert max(sizes) < 10


def test_a_graph_of_the_users_has_no_loop(monkeypatch):
    vae = shared_vae()
    monkeypatch.setattr(memory, "BUDGET", 2**13)
    bound = tf.function(lambda x: probvae.iwae(vae, x, num_samples=100, seed=1))
    operations = bound.get_concrete_function(tf.TensorSpec([4, 8, 8, 1])).graph.get_operations()
    assert not [op.type for op in operations if "While" in op.type]


def test_a_call_that_fits_is_one_block(decoded):
    vae = shared_vae()
    sizes = decoded(vae)
    probvae.iwae(vae, X, num_samples=100, seed=1)
    assert sizes == [400]


def test_a_gradient_that_does_not_fit_is_refused_before_it_starts(monkeypatch, decoded):
    vae = shared_vae()
    sizes = decoded(vae)
    monkeypatch.setattr(memory, "BUDGET", 2**17)
    monkeypatch.setattr(memory, "available_memory", lambda: 2**20)
    with (
        tf.GradientTape(),
        pytest.raises(InputError, match=r"use at most .* draws \(num_samples\), or"),
    ):
        probvae.iwae(vae, X, num_samples=5000, seed=1)
    assert not sizes
    with tf.GradientTape() as tape:
        bound = probvae.iwae(vae, X, num_samples=2, seed=1)
    assert all(g is not None for g in tape.gradient(bound, vae.decoder.trainable_variables))
    with tf.GradientTape(), pytest.raises(InputError, match=r"use at most .* draws"):
        probvae.iwae(vae, X, num_samples=200, seed=1)
    probvae.iwae(vae, X, num_samples=200, seed=1)  # without a gradient it is not refused


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(memory, "BUDGET", 2**20)
    monkeypatch.setattr(memory, "available_memory", lambda: 2**24)


def refused(function, *arguments, **options):
    """The number of draws that the refusal of a call recommends."""
    with pytest.raises(InputError, match=r"needs about .* use at most [\d,]+ draws \(num_samples\)") as error:
        function(*arguments, **options)
    return int(str(error.value).split("use at most ")[1].split(" draws")[0].replace(",", ""))


@pytest.mark.slow
def test_a_training_that_does_not_fit_is_refused_before_it_starts(little_memory):
    vae = tiny_vae()
    before = [v.numpy() for v in vae.variables]
    objective = functools.partial(probvae.iwae, num_samples=5000)
    vae.compile("adam", objective)
    batches = tf.data.Dataset.from_tensor_slices(X).batch(2)
    draws_of = [
        refused(vae.fit, X, batch_size=4, verbose=0),
        refused(vae.fit, batches, verbose=0),
        refused(vae.fit, (X for _ in range(2)), verbose=0),
        refused(vae.train_on_batch, X),
    ]
    assert draws_of[1] == pytest.approx(2 * draws_of[0], rel=0.1) and draws_of[0] == draws_of[3]
    data = Prepared(X, X, lambda x, seed: x)
    training = Training(objective="iwae", num_samples=5000, batch_size=4)
    assert refused(probvae.training.Trainer, vae, data, training) == draws_of[0]
    assert all(np.array_equal(v, w) for v, w in zip(vae.variables, before, strict=True))
    vae.compile("adam", functools.partial(probvae.iwae, num_samples=draws_of[0]))
    vae.fit(X, batch_size=4, verbose=0)  # the number that is recommended fits
    vae.compile("adam")
    with pytest.raises(InputError, match=r"A gradient with 40,000 examples .* use a batch of at most"):
        vae.fit(np.tile(X, [10_000, 1, 1, 1]), batch_size=40_000, verbose=0)


def test_counting_takes_no_seed_of_a_step(monkeypatch):
    weights = []
    for budget in (2**30, 2**12):  # what a row takes is counted with the smaller one
        monkeypatch.setattr(memory, "BUDGET", budget)
        vae = probvae.build(probvae.Architecture((6,), network="mlp", units=(8,)), seed=1, dropout=0.3)
        vae.compile("sgd", functools.partial(probvae.iwae, num_samples=20), run_eagerly=True)
        vae.fit(X[:, 0, :6, 0], verbose=0, shuffle=False)
        weights.append(vae.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_free_memory_is_that_of_the_system_or_of_a_control_group(tmp_path, monkeypatch):
    total = environment.available_memory()
    monkeypatch.setattr(environment, "GROUPS", ((str(tmp_path), "max", "now", "cache"),))
    assert total is None or 0 < environment.available_memory()
    for name, text in (("max", "9000"), ("now", "5000"), ("memory.stat", "anon 4000\ncache 1000\n")):
        (tmp_path / name).write_text(text)
    assert environment.available_memory() == 5000
    (tmp_path / "max").write_text("max")
    assert environment.available_memory() != 5000


def test_posterior_draws_take_fewer_examples_at_once_for_many_draws(monkeypatch):
    vae, rows = shared_vae(), []
    posterior = type(vae).posterior
    monkeypatch.setattr(
        type(vae), "posterior", lambda self, x, *args: rows.append(len(x)) or posterior(self, x, *args)
    )
    draws.posterior_draws(vae, X, num_draws=3)
    monkeypatch.setattr(draws, "DRAWS", 100)
    assert draws.posterior_draws(vae, X, num_draws=50).shape == (50, 4, 2)
    assert rows == [4, 2, 2]
