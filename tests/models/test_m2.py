import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conditional_models import ConditionalLinearGaussian, tiny_m2
from scipy.special import log_softmax, logsumexp, softmax
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae import Training, inference, objectives
from probvae.data.labels import forget_labels, one_hot
from probvae.errors import InputError
from probvae.models.m2 import M2VAE
from probvae.objectives.semisupervised import (
    classification_weight,
    is_known,
    log_class_probabilities,
    log_joint,
    m2,
)
from probvae.training.objective import known_fraction, make_objective

SHARES = np.array([0.6, 0.1, 0.3])
LABELS = np.array([0, -1, 2, 1, -1, -1])  # -1: not known


class Oracle:
    """M2 whose q(z|x, y) is exact, so that every term of its objective is known."""

    def __init__(self, *, exact_classifier: bool = False):
        self.gaussian = ConditionalLinearGaussian(contexts=3)
        x = self.gaussian.plain
        precision = np.linalg.inv(x.marginal.cov)
        if exact_classifier:  # p(y|x) of classes with one covariance is a softmax of linear functions
            kernel = precision @ self.gaussian.slope
            centres = x.bias[:, None] + self.gaussian.slope / 2
            bias = np.log(SHARES) - np.sum(self.gaussian.slope * (precision @ centres), axis=0)
        else:
            rng = np.random.default_rng(0)
            kernel, bias = 0.3 * rng.standard_normal([5, 3]), rng.standard_normal(3)
        self.kernel, self.bias = kernel, bias

    def vae(self, **options) -> M2VAE:
        head = tfpl.OneHotCategorical(3, convert_to_tensor_fn=tfd.Distribution.mean)
        layers = [tf_keras.layers.InputLayer((5,)), tf_keras.layers.Dense(3), head]
        classifier = tf_keras.Sequential(layers)
        classifier.layers[0].set_weights([self.kernel, self.bias])
        contexts = tfd.OneHotCategorical(probs=np.float32(SHARES), dtype=tf.float32)
        return M2VAE(*self.gaussian.networks(**options), classifier, contexts=contexts)

    def x(self, n, seed=1):
        y = one_hot(np.random.default_rng(seed).choice(3, n, p=SHARES), 3)
        return self.gaussian.sample(y, seed)

    def log_joint(self, x):
        """log p(x, y), [N, 3]."""
        columns = [self.gaussian.marginal(y).logpdf(x) for y in np.eye(3)]
        return np.stack(columns, axis=1) + np.log(SHARES)

    def log_q(self, x):
        """log q(y|x), [N, 3]."""
        return log_softmax(x @ self.kernel + self.bias, axis=1)


@pytest.fixture(scope="module")
def oracle():
    return Oracle()


def by_hand(log_p, log_q, labels, alpha):
    """M2's objective by enumeration, one example after the other."""
    out = []
    for log_p_y, log_q_y, label in zip(log_p, log_q, labels, strict=True):
        if label >= 0:
            out.append(log_p_y[label] + alpha * log_q_y[label])
        else:
            out.append(sum(np.exp(log_q_y[k]) * (log_p_y[k] - log_q_y[k]) for k in range(3)))
    return np.array(out)


# ---- the objective -------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 2.5])
def test_the_objective_is_the_enumeration_by_hand(oracle, alpha):
    vae, x = oracle.vae(), oracle.x(6)
    found = m2(vae, vae.join(x, LABELS), seed=0, alpha=alpha).numpy()
    log_p, log_q = oracle.log_joint(x), oracle.log_q(x)
    expected = by_hand(log_p, log_q, LABELS, alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=3e-3)
    unknown = LABELS < 0
    without_entropy = np.sum(np.exp(log_q) * log_p, axis=1)
    without_prior = by_hand(log_p - np.log(SHARES), log_q, LABELS, alpha)
    with_hard_classes = by_hand(log_p, log_q, np.argmax(log_q, axis=1), 0.0)
    label_term_everywhere = expected + alpha * np.max(log_q, axis=1) * unknown
    assert np.abs(without_entropy - expected)[unknown].max() > 0.1
    assert np.abs(without_prior - expected).min() > 0.1
    assert np.abs(with_hard_classes - expected)[unknown].max() > 0.1
    assert alpha == 0 or np.abs(label_term_everywhere - expected)[unknown].max() > 0.1


def test_with_every_posterior_exact_it_is_log_p_of_x(oracle):
    exact = Oracle(exact_classifier=True)
    x = exact.x(20)
    log_p = logsumexp(exact.log_joint(x), axis=1)
    vae = exact.vae()
    bound = m2(vae, vae.join(x, np.full(20, -1)), seed=0)
    np.testing.assert_allclose(bound, log_p, rtol=1e-4, atol=3e-3)
    np.testing.assert_allclose(
        log_class_probabilities(vae, x), log_softmax(exact.log_joint(x), axis=1), rtol=1e-3, atol=1e-3
    )
    other = oracle.vae()
    below = m2(other, other.join(x, np.full(20, -1)), seed=0)
    assert np.all(below < log_p + 3e-3) and np.mean(below - log_p) < -0.1


def test_sum_over_classes_is_an_unbiased_estimate_of_p_of_x(oracle):
    vae, x = oracle.vae(shift=0.2), oracle.x(3)
    many = log_joint(vae, np.tile(x, [2000, 1]), num_samples=20, seed=3, bound=objectives.iwae)
    many = many.numpy().reshape(2000, 3, 3)
    log_p = logsumexp(oracle.log_joint(x), axis=1)
    ratio = np.exp(logsumexp(many, axis=2) - log_p)
    assert mean_p_value(ratio, 1.0) > ALPHA
    assert mean_p_value(1.05 * ratio, 1.0) < ALPHA
    np.testing.assert_allclose(
        softmax(np.mean(many, axis=0), axis=1), softmax(oracle.log_joint(x), axis=1), atol=0.05
    )


def test_other_bounds_of_log_p_x_given_y(oracle):
    vae, x = oracle.vae(shift=0.5), oracle.x(50)
    example = vae.join(x, np.resize(LABELS, 50))
    elbo = m2(vae, example, num_samples=50, seed=0)
    iwae = m2(vae, example, num_samples=50, seed=0, bound=objectives.iwae)
    assert np.mean(iwae - elbo) > 0.05 and np.min(iwae - elbo) > -1e-3
    analytic = functools.partial(objectives.elbo, analytic_kl=True)
    many, few = (m2(vae, example, num_samples=2000, seed=0, bound=b) for b in (objectives.elbo, analytic))
    np.testing.assert_allclose(many, few, atol=0.2)


def test_examples_do_not_depend_on_each_other_and_gradients_reach_every_part():
    vae = tiny_m2()
    x = np.float32(np.random.default_rng(0).integers(0, 2, [6, 6]))
    known, unknown = vae.join(x, [0] * 6), vae.join(x, [-1] * 6)
    mixed = vae.join(x, LABELS)
    found = m2(vae, mixed, seed=0)
    rows = LABELS < 0
    np.testing.assert_allclose(found[rows], m2(vae, unknown, seed=0)[rows], rtol=1e-6)
    np.testing.assert_allclose(found[LABELS == 0], m2(vae, known, seed=0)[LABELS == 0], rtol=1e-6)
    for example in (known, unknown, mixed):
        with tf.GradientTape() as tape:
            bound = m2(vae, example, seed=0)
        gradients = tape.gradient(bound, vae.trainable_variables)
        assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)
    with tf.GradientTape() as tape:
        bound = m2(vae, known, seed=0, alpha=0.0)
    of_classifier = tape.gradient(bound, vae.classifier.trainable_variables)
    assert all(g is None or not np.any(g) for g in of_classifier)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_logits_stay_finite(size):
    vae = tiny_m2()
    vae.classifier.layers[-2].bias.assign([size, -size, 0])
    example = vae.join(np.ones([3, 6], np.float32), [0, 1, -1])
    with tf.GradientTape() as tape:
        bound = m2(vae, example, seed=0)
    assert np.all(np.isfinite(bound))
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(bound, vae.trainable_variables))


# ---- the model -----------------------------------------------------------------------------------


def test_unknown_classes_are_zeros_and_no_number_comes_of_them_unasked():
    vae = tiny_m2()
    example = vae.join(np.zeros([3, 6], np.float32), [1, -1, 0])
    np.testing.assert_array_equal(example[:, 6:], [[0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert is_known(example[:, 6:]).numpy().tolist() == [True, False, True]
    assert np.all(np.isfinite(m2(vae, example, seed=0)))
    vae.compile()
    for door in (
        *(functools.partial(f, num_samples=2, seed=0) for f in objectives.OBJECTIVES.values()),
        *(inference.importance, inference.exact, inference.posterior_samples, inference.ais),
        *(lambda vae, x: vae.posterior(x), lambda vae, x: vae.evaluate(x), lambda vae, x: vae.predict(x)),
        lambda vae, x: vae.fit(x[::2], validation_data=x, verbose=0),
        lambda vae, x: vae.fit(tf.data.Dataset.from_tensors(x[::2]), validation_data=x, verbose=0),
    ):
        with pytest.raises(InputError, match="the class of 1 of 3 is unknown"):
            door(vae, example)
    vae.fit(example, verbose=0)
    vae.compile(objective="elbo")
    with pytest.raises(InputError, match="the class of 1 of 3 is unknown"):
        vae.fit(example, verbose=0)
    with pytest.raises(InputError, match="y must hold a class or zeros for every example, one-hot"):
        m2(vae, vae.join(np.zeros([1, 6], np.float32), np.float32([[1, 1, 0]])), seed=0)
    with pytest.raises(InputError, match="integers from -1 to 2"):
        vae.join(np.zeros([3, 6]), -2)


def test_classes_are_drawn_by_their_probabilities(oracle):
    x, y = oracle.vae().split(oracle.vae().sample(4000, seed=0))
    assert x.shape == [4000, 5] and mean_p_value(y, SHARES) > ALPHA
    assert mean_p_value(y, 1 / 3) < ALPHA
    equal = tiny_m2().contexts
    np.testing.assert_allclose(equal.probs_parameter(), [1 / 3] * 3, rtol=1e-6)


def test_accuracy_of_the_classifier():
    vae = tiny_m2()
    x = np.float32(np.random.default_rng(0).integers(0, 2, [507, 6]))
    labels = np.argmax(vae.classifier(x).mean(), axis=1)
    labels[[3, 501]] = (labels[[3, 501]] + 1) % 3
    (correct,) = vae.test_metrics(vae.join(x, labels).numpy()).values()
    assert correct.dtype == np.float64 and np.flatnonzero(correct == 0).tolist() == [3, 501]
    assert set(vae.test_metrics(vae.join(x, labels).numpy())) == {"test_accuracy"}


def test_all_parts_are_trained_and_saved(tmp_path):
    learnt = tfd.OneHotCategorical(logits=tf.Variable([0.3, 0.0, -0.5]), dtype=tf.float32)
    vae = tiny_m2(contexts=learnt)
    names = ("encoder", "decoder", "classifier")
    expected = {id(v) for name in names for v in getattr(vae, name).trainable_variables}
    assert {id(v) for v in vae.trainable_weights} == expected | {id(learnt.logits)}
    example = vae.join(np.ones([2, 6], np.float32), [0, -1])
    probvae.save(vae, tmp_path)
    other = tiny_m2(contexts=tfd.OneHotCategorical(logits=tf.Variable(tf.zeros(3)), dtype=tf.float32), seed=3)
    before = m2(other, example, seed=0)
    probvae.load(tmp_path, other)
    np.testing.assert_array_equal(m2(other, example, seed=0), m2(vae, example, seed=0))
    assert not np.allclose(before, m2(vae, example, seed=0))


def test_parts_that_do_not_fit_are_refused(oracle):
    wrong = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((5,)), tf_keras.layers.Dense(4), tfpl.OneHotCategorical(4)]
    )
    with pytest.raises(ValueError, match=r"event shape \[3\]; they have \[4\] and \[3\]"):
        M2VAE(*oracle.gaussian.networks(), wrong)


def clusters(n, seed):
    """Rows of six bits: three classes, each with two bits that are mostly on."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    probabilities = np.full([3, 6], 0.1) + 0.8 * np.repeat(np.eye(3), 2, axis=1)
    return (rng.random([n, 6]) < probabilities[labels]).astype(np.float32), labels


def test_training_on_a_tenth_of_the_labels():
    (x, labels), (x_test, test_labels) = clusters(600, 0), clusters(400, 1)
    y = forget_labels(one_hot(labels, 3), 0.1)
    vae = tiny_m2(gain=1.0)

    def accuracy():
        return float(np.mean(np.argmax(vae.classifier(x_test).mean(), axis=1) == test_labels))

    before, objective = accuracy(), functools.partial(m2, alpha=classification_weight(0.1))
    vae.compile(tf_keras.optimizers.Adam(0.02), objective)
    tf_keras.utils.set_random_seed(0)  # fit shuffles by the global seed
    vae.fit(np.concatenate([x, y], axis=1).astype(np.float32), epochs=15, batch_size=50, verbose=0)
    assert before < 0.7 and accuracy() > 0.9
    assert vae.evaluate(vae.join(x_test, test_labels), verbose=0, return_dict=True)["elbo"] > -5
    default = tiny_m2()
    default.compile()
    assert default.objective is m2


# ---- labels --------------------------------------------------------------------------------------


def test_labels_are_forgotten_class_by_class():
    y = one_hot(np.repeat([0, 1, 2], [10, 100, 3]), 3)
    kept = forget_labels(y, 0.1)
    assert kept.sum(axis=0).tolist() == [1, 10, 1] and kept.dtype == np.uint8 and y.sum() == 113
    assert np.all(kept <= y)
    np.testing.assert_array_equal(kept, forget_labels(y, 0.1))
    assert np.any(kept != forget_labels(y, 0.1, seed=1))
    np.testing.assert_array_equal(forget_labels(y, 1.0), y)
    for wrong in (0.0, 1.1, -0.5):
        with pytest.raises(InputError, match="fraction of labelled"):
            forget_labels(y, wrong)


def test_classification_weight_is_the_papers():
    assert classification_weight(1.0) == pytest.approx(0.1)
    assert classification_weight(100 / 50_000) == pytest.approx(0.1 * 50_000 / 100)


def test_a_class_that_never_occurs_has_no_probability_and_spoils_nothing():
    contexts = tfd.OneHotCategorical(probs=[0.5, 0.5, 0.0], dtype=tf.float32)
    vae, even = tiny_m2(contexts=contexts), tiny_m2()
    x = np.random.default_rng(0).integers(0, 2, [6, 6]).astype(np.float32)
    known = vae.join(x, [0, 1, 0, 1, 0, 1])
    with tf.GradientTape() as tape:
        bound = m2(vae, known, seed=0)
    np.testing.assert_allclose(bound, m2(even, known, seed=0) + np.log(3 / 2), rtol=1e-5)
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(bound, vae.trainable_variables) if g is not None)
    joint = log_joint(vae, x, seed=0).numpy()
    assert np.all(np.isneginf(joint[:, 2])) and np.all(np.isfinite(joint[:, :2]))


def test_the_weight_of_the_classifier_counts_the_labels_that_are_there():
    """At least one of each class is kept, however few are asked for: alpha is 0.1 N over what is known."""
    vae = tiny_m2()
    y = forget_labels(np.eye(3, dtype=np.uint8)[np.arange(60) % 3], 1e-3)
    train = np.concatenate([np.zeros([60, 6], np.uint8), y], axis=1)
    assert known_fraction(vae, train) == 3 / 60
    example = vae.join(np.zeros([3, 6], np.float32), [0, 1, 2])
    chosen = Training(labels="semi", labelled=1e-3)
    found = make_objective(chosen, num_examples=60, labelled=3 / 60)(vae, example, seed=0)
    np.testing.assert_allclose(found, m2(vae, example, seed=0, alpha=2.0), rtol=1e-5)
    asked = make_objective(chosen, num_examples=60)(vae, example, seed=0)
    assert np.abs(asked - found).min() > 1
