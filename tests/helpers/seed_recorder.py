"""A recorder of random draws: which seed reaches which of TensorFlow's stateless operations, and from where.

The samplers of TensorFlow Probability and the layers of Keras end in these operations, so that nothing that
is drawn within `recorded` is missed, in graphs and without, but for what NumPy draws.
"""

import contextlib
import inspect
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import stateless_random_ops
from tensorflow_probability.python.distributions import binomial, gamma, poisson
from tensorflow_probability.python.internal import implementation_selection

LIBRARY = f"{Path(__file__).parents[2] / 'probvae'}/"
MODULES = (stateless_random_ops.gen_stateless_random_ops, stateless_random_ops.gen_stateless_random_ops_v2)
# TFP's samplers whose graphs outlive the call: those of an earlier call would not be recorded.
COMPILED = ((binomial, "_random_binomial"), (gamma, "_random_gamma_no_gradient"), (poisson, "random_poisson"))
DERIVING = "uniform_full_int"  # by which seeds are split and folded, and nothing is drawn


class Draw(NamedTuple):
    """A draw: the operation, the key and counter made of its seed, and the innermost line of the library."""

    operation: str
    seed: tuple[int, ...]
    place: str


@contextlib.contextmanager
def recorded() -> Iterator[list[Draw]]:
    """Record the draws of functions that are called, and traced, within the context."""
    draws: list[Draw] = []
    with contextlib.ExitStack() as stack:
        for module in MODULES:
            for name, function in inspect.getmembers(module, inspect.isfunction):
                if "seed" in _names(function) or "counter" in _names(function):
                    setattr(module, name, _recording(name, function, draws))
                    stack.callback(setattr, module, name, function)
        for module, name in COMPILED:
            stack.enter_context(mock.patch.object(module, name, _compiled_anew(getattr(module, name))))
        yield draws


def twice(draws: list[Draw]) -> dict[tuple[str, ...], int]:
    """Return the places whose draws share a seed, and how many of the draws had it after the first."""
    by_seed: dict[tuple[int, ...], list[str]] = {}
    for draw in draws:
        by_seed.setdefault(draw.seed, []).append(draw.place)
    shared = [tuple(sorted(places)) for places in by_seed.values() if len(places) > 1]
    return {places: shared.count(places) * (len(places) - 1) for places in shared}


def _compiled_anew(sampler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a compiled sampler of TFP without the graphs that it has traced."""
    python_function = sampler.__wrapped__.python_function  # type: ignore[attr-defined]
    return implementation_selection.never_runs_functions_eagerly(
        tf.function(python_function, autograph=False)
    )


def _names(function: Callable[..., Any]) -> list[str]:
    """Return the arguments of a random operation; none where it draws nothing."""
    name = function.__name__
    draws = name.startswith("stateless_") and not name.endswith("_fallback") and "get_key" not in name
    return list(inspect.signature(function).parameters) if draws and DERIVING not in name else []


def _recording(name: str, function: Callable[..., Any], draws: list[Draw]) -> Callable[..., Any]:
    """Return an operation that records its seed whenever it runs."""
    signature = inspect.signature(function)

    def recording(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        name_of_seed = "seed" if "seed" in given.arguments else "key"
        seed = tf.convert_to_tensor(given.arguments[name_of_seed])
        if name_of_seed == "seed":
            parts = stateless_random_ops.gen_stateless_random_ops_v2.stateless_random_get_key_counter(seed)
        else:
            parts = (seed, given.arguments["counter"])
        place = _place()

        def record(*values: Any) -> Any:
            draws.append(Draw(name, tuple(int(v) for value in values for v in np.ravel(value)), place))
            return values[0]

        if tf.executing_eagerly():
            record(*parts)
        else:  # before every run of the operation
            with tf.control_dependencies([tf.numpy_function(record, parts, tf.uint64)]):
                given.arguments[name_of_seed] = tf.identity(seed)
        return function(*given.args, **given.kwargs)

    return recording


def _place() -> str:
    """Return the innermost line of the library that draws, as "objectives/bound.py: q.sample(...)"."""
    frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(LIBRARY)]
    if not frames:
        return "outside of the library"
    return f"{frames[-1].filename.removeprefix(LIBRARY)}: {frames[-1].line}"
