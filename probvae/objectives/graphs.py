"""The memory that a function takes, read from its TensorFlow graph; nothing is computed."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

VIEWS = {"Const", "Identity", "ReadVariableOp", "Reshape", "ExpandDims", "Squeeze", "StopGradient"}
IN_PLACE = {  # operations that write their output over an input that nothing else needs
    *("Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Maximum", "Minimum", "SelectV2", "BiasAdd", "Cast"),
    *("Neg", "Square", "Sqrt", "Rsqrt", "Exp", "Expm1", "Log", "Log1p", "Softmax", "LogSoftmax"),
    *("Relu", "ReluGrad", "Elu", "EluGrad", "Tanh", "TanhGrad", "Sigmoid", "SigmoidGrad"),
    *("Softplus", "SoftplusGrad"),
}

Function = Callable[[tf.Tensor], Any]


def graph_of(function: Function, shape: Sequence[int], dtype: Any = tf.float32) -> tf.Graph:
    """Return the graph of a function of a tensor."""
    return tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec(shape, dtype)).graph


def total_bytes(graph: tf.Graph) -> int:
    """Return the bytes of all values that a graph computes.

    >>> total_bytes(graph_of(lambda x: tf.exp(x) + tf.sin(x), [10]))
    120
    """
    return sum(_size(out) for op in graph.get_operations() if not _is_view(op) for out in op.outputs)


def peak_bytes(graph: tf.Graph) -> int:
    """Return the most bytes that a graph holds at once, if each value is freed after its last use.

    >>> peak_bytes(graph_of(lambda x: tf.sin(tf.sin(tf.sin(x))), [10]))
    80
    """
    operations = graph.get_operations()
    owner: dict[Any, Any] = {}  # tensor whose memory each tensor uses
    last: dict[Any, int] = {}  # place of the last operation that reads it
    for place, op in enumerate(operations):
        for out in op.outputs:
            owner[out.ref()] = owner[op.inputs[0].ref()] if _is_view(op) and op.inputs else out.ref()
        last |= {owner[used.ref()]: place for used in op.inputs}
    free_after: dict[int, list[Any]] = {}
    for tensor, place in last.items():
        free_after.setdefault(place, []).append(tensor)
    sizes: dict[Any, int] = {}
    held = most = 0
    for place, op in enumerate(operations):
        if not _is_view(op):
            sizes |= {out.ref(): _size(out) for out in op.outputs}
        new = 0 if _is_view(op) else sum(map(_size, op.outputs))
        freed = sum(sizes.get(tensor, 0) for tensor in free_after.get(place, ()))
        most = max(most, held + new - (freed if op.type in IN_PLACE else 0))
        held += new - freed
    return most


def _is_view(op: tf.Operation) -> bool:
    """Return whether an operation takes no memory of its own."""
    return op.type in VIEWS or op.type == "Placeholder"


def _size(tensor: tf.Tensor) -> int:
    return int(tensor.dtype.size * (tensor.shape.num_elements() or 0))
