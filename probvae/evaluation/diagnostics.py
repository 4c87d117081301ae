"""What a VAE does with its data: rate, distortion, the use of its latent dimensions, and its draws.

All in nats (but for `bits_per_dimension`) and float64. A mean over examples comes as an `Estimate`, whose
standard error takes the examples for independent draws.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from probvae import objectives
from probvae.evaluation.importance import error_of_mean
from probvae.seeds import Seed, as_seed, fold_in

if TYPE_CHECKING:
    from probvae.model import VAE

BLOCK = 500  # examples in one call of a compiled function: bounds the memory for any number of examples
_SEED = tf.TensorSpec([2], tf.int32)


class Estimate(NamedTuple):
    """A mean over examples and its standard error, which is NaN for a single example."""

    value: float
    standard_error: float


def estimate(values: np.ndarray) -> Estimate:
    """Take the mean of independent values [N] and its standard error."""
    return Estimate(float(np.mean(values)), float(error_of_mean(np.asarray(values, np.float64))))


def _in_blocks(
    vae: "VAE", function: Callable[[tf.Tensor, tf.Tensor], Iterable[tf.Tensor]]
) -> Callable[[np.ndarray, Seed], list[np.ndarray]]:
    """Compile `(x [B, *E], seed) -> tensors [B, ...]` once, for x [N, *E] of any number of examples."""
    signature = [tf.TensorSpec([None, *vae.event_shape]), _SEED]
    compiled = tf.function(function, input_signature=signature, autograph=False)

    def over_blocks(x: np.ndarray, seed: Seed) -> list[np.ndarray]:
        x, seed = _checked(vae, x), as_seed(seed)
        starts = range(0, len(x), BLOCK)
        parts = [compiled(x[i : i + BLOCK].astype(np.float32), fold_in(seed, i)) for i in starts]
        return [np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True)]

    return over_blocks


def _checked(vae: "VAE", x: np.ndarray, at_least: int = 1) -> np.ndarray:
    x = np.asarray(x)
    if x.shape[1:] != vae.event_shape or len(x) < at_least:
        expected = f"[N, {', '.join(map(str, vae.event_shape))}] with N >= {at_least}"
        raise ValueError(f"Expected x of shape {expected}; got shape {list(x.shape)}.")
    return x


class RateDistortion(NamedTuple):
    """Rate and distortion, each [N] in nats, and their Monte Carlo errors; ELBO = -rate - distortion."""

    rate: np.ndarray  # KL(q(z|x) || p(z))
    distortion: np.ndarray  # -E_q[log p(x|z)]
    rate_error: np.ndarray  # 0 where it is analytic
    distortion_error: np.ndarray  # NaN for a single draw


def rate_distortion(vae: "VAE", x: np.ndarray, *, num_samples: int = 1, seed: Seed) -> RateDistortion:
    """Split the ELBO into rate and distortion (Alemi et al. 2018, arXiv:1711.00464).

    Args:
      vae: the model.
      x: data [N, *E].
      num_samples: draws of z for each example.
      seed: an int or an int32 pair.

    Returns:
      `RateDistortion`. The rate is `tfd.kl_divergence` where TFP knows it for this pair, and else the
      Monte Carlo mean of log q(z|x) - log p(z).
    """

    def draw(x: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        terms = objectives.log_terms(vae, x, seed=seed)
        return [(terms.log_posterior - terms.log_prior)[0], -terms.log_likelihood[0]]

    one_draw = _in_blocks(vae, draw)
    draws = np.array([one_draw(x, fold_in(seed, s)) for s in range(num_samples)])  # [S, 2, N]
    (rate, distortion), (rate_error, distortion_error) = draws.mean(axis=0), error_of_mean(draws)
    with contextlib.suppress(NotImplementedError):  # TFP knows no closed form for this pair
        (rate,) = _in_blocks(vae, lambda x, _: [tfd.kl_divergence(vae.posterior(x), vae.prior)])(x, 0)
        rate_error = np.zeros_like(rate)
    return RateDistortion(rate, distortion, rate_error, distortion_error)


def bits_per_dimension(log_prob: np.ndarray, event_shape: tuple[int, ...]) -> np.ndarray:
    """Turn log p(x) in nats into bits per dimension, -log p(x) / (D log 2); lower is better.

    Args:
      log_prob: [N], nats. To a density of values in [0, 1] that stand for 256 levels, add D log(1/256)
        first: otherwise the unit of the density decides the number.
      event_shape: E, of D values.

    Returns:
      [N], bits per dimension.

    >>> bits_per_dimension(np.array([-8 * np.log(2)]), (2, 2, 1))
    array([2.])
    """
    return -np.asarray(log_prob, np.float64) / (math.prod(event_shape) * math.log(2))


class Moments(NamedTuple):
    """Mean and standard deviation of q(z|x), each [N, L], and whether they are exact or from draws."""

    mean: np.ndarray
    stddev: np.ndarray
    exact: bool


def posterior_moments(vae: "VAE", x: np.ndarray, *, num_samples: int = 100, seed: Seed = 0) -> Moments:
    """Return the mean and standard deviation of q(z|x) for x [N, *E].

    Where q(z|x) does not know them (a flow), they come from `num_samples` draws for each example.
    """

    def known(x: tf.Tensor, _: tf.Tensor) -> list[tf.Tensor]:
        q = vae.posterior(x)  # q(z|x)
        return [q.mean(), q.stddev()]

    def sampled(x: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        z = vae.posterior(x).sample(num_samples, seed=seed)  # [S, B, L]
        unbiased = math.sqrt(num_samples / (num_samples - 1))
        return [tf.reduce_mean(z, axis=0), tf.math.reduce_std(z, axis=0) * unbiased]

    try:
        mean, stddev = _in_blocks(vae, known)(x, seed)
        return Moments(mean, stddev, exact=True)
    except NotImplementedError:
        mean, stddev = _in_blocks(vae, sampled)(x, seed)
        return Moments(mean, stddev, exact=False)


class KLPerDimension(NamedTuple):
    """E_x KL(q(z_l|x) || p(z_l)) and its error over examples, [L]; a lower bound if it is not exact."""

    mean: np.ndarray
    standard_error: np.ndarray
    exact: bool


def kl_per_dimension(vae: "VAE", x: np.ndarray, *, num_samples: int = 100, seed: Seed = 0) -> KLPerDimension:
    """Return the KL of q(z|x)'s marginals from those of a normal prior, by latent dimension.

    With a factorized prior the sum over dimensions is the rate less q(z|x)'s total correlation: the rate
    itself for a diagonal posterior, less than it for a correlated one (`tril`). With a correlated prior
    the sum means nothing. A q(z|x) that is not normal is replaced by the normal with its moments, which
    can only lower its KL from a normal prior: the result is then a lower bound, and not `exact`.

    x is [N, *E], the result in nats; `num_samples` and `seed` as in `posterior_moments`.

    Raises:
      NotImplementedError: the prior is not a normal.
    """
    if not _is_normal(vae.prior):
        raise NotImplementedError(
            f"The KL per dimension needs a normal prior; got {vae.prior}. "
            "rate_distortion gives the KL over all dimensions for any prior."
        )
    moments = posterior_moments(vae, x, num_samples=num_samples, seed=seed)
    q = tfd.Normal(moments.mean, moments.stddev)  # q(z_l|x)
    prior = tfd.Normal(*(tf.cast(t, tf.float64) for t in (vae.prior.mean(), vae.prior.stddev())))
    kl = tfd.kl_divergence(q, prior).numpy()  # [N, L]
    exact = moments.exact and _is_normal(vae.posterior(np.asarray(x[:1], np.float32)))
    return KLPerDimension(kl.mean(axis=0), error_of_mean(kl), exact)


def _is_normal(distribution: tfd.Distribution) -> bool:
    distribution = getattr(distribution, "tensor_distribution", distribution)  # as a Keras layer made it
    if isinstance(distribution, tfd.Independent | tfd.Sample):
        return _is_normal(distribution.distribution)
    return isinstance(distribution, tfd.Normal | tfd.MultivariateNormalLinearOperator)


class ActiveUnits(NamedTuple):
    """How many dimensions are active, which [L], Var_x(E_q[z_l]) [L], and its error over examples [L]."""

    number: int
    mask: np.ndarray
    variances: np.ndarray
    standard_errors: np.ndarray


def active_units(
    vae: "VAE", x: np.ndarray, *, threshold: float = 0.01, num_samples: int = 100, seed: Seed = 0
) -> ActiveUnits:
    """Find the latent dimensions with Var_x(E_q[z_l]) > threshold (Burda et al. 2016, arXiv:1509.00519).

    x is [N, *E] with N at least 2; the threshold is the source's, for a unit prior. Where q(z|x) does not
    know its mean, it comes from `num_samples` draws, and the variance that they add is taken off.
    """
    x = _checked(vae, x, at_least=2)
    mean, stddev, exact = posterior_moments(vae, x, num_samples=num_samples, seed=seed)
    squares = (mean - mean.mean(axis=0)) ** 2 * (len(mean) / (len(mean) - 1))
    variances = squares.mean(axis=0) - (0 if exact else (stddev**2).mean(axis=0) / num_samples)
    mask = variances > threshold
    return ActiveUnits(int(mask.sum()), mask, variances, error_of_mean(squares))


class AggregatePosterior(NamedTuple):
    """The rate as mutual information I(x; z) plus marginal KL(q(z) || p(z)), in nats.

    Each lower is too small in expectation, each upper too large; marginal_kl_lower can be negative.
    rate = mutual_information_lower + marginal_kl_upper = mutual_information_upper + marginal_kl_lower.
    mutual_information_lower is at most log N: close to that, it says only that I is large.
    """

    rate: Estimate
    mutual_information_lower: Estimate
    mutual_information_upper: Estimate
    marginal_kl_lower: Estimate
    marginal_kl_upper: Estimate


def aggregate_posterior(vae: "VAE", x: np.ndarray, *, num_samples: int = 1, seed: Seed) -> AggregatePosterior:
    """Split the rate: E_x KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)), q(z) = E_x q(z|x).

    Both ways to average over the N examples are biased (Poole et al. 2019, arXiv:1905.06922, section 2).
    For z from q(z|x_i), the mean of q(z|x_j) over all j holds the density that z came from and is too
    large there: I comes out too small, the marginal KL too large. The mean over j != i errs the other way.
    The two meet where N is large against exp(I). The work is N squared densities for each sample.

    The standard errors take q(z) for fixed: to first order no example changes the estimates through it,
    since every q(z|x) integrates to 1. They leave out the biases, which the bounds' distance shows.

    Args:
      vae: the model.
      x: data [N, *E], N at least 2.
      num_samples: draws of z for each example.
      seed: an int or an int32 pair.

    References:
      Hoffman & Johnson 2016, ELBO surgery: yet another way to carve up the variational bound.
    """
    x = _checked(vae, x, at_least=2)

    def draw(x: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        q = vae.posterior(x)  # q(z|x)
        z = q.sample(seed=seed)
        return [z, q.log_prob(z), vae.prior.log_prob(z)]

    one_draw, log_sum_of_others = _in_blocks(vae, draw), _log_sum_of_others(vae, x)
    terms = []
    for s in range(num_samples):
        z, own, prior = one_draw(x, fold_in(seed, s))
        others = log_sum_of_others(z)
        everyone = np.logaddexp(others, own)
        terms.append([own, everyone - math.log(len(x)), others - math.log(len(x) - 1), prior])
    own, everyone, others, prior = np.mean(terms, axis=0)  # log densities at z, each [N]
    return AggregatePosterior(
        rate=estimate(own - prior),
        mutual_information_lower=estimate(own - everyone),
        mutual_information_upper=estimate(own - others),
        marginal_kl_lower=estimate(others - prior),
        marginal_kl_upper=estimate(everyone - prior),
    )


def _log_sum_of_others(vae: "VAE", x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from z [N, L], z_i drawn from q(z|x_i), to log sum_{j != i} q(z_i|x_j), [N]."""
    rows = math.ceil(len(x) / BLOCK)
    owner = np.resize(np.arange(len(x), dtype=np.int32), [rows, BLOCK])  # padded to whole blocks
    shape = tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([rows, BLOCK, vae.latent_dim])

    @tf.function(input_signature=[*shape, tf.TensorSpec([], tf.int32)], autograph=False)
    def one_block(x: tf.Tensor, z: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        q = vae.posterior(x)  # q(z|x_j), j = start, start + 1, ...
        index = start + tf.range(tf.shape(x)[0])

        def log_sum(z_and_owner: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            z, owner = z_and_owner
            log_q = q.log_prob(z[:, tf.newaxis, :])  # [BLOCK, B]
            # Far from its mass a flow's density is next to zero, and its inverse overflows to nan.
            left_out = (owner[:, tf.newaxis] == index) | tf.math.is_nan(log_q)
            return tf.reduce_logsumexp(tf.where(left_out, -np.inf, log_q), axis=1)

        return tf.map_fn(log_sum, (z, owner), fn_output_signature=tf.float32, parallel_iterations=1)

    def log_sum_of_others(z: np.ndarray) -> np.ndarray:
        blocks, total = z.astype(np.float32)[owner], np.full([rows, BLOCK], -np.inf)
        for i in range(0, len(x), BLOCK):
            total = np.logaddexp(total, one_block(x[i : i + BLOCK].astype(np.float32), blocks, i).numpy())
        return total.ravel()[: len(x)]

    return log_sum_of_others


def _roughness(x: np.ndarray) -> np.ndarray:
    """Mean squared difference of neighbours along the first two axes of E, [N]."""
    axes = [axis for axis in range(1, min(x.ndim, 3)) if x.shape[axis] > 1]
    return np.mean([(np.diff(x, axis=a) ** 2).reshape(len(x), -1).mean(axis=1) for a in axes], axis=0)


Statistic = Callable[[np.ndarray], np.ndarray]  # x [B, *E] in float64 to a number for each example, [B]
STATISTICS: dict[str, Statistic] = {
    "mean": lambda x: x.reshape(len(x), -1).mean(axis=1),
    "number_on": lambda x: (x > 0.5).reshape(len(x), -1).sum(axis=1),
    "spread": lambda x: x.reshape(len(x), -1).std(axis=1),
    "roughness": _roughness,
}


class Check(NamedTuple):
    """A statistic in the data and in the model's draws. Enough data reject any model."""

    data: Estimate
    model: Estimate
    distance: float  # Kolmogorov-Smirnov, 0 to 1: how wrong the model is
    p_value: float  # of that distance, asymptotic; too large with ties, and one test of several
    quantiles: (
        np.ndarray
    )  # [N], share of draws below each example's value, ties counted half; ideally uniform


def predictive_check(
    vae: "VAE",
    x: np.ndarray,
    *,
    statistics: Mapping[str, Statistic] = STATISTICS,
    num_draws: int = 1000,
    seed: Seed,
) -> dict[str, Check]:
    """Compare statistics of x [N, *E] with those of `num_draws` draws z ~ p(z), x ~ p(x|z).

    At trained weights it is a posterior predictive check (Gelman, Meng & Stern 1996) that takes the
    weights as known. The result has a `Check` for each of the `statistics`.
    """
    x, size = _checked(vae, x), min(BLOCK, num_draws)
    draw = tf.function(lambda seed: vae.sample(size, seed), input_signature=[_SEED], autograph=False)

    def evaluate(blocks: Iterable[np.ndarray]) -> np.ndarray:  # [number of statistics, N]
        wide = (block.astype(np.float64) for block in blocks)
        return np.concatenate([[f(block) for f in statistics.values()] for block in wide], axis=1)

    data = evaluate(x[i : i + BLOCK] for i in range(0, len(x), BLOCK))
    seed = as_seed(seed)
    model = evaluate(draw(fold_in(seed, i)).numpy() for i in range(0, num_draws, size))[:, :num_draws]
    return {name: _compare(*pair) for name, *pair in zip(statistics, data, model, strict=True)}


def _compare(data: np.ndarray, model: np.ndarray) -> Check:
    test = stats.ks_2samp(data, model, method="asymp")
    below, up_to = (np.searchsorted(np.sort(model), data, side) for side in ("left", "right"))
    quantiles = (below + up_to) / (2 * len(model))
    return Check(estimate(data), estimate(model), float(test.statistic), float(test.pvalue), quantiles)


class LabelAccuracy(NamedTuple):
    """Shares of test labels guessed right, with binomial standard errors; `majority` is the baseline."""

    nearest_neighbours: Estimate
    linear_probe: Estimate
    majority: Estimate


def label_accuracy(
    train_mean: np.ndarray,
    train_labels: np.ndarray,
    test_mean: np.ndarray,
    test_labels: np.ndarray,
    *,
    k: int = 5,
) -> LabelAccuracy:
    """Guess test labels [M] from codes [M, L], such as `posterior_moments(vae, x).mean`.

    By a vote of the k nearest of the training codes [N, L], by logistic regression on standardized codes,
    and by always naming the commonest training label.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def accuracy(guesser: Any) -> Estimate:
        share = float(guesser.fit(train_mean, train_labels).score(test_mean, test_labels))
        return Estimate(share, math.sqrt(share * (1 - share) / len(test_labels)))

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    guessers = KNeighborsClassifier(k), probe, DummyClassifier(strategy="most_frequent")
    return LabelAccuracy(*(accuracy(guesser) for guesser in guessers))
