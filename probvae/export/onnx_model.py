"""ONNX: encoder and decoder as graphs for onnxruntime and other engines, by tf2onnx."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np

from probvae.errors import InputError
from probvae.export.functions import PARTS
from probvae.models.vae import VAE

OPSET = 17
PACKAGES = ("onnx", "tf2onnx")


def require_packages() -> None:
    """Refuse to export without the packages that ONNX needs; the message says how to install them."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"The format onnx needs the package {name}, which is absent: pip install 'probvae[onnx]'."
            )


def write(vae: VAE, folder: Path, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    """Write `encoder.onnx` (x -> loc, scale) and `decoder.onnx` (z -> mean), float32, of any batch size.

    A model with an operation that ONNX does not have is refused.
    """
    require_packages()
    paths = {name: folder / f"{name}.onnx" for name in parts}
    for name, path in paths.items():
        path.write_bytes(_convert(name, PARTS[name](vae)))
    return list(paths.values())


def _convert(name: str, function: Any) -> bytes:
    import onnx
    import tf2onnx

    logger = logging.getLogger("tf2onnx")
    before, logger.disabled = logger.disabled, True
    loggers = [key for key in logging.root.manager.loggerDict if key.split(".")[0] == "tf2onnx"]
    levels = {key: logging.getLogger(key).level for key in loggers}
    for key in levels:
        logging.getLogger(key).setLevel(logging.CRITICAL)
    try:
        model, _ = tf2onnx.convert.from_function(
            function,
            input_signature=function.input_signature,
            opset=OPSET,
            custom_op_handlers={name: (handler, []) for name, handler in HANDLERS.items()},
        )
    finally:
        logger.disabled = before
        for key, level in levels.items():
            logging.getLogger(key).setLevel(level)
    unknown = sorted(
        {node.op_type for node in _nodes(model.graph) if not onnx.defs.has(node.op_type, node.domain)}
    )
    if unknown:
        raise InputError(
            f"The {name} cannot be written as ONNX, which lacks its operations ({', '.join(unknown)}): "
            "export the other part alone, or as SavedModel."
        )
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _nodes(graph: Any) -> Any:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _broadcast_args(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Express the broadcast of two shapes, which tf2onnx does not know, in ONNX operations."""
    from onnx import TensorProto

    first, second = (
        ctx.make_node("Cast", [shape], attr={"to": TensorProto.INT64}).output[0] for shape in node.input
    )
    ones = ctx.make_node("ConstantOfShape", [first]).output[0]
    full = ctx.make_node("Expand", [ones, second]).output[0]
    shape = ctx.make_node("Shape", [full]).output[0]
    _replace(ctx, node, "Cast", [shape], attr={"to": node.output_dtypes[0]})


def _log1p(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Express log(1 + x) as x log(u) / (u - 1) with u = 1 + x rounded, which is precise at small x."""
    (x,) = node.input
    one = _like(ctx, node, 1.0)
    u = ctx.make_node("Add", [x, one]).output[0]
    rest = ctx.make_node("Sub", [u, one]).output[0]
    is_one = ctx.make_node("Equal", [u, one]).output[0]
    safe = ctx.make_node("Where", [is_one, one, rest]).output[0]
    ratio = ctx.make_node("Div", [x, safe]).output[0]
    log_u = ctx.make_node("Log", [u]).output[0]
    product = ctx.make_node("Mul", [ratio, log_u]).output[0]
    _replace(ctx, node, "Where", [is_one, x, product])


def _expm1(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Express exp(x) - 1 as tanh(x / 2) (exp(x) + 1), which is precise at small x."""
    (x,) = node.input
    half = ctx.make_node("Mul", [x, _like(ctx, node, 0.5)]).output[0]
    tanh = ctx.make_node("Tanh", [half]).output[0]
    exp = ctx.make_node("Exp", [x]).output[0]
    plus = ctx.make_node("Add", [exp, _like(ctx, node, 1.0)]).output[0]
    _replace(ctx, node, "Mul", [tanh, plus])


def _mul_no_nan(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Express x y, which is 0 at y = 0 even if x is not finite."""
    x, y = node.input
    zero = _like(ctx, node, 0.0)
    is_zero = ctx.make_node("Equal", [y, zero]).output[0]
    product = ctx.make_node("Mul", [x, y]).output[0]
    _replace(ctx, node, "Where", [is_zero, zero, product])


def _lgamma(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Express log Gamma(x), x > 0, by Stirling's series at x, or at x + 8 less log (x + i) for x below 8."""
    (x,) = node.input

    def of(operation: str, *inputs: str) -> str:
        output: str = ctx.make_node(operation, list(inputs)).output[0]
        return output

    def number(value: float) -> str:
        return _like(ctx, node, value)

    is_small = of("Less", x, number(8.0))
    at = of("Where", is_small, of("Add", x, number(8.0)), x)
    inverse = of("Div", number(1.0), at)
    square = of("Mul", inverse, inverse)
    series = of("Mul", inverse, of("Sub", number(1 / 12), of("Mul", square, number(1 / 360))))
    leading = of("Sub", of("Mul", of("Sub", at, number(0.5)), of("Log", at)), at)
    stirling = of("Add", leading, of("Add", series, number(np.log(2 * np.pi) / 2)))
    logs = [of("Log", of("Add", x, number(float(i)))) for i in range(8)]
    _replace(ctx, node, "Sub", [stirling, of("Where", is_small, of("Sum", *logs), number(0.0))])


def _like(ctx: Any, node: Any, value: float) -> str:
    from tf2onnx import utils

    dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[0]))
    name: str = ctx.make_const(utils.make_name("constant"), np.array(value, dtype)).output[0]
    return name


def _replace(ctx: Any, node: Any, operation: str, inputs: list[str], **options: Any) -> None:
    options |= {"name": node.name, "outputs": node.output}
    options |= {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    ctx.remove_node(node.name)
    ctx.make_node(operation, inputs, **options)


# TensorFlow operations that tf2onnx does not know.
HANDLERS = {
    "BroadcastArgs": _broadcast_args,
    "Log1p": _log1p,
    "Expm1": _expm1,
    "MulNoNan": _mul_no_nan,
    "Lgamma": _lgamma,
}
