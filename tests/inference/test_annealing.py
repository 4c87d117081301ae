"""AIS and bidirectional Monte Carlo against models whose log p(x) is known.

Every statistical test has a false-positive rate of at most `ALPHA`, and shows its power on wrong variants.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from marked_cases import cases
from scipy import stats
from scipy.special import logsumexp
from statistics_helpers import ALPHA, mean_p_value

from probvae import InputError, seeds
from probvae.inference import annealing_runs
from probvae.inference.annealing import AIS, ais, bdmc, reverse_ais
from probvae.inference.annealing_path import Annealing, Path
from probvae.inference.annealing_runs import Schedule
from probvae.inference.annealing_starts import INITIALS, Start, chain_counts
from probvae.inference.annealing_trust import elsewhere, reliable, weigh
from probvae.inference.blocks import Stopped
from probvae.seeds import as_seed, split

NOISE = 3.0  # of the linear-Gaussian model: its weights are then light-tailed enough for z-tests
QUICK = {"num_steps": 60, "num_chains": 16}


def below_p_value(low, high):
    """One-sided p-value against the claim that the mean of `low` is the mean of `high` or more."""
    difference = high - low
    return stats.norm.sf(difference.mean() / (difference.std(ddof=1) / np.sqrt(len(difference))))


def weights(vae, annealing, x, seed, *, cuts):
    """Log weights [C] of paths that lack some of their densities, one for each cut, as bugs would make."""
    pilot_seed, start_seed, chain_seed = split(seed, 3)
    path, (schedule, *_) = annealing_runs.fitted(vae, annealing, x, pilot_seed)
    z = path.start.sample(start_seed)
    cut_schedules = [Schedule(*(part[cut] for part in schedule)) for cut in cuts]
    return [annealing_runs.anneal(path, z, schedule, chain_seed).log_w[0] for schedule in cut_schedules]


def path_of(vae, x, initial, num_chains=3):
    """The path with scales of a fixed seed."""
    annealing = Annealing(initial=initial, num_chains=num_chains)
    return Path(vae, annealing, x, num_chains, Start(vae, x, initial, num_chains).precisions(as_seed(7)))


def test_tempering_needs_no_decoder(x):
    """Value and gradient of log f at another beta, from those at this one, equal the direct ones."""
    vae = tiny_vae()
    for initial in INITIALS:
        path = path_of(vae, x, initial)
        z, low, high = path.start.sample(as_seed(1)), tf.fill([5], 0.001), tf.linspace(0.5, 0.9, 5)
        ours, direct = (path.bootstrap(z, beta) for beta in (low, high))
        np.testing.assert_allclose(
            path.slope(z, direct, high), path.log_joint(z) - path.start.log_prob(z), rtol=1e-3
        )
        ours = path.temper(z, ours, low, high).accepted_results
        direct = direct.accepted_results
        np.testing.assert_allclose(ours.target_log_prob, direct.target_log_prob, rtol=1e-3)
        np.testing.assert_allclose(
            ours.grads_target_log_prob[0], direct.grads_target_log_prob[0], rtol=1e-2, atol=0.02
        )


@pytest.mark.slow
@pytest.mark.parametrize("initial", INITIALS)
def test_weights_are_unbiased(initial):
    """E[w] = p(x) over 10,000 chains, by z-test; weights upside down or with a step lost are caught."""
    model = LinearGaussian(noise=NOISE)
    vae, x = model.vae(shift=0.4, stretch=1.6), tf.constant(model.sample(2, seed=2)[:1])
    exact = model.marginal.logpdf(x[0])
    annealing = Annealing(num_chains=10_000, num_steps=6, initial=initial)
    run = tf.function(functools.partial(annealing_runs.forward, vae, annealing), autograph=False)
    log_w = run(x, as_seed(1)).log_w.numpy()[0] - exact
    assert log_w.std() > 0.1  # the chains are short enough for the test to mean something
    assert mean_p_value(np.exp(log_w), 1.0) > ALPHA
    assert mean_p_value(np.minimum(np.exp(-log_w), 10), 1.0) < ALPHA  # cut, for the variance of the rest
    assert mean_p_value(1 + log_w, 1.0) < ALPHA
    lost = {"last step": slice(None, -1), "first step": slice(1, None)}
    run = tf.function(functools.partial(weights, vae, annealing, cuts=lost.values()), autograph=False)
    for name, wrong in zip(lost, run(x, as_seed(1)), strict=True):
        assert mean_p_value(np.exp(wrong.numpy() - exact), 1.0) < ALPHA, name


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["diagonal", "tril"])
@pytest.mark.parametrize("initial", INITIALS)
def test_gradient_at_the_first_draw(posterior, initial, x):
    """TFP's bijectors remember their draws, and the gradient of log r at a draw itself is wrong there."""
    path = path_of(tiny_vae(posterior), x, initial)

    @tf.function
    def gradients():
        z = path.start.sample(as_seed(1))
        copy = z + 0.0 * tf.random.stateless_normal(z.shape, as_seed(2))
        return [
            tfp.math.value_and_gradient(lambda z: path.log_prob(z, tf.fill([5], 0.1)), at)[1]
            for at in (z, copy)
        ]

    ours, fresh = gradients()
    np.testing.assert_allclose(ours, fresh, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("initial", INITIALS)
def test_reverse_weights_are_unbiased(initial):
    """E[1/w] = 1/p(x) over 3,000 exact draws of z, by z-test; z from elsewhere is caught."""
    model, n = LinearGaussian(noise=NOISE), 3000
    x = np.repeat(model.sample(2, seed=2)[:1], n, axis=0)
    sources = [model.vae(), model.vae(stretch=1.6), model.vae(shift=1.0)]  # the first is exact
    z = np.concatenate([vae.posterior(x).sample(seed=(0, 5)) for vae in sources])
    result = reverse_ais(
        model.vae(shift=0.2, stretch=1.2),
        np.concatenate(3 * [x]),
        z,
        seed=1,
        batch_size=3 * n,
        num_steps=10,
        num_chains=4,
        initial=initial,
    )
    inverse = np.exp(model.marginal.logpdf(x[0]) - result.log_marginal)
    exact, wide, shifted = (mean_p_value(part, 1.0) for part in np.split(inverse, 3))
    assert exact > ALPHA
    assert wide < ALPHA and shifted < ALPHA


@pytest.fixture(scope="module")
def estimates():
    """AIS with 64 chains on 200 examples, and log p(x)."""
    model = LinearGaussian(noise=NOISE)
    x = model.sample(200, seed=1)
    result = ais(model.vae(), x, seed=0, num_steps=30, num_chains=64, batch_size=200)
    return result, model.marginal.logpdf(x)


def test_ais_is_near_the_exact_value(estimates):
    """E[exp(estimate)] = p(x) by z-test; logsumexp without -log C, and a mean of log w, are caught."""
    result, exact = estimates
    error = result.log_marginal - exact
    assert np.abs(error).max() < 1.0 and abs(error.mean()) < 0.05
    assert mean_p_value(np.exp(error), 1.0) > ALPHA
    assert mean_p_value(np.exp(error + np.log(64)), 1.0) < ALPHA
    assert mean_p_value(np.exp(error - 0.2), 1.0) < ALPHA


def test_standard_error_is_the_spread(estimates):
    """Of 200 standardized errors the mean square is near 1; without the root of C it is not.

    Intervals cover as they say, at 4 binomial errors.
    """
    result, exact = estimates
    low, high = result.interval(0.8)
    assert result.reliable.all() and "NOT" not in result.verdict()
    assert 0.8 - 4 * 0.028 < np.mean((low <= exact) & (exact <= high)) < 0.8 + 4 * 0.028
    squares = ((result.log_marginal - exact) / result.standard_error) ** 2
    assert 0.6 < squares.mean() < 1.6
    assert squares.mean() / 64 < 0.6
    assert np.all((1 < result.effective_sample_size) & (result.effective_sample_size <= 64))
    assert np.all((0.5 < result.acceptance) & (result.acceptance < 1))


def test_populations_are_unbiased():
    """E[exp(estimate)] = p(x) by z-test; weights that are not divided by C, or lose 0.2 nats, are caught."""
    model = LinearGaussian(noise=NOISE)
    x, options = model.sample(200, seed=1), {"num_steps": 30, "batch_size": 200, "seed": 0}
    result = ais(model.vae(shift=2.0), x, num_chains=8, num_populations=8, initial="posterior", **options)
    exact = model.marginal.logpdf(x)
    error = result.log_marginal - exact
    assert mean_p_value(np.exp(error), 1.0) > ALPHA
    assert mean_p_value(np.exp(error + np.log(8)), 1.0) < ALPHA
    assert mean_p_value(np.exp(error - 0.2), 1.0) < ALPHA
    assert 0.5 < np.mean((error / result.standard_error) ** 2) < 2.0
    assert result.reliable.all() and np.all((0.5 < result.acceptance) & (result.acceptance < 1))


@pytest.mark.slow
def test_populations_without_transitions():
    """With K = 1 the weights are those of importance sampling, and there is no acceptance."""
    model = LinearGaussian()
    x = model.sample(2, seed=0)
    result = ais(model.vae(), x, num_chains=200, num_populations=3, num_steps=1, seed=1)
    np.testing.assert_allclose(result.log_marginal, model.marginal.logpdf(x), atol=0.5)
    assert np.isnan(result.acceptance).all() and result.num_populations == 3


def test_verdicts_name_chains_or_populations():
    one = AIS(*5 * [np.ones(1)], np.ones(1, bool))
    assert repr(one) == "<AIS: log p(x) of 1 example, effective chains 1.0 (median)>"
    three = AIS(*5 * [np.full(2, 2.5)], np.array([True, False]), num_populations=3)
    text = "effective populations 2.5 of 3 (median); NOT to be trusted for 1 of 2"
    assert repr(three) == f"<AIS: log p(x) of 2 examples, {text}>"


def test_means_of_weights_by_hand():
    log_w = np.array([[-1000.0, -1001.0, -1003.0], [5.0, 5.0, 5.0]])
    found = weigh(log_w, (3,))
    np.testing.assert_allclose(found.log_mean, logsumexp(log_w, axis=1) - np.log(3))
    np.testing.assert_allclose(found.standard_error[1], 0, atol=1e-12)
    w = np.exp(log_w[0] + 1000)
    variance = np.var(log_w[0], ddof=1)
    skewed = np.sqrt(min(variance + variance**2 / 2 * 3 / 2, 3) / 3)  # Cox's, at most 3
    np.testing.assert_allclose(found.standard_error[0], max(stats.sem(w) / w.mean(), skewed))
    np.testing.assert_allclose(found.effective_number, [w.sum() ** 2 / (w**2).sum(), 3])
    np.testing.assert_array_equal(found.degrees_of_freedom, 2)
    np.testing.assert_array_equal(found.enough, [False, True])  # two chains at least


def test_groups_have_errors_of_their_own():
    """Weights that differ between the groups alone have no error, since the groups have fixed sizes."""
    log_w = np.log([[1.0, 1, 1, 1, 5, 5, 5, 5], [3.0, 1, 2, 2, 1, 3, 2, 2]])
    error, freedom = weigh(log_w, (4, 4)).standard_error, weigh(log_w, (4, 4)).degrees_of_freedom
    np.testing.assert_allclose(error[0], 0, atol=1e-12)
    np.testing.assert_allclose(freedom, 6)  # groups of equal variances
    assert 0.1 < error[1] < 0.2
    assert weigh(log_w, (8,)).standard_error[0] > 0.2
    np.testing.assert_allclose(weigh(log_w, (7, 1)).standard_error, weigh(log_w, (8, 0)).standard_error)


def test_modes_that_few_chains_found_are_not_trusted():
    """Of 6 and 6 chains, ends and log-weights by hand: another mode needs chains with weights."""
    rng = np.random.default_rng(0)
    u = np.repeat(rng.standard_normal([1, 12, 2]), 6, axis=0)
    log_joint = np.repeat(-(u[:1] ** 2).sum(axis=2) / 2, 6, axis=0)
    log_w = np.zeros([6, 12])
    cases = {
        "none is elsewhere": True,
        "three elsewhere, which carry weight": True,
        "three elsewhere, one of which carries it": False,
        "three elsewhere without weight": False,
        "three elsewhere that have not arrived": True,
        "three effective chains are enough, two are not": False,
    }
    u[1:5, 9:] += 40
    log_joint[4, 9:] -= 800
    log_w[2, 10:] = -20
    log_w[3, 9:] = log_w[4, 6:] = -20
    log_w[5, 2:] = -20
    found = reliable(weigh(log_w, (6, 6)), log_w, u, log_joint, (6, 6))
    assert dict(zip(cases, found.tolist(), strict=True)) == cases
    assert weigh(log_w[5:, :8], (4, 4)).enough and not weigh(log_w[5:, :9], (5, 4)).enough


def test_chains_elsewhere():
    """Of three other chains, by hand: near one of ours, far away, and far away but not arrived."""
    u = np.random.default_rng(0).standard_normal([1, 8, 2])
    others = np.stack([u[0, 0] + 0.1, u[0, 0] + 40, u[0, 0] + 40])[np.newaxis]
    log_joint = -(u**2).sum(axis=2) / 2
    found = elsewhere(u, log_joint, others, np.array([[-1.0, -1.0, -500.0]]))
    np.testing.assert_array_equal(found, [[False, True, False]])


def test_chains_begin_in_fixed_shares(x):
    """r is the density of all first draws together."""
    vae = tiny_vae()
    assert [chain_counts("mixture", n) for n in (2, 5, 16)] == [(1, 1), (2, 3), (8, 8)]  # half to even
    start = Start(vae, x, "mixture", 5)
    z = start.sample(as_seed(1))
    assert z.shape == (5, 5, 2)
    by_hand = np.logaddexp(
        np.log(0.4) + vae.posterior(x).log_prob(z).numpy(), np.log(0.6) + vae.prior.log_prob(z).numpy()
    )
    np.testing.assert_allclose(start.log_prob(z), by_hand, rtol=1e-5)
    np.testing.assert_array_equal(z[:2], vae.posterior(x).sample(2, seed=seeds.fold_in(1, 0)))
    for initial, share in (("mixture", 0.95), ("prior", 0.0), ("posterior", 1.0)):  # of q(z|x), backwards
        with np.errstate(divide="ignore"):
            logs = np.log([share, 1 - share])
        by_hand = np.logaddexp(
            logs[0] + vae.posterior(x).log_prob(z).numpy(), logs[1] + vae.prior.log_prob(z).numpy()
        )
        end = Start(vae, x, initial, 5, backwards=True)
        np.testing.assert_allclose(end.log_prob(z), by_hand, rtol=1e-5)


@pytest.mark.slow
def test_bound_from_above_is_tight_where_the_posterior_is_good():
    """With the exact q(z|x), a mixture of halves would be log 2 = 0.69 nats too high."""
    model = LinearGaussian()
    bracket = bdmc(model.vae(), 100, num_steps=50, seed=1)
    assert abs(np.mean(bracket.upper - model.marginal.logpdf(bracket.x))) < 0.1


@pytest.fixture(scope="module")
def brackets():
    """BDMC of 1,000 simulated examples with few and with many steps, and log p(x)."""
    model, found = LinearGaussian(noise=NOISE), {}
    for num_steps in (4, 30):
        few = {"num_steps": num_steps, "num_chains": 2, "initial": "prior"}
        found[num_steps] = bdmc(model.vae(), 1000, seed=3, batch_size=1000, **few)
    return found, model.marginal.logpdf(found[4].x)


def test_bracket_holds_the_truth(brackets):
    """Means in order by one-sided z-tests. By Markov's inequality and a union over the examples, all
    lie within b = log(2 * 500 / ALPHA) of the right side but with probability ALPHA."""
    found, exact = brackets
    bound = np.log(2 * len(exact) / ALPHA)
    for bracket in found.values():
        assert np.all(bracket.lower < exact + bound) and np.all(bracket.upper > exact - bound)
        assert mean_p_value(np.exp(bracket.lower - exact), 1.0) > ALPHA
        assert mean_p_value(np.exp(exact - bracket.upper), 1.0) > ALPHA
    few = found[4]
    assert below_p_value(few.lower, exact) < ALPHA
    assert below_p_value(exact, few.upper) < ALPHA
    assert below_p_value(exact, few.lower) > 0.5 and below_p_value(few.upper, exact) > 0.5


def test_more_steps_tighten_the_bracket(brackets):
    """Paired one-sided z-test at `ALPHA`; the simulated data is the same."""
    found, exact = brackets
    np.testing.assert_array_equal(found[4].x, found[30].x)
    gaps = {k: bracket.upper - bracket.lower for k, bracket in found.items()}
    assert below_p_value(gaps[30], gaps[4]) < ALPHA
    assert 0 < gaps[30].mean() < 0.3 * gaps[4].mean()
    middle = (found[30].upper + found[30].lower) / 2
    assert np.abs(middle - exact).mean() < 0.2


def test_bdmc_simulates_from_the_model(brackets):
    """z ~ N(0, I), and x - W z - b ~ N(0, s^2 I), by z-test of first and second moments."""
    bracket, model = brackets[0][4], LinearGaussian(noise=NOISE)
    residual = bracket.x - bracket.z @ model.weights.T - model.bias
    for samples, scale in ((bracket.z, 1.0), (residual, NOISE)):
        assert mean_p_value(samples) > ALPHA
        assert mean_p_value(samples**2, scale**2) > ALPHA


def test_schedule():
    """The betas cut the mean of both arcs evenly, by hand; step sizes are those of the kind that moves."""
    betas = tf.constant([[0.0, 0], [0.2, 0.5], [1, 1], [1, 1]])  # [S, B]
    arcs = tf.constant(
        [[[0.0, 0], [0, 0]], [[2, 1], [6, 1]], [[4, 2], [8, 4]], [[4, 2], [8, 4]]]
    )  # [S, M, B]
    sizes = tf.constant([[[1.0, 1], [2, 2]], [[1, 1], [2, 2]], [[4, 1], [8, 2]], [[4, 1], [8, 2]]])
    found = annealing_runs.even([betas, arcs, sizes], 4)
    np.testing.assert_allclose(found.betas[:, 0], [0, 0.08, 0.16, 0.4667, 1], atol=1e-3)  # 0.2 at 5/8
    np.testing.assert_allclose(found.betas[:, 1], [0, 0.333, 0.6, 0.8, 1], atol=1e-3)  # 0.5 at 3/8
    np.testing.assert_allclose(found.step_sizes[:, 1], [1, 2, 1, 2, 1], rtol=1e-5)
    np.testing.assert_allclose(found.step_sizes[4, 0], 4, rtol=1e-5)


def test_pilot_fits_each_example():
    """Betas rise from 0 to 1, in smaller steps where the density changes faster, for each example alone."""
    model, annealing = LinearGaussian(noise=0.07), Annealing(num_steps=60)
    x = tf.constant(model.sample(3, seed=0))
    run = functools.partial(annealing_runs.fitted, model.vae(), annealing, seed=as_seed(1))
    betas, sizes = (part.numpy() for part in tf.function(lambda x: run(x)[1].schedule, autograph=False)(x))
    assert betas.shape == sizes.shape == (61, 3) and len(set(betas[30])) == 3 and len(set(sizes[-1])) == 3
    assert np.all(betas[0] == 0) and np.all(betas[-1] == 1) and np.all(np.diff(betas, axis=0) > 0)
    assert betas[1].max() < 1e-3 and np.all(np.diff(betas[-5:], axis=0) > 1e-2)
    np.testing.assert_allclose(sizes[:2], 0.5)
    assert np.all((0.3 < sizes) & (sizes < 5))  # in standard deviations, though p(z|x) is 20 times narrower


def test_both_ways_share_the_path_and_no_draw(x, monkeypatch):
    """The same seed gives `ais` and `reverse_ais` the same schedule, and other seeds of their chains."""
    fits, chains = [], []
    path = path_of(tiny_vae(), x, "mixture", num_chains=2)

    def fitted(vae, annealing, x, seed, backwards=False):
        fits.append(seed.numpy().tolist())
        return path, annealing_runs.Pilot(Schedule(tf.ones([2, 5]), tf.ones([2, 5])), *2 * [tf.zeros([5])])

    def anneal(path, z, schedule, seed, *, backwards=False):
        chains.append(seed.numpy().tolist())
        return annealing_runs.Ends(*4 * [tf.zeros([5])])

    monkeypatch.setattr(annealing_runs, "fitted", fitted)
    monkeypatch.setattr(annealing_runs, "anneal", anneal)
    annealing_runs.forward(path.vae, Annealing(num_chains=2), x, as_seed(3))
    annealing_runs.reverse(path.vae, Annealing(num_chains=2), x, tf.zeros([5, 2]), as_seed(3))
    assert fits[0] == fits[1] and len({str(seed) for seed in fits + chains}) == 3


def test_one_step_is_importance_sampling(x, eager):
    """No transition enters the weights: log mean p(x, z) / r(z) over the very draws of the chain's start."""
    vae = tiny_vae()
    for initial in INITIALS:
        result = ais(vae, x, seed=4, num_steps=1, num_chains=8, initial=initial)
        start = Start(vae, x, initial, 8)
        start_seed, _ = split(split(seeds.fold_in(4, 0), 3)[1], 2)
        z = start.sample(start_seed)
        log_w = vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z) - start.log_prob(z)
        by_hand = logsumexp(log_w.numpy().astype(np.float64), axis=0) - np.log(8)
        np.testing.assert_allclose(result.log_marginal, by_hand, rtol=1e-5)
        assert np.isnan(result.acceptance).all()


@pytest.mark.parametrize(
    "initial",
    cases(INITIALS, slow=INITIALS),
)
def test_convolutional_model_against_quadrature(initial, x):
    """Deterministic given the seed: within four standard errors and 0.3 nats of a fine grid."""
    vae = tiny_vae()
    axis = np.linspace(-6, 6, 121)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2).astype(np.float32)
    log_joint = vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z)
    exact = logsumexp(log_joint.numpy().astype(np.float64), axis=0) + 2 * np.log(axis[1] - axis[0])
    images = x.numpy().astype(np.uint8)  # as data sets hold them
    result = ais(vae, images, seed=0, num_steps=60, num_chains=32, initial=initial)
    error = np.abs(result.log_marginal - exact)
    assert np.all(error < 4 * result.standard_error + 0.01) and np.all(error < 0.3)


@pytest.mark.slow
def test_blocks_progress_and_seed():
    model, progress = LinearGaussian(noise=NOISE), []
    vae, x = model.vae(), 3 * model.sample(5, seed=1)
    run = functools.partial(ais, vae, x, batch_size=2, **QUICK)
    first = run(seed=1, on_progress=progress.append)
    assert progress == [0.4, 0.8, 1.0]
    exact = model.marginal.logpdf(x)
    assert np.diff(np.sort(exact)).min() > 1.0  # so that examples in another order would be seen
    assert np.abs(first.log_marginal - exact).max() < 0.5
    for ours, again in zip(first, run(seed=1), strict=True):
        np.testing.assert_array_equal(ours, again)
    assert np.all(first.log_marginal != run(seed=2).log_marginal)


@pytest.mark.slow
def test_bdmc_progress_and_stop():
    progress = []

    def stop_in_the_middle(fraction):
        progress.append(fraction)
        if fraction > 0.6:
            raise Stopped

    part = bdmc(LinearGaussian().vae(), 3, seed=1, batch_size=2, on_progress=stop_in_the_middle, **QUICK)
    np.testing.assert_allclose(progress, [1 / 3, 1 / 2, 5 / 6])
    assert {len(field) for field in (part.x, part.z, *part.forward[:-1], *part.reverse[:-1])} == {2}
    assert np.all(np.abs(part.upper - part.lower) < 2.0)  # the two directions speak of the same examples


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_chains": 1}, "num_chains must be a whole number of at least 2; got 1"),
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1; got 0"),
        ({"num_leapfrog_steps": 0}, "num_leapfrog_steps must be a whole number of at least 1"),
        ({"num_pilot_chains": 1}, "num_pilot_chains must be a whole number of at least 2"),
        ({"step_size": 0.0}, "step_size must be a finite number above 0; got 0.0"),
        ({"num_populations": 0}, "num_populations must be a whole number of at least 1"),
        ({"initial": "joint"}, "one of mixture, prior, posterior; got 'joint'"),
        ({"num_populations": 2**31 - 1}, r"num_chains \* num_populations=34,359,738,352 needs"),
    ],
)
def test_mistakes_are_named(kwargs, message):
    model = LinearGaussian()
    with pytest.raises(InputError, match=message):
        ais(model.vae(), model.sample(2, seed=0), seed=0, **kwargs)


def test_wrong_shapes_are_named():
    model = LinearGaussian()
    vae, x = model.vae(), model.sample(2, seed=0)
    with pytest.raises(InputError, match=r"shape \[N, 5\]; got \[2, 4\]"):
        ais(vae, x[:, :4], seed=0)
    with pytest.raises(InputError, match=r"shape \(2, 2\).*got \(3, 2\)"):
        reverse_ais(vae, x, np.zeros([3, 2]), seed=0)
    with pytest.raises(InputError, match=r"z must be an array of numbers of shape \(2, 2\); got a list"):
        reverse_ais(vae, x, [[1.0, 2.0], [3.0]], seed=0)
    with pytest.raises(InputError, match="z must be finite"):
        reverse_ais(vae, x, np.full([2, 2], np.nan), seed=0)
    with pytest.raises(InputError, match="level must be above 0 and below 1; got 95"):
        AIS(*5 * [np.ones(2)], np.ones(2, bool)).interval(95)
    with pytest.raises(InputError, match="num_examples must be a whole number of at least 1"):
        bdmc(vae, 0, seed=0)
