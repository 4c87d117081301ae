"""Keras layers as a plan: operations for the page's script, with their weights in one array.

A plan is a list of operations, dicts for JSON; `networks.js` defines each of them. Images are [height, width,
channels] in row-major order; kernels are [k, k, in, out]; a weight is named by its position in the array that
`Weights` collects.
"""

import math
from typing import Any

import numpy as np
import tf_keras

from probvae.errors import InputError
from probvae.models.networks.contexts import WithContext
from probvae.models.networks.layers import Gated, Residual

Shape = tuple[int, ...]
Plan = list[dict[str, Any]]

MAX_WEIGHTS = 2**24  # 64 MiB, or 85 in base64
MAX_PRODUCTS = 2**30  # largest number of multiplications in one pass, about a second in a browser
ACTIVATIONS = ("linear", "relu", "elu", "gelu", "swish", "tanh", "sigmoid")


class Weights:
    """Arrays of weights, joined into one."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self.size = 0

    def add(self, values: Any) -> int:
        """Append an array and return its position, in float32 numbers."""
        flat = np.asarray(values, "<f4").reshape(-1)
        start, self.size = self.size, self.size + flat.size
        if self.size > MAX_WEIGHTS:
            raise InputError(
                f"The model has more than {MAX_WEIGHTS:,} weights, too many for a page: explore a "
                "smaller model."
            )
        if not np.isfinite(flat).all():
            raise InputError("The model's weights are not all finite: train it again before exploring it.")
        self._parts.append(flat)
        return start

    def bytes(self) -> bytes:
        """Return the weights as little-endian float32."""
        return b"".join(part.tobytes() for part in self._parts)


def to_plan(layers: list[Any], shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    """Translate Keras layers, without the last of an encoder or decoder, for inputs [B, *shape].

    The weights are added to `weights`; the result is the plan and the shape of its output. Unknown layers and
    activations are refused, and models that are too large.
    """
    plan: Plan = []
    for layer in layers:
        translate = next((TRANSLATE[kind] for kind in type(layer).__mro__ if kind in TRANSLATE), None)
        if translate is None:
            raise InputError(
                f"The explorer knows no layer of type {type(layer).__name__}: it takes the networks conv, "
                "residual_conv, mlp and gated_mlp of probvae-train."
            )
        operations, shape = translate(layer, shape, weights)
        plan += operations
    if products(plan) > MAX_PRODUCTS:
        raise InputError(
            f"One pass of the network takes {products(plan):,} multiplications, too many for a browser (at "
            f"most {MAX_PRODUCTS:,}): explore a smaller model."
        )
    return plan, shape


def products(plan: Plan) -> int:
    """Count the multiplications of one pass."""
    total = 0
    for step in plan:
        if step["op"] == "dense":
            total += step["in"] * step["out"]
        elif step["op"] in ("conv", "deconv"):
            places = step["places_out"] if step["op"] == "conv" else step["height"] * step["width"]
            total += places * step["size"] ** 2 * step["channels"] * step["filters"]
        elif step["op"] == "residual":
            total += products(step["plan"])
    return total


def _activation(function: Any) -> str:
    name = getattr(function, "__name__", str(function))
    if name not in ACTIVATIONS:
        raise InputError(
            f"The explorer knows the activations {', '.join(ACTIVATIONS)}; the model has {name}."
        )
    return name


def _bias(layer: Any, size: int) -> np.ndarray:
    return np.zeros(size, np.float32) if layer.bias is None else layer.bias.numpy()


def _dense(layer: Any, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    kernel = layer.kernel.numpy()
    operation = {
        "op": "dense",
        "in": kernel.shape[0],
        "out": kernel.shape[1],
        "kernel": weights.add(kernel),
        "bias": weights.add(_bias(layer, kernel.shape[1])),
        "activation": _activation(layer.activation),
    }
    return [operation], (kernel.shape[1],)


def _convolution(layer: Any, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    """Translate a Conv2D of square kernel and stride; "same" pads less before than after."""
    size, stride = layer.kernel_size[0], layer.strides[0]
    same = layer.padding == "same"
    sides = [-(-n // stride) if same else (n - size) // stride + 1 for n in shape[:2]]
    before = [
        max((out - 1) * stride + size - n, 0) // 2 if same else 0
        for n, out in zip(shape, sides, strict=False)
    ]
    operation = _placed("conv", layer, shape, (*sides, layer.filters), before, layer.kernel.numpy(), weights)
    return [operation], (*sides, layer.filters)


def _transposed(layer: Any, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    """Translate a Conv2DTranspose ("same"): the gradient of a convolution from n * stride places to n."""
    size, stride = layer.kernel_size[0], layer.strides[0]
    out = (shape[0] * stride, shape[1] * stride, layer.filters)
    before = [max(size - stride, 0) // 2] * 2
    kernel = layer.kernel.numpy().transpose(0, 1, 3, 2)  # Keras keeps [k, k, out, in]
    return [_placed("deconv", layer, shape, out, before, kernel, weights)], out


def _placed(
    name: str, layer: Any, shape: Shape, out: Shape, before: list[int], kernel: np.ndarray, weights: Weights
) -> dict[str, Any]:
    return {
        "op": name,
        "height": shape[0],
        "width": shape[1],
        "channels": shape[2],
        "height_out": out[0],
        "width_out": out[1],
        "places_out": out[0] * out[1],
        "filters": out[2],
        "size": layer.kernel_size[0],
        "stride": layer.strides[0],
        "top": before[0],
        "left": before[1],
        "kernel": weights.add(kernel),
        "bias": weights.add(_bias(layer, out[2])),
        "activation": _activation(layer.activation),
    }


def _gated(layer: Gated, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    operations, (doubled,) = _dense(layer.dense, shape, weights)
    return [*operations, {"op": "gate", "out": doubled // 2}], (doubled // 2,)


def _residual(layer: Residual, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    before = {"op": "activation", "out": math.prod(shape), "activation": _activation(layer.activation)}
    first, between = _convolution(layer.first, shape, weights)
    second, _ = _convolution(layer.second, between, weights)
    plan = [before, *first, before, *second]
    return [{"op": "residual", "out": math.prod(shape), "plan": plan}], shape


def _pointwise(layer: Any, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    activation = _activation(layer.activation)
    return [{"op": "activation", "out": math.prod(shape), "activation": activation}], shape


def _cropping(layer: Any, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    (_, bottom), (_, right) = layer.cropping
    out = (shape[0] - bottom, shape[1] - right, shape[2])
    operation = {"op": "crop", "width": shape[1], "channels": shape[2]}
    return [operation | {"height_out": out[0], "width_out": out[1], "out": math.prod(out)}], out


def _with_context(layer: WithContext, shape: Shape, weights: Weights) -> tuple[Plan, Shape]:
    """Translate `WithContext`: x with y beside it, at every place of an image, without its `inputs`."""
    places = 1 if layer.flat else math.prod(layer.output_dims[:-1])
    values = math.prod(layer.value_shape)
    operation = {"op": "context", "places": places, "channels": values // places}
    return [operation | {"out": math.prod(layer.output_dims)}], layer.output_dims


TRANSLATE: dict[type, Any] = {
    tf_keras.layers.Dense: _dense,
    tf_keras.layers.Conv2DTranspose: _transposed,
    tf_keras.layers.Conv2D: _convolution,
    tf_keras.layers.Activation: _pointwise,
    tf_keras.layers.Cropping2D: _cropping,
    tf_keras.layers.Flatten: lambda layer, shape, weights: ([], (math.prod(shape),)),
    tf_keras.layers.Reshape: lambda layer, shape, weights: ([], tuple(layer.target_shape)),
    tf_keras.layers.InputLayer: lambda layer, shape, weights: ([], shape),
    Gated: _gated,
    Residual: _residual,
    WithContext: _with_context,
}
