"""Every combination that makes sense trains; the others are refused in a sentence."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from marked_cases import cases

from probvae import Architecture, InputError, Training
from probvae.config.choices import OBJECTIVES
from probvae.inference.importance_sampling import importance
from probvae.inference.quadrature import exact
from probvae.likelihoods import LIKELIHOODS
from probvae.models import building, saving
from probvae.models.ascent import ascend
from probvae.models.networks.registry import NETWORKS
from probvae.objectives.bound import log_terms
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS, compatible
from probvae.training.objective import make_objective

pytestmark = pytest.mark.slow  # the tests of each choice alone are quick

TINY = {"units": (8,), "filters": (3,), "components": 4, "latent_dim": 3, "network": "mlp"}
TUTORIAL = Training()
COLUMNS = ("normal", "categorical:3", "ordinal:4", "bernoulli", "poisson", "student_t")
COLUMNS += ("zero_inflated_negative_binomial", "size:0.5")


def data_for(likelihood, event_shape, n=6):
    """Values inside the support: draws from p(x|z) at parameters that are not extreme."""
    columns = COLUMNS if likelihood == "mixed" else ()
    entry = LIKELIHOODS[likelihood](event_shape, columns=columns, classes=5)
    size = int(np.prod(entry.params_shape))
    params = 0.3 * np.random.default_rng(0).standard_normal([n, size]).astype(np.float32)
    return entry.head()(tf.constant(params)).sample(seed=(0, 1))


def three_steps(vae, x, training=TUTORIAL):
    """Train three steps; return the objective [3, B] and whether every variable has moved."""
    optimizer = tf_keras.optimizers.Adam(1e-2)
    objective = make_objective(training, num_examples=100, iterations=optimizer.iterations)
    before = [v.numpy() for v in vae.trainable_variables]
    bounds = [ascend(vae, optimizer, objective, x, tf.constant([0, i])) for i in range(3)]
    moved = [not np.array_equal(a, b) for a, b in zip(before, vae.trainable_variables, strict=True)]
    return np.stack(bounds), moved


def fits(posterior, prior):
    try:
        compatible(posterior, prior)
    except InputError:
        return False
    return True


def assert_trains(vae, x, training=TUTORIAL):
    bounds, moved = three_steps(vae, x, training)
    assert bounds.shape == (3, len(x)) and np.all(np.isfinite(bounds))
    assert all(np.all(np.isfinite(v)) for v in vae.variables)
    assert all(moved), [v.name for v, m in zip(vae.trainable_variables, moved, strict=True) if not m]


PAIR = "test_every_posterior_with_every_prior_trains_or_is_refused"
ONCE = [(q, p) for q, p in itertools.product(POSTERIORS, PRIORS) if q == "diagonal" or p == "standard_normal"]
REFUSED = [(q, p) for q, p in itertools.product(POSTERIORS, PRIORS) if not fits(q, p)]
TOGETHER = ("von_mises_fisher", "uniform_sphere")
# Each with the tutorial's counterpart is quick; a posterior meets a prior in a sum of two densities.
OTHERS = {
    pair: f"{PAIR}[diagonal-{pair[1]}]"
    for pair in itertools.product(POSTERIORS, PRIORS)
    if pair not in (*ONCE, *REFUSED, TOGETHER)
}
PAIRS = cases(itertools.product(POSTERIORS, PRIORS), slow=[TOGETHER], long=OTHERS)


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_every_posterior_with_every_prior_trains_or_is_refused(posterior, prior, tmp_path):
    if not fits(posterior, prior):
        with pytest.raises(InputError, match=posterior):
            building.build(Architecture((4, 4, 1), posterior=posterior, prior=prior, **TINY))
        return
    vae = building.build(Architecture((4, 4, 1), posterior=posterior, prior=prior, **TINY), seed=1)
    x = tf.constant(np.random.default_rng(0).integers(0, 2, [6, 4, 4, 1]), tf.float32)
    assert_trains(vae, x)
    saving.save(vae, tmp_path)
    again = saving.load(tmp_path)
    z = vae.posterior(x).sample(2, seed=(0, 1))
    for a, b in (
        (vae.prior.log_prob(z), again.prior.log_prob(z)),
        (vae.posterior(x).log_prob(tf.identity(z)), again.posterior(x).log_prob(tf.identity(z))),
        (vae.likelihood(z).log_prob(x), again.likelihood(z).log_prob(x)),
        (vae.sample(3, seed=4), again.sample(3, seed=4)),
    ):
        np.testing.assert_array_equal(a, b)


EACH_ONCE = [(p, "uniform_sphere" if p == "von_mises_fisher" else "standard_normal") for p in POSTERIORS]
EACH_ONCE += [("diagonal", p) for p in PRIORS if p not in ("standard_normal", "uniform_sphere")]
# Places of the scales among the parameters, and what widens them: weights of a narrow q(z|x) vary too much.
WIDER = {"diagonal": ((2, 3), 0.8), "tril": ((2, 4), 0.5), "iaf": ((2, 3), 1.5)}


SLOW = [("von_mises_fisher", "uniform_sphere"), ("spline", "standard_normal"), ("mixture", "standard_normal")]
SLOW += [("diagonal", prior) for prior in ("spline", "maf", "realnvp")]


@pytest.mark.parametrize(("posterior", "prior"), cases(EACH_ONCE, slow=SLOW))
def test_exact_evaluation_agrees_with_importance_sampling(posterior, prior):
    """To 6 Monte Carlo errors and the tolerance of quadrature; a dropped log q(z|x) is caught."""
    choices = {**TINY, "latent_dim": 2, "activation": "tanh"}
    vae = building.build(Architecture((4, 4, 1), posterior=posterior, prior=prior, **choices), seed=1)
    rng = np.random.default_rng(0)
    for variable in vae.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape))
    kernel, bias = vae.encoder.get_layer("posterior_params").trainable_variables
    kernel.assign(0.2 * kernel)  # q(z|x) close to where it starts, which is wide
    if posterior in WIDER:
        places, more = WIDER[posterior]
        bias.assign(tf.tensor_scatter_nd_add(bias, [[place] for place in places], [more, more]))
    x = rng.integers(0, 2, [6, 4, 4, 1]).astype(np.float32)
    truth = exact(vae, x, tolerance=1e-2)
    drawn = importance(vae, x, num_samples=4000)
    assert truth.converged.all() and drawn.effective_sample_size.min() > 200
    allowed = 6 * drawn.standard_error + 2e-2
    assert np.all(np.abs(truth.log_marginal - drawn.bound) < allowed)
    terms = log_terms(vae, x, num_samples=4000, seed=0)
    wrong = tf.reduce_logsumexp(terms.log_likelihood + terms.log_prior, axis=0) - np.log(4000)
    assert np.abs(truth.log_marginal - wrong).max() > allowed.max()


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_trains_with_and_without_missing_values(likelihood, missing):
    event_shape = (len(COLUMNS),) if likelihood == "mixed" else (4, 3, 1)
    columns = COLUMNS if likelihood == "mixed" else ()
    choices = {**TINY, "likelihood": likelihood, "columns": columns, "classes": 5, "missing": missing}
    vae = building.build(Architecture(event_shape, **choices))
    x = data_for(likelihood, event_shape).numpy()
    if missing:
        x[(np.random.default_rng(1).random(x.shape) < 0.3) & vae.contract.may_be_missing] = np.nan
    assert_trains(vae, tf.constant(x))


@pytest.mark.parametrize(
    "likelihood", cases(["logistic_mixture", "discretized_logistic"], slow=["logistic_mixture"])
)
def test_colour_images_through_convolutions(likelihood):
    choices = {**TINY, "network": "residual_conv", "likelihood": likelihood}
    vae = building.build(Architecture((8, 8, 3), **choices))
    assert_trains(vae, data_for(likelihood, (8, 8, 3)))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_trains(network):
    shape = {2: (8, 2), 3: (8, 8, 1)}[(NETWORKS[network].event_ranks or (3,))[0]]
    vae = building.build(Architecture(shape, **{**TINY, "network": network, "likelihood": "normal"}))
    assert_trains(vae, data_for("normal", shape))


WITH_IAF = [  # quickly, those that treat the gradient of q(z|x) in a way of their own, or are refused
    pytest.param(o, "iaf", marks=[] if o in ("elbo", "stl", "dreg", "piwae", "beta_tc") else pytest.mark.slow)
    for o in OBJECTIVES
]


@pytest.mark.parametrize(("objective", "posterior"), [*((o, "diagonal") for o in OBJECTIVES), *WITH_IAF])
def test_every_objective_trains_or_is_refused(objective, posterior):
    vae = building.build(Architecture((4, 4, 1), posterior=posterior, **TINY))
    x = tf.constant(np.random.default_rng(0).integers(0, 2, [6, 4, 4, 1]), tf.float32)
    warmup = (
        {"beta_warmup": "linear", "beta_warmup_steps": 2}
        if "beta_warmup" in OBJECTIVES[objective].options
        else {}
    )
    groups = 2 if OBJECTIVES[objective].one_group else 1
    training = Training(objective=objective, num_samples=4, groups=groups, **warmup)
    if objective == "beta_tc" and posterior != "diagonal":
        with pytest.raises(
            (InputError, ValueError, NotImplementedError), match=r"diagonal|independent|factor"
        ):
            three_steps(vae, x, training)
    else:
        assert_trains(vae, x, training)


def test_a_hierarchy_and_a_conditional_model_train():
    x = np.random.default_rng(0).integers(0, 2, [6, 4, 4, 1]).astype(np.float32)
    hierarchy = building.build(Architecture((4, 4, 1), **{**TINY, "latent_layers": (1, 2)}))
    assert_trains(hierarchy, tf.constant(x))
    conditional = building.build(Architecture((4, 4, 1), **{**TINY, "context_dim": 3}))
    assert_trains(conditional, conditional.join(x, np.arange(6) % 3))
