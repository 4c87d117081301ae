"""Traces of `tf.function`: what TensorFlow Probability remembers of them for good, and lets go of here."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Let go of what bijectors remember of a trace, at its end; for the whole body of a `tf.function`.

    `tfp.bijectors` keep each input in one global dictionary for as long as its output lives. In a graph the
    output lives as long as the input, so that no graph with a loop would ever be freed, with all that it
    refers to.
    """
    try:
        yield
    finally:
        if not tf.executing_eagerly():
            _forget(tf.compat.v1.get_default_graph())


def _forget(graph: Any) -> None:
    """Remove the entries of tensors in a graph, and in those within it, such as bodies of loops."""
    storage = getattr(getattr(tfb.Bijector, "_cache", None), "storage", {})  # private: it may move
    for key in list(storage):
        tensors = tf.nest.flatten(key())
        if any(_is_within(getattr(t, "graph", None), graph) for t in tensors if isinstance(t, tf.Tensor)):
            storage.pop(key, None)


def _is_within(inner: Any, graph: Any) -> bool:
    while inner is not None and inner is not graph:
        inner = getattr(inner, "outer_graph", None)
    return inner is graph


def once(function: Any) -> Any:
    """Return a `tf.function` that is traced once for each model, without TensorFlow's warning of retracing.

    TensorFlow counts traces by the place of the code, and takes those of several models for retracing.
    """
    function._omit_frequent_tracing_warning = True  # private: without it there is the warning
    return function
