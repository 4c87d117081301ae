import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from marked_cases import cases
from tensorflow_probability import layers as tfpl

import probvae
from probvae import objectives
from probvae.config.training import Training
from probvae.data.binarization import Prepared, prepare
from probvae.data.dataset import DataSet
from probvae.seeds import fold_in, split
from probvae.training.epochs import epoch_order
from probvae.training.objective import in_parts, make_objective
from probvae.training.optimizer import make_optimizer
from probvae.training.scoring import compile_test
from probvae.training.state import EpochSums
from probvae.training.steps import compile_steps
from probvae.training.trainer import fit

IMAGES = np.random.default_rng(0).integers(0, 2, [43, 8, 8, 1]).astype(np.uint8)
DATA = prepare(DataSet("tiny", IMAGES, IMAGES[:11], None, None, 1))
FEW = Training(batch_size=8, epochs=3, learning_rate=1e-2)


class Seen(tf_keras.callbacks.Callback):
    """Notes what Keras callbacks see."""

    def __init__(self):
        super().__init__()
        self.calls, self.logs = [], []

    def on_train_begin(self, logs=None):
        self.calls.append(("begin", self.model.optimizer.iterations.numpy()))

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("end", epoch))
        self.logs.append(dict(logs))

    def on_train_end(self, logs=None):
        self.calls.append(("over", self.model.optimizer.iterations.numpy()))


@pytest.fixture(scope="module")
def trained():
    """A training of three epochs: model, history, rows, chunks and what a callback saw."""
    vae, rows, chunks, seen = tiny_vae(), [], [], Seen()
    history = fit(
        vae,
        DATA,
        FEW,
        on_epoch=rows.append,
        on_chunk=lambda epoch, images: chunks.append((epoch, images)),
        callbacks=[seen],
    )
    return vae, history, rows, chunks, seen


def test_fit_learns_and_its_history_is_the_models(trained):
    vae, history, rows, *_ = trained
    assert history == rows and [row.epoch for row in history] == [1, 2, 3]
    assert history[-1].test_elbo > history[0].test_elbo
    last = history[-1]
    assert last.test_elbo == pytest.approx(last.test_log_likelihood - last.test_kl)
    terms = compile_test(vae, FEW.seed)(DATA.test)
    assert np.mean(terms.elbo) == pytest.approx(last.test_elbo)
    assert last.images_per_second == pytest.approx(43 / last.seconds)


def test_nothing_is_traced_again_after_the_first_epoch(monkeypatch):
    """Though its last batch is short; q(z|x) is asked for where TensorFlow traces, and only there."""
    calls, after = [], []
    plain = probvae.VAE.posterior
    monkeypatch.setattr(probvae.VAE, "posterior", lambda self, x: calls.append(x) or plain(self, x))
    vae = tiny_vae()
    held_out = DATA._replace(validation=DATA.test[:5])
    fit(vae, held_out, FEW, on_epoch=lambda row: after.append(len(calls)))
    assert len(after) == 3 and after[0] == after[2] > 0  # above 0: the count does count


def test_every_image_is_used_once_an_epoch(trained):
    *_, used, _ = trained
    assert [sum(n for e, n in used if e == epoch) for epoch in range(3)] == [43, 43, 43]
    orders = [epoch_order(43, seed=0, epoch=epoch) for epoch in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(43))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_an_order_is_no_rotation():
    """Neighbours in the data are not neighbours in an epoch, nor those of one epoch in the next."""
    orders = [epoch_order(1000, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert np.mean(np.abs(np.diff(order)) == 1) < 0.02
    places = [np.argsort(order) for order in orders]
    for i, j in ((0, 1), (0, 2)):
        assert np.mean(np.abs(np.diff(places[i][orders[j]])) == 1) < 0.02


def test_each_epoch_has_an_order_of_its_own(trained):
    """Three epochs are the steps over the orders of the first, the second and the third."""
    vae, plain = trained[0], tiny_vae()
    steps = compile_steps(plain, make_optimizer(FEW, 43), probvae.elbo, DATA, FEW.seed)
    for epoch in range(3):
        order = epoch_order(43, seed=FEW.seed, epoch=epoch)
        for batches in (order[:40].reshape(5, 8), order[None, 40:]):
            steps(batches, EpochSums())
    for weight, expected in zip(vae.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-7)


def test_same_seed_same_weights_however_the_epoch_is_cut():
    order = epoch_order(43, seed=0, epoch=0)[:40].reshape(5, 8)
    weights = []
    for seed, chunks in ((0, (1, 5)), (1, (5,))):
        vae, optimizer = tiny_vae(), make_optimizer(FEW, 43)
        steps = compile_steps(vae, optimizer, probvae.elbo, DATA, seed)
        variables = [*vae.variables, *optimizer.variables]
        start = [v.numpy() for v in variables]
        for chunk in chunks:
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
            for first in range(0, 5, chunk):
                steps(order[first : first + chunk], EpochSums())
            weights.append(np.concatenate([w.ravel() for w in vae.get_weights()]))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], np.concatenate([w.ravel() for w in tiny_vae().get_weights()]))
    assert not np.array_equal(weights[1], weights[2])


def test_compiled_steps_are_plain_gradient_steps():
    """The same three steps by an eager GradientTape loop, to float precision."""
    vae, plain = tiny_vae(), tiny_vae()
    order = epoch_order(43, seed=0, epoch=0)[:24].reshape(3, 8)
    done, tally = compile_steps(vae, make_optimizer(FEW, 43), probvae.elbo, DATA, 5)(order, EpochSums())
    optimizer, expected = make_optimizer(FEW, 43), 0.0
    for step, batch in enumerate(order):
        x = tf.constant(IMAGES[batch], tf.float32)
        with tf.GradientTape() as tape:
            bound = probvae.elbo(plain, x, seed=split(fold_in(5, step), 2)[1])
            loss = -tf.reduce_mean(bound)
        variables = plain.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        expected += float(tf.reduce_sum(bound))
    assert done == 3 and tally.examples == 24
    assert tally.objective == pytest.approx(expected, rel=1e-5)
    for a, b in zip(vae.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_test_terms_repeat_and_do_not_depend_on_other_images():
    vae = tiny_vae()
    test = compile_test(vae, 0, batch_size=4)
    first = test(DATA.test)
    np.testing.assert_array_equal(first.elbo, test(DATA.test).elbo)
    np.testing.assert_allclose(first.elbo, first.log_likelihood - first.kl, rtol=1e-5)
    np.testing.assert_array_equal(test(DATA.test[:8]).elbo, first.elbo[:8])
    assert len(first.elbo) == 11
    twins = test(np.repeat(DATA.test[:1], 8, axis=0)).elbo  # each batch draws z of its own
    assert np.all(twins[:4] != twins[4:])


def test_should_stop_ends_at_a_step_with_a_row():
    calls = []

    def stop():
        calls.append(0)
        return len(calls) >= 1

    still = dataclasses.replace(FEW, batch_size=1, learning_rate=0.0)
    history = fit(tiny_vae(), DATA, still, should_stop=stop)
    assert len(history) == 1 and 0 < history[0].epoch < 0.8
    # The mean over the examples so far: the weights stay, so that it is that of the test set but for noise.
    assert history[0].train_elbo == pytest.approx(history[0].test_elbo, rel=0.15)


def test_parts_are_slices_with_noise_of_their_own(x):
    vae = tiny_vae()
    bound = in_parts(probvae.elbo, 2)(vae, x, seed=tf.constant([0, 1]))  # five examples: three and two
    slices = [probvae.elbo(vae, x[:3], seed=fold_in([0, 1], 0))]
    slices.append(probvae.elbo(vae, tf.gather(x, [3, 4, 4]), seed=fold_in([0, 1], 1))[:2])
    np.testing.assert_allclose(bound, tf.concat(slices, 0), rtol=1e-5)
    wrong = probvae.elbo(vae, x, seed=tf.constant([0, 1]))
    assert not np.allclose(bound, wrong, rtol=1e-3)
    assert in_parts(probvae.elbo, 1) is probvae.elbo


def test_parts_have_the_whole_batchs_gradient(x):
    """Of an objective without noise; what fills the last part up counts for nothing."""
    vae = tiny_vae()

    def noiseless(vae, x, *, seed):
        z = vae.posterior(x).mean()
        return vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z)

    gradients = []
    for parts in (1, 2, 3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(in_parts(noiseless, parts)(vae, x, seed=tf.constant([0, 1])))
        gradients.append(tape.gradient(loss, vae.trainable_variables))
    for whole, *others in zip(*gradients, strict=True):
        for other in others:
            np.testing.assert_allclose(other, whole, rtol=1e-4, atol=1e-5)
    with tf.GradientTape() as tape:  # the wrong variant: the last example counted twice
        loss = tf.reduce_mean(noiseless(vae, tf.concat([x, x[-1:]], 0), seed=None))
    wrong = tape.gradient(loss, vae.trainable_variables)
    assert any(not np.allclose(a, b, rtol=1e-2, atol=1e-3) for a, b in zip(wrong, gradients[0], strict=True))


def test_parts_of_the_test_set_change_nothing():
    vae = tiny_vae()
    one, three = (compile_test(vae, 0, batch_size=2, parts=parts)(DATA.test) for parts in (1, 3))
    np.testing.assert_allclose(three.elbo, one.elbo, rtol=1e-6)


def test_callbacks_see_every_epoch_and_its_row(trained):
    _, history, _, _, seen = trained
    epochs = [(what, epoch) for epoch in range(3) for what in ("epoch", "end")]
    assert seen.calls == [("begin", 0), *epochs, ("over", 18)]
    for logs, row in zip(seen.logs, history, strict=True):
        expected = {k: v for k, v in dataclasses.asdict(row).items() if v is not None and k != "epoch"}
        assert logs == expected


def held_out(**changes):
    examples = DataSet("tiny", IMAGES, IMAGES[:11], None, None, 1, validation=IMAGES[11:20])
    return prepare(examples), dataclasses.replace(FEW, validation=0.2, **changes)


@pytest.fixture(scope="module")
def patient():
    """A training that its patience ends: data, settings, model, states and rows."""
    data, training = held_out(epochs=40, patience=3, learning_rate=0.1)
    vae, states = tiny_vae(), []
    history = fit(vae, data, training, on_state=states.append)
    return data, training, vae, states, history


def test_patience_ends_a_training_and_the_best_weights_are_back(patient):
    data, training, vae, states, history = patient
    elbos = [row.validation_elbo for row in history]
    best = int(np.argmax(elbos))
    assert len(history) < 40 and best == len(history) - 1 - 3
    again = np.mean(compile_test(vae, training.seed)(data.validation).elbo, dtype=np.float64)
    assert again == elbos[best]
    for weight, kept in zip(vae.variables, states[best].weights, strict=True):
        np.testing.assert_array_equal(weight, kept)


@pytest.mark.slow
def test_keras_early_stopping_works_on_the_rows(patient):
    data, training, *_, expected = patient
    training = dataclasses.replace(training, patience=0)
    stopping = tf_keras.callbacks.EarlyStopping("validation_elbo", mode="max", patience=3)
    history = fit(tiny_vae(), data, training, callbacks=[stopping])
    assert len(history) < 40
    assert [row.test_elbo for row in history] == [row.test_elbo for row in expected]


def test_objective_options_reach_the_objective(x):
    vae, seen = tiny_vae(), set()
    for options, expected in [
        ({}, probvae.elbo(vae, x, seed=1)),
        ({"num_samples": 4}, probvae.elbo(vae, x, num_samples=4, seed=1)),
        ({"analytic_kl": True}, probvae.elbo(vae, x, analytic_kl=True, seed=1)),
        ({"objective": "iwae", "num_samples": 4}, probvae.iwae(vae, x, num_samples=4, seed=1)),
        (
            {"objective": "iwae", "num_samples": 4, "groups": 2, "beta": 0.1},
            probvae.iwae(vae, x, num_samples=4, groups=2, beta=0.1, seed=1),
        ),
        (
            {"objective": "piwae", "num_samples": 4, "groups": 2},
            objectives.piwae(vae, x, num_samples=4, groups=2, seed=1),
        ),
        ({"objective": "stl", "beta": 0.5}, objectives.stl(vae, x, seed=1, beta=0.5)),
        ({"objective": "dreg", "num_samples": 4}, objectives.dreg(vae, x, num_samples=4, seed=1)),
        (
            {"objective": "renyi", "num_samples": 4, "alpha": 0.2},
            objectives.renyi(vae, x, num_samples=4, seed=1, alpha=0.2),
        ),
        ({"objective": "chi", "num_samples": 4}, objectives.chi(vae, x, num_samples=4, seed=1)),
        ({"objective": "free_bits", "free_bits": 2}, objectives.free_bits(vae, x, seed=1, free_bits=2.0)),
        ({"objective": "beta_tc", "beta": 3}, objectives.beta_tc(vae, x, seed=1, beta=3.0, num_examples=40)),
        ({"objective": "mmd", "mmd_weight": 5}, objectives.mmd(vae, x, seed=1, mmd_weight=5.0)),
    ]:
        bound = make_objective(Training(**options), num_examples=40)
        np.testing.assert_array_equal(bound(vae, x, seed=1), expected, err_msg=str(options))
        seen.add(options.get("objective", "elbo"))
    assert seen == set(objectives.OBJECTIVES)


@pytest.mark.parametrize("warmup", sorted(set(objectives.WARMUPS) - {"none"}))
def test_beta_follows_the_steps_of_the_optimizer(warmup, x):
    vae = tiny_vae()
    chosen = Training(beta=2, beta_warmup=warmup, beta_warmup_steps=8)
    step = tf.Variable(0, dtype=tf.int64)
    bound = make_objective(chosen, num_examples=40, iterations=step)
    for number in (3, 9):
        step.assign(number)
        beta = 2.0 * objectives.WARMUPS[warmup](tf.constant(number), steps=8)
        np.testing.assert_allclose(
            bound(vae, x, seed=1), probvae.elbo(vae, x, seed=1, beta=beta), rtol=1e-6, err_msg=str(number)
        )


@pytest.mark.parametrize(
    "binarize",
    cases(["static", "dynamic"], slow=["dynamic"], long={"static": "test_grey_images_train[dynamic]"}),
)
def test_grey_images_train(binarize):
    grey = np.random.default_rng(0).integers(0, 256, [20, 8, 8, 1]).astype(np.uint8)
    data = prepare(DataSet("grey", grey, grey, None, None, 255), binarize=binarize)
    history = fit(tiny_vae(), data, dataclasses.replace(FEW, binarize=binarize))
    assert np.isfinite(history[-1].test_elbo)


def test_losses_of_layers_are_descended_by_compiled_steps():
    """A regularizer c |W|^2 takes 2 c lr W from its kernel in a plain step, and changes nothing else."""
    x = np.random.default_rng(0).standard_normal([8, 5]).astype(np.float32)
    data = Prepared(x, x, lambda batch, seed: batch)
    after = []
    for regularizer in (None, tf_keras.regularizers.L2(0.5)):
        plain = LinearGaussian()._build(0.2, 1.3)
        encoder = tf_keras.Sequential(
            [
                tf_keras.layers.InputLayer((5,)),
                tf_keras.layers.Dense(5, kernel_regularizer=regularizer),
                tfpl.MultivariateNormalTriL(2),
            ]
        )
        encoder.layers[0].set_weights(plain.encoder.layers[0].get_weights())
        vae = probvae.VAE(plain.prior, encoder, plain.decoder)
        before = encoder.layers[0].kernel.numpy()
        steps = compile_steps(vae, tf_keras.optimizers.SGD(0.01), probvae.elbo, data, 0)
        assert steps(np.arange(8)[None], EpochSums())[0] == 1
        after.append(vae.get_weights())
    changes = [b - a for a, b in zip(*after, strict=True)]
    np.testing.assert_allclose(changes[0], -2 * 0.5 * 0.01 * before, rtol=1e-3, atol=1e-6)
    assert max(np.abs(change).max() for change in changes[1:]) < 1e-6
