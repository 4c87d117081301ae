"""Numbers that are not finite: named, stopped at or skipped, with the weights before them kept."""

import math
import resource

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conditional_models import tiny_m2
from conftest import tiny_vae
from marked_cases import cases

import probvae
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.binarization import prepare
from probvae.data.dataset import DataSet
from probvae.models.ascent import descent
from probvae.models.building import build
from probvae.objectives.semisupervised import m2
from probvae.training.non_finite import NonFiniteError, diagnose
from probvae.training.optimizer import make_optimizer
from probvae.training.state import EpochSums
from probvae.training.steps import MOST_SKIPPED, compile_steps
from probvae.training.trainer import Trainer, fit

VECTORS = np.random.default_rng(0).standard_normal([40, 3]).astype(np.float32)
TRAINING = Training(batch_size=8, epochs=2, learning_rate=1e-2, binarize="none", data="vectors")


def vectors(**changes):
    """Data of 40 vectors, some rows replaced: {row: value}."""
    x = VECTORS.copy()
    for row, value in changes.items():
        x[int(row[1:])] = value
    return prepare(DataSet("vectors", x, VECTORS, None, None, 1), binarize="none", likelihood="normal_fixed")


def model(seed=0, likelihood="normal_fixed", **choices):
    return build(
        Architecture(event_shape=(3,), network="mlp", units=(8,), likelihood=likelihood, **choices), seed=seed
    )


def flat(vae):
    return np.concatenate([v.numpy().ravel() for v in vae.variables])


# ---- what is said --------------------------------------------------------------------------------


def test_the_term_and_the_examples_are_named():
    with pytest.raises(NonFiniteError) as caught:
        fit(model(), vectors(x7=1e30), TRAINING)
    text = str(caught.value)
    assert "log p(x|z)" in text and "for 1 of 8 examples of the batch (training example 7)" in text
    assert text.startswith("Step ") and "in epoch 1" in text and "or skip such steps" in text
    assert "x reaches 1e+30" in text
    assert "\n" not in text and caught.value.sound
    with pytest.raises(NonFiniteError, match="smaller learning rate, or clip the gradient") as caught:
        fit(model(), vectors(), Training(**{**vars(TRAINING), "learning_rate": 10.0, "epochs": 30}))
    assert not caught.value.sound


def set_bias(vae, part, value):
    bias = [v for v in getattr(vae, part).trainable_variables if "bias" in v.name][-1]
    bias.assign(np.broadcast_to(value, bias.shape))


@pytest.mark.parametrize(
    ("part", "value", "what"),
    [
        ("encoder", [1e25, 1e25, 0, 0], "log p(z) is"),
        ("encoder", [np.inf, 0, 0, 0], "the weights of encoder's posterior_params/bias are"),
        ("decoder", [np.nan, 0, 0], "the weights of decoder's likelihood_params/bias are"),
        ("decoder", [1e30, 0, 0], "log p(x|z) is"),
    ],
)
def test_what_is_not_finite_is_found(part, value, what):
    vae = model()
    if what.startswith("log p(z)"):  # keep the decoder's answer finite
        vae.decoder.trainable_variables[0].assign(np.zeros([2, 8]))
    set_bias(vae, part, value)
    finding = diagnose(vae, probvae.elbo, tf.constant(VECTORS[:8]), tf.constant([0, 1]))
    assert finding.what == what
    if what.startswith("log"):
        assert finding.examples.tolist() == list(range(8))


def test_a_gradient_is_named_with_the_example_that_spoils_it():
    """Its value is finite: the square root of zero, of the third example alone."""
    vae = model()
    kernel = vae.decoder.trainable_variables[0]

    def objective(vae, x, *, seed):
        zero = tf.one_hot(2, x.shape[0]) * 0.0
        return probvae.elbo(vae, x, seed=seed) + tf.where(
            tf.one_hot(2, x.shape[0]) > 0, tf.sqrt(zero * tf.reduce_sum(kernel)), 0.0
        )

    x, seed = tf.constant(VECTORS[:8]), tf.constant([0, 1])
    assert np.all(np.isfinite(objective(vae, x, seed=seed)))
    finding = diagnose(vae, objective, x, seed)
    assert finding.what == "the gradient of decoder's dense_1/kernel is"
    assert 2 in finding.examples
    assert diagnose(vae, probvae.elbo, x, seed) is None


# ---- what is kept --------------------------------------------------------------------------------


def steps_of(vae, data, *, objective=probvae.elbo, optimizer=None, **options):
    optimizer = optimizer or tf_keras.optimizers.Adam(1e-2)
    return compile_steps(vae, optimizer, objective, data, 0, **options)


def started(vae, optimizer):
    """Return a function that takes model and optimizer back to where they are now."""
    variables = [*vae.variables, *optimizer.variables]
    values = [v.numpy() for v in variables]

    def restart():
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return restart


@pytest.fixture(scope="module")
def skipping():
    """A model, its compiled steps that skip what is not finite, and the way back to the start."""
    vae, optimizer = model(), tf_keras.optimizers.Adam(1e-2)
    steps = steps_of(vae, vectors(x9=1e30), optimizer=optimizer, skip=True)
    return vae, steps, started(vae, optimizer)


GOOD, BAD = np.arange(8, dtype=np.int32), np.arange(4, 12, dtype=np.int32)  # example 9 is the bad one


def test_weights_are_those_before_the_step():
    """Three good steps and a bad one in one call leave what three good steps leave."""
    vae, optimizer = model(), tf_keras.optimizers.Adam(1e-2)
    steps = steps_of(vae, vectors(x9=1e30), optimizer=optimizer)
    restart, before = started(vae, optimizer), flat(vae)
    done, tally = steps(np.stack([GOOD, GOOD, GOOD, BAD, GOOD]), EpochSums())
    found = flat(vae)
    assert done == 3 and tally.examples == 24 and tally.skipped == 1
    restart()
    np.testing.assert_array_equal(flat(vae), before)
    steps(np.stack([GOOD] * 3), EpochSums())
    np.testing.assert_array_equal(flat(vae), found)
    assert np.all(np.isfinite(found)) and not np.allclose(found, before)


def test_a_step_taken_all_the_same_would_be_seen():
    """The power of the test above: without the check the weights are spoilt."""
    vae = model()
    optimizer = tf_keras.optimizers.Adam(1e-2)
    x = tf.constant(vectors(x9=1e30).train[BAD])
    optimizer.apply_gradients(descent(vae, probvae.elbo, x, tf.constant([0, 0]))[1])
    assert not np.all(np.isfinite(flat(vae)))


def test_a_bad_gradient_stops_though_the_objective_is_finite():
    def objective(vae, x, *, seed):
        kernel = vae.decoder.trainable_variables[0]
        return probvae.elbo(vae, x, seed=seed) + tf.sqrt(0.0 * tf.reduce_sum(kernel))

    vae = model()
    before = flat(vae)
    done, tally = steps_of(vae, vectors(), objective=objective)(np.stack([GOOD, GOOD]), EpochSums())
    assert done == 0 and tally.skipped == 1
    np.testing.assert_array_equal(flat(vae), before)


def test_skipped_steps_are_left_out_and_counted(skipping):
    vae, steps, restart = skipping
    restart()
    _, tally = steps(np.stack([GOOD, BAD, GOOD]), EpochSums())
    found = flat(vae)
    assert (tally.skipped, tally.in_a_row, tally.examples) == (1, 0, 16)
    restart()
    steps(np.stack([GOOD, GOOD]), EpochSums())
    np.testing.assert_array_equal(flat(vae), found)
    history = fit(model(), vectors(x9=1e30), Training(**{**vars(TRAINING), "on_nonfinite": "skip"}))
    assert [row.skipped_steps for row in history] == [1, 1]
    assert all(math.isfinite(row.train_elbo) for row in history)


def test_too_many_in_a_row_stop_all_the_same(skipping):
    _, steps, restart = skipping
    restart()
    done, tally = steps(np.stack([BAD] * 60), EpochSums())
    assert done == 60 and tally.in_a_row == 60
    done, tally = steps(np.stack([BAD] * 60), tally)
    assert done == 40 and tally.in_a_row == MOST_SKIPPED + 1
    everywhere = vectors(**{f"x{i}": 1e30 for i in range(40)})
    with pytest.raises(NonFiniteError):
        fit(model(), everywhere, Training(**{**vars(TRAINING), "on_nonfinite": "skip", "epochs": 30}))


def test_a_state_after_the_error_goes_on_where_it_stopped(eager):
    trainer = Trainer(model(), vectors(x7=1e30), TRAINING)
    with pytest.raises(NonFiniteError):
        trainer.fit()
    state = trainer.state()
    assert state.position == 8 * state.step
    mended = Trainer(model(), vectors(), TRAINING)
    mended.restore(state)
    whole = Trainer(model(), vectors(), TRAINING)
    whole.fit()
    # the batches before the bad one are the same, so that mending the data gives the whole training
    assert [row.epoch for row in mended.fit()] == [1, 2]
    np.testing.assert_array_equal(flat(mended.vae), flat(whole.vae))


@pytest.mark.parametrize("batch_size", cases([1, 2], slow=[2]))
def test_weights_are_judged_by_other_examples(batch_size):
    """However small the batch, one bad example does not condemn the weights."""
    training = Training(**{**vars(TRAINING), "batch_size": batch_size})
    with pytest.raises(NonFiniteError) as caught:
        fit(model(), vectors(x7=1e30), training)
    assert caught.value.sound


def test_a_gradient_whose_square_overflows_is_not_taken():
    """It is finite, but what Adam makes of it is not: the weights would be spoilt two steps later."""
    vae = model(likelihood="normal")
    _, tally = steps_of(vae, vectors(x9=1e12), skip=True)(np.stack([BAD, GOOD, GOOD]), EpochSums())
    assert tally.skipped == 1 and np.all(np.isfinite(flat(vae)))
    clipped = model(likelihood="normal")
    _, tally = steps_of(clipped, vectors(x9=1e12), skip=True, clip_norm=1.0)(BAD[None], EpochSums())
    assert (tally.skipped, tally.clipped) == (1, 0)


def test_loss_scaling_excuses_gradients_and_no_objective():
    optimizer = make_optimizer(Training(**{**vars(TRAINING), "precision": "mixed_float16"}), 40)
    done, tally = steps_of(model(), vectors(x9=1e30), optimizer=optimizer)(np.stack([GOOD, BAD]), EpochSums())
    assert done == 1 and tally.skipped == 1


def test_the_diagnosis_of_m2_is_silent_on_examples_without_labels():
    vae = tiny_m2()
    x = np.random.default_rng(0).integers(0, 2, [6, *vae.event_shape]).astype(np.float32)
    x[:, -vae.context_dim :] = 0
    x[0, -1] = 1
    assert diagnose(vae, m2, tf.constant(x), tf.constant([0, 1])) is None


# ---- clipping ------------------------------------------------------------------------------------


def test_the_norm_is_cut_over_all_weights_and_counted():
    """One step of plain gradient descent moves by the learning rate times the norm."""
    moved = {}
    for limit in (0.0, 0.25, 1e6):
        vae = model()
        before = flat(vae)
        steps = steps_of(vae, vectors(), optimizer=tf_keras.optimizers.SGD(1.0), clip_norm=limit)
        _, tally = steps(GOOD[None], EpochSums())
        moved[limit] = flat(vae) - before
        assert tally.clipped == (limit == 0.25)
    assert np.linalg.norm(moved[0.0]) > 0.5
    np.testing.assert_array_equal(moved[0.0], moved[1e6])
    np.testing.assert_allclose(np.linalg.norm(moved[0.25]), 0.25, rtol=1e-4)
    cosine = moved[0.25] @ moved[0.0] / np.linalg.norm(moved[0.25]) / np.linalg.norm(moved[0.0])
    assert cosine == pytest.approx(1, abs=1e-5)


# ---- extreme data --------------------------------------------------------------------------------

IMAGES = {
    "zeros": np.zeros([24, 8, 8, 1], np.uint8),
    "ones": np.full([24, 8, 8, 1], 255, np.uint8),
    "constant grey": np.full([24, 8, 8, 1], 128, np.uint8),
    "one example": np.random.default_rng(1).integers(0, 256, [1, 8, 8, 1]).astype(np.uint8),
}


EXTREMES = [(images, "bernoulli") for images in IMAGES]
EXTREMES += [
    (images, likelihood)
    for images in ("zeros", "one example")
    for likelihood in ("continuous_bernoulli", "normal", "logistic_mixture")
]
QUICK_EXTREMES = [("zeros", "bernoulli"), ("zeros", "continuous_bernoulli")]
QUICK_EXTREMES += [("one example", "normal"), ("one example", "logistic_mixture")]


LONG = {
    case: f"test_extreme_images_train[{'-'.join(QUICK_EXTREMES[0 if case[1] == 'bernoulli' else 3])}]"
    for case in EXTREMES
    if case not in (*QUICK_EXTREMES, ("ones", "bernoulli"))
}


@pytest.mark.slow
@pytest.mark.parametrize(("images", "likelihood"), cases(EXTREMES, slow=[("ones", "bernoulli")], long=LONG))
def test_extreme_images_train(images, likelihood):
    x = IMAGES[images]
    binarize = "threshold" if likelihood == "bernoulli" else "none"
    data = prepare(DataSet("extreme", x, x, None, None, 255), binarize=binarize, likelihood=likelihood)
    vae = build(
        Architecture(event_shape=(8, 8, 1), network="mlp", units=(8,), likelihood=likelihood, latent_dim=2)
    )
    history = fit(vae, data, Training(batch_size=8, epochs=30, learning_rate=0.03, binarize=binarize))
    assert history[-1].epoch == 30 and math.isfinite(history[-1].test_elbo)
    assert history[-1].test_elbo > history[0].test_elbo
    assert np.all(np.isfinite(flat(vae)))


@pytest.mark.slow
def test_a_huge_latent_space_trains():
    history = fit(tiny_vae(latent_dim=4096, gain=1.0), images(), Training(batch_size=8, epochs=3))
    assert math.isfinite(history[-1].test_elbo)


def images():
    x = IMAGES["one example"].repeat(16, axis=0)
    return prepare(DataSet("x", x, x, None, None, 255))


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_steps():
    """Of 10,000 steps the last 8,000 add less than 8 MB: a thousand bytes a step.

    What is kept of every epoch, as a wrong variant does, shows.
    """
    kept = []

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6

    def growth(sizes):
        return sizes[-1] - sizes[len(sizes) // 5]

    sizes = []
    training = Training(batch_size=4, epochs=1000, learning_rate=1e-3, binarize="none")
    fit(model(), vectors(), training, on_epoch=lambda row: sizes.append(resident()))
    assert len(sizes) == 1000  # of ten steps each
    assert growth(sizes) < 8
    leaking = []
    for _ in range(100):
        kept.append(np.ones(25_000))  # 200,000 bytes an epoch of ten steps: twenty thousand a step
        leaking.append(resident())
    assert growth(leaking) > 8
