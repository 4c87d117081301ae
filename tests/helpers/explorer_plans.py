"""The explorer's operations once more, in NumPy and in other ways, to test plans without a browser."""

import base64

import numpy as np
from scipy.special import erf, expit

ACTIVATIONS = {
    "linear": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
    "gelu": lambda v: 0.5 * v * (1 + erf(v / np.sqrt(2))),
    "swish": lambda v: v * expit(v),
    "tanh": np.tanh,
    "sigmoid": expit,
}


def array(text, kind="<f4"):
    return np.frombuffer(base64.b64decode(text), kind)


def part(weights, start, *shape):
    return weights[start : start + int(np.prod(shape))].reshape(shape).astype(np.float64)


def carry_out(plan, weights, x, y=()):
    """Return the output of a plan, flat, for one input."""
    for o in plan:
        x = OPERATIONS[o["op"]](o, weights, np.asarray(x, np.float64).reshape(-1), np.asarray(y, np.float64))
    return x.reshape(-1)


def _dense(o, w, x, y):
    out = x @ part(w, o["kernel"], o["in"], o["out"]) + part(w, o["bias"], o["out"])
    return ACTIVATIONS[o["activation"]](out)


def _kernel(o, w):
    return part(w, o["kernel"], o["size"], o["size"], o["channels"], o["filters"])


def _conv(o, w, x, y):
    """A sum over the kernel's places of strided slices of the padded image."""
    k, s, rows, columns = o["size"], o["stride"], o["height_out"], o["width_out"]
    padded = np.zeros([(rows - 1) * s + k + o["height"], (columns - 1) * s + k + o["width"], o["channels"]])
    image = x.reshape(o["height"], o["width"], o["channels"])
    padded[o["top"] : o["top"] + o["height"], o["left"] : o["left"] + o["width"]] = image
    out = part(w, o["bias"], o["filters"]) + sum(
        padded[i : i + s * rows : s, j : j + s * columns : s] @ _kernel(o, w)[i, j]
        for i in range(k)
        for j in range(k)
    )
    return ACTIVATIONS[o["activation"]](out)


def _deconv(o, w, x, y):
    """A convolution with the turned kernel of the image with zeros between its pixels."""
    k, s = o["size"], o["stride"]
    spread = np.zeros([o["height_out"] + 2 * k, o["width_out"] + 2 * k, o["channels"]])
    first, left = k - 1 - o["top"], k - 1 - o["left"]
    spread[first : first + s * o["height"] : s, left : left + s * o["width"] : s] = x.reshape(
        o["height"], o["width"], o["channels"]
    )
    turned = _kernel(o, w)[::-1, ::-1]
    out = part(w, o["bias"], o["filters"]) + sum(
        spread[i : i + o["height_out"], j : j + o["width_out"]] @ turned[i, j]
        for i in range(k)
        for j in range(k)
    )
    return ACTIVATIONS[o["activation"]](out)


def _crop(o, w, x, y):
    return x.reshape(-1, o["width"], o["channels"])[: o["height_out"], : o["width_out"]]


def _context(o, w, x, y):
    x = x.reshape(o["places"], o["channels"])
    return np.concatenate([x, np.tile(y, [o["places"], 1])], axis=1)


OPERATIONS = {
    "dense": _dense,
    "conv": _conv,
    "deconv": _deconv,
    "residual": lambda o, w, x, y: x + carry_out(o["plan"], w, x),
    "activation": lambda o, w, x, y: ACTIVATIONS[o["activation"]](x),
    "gate": lambda o, w, x, y: x[: o["out"]] * expit(x[o["out"] :]),
    "crop": _crop,
    "context": _context,
    "log1p": lambda o, w, x, y: np.log1p(x),
    "divide": lambda o, w, x, y: x / o["by"],
}
