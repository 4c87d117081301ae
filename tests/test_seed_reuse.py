"""No seed is used for two draws, in any function that draws: the second would be the first again."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import likelihood_cases
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conditional_models import tiny_m2
from marked_cases import cases
from python_doors import SHAPE, conditional, model, right
from seed_recorder import recorded, twice
from table_models import table_model
from tensorflow_probability import distributions as tfd

import probvae
from probvae import evaluation, inference, objectives, sampling
from probvae.config.architecture import Architecture
from probvae.data import Prepared
from probvae.data.tables.table_files import whole_frame
from probvae.export import functions
from probvae.inference import importance_sampling
from probvae.likelihoods import LIKELIHOODS
from probvae.models.encoding import encode
from probvae.objectives import memory
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS
from probvae.seeds import as_seed, fold_in
from probvae.training import Trainer
from probvae.training.objective import make_objective

X = right()
CLASSES = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
HMC = {"num_samples": 3, "num_burnin_steps": 12, "num_chains": 2, "batch_size": 4}
ANNEALING = {"num_chains": 2, "num_steps": 3, "batch_size": 4}


@functools.cache
def built(**choices: Any) -> Any:
    return probvae.build(Architecture(event_shape=SHAPE, network="mlp", units=(4,), **choices))


plain = functools.cache(model)
incomplete = functools.partial(built, missing=True)
of_classes = functools.cache(tiny_m2)
flow = functools.partial(built, posterior="iaf")
LADDER = {"latent_layers": (2, 1), "latent_dim": 3}


def gaps(x: np.ndarray) -> np.ndarray:
    """The examples with every third value missing."""
    return np.where(np.arange(x.size).reshape(x.shape) % 3, x, np.nan).astype(np.float32)


def _fitting(prior: str) -> dict[str, str]:
    """The prior with a posterior that fits it."""
    return {"prior": prior, "posterior": "von_mises_fisher" if PRIORS[prior].on_sphere else "diagonal"}


def train(vae: Any) -> None:
    """Two epochs of a training in parts, with binarization at every step."""
    data = Prepared(X, X, lambda batch, seed: tf.round(tf.random.stateless_uniform(tf.shape(batch), seed)))
    Trainer(vae, data, probvae.Training(epochs=2, batch_size=4, parts=2)).fit()


def in_blocks_of_two(vae: Any) -> None:
    """Draws of x in several blocks of rows."""
    with mock.patch.object(memory, "PARAMETERS_PER_SEED", 2 * vae.params_size):
        vae.decoded_draws(np.zeros([5, 2], np.float32), seed=0)


def of_table() -> Any:
    """A model of a table of numbers and levels."""
    rows = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rows.integers(18, 90, 60), "job": rows.choice(list("abc"), 60)})
    return table_model(whole_frame(frame, kinds={"age": "normal"}, missing=True)[1])


def of_sized_table() -> Any:
    """A model of a table of counts and of the size of their rows."""
    rows = np.random.default_rng(0)
    frame = pd.DataFrame({"hours": rows.gamma(2.0, size=60), "calls": rows.poisson(3, 60)})
    return table_model(whole_frame(frame, kinds={"hours": "size", "calls": "poisson"}, missing=True)[1])


def check_of_table(vae: Any) -> None:
    """Drawn rows against rows of the data."""
    x = vae.sample(20, seed=1).numpy()
    evaluation.check_model(vae, x, x[:10], seed=0)


def impute_in_chunks(vae: Any) -> None:
    """Imputation of examples that differ, in several chunks of draws; equal examples share theirs."""
    x = gaps(np.random.default_rng(0).integers(0, 2, [3, *X.shape[1:]]))
    x = x[np.unique(x, axis=0, return_index=True)[1]]
    with mock.patch("probvae.sampling.imputation.BLOCK", 4 * x[0].size), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten draws are few
        sampling.impute(vae, x, num_samples=10, num_draws=3)


def in_chunks(vae: Any) -> None:
    """Importance sampling of several blocks of examples, with several chunks of draws."""
    with (
        mock.patch.object(importance_sampling, "BLOCK", 4),
        mock.patch.object(importance_sampling, "decodes_at_once", return_value=8),
    ):
        inference.importance(vae, X, num_samples=4)


def p_x(name: str) -> Any:
    """A likelihood at five sets of parameters."""
    colours = (4, 2, 3) if name == "logistic_mixture" else None
    kind = likelihood_cases.likelihood(name, colours)
    return kind.head()(tf.zeros([5, int(np.prod(kind.params_shape))]))


# What draws, by a name that says which model.
CALLS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "vae.sample": (plain, lambda vae: vae.sample(3, seed=0)),
    "vae.sample in blocks": (plain, in_blocks_of_two),
    "vae.sample(y)": (conditional, lambda vae: vae.sample(3, y=1, seed=0)),
    "vae.sample of classes": (
        conditional,
        lambda vae: vae.with_contexts(tfd.OneHotCategorical(probs=[0.2, 0.3, 0.5])).sample(3, seed=0),
    ),
    "vae.sample of a hierarchy": (functools.partial(built, **LADDER), lambda vae: vae.sample(3, seed=0)),
    "vae.reconstruct": (plain, lambda vae: vae.reconstruct(X, seed=0)),
    "vae.marginal.log_prob": (plain, lambda vae: vae.marginal(num_samples=2).log_prob(X)),
    "vae.marginal.sample": (plain, lambda vae: vae.marginal().sample(3, seed=0)),
    "vae.fit": (model, lambda vae: vae.fit(X, epochs=2, batch_size=4, validation_data=X, verbose=0)),
    "encode": (plain, lambda vae: encode(vae, np.tile(X, [80, 1]))),
    **{
        f"objectives.{name}": (plain, lambda vae, f=f: f(vae, X, num_samples=2, seed=0))
        for name, f in objectives.OBJECTIVES.items()
    },
    "objectives.m2": (of_classes, lambda vae: objectives.m2(vae, vae.join(X, CLASSES), seed=0)),
    "objectives.log_weights": (plain, lambda vae: objectives.log_weights(vae, X, num_samples=2, seed=0)),
    "objectives.log_joint": (of_classes, lambda vae: objectives.log_joint(vae, X, seed=0)),
    "inference.importance": (plain, in_chunks),
    "inference.exact": (plain, lambda vae: inference.exact(vae, X, tolerance=1.0)),
    "inference.ais": (plain, lambda vae: inference.ais(vae, X, **ANNEALING)),
    "inference.ais of populations": (
        plain,
        lambda vae: inference.ais(vae, X, num_populations=2, **ANNEALING),
    ),
    "inference.reverse_ais": (
        plain,
        lambda vae: inference.reverse_ais(vae, X, np.zeros([8, 2]), **ANNEALING),
    ),
    "inference.reverse_ais on a sphere": (
        functools.partial(built, posterior="von_mises_fisher", prior="uniform_sphere"),
        lambda vae: inference.reverse_ais(vae, X, np.eye(2)[np.arange(8) % 2], **ANNEALING),
    ),
    "inference.bdmc": (plain, lambda vae: inference.bdmc(vae, 8, **ANNEALING)),
    "inference.posterior_samples": (plain, lambda vae: inference.posterior_samples(vae, X, **HMC)),
    "inference.posterior_samples of nuts": (
        plain,
        lambda vae: inference.posterior_samples(vae, X, method="nuts", **HMC),
    ),
    "inference.optimize_posteriors": (
        plain,
        lambda vae: inference.optimize_posteriors(vae, X, num_steps=3, num_evaluation_samples=20),
    ),
    "inference.certify": (
        plain,
        lambda vae: inference.certify(vae, num_simulations=100, batch_size=50, seed=0),
    ),
    "sampling.prior_draws": (plain, lambda vae: sampling.prior_draws(vae, 1500)),
    "sampling.posterior_draws": (plain, lambda vae: sampling.posterior_draws(vae, X, num_draws=2)),
    "sampling.posterior_predictive": (
        plain,
        lambda vae: sampling.posterior_predictive(vae, np.tile(X, [200, 1]), num_draws=2),
    ),
    "sampling.decode": (plain, lambda vae: sampling.decode(vae, np.zeros([1500, 2]))),
    "sampling.interpolate": (
        plain,
        lambda vae: sampling.interpolate(vae, np.zeros(2), np.ones(2), steps=3),
    ),
    "sampling.traverse": (
        plain,
        lambda vae: sampling.traverse(vae, np.zeros(2), dimension=0, values=[0.0, 1.0]),
    ),
    "sampling.closeness": (plain, lambda vae: sampling.closeness(vae, vae.prior, X)),
    "sampling.fit_sampler": (plain, lambda vae: sampling.fit_sampler(vae, X, components=1)),
    "sampling.sample_given": (
        of_table,
        lambda vae: sampling.sample_given(vae, {"age": (30, 40), "job": ["a", "b"]}, 3, seconds=0.0, seed=0),
    ),
    "sampling.sample_given of counts with a size": (
        of_sized_table,
        lambda vae: sampling.sample_given(vae, {"calls": (1, 9)}, 3, seconds=0.0, seed=0),
    ),
    "sampling.sample_rows": (of_table, lambda vae: sampling.sample_rows(vae, 3, seed=0)),
    "sampling.impute": (
        incomplete,
        impute_in_chunks,
    ),
    "evaluation.rate_distortion": (
        plain,
        lambda vae: evaluation.rate_distortion(vae, np.tile(X, [80, 1]), num_samples=3, seed=0),
    ),
    "evaluation.posterior_moments of a flow": (
        flow,
        lambda vae: evaluation.posterior_moments(vae, X, num_samples=3),
    ),
    "evaluation.active_units of a flow": (flow, lambda vae: evaluation.active_units(vae, X, num_samples=3)),
    "evaluation.kl_per_dimension of a flow": (
        flow,
        lambda vae: evaluation.kl_per_dimension(vae, X, num_samples=3, seed=0),
    ),
    "evaluation.scores": (
        plain,
        lambda vae: evaluation.scores(vae, X, np.zeros(8), reference_log_marginal=np.zeros(8), seed=0),
    ),
    "evaluation.aggregate_posterior": (
        plain,
        lambda vae: evaluation.aggregate_posterior(vae, X, num_samples=2, seed=0),
    ),
    "evaluation.predictive_check": (
        plain,
        lambda vae: evaluation.predictive_check(vae, X, num_draws=700, seed=0),
    ),
    "evaluation.check_model": (of_table, check_of_table),
    "training.Trainer": (plain, train),
    "training of hidden values": (
        incomplete,
        lambda vae: make_objective(probvae.Training(hide=0.5), num_examples=8)(vae, X, seed=(0, 1)),
    ),
    "export.log_prob": (plain, lambda vae: functions.log_prob(vae)(X, tf.constant(2), tf.constant(0))),
    "export.sample": (plain, lambda vae: functions.sample(vae)(tf.constant(2), tf.constant(0))),
    **{
        f"priors.{name}": (
            functools.partial(built, **_fitting(name)),
            lambda vae: vae.prior.sample(5, seed=(0, 1)),
        )
        for name in PRIORS
    },
    **{
        # A shape of its own: TFP keeps the trace of some samplers, and a second call would not be seen.
        f"likelihoods.{name}": (functools.partial(p_x, name), lambda p: p.sample(11, seed=(0, 1)))
        for name in LIKELIHOODS
    },
    **{
        f"posteriors.{name}": (
            functools.partial(built, posterior=name, prior="vamp"),
            lambda vae: vae.posterior(X).sample(2, seed=(0, 1)),
        )
        for name in POSTERIORS
    },
}
# Where the same is drawn twice on purpose: the reason, and how many draws are no first ones.
SHARED: dict[str, dict[str, int]] = {
    "vae.fit": {"the ELBO of the validation data after each epoch, so that epochs can be compared": 2},
    "training.Trainer": {"the ELBO of the test set after each epoch, so that epochs can be compared": 1},
    "inference.bdmc": {"the pilot run of the reverse chains, which take the path of the forward ones": 24},
    "inference.optimize_posteriors": {"the ELBOs before and after, of which the better is kept": 4},
    "evaluation.posterior_moments of a flow": {"mean and deviation are those of one sample": 1},
    "evaluation.kl_per_dimension of a flow": {"mean and deviation are those of one sample": 1},
    "evaluation.active_units of a flow": {"mean and deviation are those of one sample": 1},
}
SLOW = {n for n in CALLS if n.startswith(("inference.ais", "inference.reverse", "inference.bdmc"))}
SLOW |= {n for n in CALLS if n.startswith("inference.posterior_samples")}
# What only calls functions that are called here, or chooses rows by NumPy; see also the stages in
# evaluation/test_stages.py.
OTHERS = ("log_terms", "two_sided", "check_rows", "calibration_error")
COMPILED = {"vae.fit", "training.Trainer", "inference.exact", *SLOW}  # Keras, and what is quicker so


@pytest.mark.parametrize("name", cases(CALLS, slow=SLOW))
def test_no_seed_is_used_twice(name):
    make, call = CALLS[name]
    vae = make()
    tf.config.run_functions_eagerly(name not in COMPILED)
    try:
        with recorded() as draws:
            call(vae)
    finally:
        tf.config.run_functions_eagerly(False)
    shared = twice(draws)
    assert draws, "nothing was drawn"
    assert sum(shared.values()) == sum(SHARED.get(name, {}).values()), shared


def test_the_recorder_sees_what_is_drawn_twice():
    """In graphs and without, of different operations too, and in a loop whose seed forgets the step."""

    def draw(seed: tf.Tensor) -> tf.Tensor:
        z = tfd.Normal(0.0, 1.0).sample(3, seed=seed)
        k = tfd.Categorical(logits=[0.0, 1.0]).sample(3, seed=seed)  # of an operation of another version
        z += tf.random.stateless_uniform([3], seed) + tf.random.stateless_normal([3], fold_in(seed, 1))
        return z + tf.cast(k, tf.float32)

    for function in (draw, tf.function(draw)):
        with recorded() as draws:
            function(as_seed(0))
        assert len(draws) == 4 and list(twice(draws).values()) == [2]

    @tf.function
    def loop(seed: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda i: tf.random.stateless_uniform([], seed), tf.range(4.0))

    with recorded() as draws:
        loop(as_seed(0))
    assert list(twice(draws).values()) == [3] and len(draws) == 4


@pytest.mark.parametrize("distribution", [tfd.Poisson(2.0), tfd.Gamma(2.0, 1.0), tfd.Binomial(3.0, 0.5)])
def test_the_recorder_sees_samplers_that_were_compiled_before(distribution):
    distribution.sample(3, seed=(0, 1))
    with recorded() as draws:
        distribution.sample(3, seed=(0, 1))
    assert draws


@pytest.mark.parametrize("room", [objectives, inference, sampling, evaluation])
def test_every_function_with_a_seed_is_called(room):
    name = room.__name__.rpartition(".")[2]
    functions = {n: f for n in room.__all__ if inspect.isfunction(f := getattr(room, n))}
    drawing = {n for n, f in functions.items() if "seed" in inspect.signature(f).parameters} - set(OTHERS)
    called = {call.partition(" ")[0] for call in CALLS}
    assert {f"{name}.{n}" for n in drawing} <= called
