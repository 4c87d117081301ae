"""The doors of Python by which x enters a model, and the kinds of wrong x; see docs/reliability.md."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import probvae
from probvae import data, evaluation, export, inference, objectives, priors, runs, sampling, sklearn
from probvae.data import Prepared
from probvae.training import State, Trainer, fit

SHAPE = (6,)


def model() -> probvae.VAE:
    """A compiled model of six binary values."""
    architecture = probvae.Architecture(event_shape=SHAPE, network="mlp", units=(4,), likelihood="bernoulli")
    vae = probvae.build(architecture)
    vae.compile("adam")
    return vae


def right() -> np.ndarray:
    """Eight examples."""
    return np.random.default_rng(0).integers(0, 2, [8, *SHAPE]).astype(np.float32)


def _dataset(x: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(x).batch(4)


QUIET: dict[str, Any] = {"verbose": 0}
Door = Callable[[Any, Any], Any]
KERAS: dict[str, Door] = {
    "vae.fit(x)": lambda vae, x: vae.fit(x, **QUIET),
    "vae.fit(dataset)": lambda vae, x: vae.fit(_dataset(x), **QUIET),
    "vae.fit(generator)": lambda vae, x: vae.fit((part for part in [x]), **QUIET),
    "vae.fit(validation_data=x)": lambda vae, x: vae.fit(right(), validation_data=x, **QUIET),
    "vae.evaluate(x)": lambda vae, x: vae.evaluate(x, **QUIET),
    "vae.predict(x)": lambda vae, x: vae.predict(x, **QUIET),
    "vae.train_on_batch(x)": lambda vae, x: vae.train_on_batch(x),
    "vae.test_on_batch(x)": lambda vae, x: vae.test_on_batch(x),
    "vae.predict_on_batch(x)": lambda vae, x: vae.predict_on_batch(x),
    "vae(x)": lambda vae, x: vae(x),
}
MODEL: dict[str, Door] = {
    "vae.posterior(x)": lambda vae, x: vae.posterior(x),
    "vae.reconstruct(x)": lambda vae, x: vae.reconstruct(x, seed=0),
    "vae.marginal().log_prob(x)": lambda vae, x: vae.marginal(num_samples=2).log_prob(x),
    **{
        f"objectives.{name}(vae, x)": lambda vae, x, f=f: f(vae, x, num_samples=2, seed=0)
        for name, f in objectives.OBJECTIVES.items()
    },
    "objectives.log_weights(vae, x)": lambda vae, x: objectives.log_weights(vae, x, seed=0),
}
ESTIMATES: dict[str, Door] = {
    "inference.importance(vae, x)": lambda vae, x: inference.importance(vae, x, num_samples=2),
    "inference.exact(vae, x)": lambda vae, x: inference.exact(vae, x, tolerance=1.0),
    "inference.ais(vae, x)": lambda vae, x: inference.ais(vae, x, num_chains=2, num_steps=1),
    "inference.posterior_samples(vae, x)": lambda vae, x: inference.posterior_samples(
        vae, x, num_samples=2, num_burnin_steps=1, num_chains=1
    ),
    "inference.optimize_posteriors(vae, x)": lambda vae, x: inference.optimize_posteriors(
        vae, x, num_steps=1, num_evaluation_samples=2
    ),
    "sampling.posterior_draws(vae, x)": lambda vae, x: sampling.posterior_draws(vae, x),
    "sampling.posterior_predictive(vae, x)": lambda vae, x: sampling.posterior_predictive(vae, x),
    "sampling.closeness(vae, prior, x)": lambda vae, x: sampling.closeness(vae, vae.prior, x),
    "sampling.fit_sampler(vae, x)": lambda vae, x: sampling.fit_sampler(vae, x, components=1),
    "evaluation.rate_distortion(vae, x)": lambda vae, x: evaluation.rate_distortion(vae, x, seed=0),
    "evaluation.posterior_moments(vae, x)": lambda vae, x: evaluation.posterior_moments(vae, x),
    "evaluation.active_units(vae, x)": lambda vae, x: evaluation.active_units(vae, x),
    "evaluation.aggregate_posterior(vae, x)": lambda vae, x: evaluation.aggregate_posterior(vae, x, seed=0),
}
DOORS = KERAS | MODEL | ESTIMATES
# What is not wrong at some doors: one example [*E], no validation data. No data set of arrays can be made of
# None, ragged or sparse tensors.
ALLOWED = {
    **dict.fromkeys(["vae(x)", *MODEL], ("one example",)),
    "vae.fit(validation_data=x)": ("None",),
    "vae.fit(dataset)": ("None", "ragged", "sparse"),
}


def _where(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that sets one value of x."""

    def wrong(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[1, 2] = value
        return x

    return wrong


WRONG: dict[str, Callable[[np.ndarray], Any]] = {
    "times 255": lambda x: x * 255,
    "grey": _where(0.5),
    "NaN": _where(np.nan),
    "infinite": _where(np.inf),
    "other shape": lambda x: x[:, :4],
    "one example": lambda x: x[0],
    "more axes": lambda x: x[:, :, None],
    "empty": lambda x: x[:0],
    "text": lambda x: x.astype(str),
    "complex": lambda x: x.astype(np.complex64),
    "dict": lambda x: {"x": x},
    "ragged": lambda x: tf.ragged.constant([[0.0, 1.0], [1.0]]),
    "sparse": lambda x: tf.sparse.from_dense(x),
    "None": lambda x: None,
}


# ---- y of conditional models ---------------------------------------------------------------------


@functools.cache
def conditional() -> probvae.models.ConditionalVAE:
    """A model of six binary values given one of three classes."""
    return probvae.build(probvae.Architecture(event_shape=SHAPE, network="mlp", units=(4,), context_dim=3))


CONTEXTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "vae.given(y)": lambda vae, x, y: vae.given(y),
    "vae.sample(n, y=y)": lambda vae, x, y: vae.sample(8, seed=0, y=y),
    "vae.likelihood(z, y)": lambda vae, x, y: vae.likelihood(np.zeros([8, 2]), y),
    "vae.join(x, y)": lambda vae, x, y: vae.join(x, y),
}
WRONG_CONTEXTS: dict[str, Any] = {
    "NaN": [np.nan, 0.0, 1.0],
    "infinite": np.float32([[0.0, np.inf, 1.0]] * 8),
    "a tensor with NaN": tf.constant([np.nan, 0.0, 1.0]),
    "an unknown class": 3,
    "a class below 0": -1,
    "other size": [1.0, 0.0],
    "a float": 1.5,
    "other number": [0, 1],
    "empty": np.zeros([0, 3]),
    "ragged": [[0, 1], [2]],
    "text": "a",
    "texts": ["a"] * 8,
    "objects": [None] * 8,
    "complex": 1j,
    "bool": True,
    "dict": {"y": 0},
}


# ---- numbers -------------------------------------------------------------------------------------

COUNTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    **{
        f"objectives.{name}(num_samples=n)": lambda vae, x, n, f=f: f(vae, x, num_samples=n, seed=0)
        for name, f in objectives.OBJECTIVES.items()
    },
    "vae.sample(n)": lambda vae, x, n: vae.sample(n, seed=0),
    "vae.marginal(n)": lambda vae, x, n: vae.marginal(n),
    "inference.importance(num_samples=n)": lambda vae, x, n: inference.importance(vae, x, num_samples=n),
    "inference.ais(num_chains=n)": lambda vae, x, n: inference.ais(vae, x, num_chains=n),
    "inference.posterior_samples(num_chains=n)": lambda vae, x, n: inference.posterior_samples(
        vae, x, num_chains=n
    ),
    "inference.optimize_posteriors(num_steps=n)": lambda vae, x, n: inference.optimize_posteriors(
        vae, x, num_steps=n
    ),
    "inference.exact(max_points=n)": lambda vae, x, n: inference.exact(vae, x, max_points=n),
    "sampling.prior_draws(n)": lambda vae, x, n: sampling.prior_draws(vae, n),
    "sampling.posterior_draws(num_draws=n)": lambda vae, x, n: sampling.posterior_draws(vae, x, num_draws=n),
    "sampling.interpolate(steps=n)": lambda vae, x, n: sampling.interpolate(
        vae, np.zeros(2), np.ones(2), steps=n
    ),
    "sampling.impute(num_samples=n)": lambda vae, x, n: sampling.impute(vae, x, num_samples=n),
    "evaluation.rate_distortion(num_samples=n)": lambda vae, x, n: evaluation.rate_distortion(
        vae, x, num_samples=n, seed=0
    ),
    "evaluation.predictive_check(num_draws=n)": lambda vae, x, n: evaluation.predictive_check(
        vae, x, statistics={"mean": np.mean}, num_draws=n, seed=0
    ),
    "vae.fit(epochs=n)": lambda vae, x, n: vae.fit(x, epochs=n, verbose=0),
    "vae.fit(batch_size=n)": lambda vae, x, n: vae.fit(x, batch_size=n, verbose=0),
    "vae.predict(batch_size=n)": lambda vae, x, n: vae.predict(x, batch_size=n, verbose=0),
}
WRONG_COUNTS = (2.5, -1, 0, "3", True, np.nan, [2], 1e9)
LARGE_COUNTS = (2**31, 2**40, 10**30)
LATENT = tf.zeros([2])


@functools.cache
def _flow() -> Any:
    return priors.PRIORS["realnvp"](2, seed=0, context=priors.PriorContext())


SAMPLES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "vae.marginal().sample(n)": lambda vae, x, n: vae.marginal().sample(n, seed=0),
    "vae.likelihood(z).sample(n)": lambda vae, x, n: conditional().likelihood(LATENT).sample(n, seed=(0, 1)),
    "realnvp.sample(n)": lambda vae, x, n: _flow().sample(n, seed=(0, 1)),
}
WRONG_SAMPLES = (2.5, -1, "3", True, np.nan, [2.5], [[2]], None, 2**31, 2**40)
NAMES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "vae.marginal(method=c)": lambda vae, x, c: vae.marginal(method=c),
    "inference.posterior_samples(method=c)": lambda vae, x, c: inference.posterior_samples(vae, x, method=c),
    "inference.ais(initial=c)": lambda vae, x, c: inference.ais(vae, x, initial=c),
    "sampling.fit_sampler(kind=c)": lambda vae, x, c: sampling.fit_sampler(vae, x, kind=c),
    "sampling.interpolate(path=c)": lambda vae, x, c: sampling.interpolate(vae, LATENT, LATENT, path=c),
    "probvae.build(precision=c)": lambda vae, x, c: probvae.build(vae.architecture, precision=c),
    "Architecture(prior=c)": lambda vae, x, c: probvae.Architecture(prior=c),
    "Training(objective=c)": lambda vae, x, c: probvae.Training(objective=c),
}
WRONG_NAMES = ("none of them", None, 3, ["iwae"], {})


def wrong_calls(vae: Any, folder: Any) -> dict[str, Callable[[], Any]]:
    """Calls with arguments of other classes, such as swapped ones; `folder` is a path where nothing is."""
    prepared, training = Prepared(right(), right(), lambda batch, seed: batch), probvae.Training()
    architecture, trainer = vae.architecture, Trainer(vae, prepared, training)
    weights = [v.numpy() for v in vae.variables]
    spoilt = probvae.build(architecture)
    spoilt.variables[0].assign(np.nan * weights[0])
    calls: dict[str, Callable[[], Any]] = {
        "Trainer(None, data, training)": lambda: Trainer(None, prepared, training),
        "Trainer(data, vae, training)": lambda: Trainer(prepared, vae, training),
        "Trainer(vae, x, training)": lambda: Trainer(vae, right(), training),
        "Trainer(vae, data, None)": lambda: Trainer(vae, prepared, None),
        "Trainer(vae, data of a list)": lambda: Trainer(vae, prepared._replace(train=[[0.0] * 6]), training),
        "Trainer(vae, data without feed)": lambda: Trainer(vae, prepared._replace(feed=None), training),
        "training.fit(vae, training, data)": lambda: fit(vae, training, prepared),
        "trainer.restore(3)": lambda: trainer.restore(3),
        "trainer.restore(of another)": lambda: trainer.restore(State(weights[:3], [])),
        "build(None)": lambda: probvae.build(None),
        "build(vae)": lambda: probvae.build(vae),
        "build(schema=3)": lambda: probvae.build(architecture, schema=3),
        "build(seed='a')": lambda: probvae.build(architecture, seed="a"),
        "build(dropout=None)": lambda: probvae.build(architecture, dropout=None),
        "conv_vae(3)": lambda: probvae.conv_vae(3),
        "conv_vae((28, 28))": lambda: probvae.conv_vae((28, 28)),
        "Architecture(latent_dim='a')": lambda: probvae.Architecture(latent_dim="a"),
        "Architecture(units=3)": lambda: probvae.Architecture(units=3),
        "save(3, path)": lambda: probvae.save(3, folder),
        "save(path, vae)": lambda: probvae.save(folder, vae),
        "save(vae, 3)": lambda: probvae.save(vae, 3),
        "save(vae, '')": lambda: probvae.save(vae, ""),
        "save(vae, path, 3)": lambda: probvae.save(vae, folder, 3),
        "save(vae with NaN, path)": lambda: probvae.save(spoilt, folder),
        "save(vae.given(y), path)": lambda: probvae.save(conditional().given(2), folder),
        "save(vae, a file)": lambda: probvae.save(vae, __file__),
        "load(3)": lambda: probvae.load(3),
        "load(vae)": lambda: probvae.load(vae),
        "load(path, 3)": lambda: probvae.load(folder, vae=3),
        "prior_draws(sampler=3)": lambda: sampling.prior_draws(vae, 2, sampler=3),
        "closeness(vae, x, x)": lambda: sampling.closeness(vae, right(), right()),
        "elbo(x, vae)": lambda: probvae.elbo(right(), vae, seed=0),
        "iwae(None, x)": lambda: probvae.iwae(None, right(), seed=0),
        "importance(x, vae)": lambda: inference.importance(right(), vae),
        "ais(None, x)": lambda: inference.ais(None, right()),
        "rate_distortion(None, x)": lambda: evaluation.rate_distortion(None, right(), seed=0),
        "prior_draws(None, 2)": lambda: sampling.prior_draws(None, 2),
        "decode(vae, 'a')": lambda: sampling.decode(vae, "a"),
        "decode(x, vae)": lambda: sampling.decode(right(), vae),
        "traverse(values='a')": lambda: sampling.traverse(vae, LATENT, dimension=0, values="a"),
        "traverse(z with NaN)": lambda: sampling.traverse(vae, [np.nan, 0.0], dimension=0, values=[1.0]),
        "interpolate(vae, 'a', 'b')": lambda: sampling.interpolate(vae, "a", "b"),
        "interpolate(z with NaN)": lambda: sampling.interpolate(vae, [np.nan, 0.0], LATENT),
        "tempered(3, 1)": lambda: sampling.tempered(3, 1.0),
        "with_contexts(3)": lambda: conditional().with_contexts(3),
        "with_contexts(of another size)": lambda: conditional().with_contexts(vae.prior),
        "prepare(x)": lambda: data.prepare(right()),
        "prepare(binarize=None)": lambda: data.prepare(data.load("digits"), binarize=None),
        "Run(3)": lambda: runs.Run(3),
        "runs.train(3)": lambda: runs.train(3),
        "runs.evaluate(None)": lambda: runs.evaluate(None),
        "export_model(3, path)": lambda: export.export_model(3, folder),
        "export_model(vae, 3)": lambda: export.export_model(vae, 3),
        "trainer.fit(every=3)": lambda: trainer.fit(every=3),
    }
    return calls


SEEDS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "probvae.elbo(seed=s)": lambda vae, x, s: probvae.elbo(vae, x, seed=s),
    "vae.sample(seed=s)": lambda vae, x, s: vae.sample(2, seed=s),
    "vae.compile(seed=s)": lambda vae, x, s: vae.compile("adam", seed=s),
    "vae.marginal(seed=s)": lambda vae, x, s: vae.marginal(seed=s).log_prob(x),
    "inference.importance(seed=s)": lambda vae, x, s: inference.importance(vae, x, num_samples=2, seed=s),
    "inference.posterior_samples(seed=s)": lambda vae, x, s: inference.posterior_samples(
        vae, x, num_samples=2, num_burnin_steps=1, num_chains=1, seed=s
    ),
    "sampling.prior_draws(seed=s)": lambda vae, x, s: sampling.prior_draws(vae, 2, seed=s),
    "sampling.impute(seed=s)": lambda vae, x, s: sampling.impute(vae, x, num_samples=2, seed=s),
    "evaluation.rate_distortion(seed=s)": lambda vae, x, s: evaluation.rate_distortion(vae, x, seed=s),
}
WRONG_SEEDS = ("a", 1.5, [1, 2, 3], True, np.nan, {})
WEIGHTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "objectives.elbo(beta=w)": lambda vae, x, w: objectives.elbo(vae, x, seed=0, beta=w),
    "objectives.stl(beta=w)": lambda vae, x, w: objectives.stl(vae, x, seed=0, beta=w),
    "objectives.free_bits(free_bits=w)": lambda vae, x, w: objectives.free_bits(vae, x, seed=0, free_bits=w),
    "objectives.beta_tc(beta=w)": lambda vae, x, w: objectives.beta_tc(vae, x, seed=0, beta=w),
    "objectives.mmd(mmd_weight=w)": lambda vae, x, w: objectives.mmd(vae, x, seed=0, mmd_weight=w),
    "objectives.renyi(alpha=w)": lambda vae, x, w: objectives.renyi(vae, x, seed=0, alpha=w),
    "objectives.chi(order=w)": lambda vae, x, w: objectives.chi(vae, x, seed=0, order=w),
    "inference.exact(tolerance=w)": lambda vae, x, w: inference.exact(vae, x, tolerance=w),
    "inference.optimize_posteriors(learning_rate=w)": lambda vae, x, w: inference.optimize_posteriors(
        vae, x, learning_rate=w
    ),
    "sampling.tempered(temperature=w)": lambda vae, x, w: sampling.tempered(vae.prior, w),
    "evaluation.active_units(threshold=w)": lambda vae, x, w: evaluation.active_units(vae, x, threshold=w),
}
FLAGS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "objectives.elbo(analytic_kl=f)": lambda vae, x, f: objectives.elbo(vae, x, seed=0, analytic_kl=f),
    "objectives.free_bits(analytic_kl=f)": lambda vae, x, f: objectives.free_bits(
        vae, x, seed=0, analytic_kl=f
    ),
    "inference.exact(fast=f)": lambda vae, x, f: inference.exact(vae, x, tolerance=1.0, fast=f),
    "data.load(missing=f)": lambda vae, x, f: data.load("digits", missing=f),
    "runs.RunOptions(overwrite=f)": lambda vae, x, f: runs.RunOptions(overwrite=f),
    "export.export_model(overwrite=f)": lambda vae, x, f: export.export_model(vae, "none", overwrite=f),
    "Architecture(missing=f)": lambda vae, x, f: probvae.Architecture(missing=f),
    "Training(analytic_kl=f)": lambda vae, x, f: probvae.Training(analytic_kl=f),
    "VAETransformer(standardize=f)": lambda vae, x, f: sklearn.VAETransformer(standardize=f).fit(x),
    "VAETransformer(missing=f)": lambda vae, x, f: sklearn.VAETransformer(missing=f).fit(x),
}
WRONG_FLAGS = ("a", 1, 0.0, None, [True])
WRONG_WEIGHTS = (np.nan, np.inf, "1", None, [1.0], True)


def says(door: Callable[..., Any], *args: Any) -> str:
    """Return the sentence with which a door refuses its arguments, or what came instead."""
    try:
        door(*args)
    except probvae.InputError as error:
        return str(error)
    except Exception as error:
        return f"!! {type(error).__name__}: {str(error)[:200]}"
    return "!! taken"
