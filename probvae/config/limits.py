"""How large a model is before it is built: a bound on what a configuration can make a process allocate.

The counts are rough, about right for the parts that can become large; no TensorFlow is needed.
"""

import math
from typing import TYPE_CHECKING

from probvae.errors import InputError

if TYPE_CHECKING:
    from probvae.config.architecture import Architecture


MAX_WEIGHTS = 2**30  # 4 GiB in float32
MAX_VALUES = 2**28  # of the largest layer, for one example
MAX_LAYERS = 64  # that a list may name
MAX_CLASSES = 65_536  # of a column of a table

PARAMETERS = {
    "logistic_mixture": 34,
    "normal": 2,
    "discretized_logistic": 2,
    "negative_binomial": 2,
}  # a value
HEADS = {"low_rank": 6, "mixture": 9}  # parameters of q(z|x) for each dimension of z
FLOWS = 20_000  # weights of a flow, about, for each dimension of z
CONVOLUTIONS = {
    "conv": (9, 2),
    "residual_conv": (9, 2),
    "conv1d": (5, 1),
}  # taps, and axes of x without channels
CATEGORICAL = "categorical:"


def refuse_too_large(a: "Architecture") -> None:
    """Refuse an architecture whose fields are each in range, but whose model nobody can have meant.

    Raises:
      InputError: more weights than `MAX_WEIGHTS`, more values in a layer than `MAX_VALUES`, more layers than
        `MAX_LAYERS`.

    >>> from probvae.config.training import Architecture
    >>> Architecture((1000, 1000, 1000))
    Traceback (most recent call last):
    probvae.errors.InputError: A model of x ... must have at most 268,435,456 values ...
    """
    for name in ("filters", "units", "latent_layers"):
        if len(getattr(a, name)) > MAX_LAYERS:
            raise InputError(f"{name} must have at most {MAX_LAYERS} sizes; got {len(getattr(a, name)):,}.")
    values, weights = largest_layer(a), num_weights(a)
    for found, most, what in (
        (values, MAX_VALUES, "values in a layer"),
        (weights, MAX_WEIGHTS, "weights"),
    ):
        if found > most:
            raise InputError(
                f"A model of x of shape {list(a.event_shape)} must have at most {most:,} {what}; this one "
                f"would have about {found:.3g}: use smaller images, or fewer, smaller layers and latent_dim."
            )


def largest_layer(a: "Architecture") -> int:
    """Return about how many values the largest layer of the decoder has, for one example."""
    if a.network not in CONVOLUTIONS:
        return num_parameters(a)
    _, axes = CONVOLUTIONS[a.network]
    return max(num_parameters(a), math.prod(_padded(a)[:axes]) * a.filters[0])


def num_parameters(a: "Architecture") -> int:
    """Return about how many parameters p(x|z) has."""
    if a.columns:
        return sum(_classes(kind) for kind in a.columns)
    each = a.classes if a.likelihood == "categorical" else PARAMETERS.get(a.likelihood, 1)
    return each * math.prod(a.event_shape)


def num_weights(a: "Architecture") -> int:
    """Return about how many weights the model has."""
    inputs, outputs = math.prod(a.event_shape) * (1 + a.missing), num_parameters(a)
    z, latent = a.latent_dim + a.context_dim, a.latent_dim
    if a.columns:
        inputs = outputs * (1 + a.missing)
    if a.network in CONVOLUTIONS:
        taps, _ = CONVOLUTIONS[a.network]
        sizes = [a.event_shape[-1] * (1 + a.missing) + a.context_dim, *a.filters]
        between = 2 * taps * sum(m * n for m, n in zip(sizes, a.filters, strict=False))
        if a.network == "residual_conv":
            between += 4 * taps * sum(n * n for n in a.filters)
        small = math.prod(n // 2 ** len(a.filters) for n in _padded(a))
        features = small * a.filters[-1]
        between += z * small * 32 + taps * a.filters[0] * (outputs // math.prod(a.event_shape[:-1]))
    else:
        features = a.units[-1]
        hidden = sum(m * n for m, n in zip(a.units, a.units[1:], strict=False))
        between = (inputs + a.context_dim) * a.units[0] + 2 * hidden + z * a.units[-1]
        between = between * (2 if a.network == "gated_mlp" else 1) + outputs * a.units[0]
    head = latent * (latent + 3) // 2 if a.posterior == "tril" else HEADS.get(a.posterior, 2) * latent
    flows = FLOWS * latent * ((a.posterior in ("iaf", "spline")) + (a.prior in ("realnvp", "maf", "spline")))
    ladder = sum(3 * a.units[-1] * (a.units[-1] + latent) for _ in a.latent_layers)
    prior = a.components * {"mixture": 2 * latent + 1, "vamp": math.prod(a.event_shape)}.get(a.prior, 0)
    classifier = between * a.classifier
    return (
        between
        + classifier
        + features * (head + a.units[-1] * bool(a.latent_layers))
        + flows
        + ladder
        + prior
    )


def _padded(a: "Architecture") -> tuple[int, ...]:
    """Return the sides of x, each as large as the decoder makes it before it is cropped."""
    factor = 2 ** len(a.filters)
    return tuple(-(-n // factor) * factor for n in a.event_shape[:-1])


def _classes(kind: str) -> int:
    """Return how many parameters a column of a kind has.

    Raises:
      InputError: a number of classes beyond `MAX_CLASSES`.
    """
    digits = kind.removeprefix(CATEGORICAL)
    if not kind.startswith(CATEGORICAL) or not digits.isdecimal():
        return 2
    if len(digits) > 9 or int(digits) > MAX_CLASSES:
        raise InputError(f"A column must have at most {MAX_CLASSES:,} classes; got the kind {kind!r}.")
    return int(digits)
