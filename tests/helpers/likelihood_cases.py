"""What the tests of likelihoods share: hand-written log-probabilities of values, and a chi-square test."""

import numpy as np
from scipy import special, stats

from probvae.likelihoods import LIKELIHOODS

COLUMNS = ("poisson", "normal", "categorical:3", "normal", "bernoulli", "lognormal", "negative_binomial")
CLASSES = 5
EVENT = (4, 3, 2)


def event(name):
    return (len(COLUMNS),) if name == "mixed" else EVENT


def likelihood(name, event_shape=None, **options_of_head):
    """The likelihood of that name for the cases' columns and classes."""
    shape = event(name) if event_shape is None else event_shape
    return LIKELIHOODS[name](shape, **options(name), **options_of_head)


def options(name):
    return {"mixed": {"columns": COLUMNS}, "categorical": {"classes": CLASSES}}.get(name, {})


def scale(raw):
    return 1e-3 + np.logaddexp(0, raw)


def continuous_bernoulli(params, x):
    logit = params[..., 0]
    small = np.abs(logit) < 1e-3
    safe = np.where(small, 1.0, np.abs(logit))
    log_c = np.log(safe) + np.log1p(np.exp(-safe)) - np.log1p(-np.exp(-safe))
    log_c = np.where(small, np.log(2) + logit**2 / 12, log_c)
    return x * logit - np.logaddexp(0, logit) + log_c


def discretized(loc, log_scale, x, levels=256):
    """Differences of the logistic's distribution or survival function, whichever is small, in float64."""
    top = levels - 1
    s = np.exp(-7 + np.logaddexp(0, log_scale + 7))
    low = ((2 * np.round(x * top) - 1) / top - 1 - loc) / s
    high = low + 2 / top / s
    low, high = np.where(x < 0.5 / top, -np.inf, low), np.where(x > 1 - 0.5 / top, np.inf, high)
    cdf, sf = stats.logistic.cdf, stats.logistic.sf
    return np.log(np.where(low > 0, sf(low) - sf(high), cdf(high) - cdf(low)))


def logistic_mixture(params, x):
    logits, loc, log_scale = np.split(params, 3, axis=-1)
    m = logits.shape[-1]
    loc = loc + (2 * np.arange(m) + 1) / m - 1
    parts = discretized(loc, log_scale, np.asarray(x)[..., None])
    return special.logsumexp(special.log_softmax(logits, axis=-1) + parts, axis=-1)


def negative_binomial(params, x):
    mean, count = np.exp(params[..., 0]), np.exp(params[..., 1])
    return stats.nbinom.logpmf(x, count, count / (count + mean))


def zero_inflated_negative_binomial(params, x):
    log_none, log_count = -np.logaddexp(0, -params[..., 2]), -np.logaddexp(0, params[..., 2])
    counts = log_count + negative_binomial(params, x)
    return np.where(np.asarray(x) == 0, np.logaddexp(log_none, counts), counts)


def student_t(params, x):
    return stats.t.logpdf(
        x, 2.1 + np.logaddexp(0, np.minimum(params[..., 2], 1e4)), params[..., 0], scale(params[..., 1])
    )


def ordinal(params, x):
    """Differences of the logistic's distribution or survival function, whichever is small, in float64."""
    steps = 1e-6 + np.logaddexp(0, params[..., 2:])
    cuts = np.concatenate([params[..., 1:2], params[..., 1:2] + np.cumsum(steps, axis=-1)], axis=-1)
    ends = np.pad(cuts - params[..., :1], [(0, 0)] * (params.ndim - 1) + [(1, 1)])
    ends[..., 0], ends[..., -1] = -np.inf, np.inf
    x = np.broadcast_to(x, params.shape[:-1])[..., None].astype(int)
    low, high = (np.take_along_axis(ends, x + i, axis=-1)[..., 0] for i in (0, 1))
    cdf, sf = stats.logistic.cdf, stats.logistic.sf
    return np.log(np.where(low > 0, sf(low) - sf(high), cdf(high) - cdf(low)))


def categorical(params, x):
    x = np.broadcast_to(x, params.shape[:-1])[..., None].astype(int)
    return np.take_along_axis(special.log_softmax(params, axis=-1), x, axis=-1)[..., 0]


# log p of one value, float64, from its parameters [..., n]
LOG_PROB = {
    "bernoulli": lambda p, x: -np.logaddexp(0, (1 - 2 * x) * p[..., 0]),
    "continuous_bernoulli": continuous_bernoulli,
    "normal_fixed": lambda p, x: stats.norm.logpdf(x, p[..., 0], 1),
    "normal_shared": lambda p, x: stats.norm.logpdf(x, p[..., 0], 1),
    "normal": lambda p, x: stats.norm.logpdf(x, p[..., 0], scale(p[..., 1])),
    "lognormal": lambda p, x: stats.lognorm.logpdf(x, scale(p[..., 1]), scale=np.exp(p[..., 0])),
    "discretized_logistic": lambda p, x: discretized(p[..., 0], p[..., 1], x),
    "logistic_mixture": logistic_mixture,
    "poisson": lambda p, x: stats.poisson.logpmf(x, np.exp(p[..., 0])),
    "negative_binomial": negative_binomial,
    "categorical": categorical,
    "student_t": student_t,
    "zero_inflated_negative_binomial": zero_inflated_negative_binomial,
    "ordinal": ordinal,
}

_NUMBERS, _LEVELS, _COUNTS = np.linspace(-60, 60, 400_001), np.arange(256) / 255, np.arange(3000.0)
# All values of x, or a fine grid of them where x is continuous.
GRIDS = {
    "bernoulli": np.arange(2.0),
    "continuous_bernoulli": np.linspace(0, 1, 100_001),
    "normal_fixed": _NUMBERS,
    "normal_shared": _NUMBERS,
    "normal": _NUMBERS,
    "lognormal": np.exp(np.linspace(-40, 40, 400_001)),
    "discretized_logistic": _LEVELS,
    "logistic_mixture": _LEVELS,
    "poisson": _COUNTS,
    "negative_binomial": _COUNTS,
    "categorical": np.arange(float(CLASSES)),
    "student_t": 1e3 * np.linspace(-1, 1, 400_001) ** 3,
    "zero_inflated_negative_binomial": _COUNTS,
    "ordinal": np.arange(float(CLASSES)),
}
CONTINUOUS = ("continuous_bernoulli", "normal_fixed", "normal_shared", "normal", "lognormal", "student_t")


def masses(name, log_prob, grid):
    """Probability of each value of the grid; by the trapezoid rule where x is continuous."""
    p = np.exp(np.asarray(log_prob, np.float64))
    if name not in CONTINUOUS:
        return p
    width = np.diff(grid)
    return p * (np.append(width, 0) + np.insert(width, 0, 0)) / 2


def fit_p_value(draws, grid, mass, bins=30):
    """P-value of the chi-square test that draws come from the masses on a grid, in bins of similar mass."""
    edges = np.unique(np.searchsorted(np.cumsum(mass), np.linspace(0, 1, bins + 1)[1:-1]))
    upper = np.append((grid[edges] + grid[np.minimum(edges + 1, len(grid) - 1)]) / 2, np.inf)
    upper = np.unique(upper)
    expected = np.diff(np.append(0, np.cumsum(mass)[np.searchsorted(grid, upper) - 1]))
    observed = np.histogram(draws, np.append(-np.inf, upper))[0]
    keep = expected > 1e-9
    assert observed[~keep].sum() == 0
    expected = expected[keep] / expected[keep].sum()
    return stats.chisquare(observed[keep], expected * observed.sum()).pvalue
