"""The doors of Python by which x enters a model, and the kinds of wrong x; see docs/reliability.md."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import probvae
from probvae import evaluation, inference, objectives, sampling

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
# What is not wrong at some doors: one example [*E], no validation data. No data set can be made of None.
ALLOWED = {
    **dict.fromkeys(["vae(x)", *MODEL], ("one example",)),
    "vae.fit(validation_data=x)": ("None",),
    "vae.fit(dataset)": ("None",),
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
    "None": lambda x: None,
}


def says(door: Door, vae: Any, x: Any) -> str:
    """Return the sentence with which a door refuses x, or what came instead."""
    try:
        door(vae, x)
    except probvae.InputError as error:
        return str(error)
    except Exception as error:
        return f"!! {type(error).__name__}: {str(error)[:200]}"
    return "!! taken"
