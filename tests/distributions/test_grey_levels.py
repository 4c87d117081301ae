from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from likelihood_cases import discretized
from scipy import stats
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from probvae import InputError
from probvae.distributions.grey_levels import (
    DiscretizedLogistic,
    PixelLogistic,
    colour_mixture,
    is_level,
    mixture,
)
from probvae.likelihoods import LIKELIHOODS, check_support

LEVELS = np.arange(256) / 255
# locations and log-scales on the scale of u in [-1, 1], the hard ones among them
LOCS = (-30.0, -1.004, -1.0, -0.99, 0.0, 0.0013, 0.5, 0.997, 1.0, 5.0)
LOG_SCALES = (-100.0, -7.0, -5.5, -4.0, -2.0, 0.0, 3.0, 100.0)


def hard_cases():
    loc, log_scale = np.array(list(product(LOCS, LOG_SCALES)), np.float32).T
    return loc, log_scale


def exact_mean(loc, log_scale, levels=256):
    """Sum of level times mass in float64, through the distribution function at the 255 edges."""
    top = levels - 1
    s = np.exp(np.minimum(-7 + np.logaddexp(0, np.float64(log_scale) + 7), 7))
    edges = (2 * np.arange(1, levels) - 1) / top - 1
    return stats.logistic.sf((edges - np.float64(loc)[..., None]) / s[..., None]).sum(axis=-1) / top


@pytest.mark.parametrize("log_scale", LOG_SCALES)
def test_log_prob_in_float32_is_that_in_float64(log_scale):
    loc = np.float32(LOCS)[:, None]
    p = DiscretizedLogistic(tf.constant(loc), tf.constant(log_scale))
    log_prob = p.log_prob(LEVELS.astype(np.float32)).numpy()
    assert np.all(np.isfinite(log_prob)) and np.all(log_prob <= 0)
    np.testing.assert_allclose(np.exp(log_prob.astype(np.float64)).sum(axis=1), 1, rtol=1e-4)
    with np.errstate(divide="ignore"):
        expected = discretized(loc, min(log_scale, 7.0), LEVELS)
    keep = expected > -30  # beyond, float64's own differences have no digits
    np.testing.assert_allclose(log_prob[keep], expected[keep], rtol=1e-3, atol=2e-3)


def test_wide_logistics_keep_their_digits():
    """Why the library has its own: TFP takes differences of nearly equal numbers."""
    scale = np.float64(np.exp(np.float32(7))) * 127.5  # grey levels
    levels = np.arange(1, 255)
    ours = DiscretizedLogistic(tf.constant(0.0), tf.constant(100.0)).log_prob(LEVELS[1:-1].astype(np.float32))
    tfps = tfd.QuantizedDistribution(
        tfb.Shift(-0.5)(tfd.Logistic(127.5, np.float32(scale))), 0.0, 255.0
    ).log_prob(levels.astype(np.float32))
    expected = stats.logistic.logpdf((levels - 127.5) / scale) - np.log(scale)  # constant within a level
    np.testing.assert_allclose(ours, expected, atol=3e-3)
    assert np.abs(tfps - expected).max() > 0.01


def test_mean_of_the_levels():
    loc, log_scale = hard_cases()
    p = DiscretizedLogistic(tf.constant(loc), tf.constant(log_scale))
    error = 255 * np.abs(p.mean() - exact_mean(loc, log_scale))
    assert error.max() < 0.01  # grey levels
    wide = np.float32(np.linspace(4, 7, 40))
    there = np.linspace(-1.5, 1.5, 40, dtype=np.float32)
    error = 255 * np.abs(
        DiscretizedLogistic(tf.constant(there), tf.constant(wide)).mean() - exact_mean(there, wide)
    )
    assert error.max() < 0.03
    assert (
        255 * np.abs(p.loc / 2 + 0.5 - exact_mean(loc, log_scale)).max() > 0.3
    )  # without rounding and edges


def test_scale_has_a_gradient_where_it_is_smallest():
    raw = tf.constant([-7.0, -9.0])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        scale = DiscretizedLogistic(tf.zeros(2), raw).scale
    assert tape.gradient(scale, raw).numpy().min() > 0
    assert np.all(scale >= np.exp(-7.0))


def test_components_start_apart():
    p = mixture(tf.zeros([30]))
    np.testing.assert_allclose(p.components_distribution.loc, np.linspace(-0.9, 0.9, 10), atol=1e-6)
    np.testing.assert_allclose(p.mean(), 0.5, atol=1e-4)


def pixel_params(components=2, seed=0, log_scale=-1.5):
    """Parameters of a colour pixel whose channels depend on each other."""
    rng = np.random.default_rng(seed)
    logits, rest = rng.standard_normal(components), rng.standard_normal([components, 9])
    rest[:, :3] *= 0.5
    rest[:, 3:6] = log_scale + 0.3 * rest[:, 3:6]
    rest[:, 6:] = [2.0, -2.0, 1.5]
    return np.concatenate([logits, rest.ravel()]).astype(np.float32)


def by_hand(params, x, levels):
    """Log-probability of pixels x [..., 3], float64."""
    m = len(params) // 10
    logits, rest = params[:m].astype(np.float64), params[m:].reshape(m, 9).astype(np.float64)
    u, total = 2 * x - 1, 0
    for k in range(m):
        loc = rest[k, :3] + (2 * k + 1) / m - 1
        c = np.tanh(rest[k, 6:])
        locs = [loc[0], loc[1] + c[0] * u[..., 0], loc[2] + c[1] * u[..., 0] + c[2] * u[..., 1]]
        log_p = sum(discretized(locs[i], rest[k, 3 + i], x[..., i], levels) for i in range(3))
        total = total + np.exp(logits[k] - np.logaddexp.reduce(logits) + log_p)
    return np.log(total)


def every_pixel(levels):
    return np.array(list(product(range(levels), repeat=3))) / (levels - 1)


def test_colour_pixel_is_the_hand_written_one_and_normalized():
    """Exhaustively over all pixels of six levels; without the dependence of channels the check fails."""
    x = every_pixel(6)
    for seed in range(3):
        params = pixel_params(seed=seed)
        log_prob = colour_mixture(tf.constant(params), 6).log_prob(x.astype(np.float32))
        np.testing.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-5)
        np.testing.assert_allclose(log_prob, by_hand(params, x, 6), rtol=1e-4, atol=1e-4)
    apart = params.copy()
    apart[2:].reshape(2, 9)[:, 6:] = 0
    assert np.abs(by_hand(apart, x, 6) - log_prob).max() > 1


def test_colour_pixel_of_256_levels_is_normalized():
    """Mean of p(x) / q(x) over 100,000 pixels from a known q is 1: z-test; a tenth more is caught.

    Each channel of q is uniform with probability 1/2, else 0 or 255, where p's tails are.
    """
    rng = np.random.default_rng(0)
    shape = [100_000, 3]
    level = np.where(rng.random(shape) < 0.5, rng.integers(0, 256, shape), 255 * rng.integers(0, 2, shape))
    q = np.prod(0.5 / 256 + 0.25 * ((level == 0) | (level == 255)), axis=1)
    p = colour_mixture(tf.constant(pixel_params(log_scale=-0.5))).prob((level / 255).astype(np.float32))
    ratio = p.numpy().astype(np.float64) / q
    assert mean_p_value(ratio, 1.0) > ALPHA
    assert mean_p_value(ratio * 1.1, 1.0) < ALPHA


def test_colour_draws_have_the_log_prob():
    """Chi-square over all 216 pixels of six levels, 60,000 draws; independent channels are caught."""
    params, x = pixel_params(), every_pixel(6)
    apart = params.copy()
    apart[2:].reshape(2, 9)[:, 6:] = 0
    expected = np.exp(by_hand(params, x, 6))

    def p_value(parameters):
        draws = colour_mixture(tf.constant(parameters), 6).sample(60_000, seed=(0, 4)).numpy()
        cells = np.round(5 * draws).astype(int) @ [36, 6, 1]
        observed = np.bincount(cells, minlength=216)
        rare = expected * 60_000 < 10
        counts = [np.append(v[~rare], v[rare].sum()) for v in (observed, expected * 60_000)]
        return stats.chisquare(counts[0], counts[1] * counts[0].sum() / counts[1].sum()).pvalue

    assert p_value(params) > ALPHA
    assert p_value(apart) < ALPHA


@pytest.mark.parametrize("log_scale", [-6.0, -3.0, -1.0, 1.0])
def test_colour_mean_is_within_a_grey_level(log_scale):
    """Against 100,000 draws, whose own error is allowed for at five standard errors."""
    for seed in range(3):
        p = colour_mixture(tf.constant(pixel_params(seed=seed, log_scale=log_scale)))
        draws = p.sample(100_000, seed=(0, seed)).numpy().astype(np.float64)
        error = np.abs(p.mean() - draws.mean(axis=0)) * 255
        assert np.all(error < 1 + 5 * 255 * draws.std(axis=0) / np.sqrt(len(draws)))


def exact_pixel_mean(loc, log_scale, coefficients):
    """Over all levels of red and green."""
    u = np.float32(2 * np.float32(LEVELS) - 1)
    red = DiscretizedLogistic(tf.constant(loc[0]), tf.constant(log_scale[0]))
    green = DiscretizedLogistic(loc[1] + coefficients[0] * u[:, None], tf.constant(log_scale[1]))
    blue_loc = loc[2] + coefficients[1] * u[:, None] + coefficients[2] * u
    blue = DiscretizedLogistic(tf.constant(blue_loc), tf.constant(log_scale[2])).mean().numpy()
    levels = np.float32(LEVELS)
    p_red = red.prob(levels).numpy().astype(np.float64)
    joint = p_red[:, None] * green.prob(levels).numpy()
    return np.array([p_red @ levels, (joint * levels).sum(), (joint * blue).sum()])


def test_colour_mean_where_wide_channels_come_before_narrow_ones():
    """Within half a grey level of the sum over all levels."""
    rng = np.random.default_rng(0)
    cases = [
        (
            np.float32([0.355, -0.192, 0.413]),
            np.float32([1.34, -4.97, -3.68]),
            np.float32([-0.9, 0.97, -0.99]),
        )
    ]
    cases += [
        tuple(np.float32(rng.uniform(low, high, 3)) for low, high in ((-1, 1), (-6, 1.5), (-1, 1)))
        for _ in range(8)
    ]
    for case in cases:
        error = 255 * np.abs(PixelLogistic(*map(tf.constant, case)).mean() - exact_pixel_mean(*case))
        assert error.max() < 0.5, case


def test_colour_is_for_images_of_three_channels():
    likelihood = LIKELIHOODS["logistic_mixture"]
    assert likelihood((4, 5, 3)).params_shape == (4, 5, 100)
    assert likelihood((4, 5, 1)).params_shape == (4, 5, 30)
    assert likelihood((4, 5, 2)).params_shape == (4, 5, 60)
    p = likelihood((2, 2, 3)).head()(tf.random.stateless_normal([5, 400], seed=(0, 1)))
    x = p.sample(seed=(0, 2))
    one_pixel = np.float32([[0, 0, 0]]) + x[:, 0, 0]
    other = tf.concat([x[:, :, :, :2], 1 - x[:, :, :, 2:]], axis=-1)
    assert p.event_shape == (2, 2, 3) and one_pixel.shape == (5, 3)
    assert np.abs(p.log_prob(other) - p.log_prob(x)).min() > 1e-3


def test_levels():
    assert is_level(np.float32(LEVELS)).all() and is_level(np.array([0, 1])).all()
    assert not is_level(np.array([0.5, -1 / 255, 256 / 255, 1e-3, np.inf])).any()


def test_pixels_that_miss_some_channels_are_refused():
    x = np.zeros([2, 4, 4, 3])
    x[0, 1, 1] = np.nan
    check_support("logistic_mixture", x)
    x[1, 2, 2, 0] = np.nan
    with pytest.raises(InputError, match="found 1 pixels that miss some channels, not all"):
        check_support("logistic_mixture", x)
    check_support("discretized_logistic", x)
