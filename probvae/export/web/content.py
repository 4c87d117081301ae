"""The content of an explorer page: the model and its test images, as input of the page's script."""

import base64
import math
from typing import Any

import numpy as np

from probvae.config.architecture import Architecture
from probvae.errors import InputError
from probvae.evaluation.contexts import exact_given
from probvae.export.web.plan import Plan, Weights, to_plan
from probvae.inference.importance_sampling import importance
from probvae.likelihoods import LIKELIHOODS, likelihood_of
from probvae.models.encoding import encode
from probvae.models.vae import VAE
from probvae.posteriors import POSTERIORS

LIKELIHOOD_NAMES = tuple(name for name, make in LIKELIHOODS.items() if make((1,)).kind.in_browser)
POSTERIOR_NAMES = tuple(name for name, entry in POSTERIORS.items() if entry.in_browser)
EXACT_DIMENSIONS = 2  # largest number of latent dimensions for which log p(x) is exact by default
TOLERANCE = 0.05  # tolerance of the quadrature in nats, too small to see in a colour
MAX_LATENT_DIM = 128  # largest number of sliders
MAX_VALUES = 2**26  # largest number of values in the images of a page
CHECKED = 4  # images on which a page compares itself with TensorFlow


def refuse_unless_served(architecture: Architecture) -> None:
    """Refuse a model that the page's script cannot run; the message names the choices that it can."""
    if len(architecture.event_shape) != 3 or architecture.event_shape[-1] not in (1, 3):
        raise InputError(
            "The explorer shows images of one or three channels; this model's x is of shape "
            f"{list(architecture.event_shape)}. Use probvae-sample."
        )
    if architecture.is_hierarchy:
        raise InputError("The explorer shows models of one z; this one is a hierarchy. Use probvae-sample.")
    if architecture.missing:
        raise InputError("The explorer's encoder takes whole images; this model is for missing values.")
    if architecture.latent_dim > MAX_LATENT_DIM:
        raise InputError(
            f"The explorer has sliders for up to {MAX_LATENT_DIM} dimensions, not {architecture.latent_dim}."
        )
    for part, name, served in (
        ("likelihood", architecture.likelihood, LIKELIHOOD_NAMES),
        ("posterior", architecture.posterior, POSTERIOR_NAMES),
    ):
        if name not in served:
            raise InputError(
                f"The explorer cannot compute the {part} {name} in a browser: it can {', '.join(served)}."
            )


def describe(
    vae: VAE,
    x: np.ndarray,
    labels: np.ndarray | None,
    *,
    title: str,
    data: str,
    threshold: bool = False,
    label_names: tuple[str, ...] = (),
    method: str = "auto",
    **options: Any,
) -> dict[str, Any]:
    """Collect the content of a page, a dict for JSON with arrays in base64 of little-endian numbers.

    x are test images [N, H, W, C] without y, of a model that passes `refuse_unless_served`; labels [N], or
    None, are needed by a conditional one. With `threshold`, an image of the visitor is made black and white.
    `method` is the estimate of log p(x): exact, iwae, or auto, which is exact for one or two dimensions; the
    other options are those of `importance`. More images than a page can hold are refused.
    """
    architecture = vae.architecture
    assert architecture is not None
    if x.size > MAX_VALUES:
        fits = MAX_VALUES // (x.size // len(x))
        raise InputError(
            f"A page holds up to {fits:,} images of this size; got {len(x):,}. Use fewer --points."
        )
    weights = Weights()
    encoder, decoder = plans(vae, architecture, weights)
    x = np.asarray(x, np.float32)
    examples = vae.join(x, None if labels is None else np.asarray(labels, np.int32)).numpy()
    mean = encode(vae, examples).loc
    decoded = vae.likelihood_at(mean[:CHECKED], examples[:CHECKED]).mean().numpy()
    log_prob, description = _log_prob(vae, examples, method, **options)
    return {
        "title": title,
        "data": data,
        "event_shape": architecture.event_shape,
        "latent_dim": architecture.latent_dim,
        "posterior": architecture.posterior,
        "likelihood": architecture.likelihood,
        "prior": architecture.prior,
        "network": architecture.network,
        "classes": architecture.classes,
        "classes_y": architecture.num_classes,
        "label_names": list(label_names),
        "threshold": threshold,
        "highest": likelihood_of(architecture).white(x),
        "encoder": encoder,
        "decoder": decoder,
        "weights": _base64(weights.bytes()),
        "points": {
            "number": len(x),
            "mean": [[round(float(v), 7) for v in row] for row in mean],
            "log_prob": [round(float(v), 4) if np.isfinite(v) else None for v in log_prob],
            "labels": None if labels is None else [int(v) for v in labels],
            **_images(x),
        },
        "log_prob": description,
        "decoded": _base64(decoded.astype("<f4").tobytes()),
    }


def plans(vae: VAE, architecture: Architecture, weights: Weights) -> tuple[Plan, Plan]:
    """Translate encoder and decoder up to their distribution layers."""
    *layers, _ = vae.encoder.layers
    layers = [layer for layer in layers if layer.name != "see"]
    encoder, _ = to_plan(layers, architecture.event_shape, weights)
    *layers, _ = vae.decoder.layers
    decoder, _ = to_plan(layers, (architecture.latent_dim + architecture.num_classes,), weights)
    size = math.prod(architecture.event_shape)
    seen: Plan = []
    kind = likelihood_of(architecture).kind
    if kind.counts:
        seen = [{"op": "log1p", "out": size}]
    elif kind.largest != 1:
        seen = [{"op": "divide", "out": size, "by": kind.largest}]
    return seen + encoder, decoder


def _log_prob(
    vae: VAE, x: np.ndarray, method: str, *, num_samples: int = 100, **options: Any
) -> tuple[np.ndarray, dict[str, str]]:
    """Return log p(x) [N], nats, and its name, method and note for the page."""
    density = vae.density_name
    if method == "exact" or (method == "auto" and vae.latent_dim <= EXACT_DIMENSIONS):
        result = exact_given(vae, x, tolerance=TOLERANCE)
        missed = int(np.sum(~result.converged))
        within = f"within {TOLERANCE:g} nats" + (f", but for {missed} of the images" if missed else "")
        return result.log_marginal, {
            "name": density,
            "method": "exact",
            "note": f"{density} is integrated over z by quadrature, {within}.",
        }
    bound = importance(vae, x, num_samples=num_samples, **options).bound
    return bound, {
        "name": f"bound on {density}",
        "method": "iwae",
        "note": f"The numbers are importance-weighted lower bounds on {density}, from {num_samples:,} draws "
        "of z for each image.",
    }


def _images(x: np.ndarray) -> dict[str, Any]:
    """Store images as bytes where that loses nothing, else as float32; a stored value / `by` is the value."""
    for by in (255, 1):
        levels = np.round(x * np.float32(by))
        if levels.min() >= 0 and levels.max() <= 255:
            levels = levels.astype(np.uint8)
            if np.array_equal(levels / np.float32(by), x):
                return {"images": _base64(levels.tobytes()), "type": "uint8", "by": by}
    return {"images": _base64(x.astype("<f4").tobytes()), "type": "float32", "by": 1}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
