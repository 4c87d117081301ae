"""Conditions that one row in 10,000 fulfils, on a table whose p(x) is exactly normal.

The decoder is linear and the scales do not depend on z, so that p(x) = N(b, W W' + S^2), and rows given
ranges of columns are truncated normal ones. They are mapped to independent numbers from U(0, 1) (Rosenblatt's
transform), and each column of these has a Kolmogorov-Smirnov test.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from marked_cases import cases
from scipy import integrate, stats
from table_models import table_model

from probvae.data.tables.table_files import whole_frame
from probvae.distributions import values
from probvae.errors import InputError
from probvae.sampling import conditional_draws
from probvae.sampling.conditional_draws import sample_given

ALPHA = 1e-6  # false-positive rate of each test
NUMBER = 2000  # rows of a test
NAMES = ["a", "b", "c"]
WEIGHTS = np.array([[1.2, 0.3], [0.9, -0.8], [-0.7, 1.0]])
BIAS, SCALES = np.array([0.1, -0.2, 0.3]), np.array([0.5, 0.7, 0.6])
COVARIANCE = WEIGHTS @ WEIGHTS.T + np.diag(SCALES**2)
DEVIATIONS = np.sqrt(np.diag(COVARIANCE))


def uniforms(x: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Map rows given x > low, with low -inf in the last column, to independent numbers from U(0, 1).

    Args:
      x: Rows [N, 3].
      low: Ends of the ranges of the columns, [3].
    """
    first, last = BIAS[0], DEVIATIONS[0]
    slope = COVARIANCE[1, 0] / COVARIANCE[0, 0]
    rest = np.sqrt(COVARIANCE[1, 1] - slope * COVARIANCE[1, 0])

    def second(a):  # mean of b given a
        return BIAS[1] + slope * (a - first)

    axis = np.linspace(max(low[0], first - 8 * last), first + 9 * last, 20_001)
    density = stats.norm.pdf(axis, first, last) * stats.norm.sf(low[1], second(axis), rest)
    below = integrate.cumulative_simpson(density, x=axis, initial=0)
    parts = [np.interp(x[:, 0], axis, below / below[-1])]
    least = stats.norm.sf(low[1], second(x[:, 0]), rest)
    parts.append(1 - stats.norm.sf(x[:, 1], second(x[:, 0]), rest) / least)
    gain = np.linalg.solve(COVARIANCE[:2, :2], COVARIANCE[:2, 2])
    deviation = np.sqrt(COVARIANCE[2, 2] - gain @ COVARIANCE[:2, 2])
    parts.append(stats.norm.cdf(x[:, 2], BIAS[2] + (x[:, :2] - BIAS[:2]) @ gain, deviation))
    return np.stack(parts, axis=1)


class Condition(NamedTuple):
    """A condition, and what the model says of it."""

    given: dict[str, Any]
    low: np.ndarray  # ends of the ranges of the columns
    log_probability: float


def condition(*levels: float) -> Condition:
    """Return that the first columns lie above so many of their standard deviations."""
    low = np.full(3, -np.inf)
    low[: len(levels)] = BIAS[: len(levels)] + np.array(levels) * DEVIATIONS[: len(levels)]
    size = len(levels)
    p = stats.multivariate_normal.cdf(-low[:size], -BIAS[:size], COVARIANCE[:size, :size], abseps=1e-10)
    return Condition({NAMES[i]: (low[i], None) for i in range(size)}, low, float(np.log(p)))


CONDITIONS = {"one column": condition(stats.norm.isf(1e-4)), "two columns": condition(3.02, 3.02)}


@pytest.fixture(scope="module")
def model():
    """The model, with an encoder that knows roughly where rows with large a and b come from."""
    frame = pd.DataFrame(
        BIAS + DEVIATIONS * np.random.default_rng(0).standard_normal([300, 3]), columns=NAMES
    )
    _, schema = whole_frame(frame, kinds=dict.fromkeys(NAMES, "normal_shared"), missing=True)
    vae = table_model(schema)
    loc, scale = (np.array([getattr(column, key) for column in schema.columns]) for key in ("loc", "scale"))
    both = np.concatenate([np.eye(2), -np.eye(2)], axis=1)  # relu(z) - relu(-z) = z
    bias, kernel = (BIAS - loc) / scale, both.T @ (WEIGHTS / scale[:, np.newaxis]).T
    trained = np.log(np.expm1(SCALES / scale - values.SCALE_FLOOR))
    for variable, value in zip(
        vae.decoder.variables, (both, np.zeros(4), kernel, bias, trained), strict=True
    ):
        variable.assign(value)
    gain = np.zeros([6, 2])  # of values, and of masks
    gain[:2] = (WEIGHTS * scale[:, np.newaxis] / DEVIATIONS[:, np.newaxis] ** 2)[:2]
    mean = np.concatenate([both.T, np.zeros([4, 2])], axis=1)  # and log-variances of 0
    for variable, value in zip(
        vae.encoder.variables, (gain @ both, np.zeros(4), mean, np.zeros(4)), strict=True
    ):
        variable.assign(value)
    return vae


def p_values(model, drawn, low):
    """Return the p-value of each column of drawn rows, at the number of rows that are independent."""
    x = np.stack([model.schema.decode(drawn.x)[name] for name in NAMES], axis=1)
    independent = NUMBER / (1 + NUMBER / drawn.effective_sample_size)  # rows may share their z
    u = np.sort(uniforms(x, low), axis=0)
    ranks = np.arange(NUMBER + 1)[:, np.newaxis] / NUMBER
    distances = np.maximum(ranks[1:] - u, u - ranks[:-1]).max(axis=0)
    return stats.kstwo.sf(distances, int(independent))


@pytest.mark.parametrize("name", cases(CONDITIONS, slow=("one column",)))
def test_rows_of_a_rare_condition_are_those_of_the_model(name, model):
    given, low, log_probability = CONDITIONS[name]
    drawn = sample_given(model, given, NUMBER, seed=5, seconds=60)
    assert p_values(model, drawn, low).min() > ALPHA
    assert drawn.effective_sample_size >= NUMBER
    assert abs(drawn.log_probability - log_probability) < 5 * drawn.standard_error < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", CONDITIONS)
def test_rows_without_weights_are_caught(name, model, monkeypatch):
    """Draws of z from both halves, and from p(z) alone, that are not weighed."""
    given, low, _ = CONDITIONS[name]
    weighted, none = conditional_draws._weighted, tf.zeros(conditional_draws.BLOCK)

    def of_both(vae, conditions, fills):
        step = weighted(vae, conditions, fills)
        return lambda seed: step(seed)._replace(log_weights=none)

    def of_prior(vae, conditions, fills):
        step = weighted(vae, conditions, fills)
        return lambda seed: step(seed)._replace(z=vae.prior.sample(len(none), seed=seed), log_weights=none)

    for wrong in (of_both, of_prior):
        monkeypatch.setattr(conditional_draws, "_weighted", wrong)
        assert p_values(model, sample_given(model, given, NUMBER, seed=5), low).min() < ALPHA


@pytest.mark.slow
def test_a_condition_that_no_draw_reaches_is_refused(model):
    """Ten standard deviations in opposite directions of two columns that rise together."""
    low, high = BIAS[0] + 10 * DEVIATIONS[0], BIAS[1] - 10 * DEVIATIONS[1]
    with pytest.raises(InputError, match="of z are effective"):
        sample_given(model, {"a": (low, None), "b": (None, high)}, 1000, seed=5, seconds=1)
