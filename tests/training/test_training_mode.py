"""Layers in training mode: noise seeded by the step, statistics moved once a step, weight decay, averages."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conftest import tiny_vae
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae.config.architecture import Architecture
from probvae.config.training import Every, Training
from probvae.data.binarization import prepare
from probvae.data.dataset import DataSet
from probvae.models.ascent import ascend, descent, forward
from probvae.models.building import build
from probvae.models.training_view import in_training
from probvae.objectives.semisupervised import m2
from probvae.seeds import fold_in
from probvae.training.epochs import epoch_order
from probvae.training.non_finite import diagnose
from probvae.training.objective import in_parts
from probvae.training.optimizer import averages, make_optimizer
from probvae.training.scoring import compile_test
from probvae.training.state import EpochSums
from probvae.training.steps import compile_steps
from probvae.training.trainer import Trainer

layers = tf_keras.layers
X = 1 + np.random.default_rng(0).standard_normal([43, 3]).astype(np.float32)
DATA = prepare(DataSet("vectors", X, X[:11], None, None, 1), binarize="none", likelihood="normal")
TRAINING = Training(data="vectors", binarize="none", batch_size=8, epochs=2, learning_rate=1e-2, seed=3)
RANDOM = {
    "Dropout": layers.Dropout(0.5),
    "SpatialDropout1D": layers.SpatialDropout1D(0.5),
    "GaussianNoise": layers.GaussianNoise(0.5),
    "GaussianDropout": layers.GaussianDropout(0.5),
    "AlphaDropout": layers.AlphaDropout(0.5),
}


def own(*first, rate=0.0, activity=0.0):
    """A VAE of own networks, whose encoder begins with the given layers."""
    tf_keras.utils.set_random_seed(1)
    regularizer = tf_keras.regularizers.L2(activity) if activity else None
    encoder = [layers.InputLayer((3,)), *first, layers.Dense(4, "tanh", activity_regularizer=regularizer)]
    decoder = [layers.InputLayer((2,)), layers.Dense(4, "tanh"), layers.Dropout(rate), layers.Dense(6)]
    encoder += [layers.Dropout(rate), layers.Dense(4), tfpl.IndependentNormal(2)]
    prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    return probvae.VAE(
        prior, tf_keras.Sequential(encoder), tf_keras.Sequential([*decoder, tfpl.IndependentNormal(3)])
    )


def mean_of_q(vae, x, *, seed):
    """An objective that shows the encoder: the first coordinate of E_q[z]."""
    return vae.posterior(x).mean()[:, 0]


def without_noise(vae, x, *, seed):
    """The terms of the bound at the mean of q(z|x)."""
    q = vae.posterior(x)
    return vae.likelihood(q.mean()).log_prob(x) + vae.prior.log_prob(q.mean())


def values(vae):
    return [v.numpy() for v in vae.variables]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- statistics ----------------------------------------------------------------------------------


def moved(batches, parts, *, momentum=0.9, together=True):
    """Moving mean and variance by hand: each batch moves them once, by the mean over its parts.

    Otherwise, a wrong variant: each part moves them.
    """
    mean, variance = np.zeros(3), np.ones(3)
    for batch in batches:
        each = np.split(batch, parts)
        steps = [np.mean([[p.mean(0), p.var(0)] for p in each], 0)]
        for to_mean, to_variance in steps if together else ((p.mean(0), p.var(0)) for p in each):
            mean = momentum * mean + (1 - momentum) * to_mean
            variance = momentum * variance + (1 - momentum) * to_variance
    return mean, variance


def test_keras_fit_trains_layers_and_nothing_else_does():
    """Two epochs of one batch: statistics by hand; Dropout(0.9) changes the weights, the same in each run."""
    found = []
    for rate in (0.0, 0.9, 0.9):
        vae = own(layers.BatchNormalization(momentum=0.9), rate=rate)
        vae.compile(tf_keras.optimizers.Adam(1e-2), seed=4, run_eagerly=True)
        vae.fit(X, batch_size=43, epochs=2, verbose=0)
        after = values(vae)
        vae.evaluate(X[:5], verbose=0)
        elbo = [probvae.elbo(vae, X[:5], seed=0).numpy() for _ in range(2)]
        np.testing.assert_array_equal(*elbo)
        assert diagnose(vae, probvae.elbo, tf.constant(X), tf.constant([0, 1])) is None
        assert_equal(values(vae), after)
        statistics = vae.encoder.layers[0]
        for variable, by_hand in zip(
            (statistics.moving_mean, statistics.moving_variance), moved([X, X], 1), strict=True
        ):
            np.testing.assert_allclose(variable, by_hand, rtol=1e-5)
        found.append(after)
    assert_equal(found[1], found[2])
    assert max(np.abs(a - b).max() for a, b in zip(*found[:2], strict=True)) > 1e-2


def test_statistics_move_once_for_each_step_that_is_taken():
    """In two parts; the second step is not finite. The division into calls changes no bit."""
    batches = np.arange(24, dtype=np.int32).reshape(3, 8)
    x = X.copy()
    x[batches[1, 0]] = 1e30
    data = DATA._replace(train=x)
    vae = own(layers.BatchNormalization(momentum=0.9), rate=0.5)
    optimizer, start = make_optimizer(TRAINING, 43, vae.trainable_variables), values(vae)
    steps = compile_steps(vae, optimizer, in_parts(probvae.elbo, 2), data, 3, skip=True)
    variables = [*vae.variables, *optimizer.variables]
    zero, found = [v.numpy() for v in variables], []
    for chunks in ([batches], [batches[:1], batches[1:]]):
        for variable, value in zip(variables, zero, strict=True):
            variable.assign(value)
        sums = EpochSums()
        for chunk in chunks:
            _, sums = steps(chunk, sums)
        assert sums.skipped == 1
        found.append(values(vae))
    assert_equal(*found)
    statistics = vae.encoder.layers[0]
    taken = [X[batches[0]], X[batches[2]]]
    by_hand, wrong = moved(taken, 2), moved(taken, 2, together=False)
    np.testing.assert_allclose(statistics.moving_mean, by_hand[0], rtol=1e-5)
    np.testing.assert_allclose(statistics.moving_variance, by_hand[1], rtol=1e-5)
    assert np.abs(wrong[0] - by_hand[0]).max() > 1e-2  # statistics that each part moves would show
    assert np.abs(moved(taken, 1)[1] - by_hand[1]).max() > 1e-3  # and those of the whole batch, too
    assert not any(np.array_equal(a, b) for a, b in zip(start, found[0], strict=True))


def test_own_networks_resume_within_an_epoch(eager):
    """Bit for bit, with dropout, moving statistics, weight decay, an average and parts."""
    options = {"average": 0.9, "weight_decay": 0.1, "parts": 2, "epochs": 1}
    training, states = dataclasses.replace(TRAINING, **options), []

    def trainer():
        return Trainer(own(layers.BatchNormalization(), rate=0.5), DATA, training)

    whole = trainer()
    whole.fit(every=Every(steps=2), on_state=states.append)
    middle = next(state for state in states if state.position)
    rest = trainer()
    rest.restore(middle)
    rest.fit()
    assert_equal(values(rest.vae), values(whole.vae))
    assert_equal(rest.state().weights, whole.state().weights)
    assert_equal(rest.state().optimizer, whole.state().optimizer)


# ---- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANDOM)
def test_what_layers_draw_is_seeded_by_the_step(name):
    """The same seed, the same numbers; each part, and each call, draws anew."""
    layer = RANDOM[name]
    series = [layers.Reshape((1, 3)), layer, layers.Flatten()]
    vae, generator = own(*series), layer._random_generator
    x = tf.tile(tf.constant(X[:1]), [4, 1])

    def drawn(seed, parts=1):
        return forward(vae, in_parts(mean_of_q, parts), x, seed).bound.numpy()

    plain, first = mean_of_q(vae, x, seed=None).numpy(), drawn((0, 1))
    np.testing.assert_allclose(plain, plain[0], rtol=1e-6)
    np.testing.assert_array_equal(drawn((0, 1)), first)
    assert np.abs(first - plain).max() > 1e-3 and not np.array_equal(drawn((0, 2)), first)
    parts = drawn((0, 1), parts=2)
    assert not np.array_equal(parts[:2], parts[2:])

    def difference(v, x, seed):
        return tf.reduce_sum(v.posterior(x).mean() - v.posterior(x).mean(), axis=-1)

    twice = forward(vae, difference, x, (0, 1)).bound
    assert np.abs(twice).max() > 1e-3
    assert layer._random_generator is generator
    np.testing.assert_array_equal(mean_of_q(vae, x, seed=None), plain)


def test_the_masks_of_recurrent_layers_are_seeded_too():
    vae, x = own(layers.Reshape((3, 1)), layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5)), tf.constant(X)
    first, again, other = (forward(vae, mean_of_q, x, (0, seed)).bound for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_draws_of_z_have_the_seeds_that_they_had():
    """Models without layers that draw: the step's objective is that which is called directly."""
    vae, x = own(), tf.constant(X[:6])
    plain = in_parts(probvae.elbo, 2)(vae, x, seed=tf.constant([3, 4]))
    np.testing.assert_array_equal(
        forward(vae, in_parts(probvae.elbo, 2), x, tf.constant([3, 4])).bound, plain
    )


def test_every_part_of_a_model_is_in_training_but_the_prior():
    """Classifier, joined likelihood and conditional networks drop units; a VampPrior encodes without."""
    shape = {"event_shape": (6,), "network": "mlp", "units": (9, 9), "likelihood": "normal"}
    vae = build(Architecture(context_dim=3, classifier=True, **shape), dropout=0.5)
    x = tf.constant(np.random.default_rng(1).standard_normal([5, 6]), tf.float32)
    z, example = tf.ones([5, 2]), vae.join(x, [0, 1, 2, 0, 1])
    asked = {
        "classifier": lambda v: v.classifier(x).mean(),
        "posterior": lambda v: v.posterior(example).mean(),
        "likelihood of y": lambda v: v.likelihood(z, 1).mean(),
        "joined likelihood": lambda v: v.likelihood(z).log_prob(example),
        "log_likelihood": lambda v: v.log_likelihood(z, example),
        "joint": lambda v: v.joint().log_prob(z=z, x=example),
        "call": lambda v: v(example).mean(),
        "m2": lambda v: m2(v, example, seed=(0, 1)),
    }
    with in_training(vae, (0, 5)) as (view, _):
        for name, ask in asked.items():
            assert not np.array_equal(ask(view), ask(vae)), name
            np.testing.assert_array_equal(ask(vae), ask(vae), name)
    vamp = build(Architecture(prior="vamp", components=4, **shape), dropout=0.5)
    with in_training(vamp, (0, 5)) as (view, _):
        np.testing.assert_array_equal(view.prior.log_prob(z), vamp.prior.log_prob(z))
        assert not np.array_equal(view.posterior(x).mean(), vamp.posterior(x).mean())


# ---- losses and weights of examples --------------------------------------------------------------


def test_losses_of_activities_are_those_of_the_whole_batch_in_parts_too():
    vae, x, seed = own(activity=0.3), tf.constant(X[:8]), (0, 1)
    whole, parts = (descent(vae, in_parts(without_noise, n), x, seed)[1] for n in (1, 4))
    free = descent(own(), without_noise, x, seed)[1]
    for (a, _), (b, _) in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.abs(whole[0][0] - free[0][0]).max() > 1e-2
    done = forward(vae, in_parts(without_noise, 4), x, seed)
    hidden = tf_keras.Sequential(vae.encoder.layers[:1])(x).numpy()
    np.testing.assert_allclose(done.losses, [0.3 * np.mean(np.sum(hidden**2, axis=1))], rtol=1e-5)


def test_weights_of_examples_weigh_the_bound():
    """SGD moves by the gradient of -mean(w * bound); the reported bound has no weights."""
    vae, x, w = own(), tf.constant(X[:4]), np.float32([0.0, 3.0, 0.5, 1.0])
    with tf.GradientTape() as tape:
        bounds = probvae.elbo(vae, x, seed=(0, 1))
        loss = -(3.0 * bounds[1] + 0.5 * bounds[2] + bounds[3]) / 4
    gradient = tape.gradient(loss, vae.trainable_variables)
    before = [v.numpy() for v in vae.trainable_variables]
    bound = ascend(vae, tf_keras.optimizers.SGD(0.1), probvae.elbo, x, (0, 1), weights=w)
    np.testing.assert_array_equal(bound, bounds)
    for variable, value, slope in zip(vae.trainable_variables, before, gradient, strict=True):
        np.testing.assert_allclose(variable, value - 0.1 * slope, rtol=1e-4, atol=1e-6)


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_weight_decay_takes_from_kernels_alone(precision):
    """Beside a step without it: each kernel has lost learning rate times decay times itself."""
    training = dataclasses.replace(TRAINING, precision=precision, weight_decay=0.5)
    ends = []
    for decay in (0.0, 0.5):
        vae = tiny_vae(prior="mixture", components=3)
        variables, start = vae.trainable_variables, [v.numpy() for v in vae.trainable_variables]
        optimizer = make_optimizer(dataclasses.replace(training, weight_decay=decay), 43, variables)
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in variables])
        ends.append([v.numpy() for v in variables])
    kernels = ["kernel" in v.name for v in variables]
    assert 4 < sum(kernels) < len(kernels) - 4
    for is_kernel, value, plain, decayed in zip(kernels, start, *ends, strict=True):
        lost = 1e-2 * 0.5 * value if is_kernel else np.zeros_like(value)
        np.testing.assert_allclose(plain - decayed, lost, rtol=1e-4, atol=2e-7)


def test_the_average_is_evaluated_and_kept_and_the_state_has_the_last_weights(eager):
    """By hand from the weights after each step: momentum min(D, (1 + t) / (10 + t)) after t steps."""
    training = dataclasses.replace(TRAINING, average=0.4, validation=0.2)
    held_out = DATA._replace(validation=X[:20])
    states, shown = [], {}
    vae = own(layers.BatchNormalization())
    trainer = Trainer(vae, held_out, training)
    average = [v.numpy() for v in vae.trainable_variables]
    history = trainer.fit(
        every=Every(steps=1),
        on_state=states.append,
        on_epoch=lambda row: shown.update({row.epoch: [v.numpy() for v in vae.trainable_variables]}),
    )
    places = [i for i, v in enumerate(vae.variables) if v.trainable]
    rest = [i for i, v in enumerate(vae.variables) if not v.trainable]
    steps = {state.step: state for state in states}
    assert sorted(steps) == list(range(1, 13)) and len(rest) == 2
    for t in range(12):
        momentum = min(0.4, (1 + t) / (10 + t))
        weights = [steps[t + 1].weights[i] for i in places]
        average = [momentum * a + (1 - momentum) * w for a, w in zip(average, weights, strict=True)]
        if (t + 1) % 6 == 0:
            for found, by_hand in zip(shown[(t + 1) // 6], average, strict=True):
                np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-6)
            assert np.abs(average[0] - weights[0]).max() > 1e-3
    assert history[-1].validation_elbo == max(row.validation_elbo for row in history)
    assert_equal([values(vae)[i] for i in places], shown[2])
    assert_equal([values(vae)[i] for i in rest], [steps[12].weights[i] for i in rest])
    assert_equal(trainer.state().weights, steps[12].weights)
    assert np.mean(compile_test(vae, training.seed)(X[:11]).elbo) == pytest.approx(history[-1].test_elbo)
    assert_equal([v.numpy() for v in averages(trainer.optimizer)], shown[2])
    plain = []
    without = dataclasses.replace(training, average=0.0)
    Trainer(own(layers.BatchNormalization()), held_out, without).fit(on_state=plain.append)
    assert_equal(plain[-1].weights, steps[12].weights)  # the average changes nothing in the training


def test_options_that_are_left_out_change_nothing():
    optimizer = make_optimizer(TRAINING, 43, own().trainable_variables)
    assert optimizer.weight_decay is None and averages(optimizer) == []
    assert (TRAINING.dropout, TRAINING.weight_decay, TRAINING.average) == (0, 0, 0)


def test_steps_of_an_order_are_seeded_one_by_one():
    """A compiled epoch with dropout is the same as its steps, one by one, with the seeds of their numbers."""
    vae, one = own(rate=0.5), own(rate=0.5)
    order = epoch_order(43, seed=3, epoch=0)[:24].reshape(3, 8)
    steps = compile_steps(vae, tf_keras.optimizers.SGD(0.01), without_noise, DATA, 3)
    steps(order, EpochSums())
    optimizer, take = tf_keras.optimizers.SGD(0.01), functools.partial(tf.random.split, num=2)
    for step, batch in enumerate(order):
        _, seed_z = take(fold_in(3, step))
        ascend(one, optimizer, without_noise, tf.constant(X[batch]), seed_z)
    for a, b in zip(values(vae), values(one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
