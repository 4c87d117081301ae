import likelihood_cases as cases
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from likelihood_cases import CONTINUOUS, GRIDS, LOG_PROB, fit_p_value, masses
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import layers as tfpl

from probvae import Architecture, InputError
from probvae.distributions import values
from probvae.likelihoods import LIKELIHOODS, SharedScaleNormal, check_support, likelihood_of

VALUES = [name for name in LIKELIHOODS if name != "mixed"]  # those that are products over equal values
EXTREME_X = {
    "normal_fixed": (-1e4, 0.0, 1e4),
    "normal_shared": (-1e4, 0.0, 1e4),
    "normal": (-1e4, 0.0, 1e4),
    "poisson": (0.0, 1.0, 1e7),
    "negative_binomial": (0.0, 1.0, 1e7),
    "categorical": (0.0, cases.CLASSES - 1.0),
    "mixed": (1.0,),
}


def size(name, event_shape=None):
    return int(np.prod(cases.likelihood(name, event_shape).params_shape))


def head(name, event_shape=None, **options):
    return cases.likelihood(name, event_shape, **options).head()


def p_x(name, leading=(5,), event_shape=None):
    rng = np.random.default_rng(1)
    params = rng.standard_normal([*leading, size(name, event_shape)]).astype(np.float32)
    return params, head(name, event_shape)(tf.constant(params))


def one_value(name):
    """p(x) of event [1] and batch [], with its parameters [n]."""
    params, p = p_x(name, (), (1,))
    return params, p


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("leading", [(), (5,), (3, 5)])
def test_shapes_and_support_of_draws(name, leading):
    _, p = p_x(name, leading)
    event = cases.event(name)
    assert p.batch_shape == leading and p.event_shape == event
    x = p.sample(seed=(0, 1))
    assert x.shape == (*leading, *event) == p.mean().shape
    assert p.log_prob(x[0] if len(leading) == 2 else x).shape == leading
    assert p.log_prob(p.sample(4, seed=(0, 2))).shape == (4, *leading)
    check_support(name, x.numpy().reshape(-1, *event), **cases.options(name))
    np.testing.assert_array_equal(x, p.sample(seed=(0, 1)))


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("missing", [False, True])
def test_at_the_end_of_a_network(name, missing):
    """The batch is unknown when the network is built; its shape, and that of the parameters, still fit."""
    shape = cases.likelihood(name).params_shape
    assert len(shape) == len(cases.event(name)) and shape[:-1] == cases.event(name)[:-1]
    network = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((2,)), tf_keras.layers.Dense(size(name)), head(name, missing=missing)]
    )
    assert network.layers[-1].name == "likelihood"
    assert network.output_shape == (None, *cases.event(name))
    p = network(tf.ones([3, 2]))
    assert p.batch_shape == [3]
    np.testing.assert_array_equal(tf.convert_to_tensor(p), p.mean())  # nothing is drawn


@pytest.mark.parametrize("name", VALUES)
def test_log_prob_is_the_hand_written_one(name):
    params, p = p_x(name)
    x = p.sample(seed=(0, 1)).numpy().astype(np.float64)
    n = params.shape[1] // x[0].size
    by_hand = LOG_PROB[name](params.reshape(*x.shape, n).astype(np.float64), x)
    expected = by_hand.reshape(len(x), -1).sum(axis=1)
    np.testing.assert_allclose(p.log_prob(x.astype(np.float32)), expected, rtol=2e-5)
    wrong = LOG_PROB[name](np.roll(params, 1, axis=0).reshape(*x.shape, n).astype(np.float64), x)
    assert np.abs(wrong.reshape(len(x), -1).sum(axis=1) - expected).min() > 0.01


@pytest.mark.parametrize("name", VALUES)
def test_normalized(name):
    _, p = one_value(name)
    grid = GRIDS[name]
    total = masses(name, p.log_prob(grid.astype(np.float32)[:, None]), grid).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-4)


@pytest.mark.parametrize("name", VALUES)
def test_draws_have_the_log_prob_and_the_mean(name):
    """Chi-square test, and z-test of the mean, of 20,000 draws; draws from other parameters are caught."""
    params, p = one_value(name)
    grid = GRIDS[name]
    mass = masses(name, p.log_prob(grid.astype(np.float32)[:, None]), grid)
    draws = p.sample(20_000, seed=(0, 3)).numpy()[:, 0]
    assert fit_p_value(draws, grid, mass) > ALPHA
    assert mean_p_value(draws, p.mean().numpy()) > ALPHA
    other = head(name, (1,))(tf.constant(params + np.where(np.arange(len(params)) % 2, 0.3, -0.3)))
    wrong = other.sample(20_000, seed=(0, 3)).numpy()[:, 0]
    assert fit_p_value(wrong, grid, mass) < ALPHA


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_extremes_stay_finite(name):
    rows = [np.full(size(name), value) for value in (-1e4, -50.0, 0.0, 50.0, 1e4)]
    rows.append(np.where(np.arange(size(name)) % 3, 1e4, -1e4))
    params = tf.constant(np.stack(rows), tf.float32)
    for x in EXTREME_X.get(name, (0.0, 1.0)):
        with tf.GradientTape() as tape:
            tape.watch(params)
            p = head(name)(params)
            log_prob = p.log_prob(tf.fill([len(rows), *cases.event(name)], x))
        assert np.all(np.isfinite(log_prob))
        assert np.all(np.isfinite(tape.gradient(log_prob, params)))
    assert np.all(np.isfinite(p.mean())) and np.all(np.isfinite(p.sample(seed=(0, 1))))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_support(name):
    """Draws' inputs are finite, unconstrained numbers land in the range, and what lies outside is refused."""
    likelihood = cases.likelihood(name)
    x = p_x(name)[1].sample(seed=(0, 1))
    assert np.all(np.isfinite(likelihood.inputs(x)))
    unconstrained = tf.constant(np.random.default_rng(0).normal(0, 5, x.shape), tf.float32)
    inside = likelihood.to_support().forward(unconstrained).numpy()
    assert np.all(np.isfinite(likelihood.inputs(tf.constant(inside))))
    if not likelihood.kind.discrete and name != "mixed":
        assert likelihood.accepts(inside)
    missing = np.where(np.arange(x.shape[-1]) % 2 == 0, np.nan, x)
    assert likelihood.accepts(missing)
    assert likelihood.accepts(np.full([2, *cases.event(name)], np.nan))
    outside = np.where(np.isnan(missing), np.nan, np.inf)
    assert not likelihood.accepts(outside)
    wrong = np.float32(np.where(np.isnan(missing), x, -0.5 if name != "continuous_bernoulli" else 1.5))
    for given, expected in ((x.numpy(), True), (missing, ~np.isnan(missing)), (outside, False)):
        mask = np.asarray(likelihood.contains(given))
        assert np.array_equal(mask, np.broadcast_to(expected, x.shape))
        assert np.array_equal(mask, likelihood.contains(tf.constant(given, tf.float32)))
    mask = np.asarray(likelihood.contains(wrong))
    assert np.array_equal(mask, likelihood.contains(tf.constant(wrong)))
    assert mask.all() == likelihood.accepts(wrong)
    nan = np.isnan(likelihood.inputs(tf.constant(missing)))
    assert nan.any() and not nan.all()


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("bernoulli", 0.5),
        ("continuous_bernoulli", 1.1),
        ("normal", -np.inf),
        ("discretized_logistic", 0.5),
        ("discretized_logistic", 17.0),
        ("logistic_mixture", 256 / 255),
        ("poisson", 1.5),
        ("negative_binomial", -1.0),
        ("categorical", 5.0),
    ],
)
def test_data_outside_the_support_is_refused(name, outside):
    x = np.array([[0.0, outside, np.nan, 1.0]])
    with pytest.raises(InputError, match=f"^Mine must be .* for the {name} likelihood; .*found values from"):
        check_support(name, x, what="Mine", **cases.options(name))
    check_support(name, np.where(x == outside, 0.0, x), **cases.options(name))


def test_support_names_what_came_and_what_to_do():
    grey = np.array([0.0, 0.25, 1.0])
    with pytest.raises(InputError, match=r"0 or 1 .* from 0 to 1, 1 of 3 .* strictly between. Do that."):
        check_support("bernoulli", grey, advice="Do that.")


def test_bernoulli_is_tfps_own_layer():
    assert isinstance(head("bernoulli"), tfpl.IndependentBernoulli)


def test_continuous_bernoulli_around_one_half():
    """Value and gradient where the normalizer is 0/0, against float64; a Bernoulli, without it, is caught."""
    logits = np.float32([0, 1e-6, -1e-4, 0.01, -0.2, 0.263, 0.27, -0.5, 15.9, 16.1, -80])[:, None]
    params, x = tf.constant(logits), 0.3
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = values.continuous_bernoulli(params).log_prob(x)
    step = 1e-4
    wide = logits.astype(np.float64)
    expected = cases.continuous_bernoulli(wide, x)
    slope = (cases.continuous_bernoulli(wide + step, x) - cases.continuous_bernoulli(wide - step, x)) / step
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(tape.gradient(log_prob, params)[:, 0], slope / 2, atol=1e-5)
    assert np.abs(values.bernoulli(params).log_prob(x) - expected).min() > 0.1


def test_large_counts_keep_their_digits():
    x = np.array([0, 1, 7, 8, 9, 100, 1e4, 1e6, 1e8])
    log_rate = np.log(x * 1.001 + 0.5).astype(np.float32)
    expected = stats.poisson.logpmf(x, np.exp(log_rate.astype(np.float64)))
    p = values.poisson(tf.constant(log_rate)[:, None])
    np.testing.assert_allclose(p.log_prob(x.astype(np.float32)), expected, rtol=3e-3, atol=3e-4)
    plain = super(values.Poisson, p)._log_prob(tf.constant(x, tf.float32))
    assert np.abs(plain - expected)[-1] > 1


def test_scale_floor_bounds_the_density():
    p = values.normal(tf.constant([0.3, -1e4]))
    assert p.prob(0.3) < 400


def test_shared_scale_is_trained():
    """The layer owns one variable; the scale that maximises the likelihood of residuals of 0.1 is 0.1."""
    layer = SharedScaleNormal((4,), name="likelihood")
    model = tf_keras.Sequential([tf_keras.layers.InputLayer((4,)), layer])
    assert [v.name for v in model.trainable_variables] == [layer.raw_scale.name]
    assert float(layer.scale) == pytest.approx(1.0, rel=1e-5)  # at the start
    x = tf.constant([[0.1, -0.1, 0.1, -0.1]])
    slopes = []
    for scale in (1.0, 0.11, 0.1, 0.09):
        layer.raw_scale.assign(np.log(np.expm1(scale - values.SCALE_FLOOR)))
        assert float(layer.scale) == pytest.approx(scale, rel=1e-5)
        with tf.GradientTape() as tape:
            log_prob = model(tf.zeros([1, 4])).log_prob(x)
        slopes.append(float(tape.gradient(log_prob, layer.raw_scale)))
    assert max(slopes[:2]) < -0.1 and abs(slopes[2]) < 1e-3 and slopes[3] > 0.1


def test_every_likelihood_has_its_oracle():
    assert {*VALUES} <= {*LOG_PROB} & {*GRIDS}
    assert all(cases.likelihood(name).kind.discrete != (name in CONTINUOUS) for name in VALUES)


def test_white_is_the_largest_value_of_an_image():
    x = np.array([[0.0, np.nan, 7.0]])
    shown = {name: make((3,)).white(x) for name, make in LIKELIHOODS.items()}
    assert shown.pop("poisson") == shown.pop("negative_binomial") == 7
    assert shown.pop("categorical") == 255 and LIKELIHOODS["categorical"]((3,), classes=5).white(x) == 4
    assert set(shown.values()) == {1}
    assert LIKELIHOODS["poisson"]((3,)).white(x / 10) == 1


def test_real_numbers_alone_are_standardized():
    whole = {name for name in VALUES if cases.likelihood(name).standardizes().all()}
    assert whole == {"normal", "normal_fixed", "normal_shared"}
    assert not any(cases.likelihood(name).standardizes().any() for name in VALUES if name not in whole)
    assert cases.likelihood("mixed").standardizes().tolist() == [kind == "normal" for kind in cases.COLUMNS]


def test_architecture_makes_its_likelihood():
    architecture = Architecture((4, 3, 1), likelihood="categorical", classes=5, missing=True)
    likelihood = likelihood_of(architecture)
    assert likelihood.params_shape == (4, 3, 5) and likelihood.has_classes and likelihood.missing
    assert likelihood.mean_name == "mean" and likelihood_of(Architecture()).mean_name == "probabilities"
